"""Each kind of figure against a naive computation over the list of what happened."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.logic.profile.aggregates import AMOUNT_MAX, SKETCH, TEXT_MAX, Figure, amount_of, slot_of
from schemas.config import Aggregate
from schemas.units import Duration
from tests.world import DAY, HOUR, START_MS

Event = tuple[int, Any]  # (time_ms, value of `v`)


def figure(of: str, **options: Any) -> Figure:
    return Figure(Aggregate(name="f", of=of, value="" if of == "count" else "v", **options))  # type: ignore[arg-type]


def read(made: Figure, events: list[Event], now_ms: int = START_MS) -> Any:
    states: dict[int, Any] = {}
    for time_ms, value in events:
        made.apply(states, time_ms, {"v": value})
    return made.read(states.get(made.slot), now_ms)


def at(*values: Any) -> list[Event]:
    """One a minute, the last one now."""
    return [(START_MS - 60_000 * (len(values) - 1 - n), value) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("of", "values", "expected"),
    [
        ("count", (1, None, "x"), 3),
        ("sum", (1, 2.5, "3", None, "x", True, [1]), 6.5),
        ("sum", (), 0),
        ("min", (3, "2", None), 2),
        ("max", (3, 20.5, "x"), 20.5),
        ("min", (), None),
        ("last", ("a", "b", None, {"no": 1}), "b"),
        ("last", (), None),
        ("distinct", ("a", "b", "a", None, []), 2),
        ("distinct", (), 0),
        ("top_k", ("a", "b", "c", "b", "d", "d", "b"), ["b", "d", "a"]),
        ("top_k", (), []),
    ],
)
def test_all_time(of: str, values: tuple[Any, ...], expected: Any) -> None:
    assert read(figure(of), at(*values)) == expected


def test_a_value_may_lie_deep_and_a_dotted_path_that_leads_nowhere_is_missing() -> None:
    deep = Figure(Aggregate(name="f", of="sum", value="properties.cart.total"))
    states: dict[int, Any] = {}
    for properties in ({"cart": {"total": 2}}, {"cart": 5}, {"cart": {"total": {"x": 1}}}, {}):
        deep.apply(states, START_MS, properties)
    assert deep.read(states[deep.slot], START_MS) == 2


@settings(max_examples=100, deadline=None)
@given(ages=st.lists(st.integers(0, 20 * DAY), max_size=40))
def test_a_window_holds_what_is_surely_inside_and_nothing_that_is_surely_outside(ages: list[int]) -> None:
    counted = read(figure("count", over=Duration(7 * DAY)), [(START_MS - age, 1) for age in ages])
    step = 7 * DAY // 12
    assert sum(age < 7 * DAY - step for age in ages) <= counted <= sum(age < 7 * DAY for age in ages)


@settings(max_examples=100, deadline=None)
@given(events=st.lists(st.tuples(st.integers(0, 20 * DAY), st.integers(0, 10_000)), max_size=30))
def test_decay_is_the_sum_over_the_list(events: list[tuple[int, int]]) -> None:
    decayed = read(
        figure("sum", half_life=Duration(DAY)), [(START_MS - age, amount) for age, amount in events]
    )
    assert decayed == pytest.approx(
        sum(amount * 0.5 ** (age / DAY) for age, amount in events), rel=1e-6, abs=1e-4
    )


def test_what_was_one_half_life_ago_counts_half() -> None:
    half = figure("count", half_life=Duration(6 * HOUR))
    assert read(half, [(START_MS, 1)], START_MS + 6 * HOUR) == pytest.approx(0.5)
    assert read(half, [(START_MS, 1)], START_MS + 600 * HOUR) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [1, 10, 63])
def test_distinct_is_exact_while_they_are_few(n: int) -> None:
    assert read(figure("distinct"), [(START_MS, f"v{i % n}") for i in range(3 * n)]) == n


@pytest.mark.parametrize("n", [64, 200, 5_000])
def test_distinct_is_near_when_they_are_many(n: int) -> None:
    assert read(figure("distinct"), [(START_MS, f"v{i}") for i in range(n)]) == pytest.approx(n, rel=0.35)


def test_states_are_bounded() -> None:
    events = [(START_MS - n * HOUR, f"{n}" * 300) for n in range(500)]
    for made, most in (
        (figure("distinct"), SKETCH),
        (figure("top_k"), SKETCH),
        (figure("count", over=Duration(7 * DAY)), 13),
        (figure("count", half_life=Duration(HOUR)), 32),
    ):
        states: dict[int, Any] = {}
        for time_ms, value in events:
            made.apply(states, time_ms, {"v": value})
        assert len(states[made.slot]) == most
    assert all(len(value) <= TEXT_MAX for value in read(figure("top_k"), events))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1_000_000),
        (0.1, 100_000),
        ("12.50", 12_500_000),
        (AMOUNT_MAX, round(AMOUNT_MAX * 1e6)),
        (-1, -1_000_000),
        *(
            (bad, None)
            for bad in (AMOUNT_MAX * 2, 10**400, "1e400", "inf", "nan", "", "x", True, None, [], {})
        ),
    ],
)
def test_amounts(value: Any, expected: int | None) -> None:
    assert amount_of(value) == expected


def test_of_two_last_values_at_the_same_time_the_same_one_wins_in_either_order() -> None:
    for a, b in ((1, "1"), (True, "True"), ("a", "b"), (1, 1.0)):
        forward, backward = (
            read(figure("last"), [(START_MS, x), (START_MS, y)]) for x, y in ((a, b), (b, a))
        )
        assert repr(forward) == repr(backward)


def test_another_definition_under_the_same_name_starts_afresh() -> None:
    slots = {
        slot_of(Aggregate(name="f", of="count")),
        slot_of(Aggregate(name="f", of="count", on=("Bought",))),
        slot_of(Aggregate(name="f", of="count", over=Duration(DAY))),
        slot_of(Aggregate(name="f", of="count", half_life=Duration(DAY))),
        slot_of(Aggregate(name="g", of="count")),
    }
    assert len(slots) == 5
    assert slot_of(Aggregate(name="t", of="top_k", value="v", k=3)) == slot_of(
        Aggregate(name="t", of="top_k", value="v", k=5)
    )  # only read differently
