"""Rules compiled once: what expressions read, what is wrong with rules, and how a customer is shown."""

from typing import Any

import pytest

from flows.logic.rules.evaluation_context import NAMES, EvaluationContext
from flows.logic.rules.ruleset import CompiledRules, problems
from flows.logic.shard.view import mask, present
from schemas.config import EXPRESSION_NAMES, On, Rules, Segment, Tag, TriggerRule
from schemas.config.toml import DEFAULT, load
from schemas.errors import ConfigError
from schemas.records.customer_profile import Fragment, Profile
from tests.world import DAY, HOUR, START_MS, compiled, fact

FIGURES = """
[value]
events = ["Bought"]
""" + "".join(
    f'[[aggregate]]\nname = "{name}"\nof = "{of}"\non = ["Bought"]\nvalue = "{value}"\n{more}\n'
    for name, of, value, more in (
        ("orders", "count", "", ""),
        ("week", "count", "", 'over = "7d"'),
        ("paid", "sum", "total", ""),
        ("fading", "sum", "total", 'half_life = "1d"'),
        ("most", "max", "total", ""),
        ("latest", "last", "sku", ""),
        ("kinds", "distinct", "sku", ""),
        ("top", "top_k", "sku", "k = 2"),
    )
)


def view(rules: CompiledRules, *totals: float) -> EvaluationContext:
    """A customer who bought for these amounts, one a day, the last one hour ago."""
    fragment = Fragment()
    for n, total in enumerate(totals):
        when = START_MS - HOUR - (len(totals) - 1 - n) * DAY
        rules.fragments.add(
            fragment,
            fact("Bought", when, properties={"total": total, "sku": f"s{n % 2}"}, traits={"plan": "gold"}),
            b"%06d" % n,
        )
    made = EvaluationContext(rules.reads)
    made.p = Profile(
        fragments={b"o": fragment},
        tags={"vip": (1, 0)},
        segment="high",
        stage="active",
        scores={"churn": (0.25, 1)},
    )
    made.f, made.now = fragment, START_MS
    made.event, made.type, made.channel, made.properties = (
        "Bought",
        "track",
        "web",
        {"total": 5, "a": {"b": 1}, "x.y": 2},
    )
    return made


def value(expression: str, *totals: float) -> Any:
    """What a trigger on it would give as its reason."""
    rules = compiled(
        FIGURES + f'[[trigger]]\nname = "t"\non = {{event = "Bought"}}\nwhen = """{expression} != -12345"""\n'
    )
    (trigger,) = rules.on_event["Bought"]
    (read,) = trigger.reasons.values()
    return read(view(rules, *totals))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("orders", 3),
        ("week", 3),
        ("paid", 60.5),
        ("most", 30.5),
        ("latest", "s0"),
        ("kinds", 2),
        ("top", ["s0", "s1"]),
        ("event", "Bought"),
        ("type", "track"),
        ("channel", "web"),
        ("segment", "high"),
        ("stage", "active"),
        ("frequency", 3),
        ("monetary", 60.5),
        ("events", 3),
        ("sessions", 3),
        ("hour", 0),
        ("top_channel", "web"),
        ("top_hour", 23),
        ("score.churn", 0.25),
        ("traits.plan", "gold"),
        ("traits.nothing", None),
        ("properties.total", 5),
        ("properties.a.b", 1),
        ('properties["x.y"]', 2),
        ("properties.a.b.c", None),
    ],
)
def test_names(expression: str, expected: Any) -> None:
    if isinstance(expected, str | list):  # text and sets are compared in their own way
        rules = compiled(FIGURES)
        made = view(rules, 10, 20, 30.5)
        when = (
            f"'{expected[0]}' in {expression}"
            if isinstance(expected, list)
            else f"{expression} == '{expected}'"
        )
        tagged = compiled(FIGURES + f'[[tag]]\nname = "t"\nwhen = """{when}"""\n')
        assert tagged.tags[0][1](made) is True
    else:
        assert value(expression, 10, 20, 30.5) == expected


def test_days_are_fractions() -> None:
    assert value("recency_days", 1, 2) == value("inactive_days", 1, 2) == pytest.approx(1 / 24)
    assert value("age_days", 1, 2) == pytest.approx(1 + 1 / 24)


def test_before_the_first_purchase_its_figures_are_missing_or_zero() -> None:
    assert [
        value(name) for name in ("recency_days", "orders", "paid", "most", "kinds", "frequency", "fading")
    ] == [
        None,
        0,
        0,
        None,
        0,
        0,
        0,
    ]


def test_the_documented_names_are_the_real_ones() -> None:
    documented = {name for name in EXPRESSION_NAMES if "." not in name}
    assert documented == set(NAMES)


def test_reasons_are_the_names_that_the_expression_looks_at() -> None:
    rules = compiled(
        FIGURES
        + '[[trigger]]\nname = "t"\non = {event = "Bought"}\n'
        + "when = \"orders > 1 and properties.total > 3 or 'vip' in tags\"\n"
    )
    (trigger,) = rules.on_event["Bought"]
    assert set(trigger.reasons) == {"orders", "properties.total", "tags"}
    assert trigger.action == "t"
    assert trigger.cooldown == 0


PROBLEMS = [
    ("tag[0].when", Rules(tag=(Tag(name="t", when="nothing > 1"),))),
    ("segment[1].when", Rules(segment=(Segment(name="s", when="True"), Segment(name="t", when="orders >")))),
    ("trigger[0].when", Rules(trigger=(TriggerRule(name="t", on=On(event="x"), when="__import__('os')"),))),
]


@pytest.mark.parametrize(("place", "rules"), PROBLEMS)
def test_what_is_wrong_is_named_with_its_place(place: str, rules: Rules) -> None:
    assert [found for found, _ in problems(rules)] == [place]


@pytest.mark.parametrize("rules", [rules for place, rules in PROBLEMS if place.endswith("when")])
def test_rules_that_do_not_compile_never_get_into_force(rules: Rules) -> None:
    with pytest.raises(ConfigError):
        CompiledRules(rules, 1, 64)


def test_the_packaged_rules_are_sound() -> None:
    config = load(DEFAULT)
    assert problems(config) == []
    assert len(CompiledRules(config, 1, 64).tags) == len(config.tag)


# --- how a customer is shown ----------------------------------------------------------------------


def test_a_customer_is_shown_with_figures_by_name_and_the_heaviest_tag_first() -> None:
    tags = "".join(
        f'[[tag]]\nname = "{name}"\nwhen = "True"\nweight = {weight}\n'
        for name, weight in (("a", 1), ("vip", 9), ("b", 1))
    )
    rules = compiled(FIGURES + tags, version=7)
    made = view(rules, 10, 20, 30.5)
    made.p.tags = {"b": (3, 0), "a": (2, 0), "vip": (1, 5)}
    shown = present(b"\xab" * 12, made.p, made.f, rules, START_MS, {"email": "ana@example.com"})
    assert shown["customer"] == "ab" * 12
    assert shown["aggregates"] == {
        "orders": 3,
        "week": 3,
        "paid": 60.5,
        "most": 30.5,
        "latest": "s0",
        "kinds": 2,
        "top": ["s0", "s1"],
    } | {
        "fading": pytest.approx(
            10 * 0.5 ** (2 + 1 / 24) + 20 * 0.5 ** (1 + 1 / 24) + 30.5 * 0.5 ** (1 / 24), rel=1e-6
        )
    }
    assert list(shown["tags"]) == ["vip", "a", "b"]
    assert shown["tags"]["vip"] == {"since_ms": 1, "weight": 9.0}
    assert shown["value"] == {"recency_days": 0.042, "frequency": 3, "monetary": 60.5}
    assert shown["scores"] == {"churn": {"score": 0.25, "version": 1}}
    assert shown["traits"] == {"plan": "gold"}
    assert shown["identifiers"] == {"email": "a***@example.com"}
    assert (shown["stage"], shown["segment"], shown["sessions"], shown["rules"]) == ("active", "high", 3, 7)


@pytest.mark.parametrize(
    ("plain", "masked"),
    [
        ("maria@example.com", "m***@example.com"),
        ("+8613800138000", "+86***00"),
        ("12345678", "123***78"),
        ("short", "***"),
        ("", "***"),
        ("@x.de", "***"),
        ("a@b", "***"),
        ('{"ann@example.com":"13800138000"}', '{"a***"}'),
        ("ann@example.com, call 13800138000", "ann***00"),
    ],
)
def test_masks(plain: str, masked: str) -> None:
    assert mask(plain) == masked
