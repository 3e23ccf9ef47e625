"""A fragment is a sum: any order, any duplication and any split of the same facts give the same one."""

import random
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.logic.profile.aggregates import AMOUNT_MAX, amount_of
from flows.logic.profile.fragments import CHANNELS_MAX, DEDUPE_ID, TRAITS_MAX, add_traits, dedupe_id, seen
from schemas.records.customer_profile import MICRO, Fragment
from schemas.wire.events import Fact
from tests.world import DAY, HOUR, MINUTE, START_MS, compiled, fact

RULES = compiled(
    """
[value]
events = ["Bought"]
amount = "total"
"""
    + "".join(
        f'[[aggregate]]\nname = "{name}"\nof = "{of}"\non = {on}\nvalue = "{value}"\n{more}\n'
        for name, of, on, value, more in (
            ("all", "count", '["*"]', "", ""),
            ("named_twice", "count", '["*", "Bought", "Bought"]', "", ""),
            ("week", "count", '["Viewed"]', "", 'over = "7d"'),
            ("fading", "count", '["*"]', "", 'half_life = "1d"'),
            ("spent", "sum", '["Bought"]', "total", ""),
            ("spent_week", "sum", '["Bought"]', "total", 'over = "7d"'),
            ("spent_fading", "sum", '["Bought"]', "properties.total", 'half_life = "12h"'),
            ("least", "min", '["*"]', "total", ""),
            ("most", "max", '["*"]', "total", ""),
            ("latest", "last", '["*"]', "sku", ""),
            ("different", "distinct", '["*"]', "sku", ""),
            ("favourites", "top_k", '["*"]', "sku", "k = 3"),
            ("pages", "count", '["page"]', "", ""),
        )
    )
).fragments

times = st.integers(0, 50 * DAY // MINUTE).map(lambda minutes: START_MS - minutes * MINUTE)
values = st.one_of(
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(["1", "1.0", "True", "a", "b", "", "12.5", "nan"]),
    st.booleans(),
    st.none(),
    st.lists(st.integers(0, 1), max_size=2),
)
facts = st.builds(
    fact,
    name=st.sampled_from(["Viewed", "Bought", "Other", "page"]),
    at=times,
    type=st.sampled_from(["track", "track", "track", "page", "identify"]),
    channel=st.sampled_from([f"c{n:02}" for n in range(20)]),
    properties=st.fixed_dictionaries(
        {}, optional={"total": values, "sku": values | st.integers(0, 200).map(str)}
    ),
    traits=st.dictionaries(st.sampled_from("abc"), values, max_size=2),
)


def numbered(found: list[Fact]) -> list[Fact]:
    """Each its own message."""
    return [msgspec.structs.replace(one, message=f"m{n}") for n, one in enumerate(found)]


def summed(found: list[Fact], into: Fragment | None = None) -> Fragment:
    """One after the other, those that were seen before left out."""
    fragment = into or Fragment()
    for one in found:
        message = dedupe_id(one.message)
        if not seen(fragment.dedupe_ring, message):
            RULES.add(fragment, one, message)
    return fragment


def content(fragment: Fragment) -> Any:
    """All but the order of the ring."""
    ring = sorted(
        fragment.dedupe_ring[at : at + DEDUPE_ID] for at in range(0, len(fragment.dedupe_ring), DEDUPE_ID)
    )
    return msgspec.to_builtins(
        msgspec.structs.replace(fragment, dedupe_ring=b"".join(ring)), builtin_types=(bytes,)
    )


@settings(max_examples=200, deadline=None)
@given(found=st.lists(facts, max_size=40).map(numbered), seed=st.integers(0, 2**32))
def test_order_and_duplication_do_not_matter(found: list[Fact], seed: int) -> None:
    luck = random.Random(seed)
    shuffled = found + luck.choices(found, k=len(found) // 2) if found else []
    luck.shuffle(shuffled)
    assert content(summed(shuffled)) == content(summed(found))


@settings(max_examples=200, deadline=None)
@given(
    found=st.lists(facts, max_size=40).map(numbered),
    owners=st.lists(st.integers(0, 3), min_size=40, max_size=40),
    seed=st.integers(0, 99),
)
def test_merging_the_parts_of_any_split_gives_the_whole(
    found: list[Fact], owners: list[int], seed: int
) -> None:
    parts = [
        summed([one for one, owner in zip(found, owners, strict=False) if owner == part]) for part in range(4)
    ]
    random.Random(seed).shuffle(parts)
    before = deepcopy(parts)
    total = Fragment()
    for part in parts:
        total = RULES.merge(total, part)
    assert content(total) == content(summed(found))
    assert parts == before  # what is added is not changed by it


@settings(max_examples=100, deadline=None)
@given(found=st.lists(facts, min_size=1, max_size=30).map(numbered), cut=st.integers(0, 30))
def test_a_fragment_goes_on_after_it_was_stored(found: list[Fact], cut: int) -> None:
    stored = msgspec.msgpack.encode(summed(found[:cut]))
    assert content(summed(found[cut:], msgspec.msgpack.decode(stored, type=Fragment))) == content(
        summed(found)
    )


@settings(max_examples=100, deadline=None)
@given(found=st.lists(facts, max_size=40).map(numbered))
def test_against_plain_arithmetic_over_the_list(found: list[Fact]) -> None:
    fragment = summed(found)
    tracks = [one for one in found if one.type == "track"]
    bought = [one for one in tracks if one.name == "Bought"]
    assert fragment.events == len(found)
    assert fragment.first_ms == min((one.time_ms for one in found), default=0)
    assert fragment.last_ms == max((one.time_ms for one in found), default=0)
    assert fragment.orders == len(bought)
    assert fragment.ordered_ms == max((one.time_ms for one in bought), default=0)
    assert (fragment.ordered_ms, fragment.latest) == latest(bought)
    hours = [one.time_ms // HOUR % 24 for one in found]
    assert fragment.hours == {hour: hours.count(hour) for hour in hours}
    channels = [one.channel for one in found]
    assert fragment.channels == {name: channels.count(name) for name in sorted(set(channels))[:CHANNELS_MAX]}
    assert fragment.sessions == sessions([one.time_ms for one in found])


def latest(bought: list[Fact]) -> tuple[int, tuple[int, int] | None]:
    """When the last purchase was, its amount, and the second of the one before."""
    if not bought:
        return 0, None
    ranked = sorted(
        ((one.time_ms, amount_of(one.properties.get("total")) or 0) for one in bought), reverse=True
    )
    return ranked[0][0], (ranked[0][1], ranked[1][0] // 1000 if len(ranked) > 1 else 0)


def sessions(when: list[int]) -> list[int]:
    """Half hours with activity in the thirty days before the last, neighbours joined."""
    slots = sorted({time_ms // (30 * MINUTE) for time_ms in when})
    runs: list[int] = []
    for slot in slots:
        if slot < slots[-1] - 30 * 48:
            continue
        if runs and slot == runs[-1] + 1:
            runs[-1] = slot
        else:
            runs += (slot, slot)
    return runs


def test_an_amount_is_exact_whatever_the_order() -> None:
    paid = [
        fact("Bought", message=f"m{n}", properties={"total": total})
        for n, total in enumerate((0.1, 0.2, "0.3", 1e9, -1e9, True, None, "x"))
    ]
    fragment = summed(paid)
    assert (fragment.orders, fragment.spent) == (8, 600_000)
    assert fragment.spent / MICRO == 0.6


@pytest.mark.parametrize("amount", [AMOUNT_MAX, -AMOUNT_MAX])
def test_amounts_beyond_64_bits_are_kept_whatever_the_order(amount: float) -> None:
    """Whoever has a public key can send as many of the largest as he likes."""
    paid = [
        fact("Bought", message=f"m{n}", properties={"total": amount if n % 5 else 0.25})
        for n in range(25_000)
    ]
    whole = summed(paid)
    parts = [summed(paid[third::3]) for third in range(3)]
    merged = RULES.merge(RULES.merge(deepcopy(parts[2]), parts[0]), parts[1])
    assert (merged.spent, merged.aggregates) == (whole.spent, whole.aggregates)
    assert (whole.spent - (20_000 * amount_of(amount) + 5_000 * amount_of(0.25))) % 2**64 == 0  # type: ignore[operator]  # both are numbers
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(whole), type=Fragment).spent == whole.spent


def test_the_latest_purchase_and_the_one_before_whatever_came_first() -> None:
    paid = [
        fact("Bought", START_MS + at, f"m{n}", properties={"total": total})
        for n, (at, total) in enumerate(LATEST)
    ]
    for seed in range(20):
        random.Random(seed).shuffle(paid)
        fragment = summed(paid)
        assert (fragment.ordered_ms, fragment.latest) == (START_MS + 5_999, (7 * MICRO, START_MS // 1000 + 5))


LATEST = (
    (0, 9),
    (5_100, 99),
    (5_999, -3),
    (5_999, 7),
    (5_998, 1e6),
)  # two at the same time: one of them is the one before


def test_a_customer_of_an_older_release_goes_on_with_what_is_known() -> None:
    older = Fragment(START_MS, START_MS, 3, 2, 30 * MICRO, START_MS)
    bought = summed([fact("Bought", START_MS + DAY, properties={"total": 5})], into=deepcopy(older))
    assert bought.latest == (5 * MICRO, START_MS // 1000)
    both = RULES.merge(deepcopy(older), summed([fact("Bought", START_MS + DAY, properties={"total": 5})]))
    assert (both.latest, both.ordered_ms) == (bought.latest, bought.ordered_ms)
    assert RULES.merge(deepcopy(older), summed([fact("Viewed")])).latest is None


def test_who_never_bought_costs_a_byte_more_and_a_buyer_a_dozen() -> None:
    for name, more in (("Viewed", 1), ("Bought", 11)):
        found = [fact(name, START_MS + n * DAY, f"m{n}", properties={"total": 99.5}) for n in range(3)]
        stored = msgspec.msgpack.encode(summed(found))
        before = msgspec.msgpack.encode(msgspec.msgpack.decode(stored)[:-1])
        assert len(stored) - len(before) == more


def test_an_event_counts_once_in_a_figure_that_names_it_twice() -> None:
    fragment = summed([fact("Bought")])
    counted = {RULES.figures[slot].aggregate.name: state for slot, state in fragment.aggregates.items()}
    assert (counted["all"], counted["named_twice"]) == (1, 1)


def test_the_ring_remembers_the_last_messages_and_finds_only_whole_ones() -> None:
    ring = summed([fact(message=f"m{n}") for n in range(100)]).dedupe_ring
    assert len(ring) == 64 * DEDUPE_ID
    assert [n for n in range(100) if seen(ring, dedupe_id(f"m{n}"))] == list(range(36, 100))
    assert not seen(b"xx" + dedupe_id("m") + b"yyyy", dedupe_id("m"))
    assert seen(b"x" * DEDUPE_ID + dedupe_id("m"), dedupe_id("m"))


@pytest.mark.parametrize(
    ("a", "b"), [(1, "1"), (True, "True"), (1, 1.0), ([1], "[1]"), (None, "None"), ("a", "b")]
)
def test_of_two_traits_at_the_same_time_the_same_one_wins_in_either_order(a: Any, b: Any) -> None:
    forward: dict[str, tuple[int, Any]] = {}
    backward: dict[str, tuple[int, Any]] = {}
    for traits, order in ((forward, (a, b)), (backward, (b, a))):
        for value in order:
            add_traits(traits, {"t": (START_MS, value)})
    assert repr(forward) == repr(backward)


def test_the_later_trait_wins_and_there_is_a_limit() -> None:
    traits: dict[str, tuple[int, Any]] = {"plan": (2, "gold")}
    add_traits(traits, {"plan": (1, "silver")})
    assert traits["plan"] == (2, "gold")
    add_traits(traits, {f"t{n:03}": (1, n) for n in range(100)})
    assert len(traits) == TRAITS_MAX
    assert list(traits)[:2] == ["plan", "t000"]
