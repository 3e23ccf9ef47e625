"""What a change of rules takes away that cannot be had back."""

import pytest

from flows.logic.rules.losses import losses
from schemas.config import Config
from schemas.config.toml import read

FULL = """
[[aggregate]]
name = "orders"
of = "count"
on = ["Order Completed"]
[[aggregate]]
name = "spent"
of = "sum"
value = "total"
[[segment]]
name = "all"
when = "True"
[[tag]]
name = "vip"
when = "orders > 3"
[[trigger]]
name = "a"
on = {event = "A"}
[[trigger]]
name = "b"
on = {event = "B"}
[[trigger]]
name = "c"
on = {event = "C"}
"""


def rules(text: str) -> Config:
    reading = read(text)
    assert not reading.problems, reading.problems
    return reading.config


def without(*parts: str) -> str:
    left = FULL
    for part in parts:
        assert part in left
        left = left.replace(part, "")
    return left


@pytest.mark.parametrize(
    ("after", "lost"),
    [
        (FULL, []),
        (FULL + '[[aggregate]]\nname = "views"\nof = "count"', []),
        (FULL.replace("orders > 3", "orders > 4").replace('on = {event = "A"}', 'on = {event = "Z"}'), []),
        (FULL.replace('"all"', '"everybody"'), []),
        (without('[[trigger]]\nname = "c"\non = {event = "C"}\n'), []),
        (
            without('[[aggregate]]\nname = "spent"\nof = "sum"\nvalue = "total"\n'),
            ["1 of 2 aggregates goes, and what was counted with it: `spent`"],
        ),
        (
            FULL.replace('"Order Completed"', '"Bought"'),
            ["defined otherwise, and so counted from nothing again: `orders`"],
        ),
        (without('[[tag]]\nname = "vip"\nwhen = "orders > 3"\n'), ["the only tag goes: `vip`"]),
        (without('[[segment]]\nname = "all"\nwhen = "True"\n'), ["the only segment goes: `all`"]),
        (
            without(
                '[[trigger]]\nname = "c"\non = {event = "C"}\n',
                '[[trigger]]\nname = "b"\non = {event = "B"}\n',
            ),
            ["2 of 3 triggers go: `b`, `c`"],
        ),
        (
            FULL[: FULL.index("[[tag]]")],  # cut off
            ["the only tag goes: `vip`", "3 of 3 triggers go: `a`, `b`, `c`"],
        ),
        (
            'name = "shop"',
            [
                "2 of 2 aggregates go, and what was counted with it: `orders`, `spent`",
                "the only tag goes: `vip`",
                "3 of 3 triggers go: `a`, `b`, `c`",
                "the only segment goes: `all`",
            ],
        ),
    ],
)
def test_it_names_what_goes_and_is_silent_about_the_rest(after: str, lost: list[str]) -> None:
    assert losses(rules(FULL), rules(after)) == lost


def test_from_nothing_nothing_is_lost_and_a_long_list_is_cut() -> None:
    nothing = rules('name = "shop"')
    assert losses(nothing, rules(FULL)) == []
    many = "".join(f'[[tag]]\nname = "t{n}"\nwhen = "True"\n' for n in range(8))
    assert losses(rules(many), nothing) == ["8 of 8 tags go: `t0`, `t1`, `t2`, `t3`, `t4` and 3 more"]
