"""A fragment is what one origin did. Facts are added to it, fragments to one another; neither depends on the
order."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from hashlib import blake2b
from typing import Any, Final

from flows.logic import consent
from flows.logic.fields import group_traits
from flows.logic.fields.stated import in_order, stated_at
from flows.logic.profile.aggregates import Figure, amount_of, in_64_bits, is_unread
from flows.logic.profile.facet_figures import FacetFigure
from schemas.config import Value
from schemas.records.customer_profile import Fragment
from schemas.wire.events import Fact

SLOT_MS: Final = 30 * 60_000  # activity in neighbouring half hours is one session
SESSION_SLOTS: Final = 30 * 48  # sessions are kept for thirty days
DEDUPE_ID: Final = 6  # bytes of a message's hash: one false duplicate in 4e12 events
CHANNELS_MAX: Final = 16
TRAITS_MAX: Final = 64


def dedupe_id(message: str) -> bytes:
    """Return the hash by which a message is known again."""
    return blake2b(message.encode("utf-8", "surrogatepass"), digest_size=DEDUPE_ID).digest()


def seen(ring: bytes, message: bytes) -> bool:
    """Return whether the dedupe ring holds this message's hash."""
    at = ring.find(message)
    while at > 0 and at % DEDUPE_ID:
        at = ring.find(message, at + 1)
    return at >= 0


class FragmentRules:
    """What of the configuration a fragment depends on, resolved once."""

    def __init__(
        self,
        figures: Mapping[str, Figure | FacetFigure],
        value: Value,
        dedupe: int,
        numbers: Mapping[str, Sequence[tuple[str, ...]]] | None = None,
    ) -> None:
        """`numbers`: by event name or type the properties that are to be numbers, for what is `unread`."""
        self.figures = {figure.slot: figure for figure in figures.values()}
        self.by_event: dict[str, list[Figure | FacetFigure]] = {}
        for figure in figures.values():
            for event in dict.fromkeys(figure.on):
                self.by_event.setdefault(event, []).append(figure)
        self.any_track = list(dict.fromkeys(self.by_event.get("*", ())))
        self.by_track = {
            event: list(dict.fromkeys(found + self.any_track)) for event, found in self.by_event.items()
        }  # each once
        self._numbers = dict(numbers or {})
        self.orders = frozenset(value.events)
        self.amount = value.amount
        self.dedupe_bytes = dedupe * DEDUPE_ID

    def add(self, fragment: Fragment, fact: Fact, message: bytes) -> None:
        """Add one fact (which `seen` has not seen)."""
        time_ms = fact.time_ms
        if fragment.events == 0:
            fragment.first_ms = fragment.last_ms = time_ms
        elif time_ms > fragment.last_ms:
            fragment.last_ms = time_ms
        elif time_ms < fragment.first_ms:
            fragment.first_ms = time_ms
        fragment.events += 1
        fragment.dedupe_ring = (fragment.dedupe_ring + message)[-self.dedupe_bytes :]
        _count(fragment.channels, fact.channel, CHANNELS_MAX)
        hour = time_ms // 3_600_000 % 24
        fragment.hours[hour] = fragment.hours.get(hour, 0) + 1
        _add_slot(fragment.sessions, time_ms // SLOT_MS)
        if fact.type == "track":
            for figure in self.by_track.get(fact.name, self.any_track):
                figure.apply(fragment.aggregates, time_ms, fact.properties)
            if fact.name in self.orders:
                amount = amount_of(fact.properties.get(self.amount)) or 0
                fragment.orders += 1
                fragment.spent = in_64_bits(fragment.spent + amount)
                _join_latest(fragment, time_ms, amount, 0)
        else:
            for figure in self.by_event.get(fact.type, ()):
                figure.apply(fragment.aggregates, time_ms, fact.properties)
        if fact.traits:
            moment = stated_at(time_ms, message)
            add_traits(fragment.traits, {name: (moment, value) for name, value in fact.traits.items()})

    def unread(self, fact: Fact) -> list[str]:
        """Return the properties of this fact that should be numbers and are not."""
        ways: Iterable[tuple[str, ...]] = self._numbers.get(
            fact.name if fact.type == "track" else fact.type, ()
        )
        if fact.type == "track" and "*" in self._numbers:
            ways = dict.fromkeys((*ways, *self._numbers["*"]))
        return [f"properties.{'.'.join(way)}" for way in ways if is_unread(fact.properties, way)]

    def merge(self, a: Fragment, b: Fragment) -> Fragment:
        """Return the sum of both; `a` is changed, `b` is not."""
        if b.events == 0:
            return a
        if a.events == 0:
            return deepcopy(b)
        a.first_ms, a.last_ms = min(a.first_ms, b.first_ms), max(a.last_ms, b.last_ms)
        a.events += b.events
        a.orders += b.orders
        a.spent = in_64_bits(a.spent + b.spent)
        if b.orders:
            _join_latest(a, b.ordered_ms, *(b.latest or (0, 0)))
        for channel, n in b.channels.items():
            _count(a.channels, channel, CHANNELS_MAX, n)
        for hour, n in b.hours.items():
            a.hours[hour] = a.hours.get(hour, 0) + n
        a.sessions = _union_slots(a.sessions, b.sessions)
        for slot, state in b.aggregates.items():
            if slot not in a.aggregates:
                a.aggregates[slot] = deepcopy(state)
            elif (figure := self.figures.get(slot)) is not None:
                a.aggregates[slot] = figure.merge(a.aggregates[slot], deepcopy(state))
        join_traits(a.traits, b.traits)
        a.dedupe_ring = (a.dedupe_ring + b.dedupe_ring)[-self.dedupe_bytes :]
        return a


def _join_latest(fragment: Fragment, ordered_ms: int, amount: int, before: int) -> None:
    """Of all purchases the two latest are kept; of those at the same time the larger amount counts.

    The earlier one in whole seconds, for bytes: rounding down keeps the order, so the second largest of
    rounded times is exact.
    """
    held_ms, (held, held_before) = fragment.ordered_ms, fragment.latest or (0, 0)
    fragment.ordered_ms, latest = max((held_ms, held), (ordered_ms, amount))
    fragment.latest = latest, max(held_before, before, min(held_ms, ordered_ms) // 1000)


def add_traits(traits: dict[str, tuple[int, Any]], newer: Mapping[str, tuple[int, Any]]) -> None:
    """Add traits: the last writer wins (see `flows.logic.fields.stated`); of two at the same moment, the
    larger text. At most `TRAITS_MAX`, first by name."""
    for name, entry in newer.items():
        held = traits.get(name)
        if held is None:
            traits[name] = entry
            continue
        then, now = in_order(held[0]), in_order(entry[0])
        if now > then or (now == then and repr(entry[1]) > repr(held[1])):
            traits[name] = entry
    _bound(traits)


def join_traits(traits: dict[str, tuple[int, Any]], others: Mapping[str, tuple[int, Any]]) -> None:
    """Add the traits of another fragment: as `add_traits`, but where both state a consent the more
    restrictive one stays, whichever is newer."""
    stated = {
        name: consent.join(traits[name], entry)
        for name, entry in others.items()
        if consent.is_one(name) and name in traits
    }
    add_traits(traits, others)
    traits |= {name: entry for name, entry in stated.items() if name in traits}


def _bound(traits: dict[str, tuple[int, Any]]) -> None:
    """What is known of groups goes first. What was stated about consent goes last: a denial must not be
    pushed out."""
    while len(traits) > TRAITS_MAX:
        del traits[max(traits, key=lambda name: (group_traits.is_one(name), not consent.is_one(name), name))]


def _count(counts: dict[str, int], name: str, limit: int, n: int = 1) -> None:
    counts[name] = counts.get(name, 0) + n
    while len(counts) > limit:
        del counts[max(counts)]


def _add_slot(slots: list[int], slot: int) -> None:
    """Add one slot to the runs; nearly always it lies in the last run or behind it."""
    if not slots:
        slots += (slot, slot)
    elif slots[-2] <= slot <= slots[-1]:
        return
    elif slot == slots[-1] + 1:
        slots[-1] = slot
        _forget(slots)
    elif slot > slots[-1]:
        slots += (slot, slot)
        _forget(slots)
    else:
        slots[:] = _union_slots(slots, [slot, slot])


def _forget(slots: list[int]) -> None:
    oldest = slots[-1] - SESSION_SLOTS
    while slots[1] < oldest:
        del slots[:2]
    slots[0] = max(slots[0], oldest)


def _union_slots(a: list[int], b: list[int]) -> list[int]:
    runs = sorted(
        [(a[i], a[i + 1]) for i in range(0, len(a), 2)] + [(b[i], b[i + 1]) for i in range(0, len(b), 2)]
    )
    merged: list[int] = []
    for first, last in runs:
        if merged and first <= merged[-1] + 1:
            merged[-1] = max(merged[-1], last)
        else:
            merged += (first, last)
    if merged:
        _forget(merged)
    return merged
