"""Attributes in rules: a band of ages that moves without an event, unions that are undone, and rules that see
what they may."""

from datetime import UTC, datetime
from typing import Any

import pytest

from flows.logic.fields.attributes import PREFIX
from flows.logic.shard.state import Live
from flows.logic.shard.view import present
from tests.logic.shard import test_unmerge as unmerge
from tests.world import DAY, START_MS, World, compiled, person, visitor

ANA, PHONE = person("ana"), visitor("phone")
RULES = """
[age]
bands = [18, 35, 40]
[[tag]]
name = "thirties"
when = 'age_band == "35-39" and gender == "female"'
[[trigger]]
name = "now"
on = {tag_entered = "thirties"}
[[trigger]]
name = "past"
on = {tag_left = "thirties"}
"""
COMPILED = compiled(RULES)


def ms(year: int, month: int, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


def stated(**attributes: str) -> dict[str, str]:
    return {f"{PREFIX}{name}.stated": value for name, value in attributes.items()}


STATED = (
    stated(age_band="1990-12", gender="female"),  # in the bands of tomorrow, and of yesterday
    stated(age_band="1985-12"),
    {f"{PREFIX}gender.unclear": "unknown"},
    {},
    stated(gender="male", region="浙江省"),
)


def shown(world: World) -> Any:
    live = Live(world.profile(ANA), COMPILED)
    return present(b"r" * 12, live.profile, live.total, COMPILED, world.now_ms, {})["attributes"]


def test_a_band_moves_on_a_day_without_an_event() -> None:
    world = World(RULES)
    world.send(ANA, type="identify", name="", traits=stated(age_band="1991-02", gender="female"))
    assert shown(world) == {"age_band": "18-34", "gender": "female"}
    world.at(ms(2026, 3) - 1)
    assert world.rules_fired() == []
    world.at(ms(2026, 3))
    assert (world.rules_fired(), shown(world)["age_band"]) == (["now"], "35-39")
    year = START_MS
    while year < ms(2031, 2):  # the timers of five quiet years
        year += 30 * DAY
        world.at(max(world.now_ms, year))
    assert world.rules_fired() == ["now"]
    world.at(ms(2031, 3))
    assert (world.rules_fired(), shown(world)["age_band"]) == (["now", "past"], "40+")


def test_a_quiet_customer_is_woken_only_for_the_band() -> None:
    world = World(RULES)
    world.send(ANA, type="identify", name="", traits=stated(age_band="1998-06"))
    for _ in range(200):
        world.later(DAY)
    assert world.profile(ANA).indexed_ms == ms(2033, 7)


def test_without_rules_about_ages_nobody_is_woken_for_one() -> None:
    world = World('[[tag]]\nname = "w"\nwhen = \'gender == "female"\'\n')
    world.send(ANA, type="identify", name="", traits=stated(age_band="1998-06", gender="female"))
    for _ in range(200):
        world.later(DAY)
    assert world.profile(ANA).indexed_ms > world.now_ms + 100 * DAY
    assert set(world.profile(ANA).tags) == {"w"}


BIRTHDAYS = """
[[tag]]
name = "birthday"
when = "birthday_today"
[[trigger]]
name = "greet"
on = {tag_entered = "birthday"}
[[trigger]]
name = "over"
on = {tag_left = "birthday"}
"""


@pytest.mark.parametrize(
    ("born", "days"),
    [
        ("03-05", [ms(2026, 3, 5), ms(2027, 3, 5)]),
        ("01-01", [ms(2026, 1, 1), ms(2027, 1, 1)]),
        ("12-31", [ms(2026, 12, 31), ms(2027, 12, 31)]),
        ("02-29", [ms(2026, 2, 28), ms(2027, 2, 28), ms(2028, 2, 29)]),
    ],
)
def test_a_birthday_begins_and_ends_without_an_event(born: str, days: list[int]) -> None:
    world = World(BIRTHDAYS)
    world.send(ANA, type="identify", name="", traits=stated(birth_month_day=born))
    world.send(PHONE)
    fired: list[str] = []
    for day in days:
        if day > START_MS:
            while world.now_ms < day - 20 * DAY:  # the timers of a quiet year
                world.later(20 * DAY)
            world.at(day - 1)
            assert world.rules_fired() == fired
        world.at(day)
        fired.append("greet")
        assert world.rules_fired() == fired
        world.at(day + DAY - 1)
        assert world.rules_fired() == fired
        world.at(day + DAY)
        fired.append("over")
        assert world.rules_fired() == fired


def test_a_birth_that_is_stated_later_moves_the_band_at_once_and_again() -> None:
    world = World(RULES)
    world.send(ANA, type="identify", name="", traits=stated(age_band="1960-01", gender="female"))
    assert shown(world)["age_band"] == "40+"
    world.later(DAY)
    world.send(ANA, type="identify", name="", traits=stated(age_band="1990-01"))
    assert world.rules_fired() == ["now"]


@pytest.mark.parametrize("seed", range(6))
def test_of_two_who_were_united_and_parted_each_has_their_own(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = World.send

    def stating(world: World, who: Any, name: str, **details: Any) -> None:
        send(world, who, name, traits=STATED[details["total"] % len(STATED)], **details)

    monkeypatch.setattr(World, "send", stating)
    monkeypatch.setattr(unmerge, "RULES", unmerge.RULES + RULES)
    unmerge.compare(seed, 40)


def test_a_union_takes_the_last_word_of_both() -> None:
    world = World(RULES)
    world.send(ANA, type="identify", name="", traits=stated(gender="male", region="浙江省"))
    world.later(1_000)
    world.send(PHONE, type="identify", name="", traits=stated(gender="female", age_band="1988-02"))
    world.send([ANA, PHONE])
    assert shown(world) == {"age_band": "35-39", "gender": "female", "region": "浙江省"}
    assert "thirties" in world.profile(ANA).tags


def test_an_aggregate_of_the_same_name_stays_what_it_was() -> None:
    rules = """
[[aggregate]]
name = "region"
of = "count"
[[tag]]
name = "t"
when = "region >= 1"
"""
    world = World(rules)
    world.send(ANA)
    assert set(world.profile(ANA).tags) == {"t"}
