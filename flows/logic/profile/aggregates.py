"""The kinds of figure that are kept for each customer. Each is a commutative monoid with an exact sum:

update(state, ...) for any order of the same events gives the same state, and merge(a, b) is what all events
of both would have given. That is why amounts are integers and why bounded kinds keep what does not depend on
the order:

    count, sum      integers (sums in millionths, modulo 2^64); over a window or with a half-life: one integer
                    for each time bucket
    min, max, last  the extreme, or the value with the latest time (the larger text wins a tie)
    distinct        the 64 smallest 32-bit hashes (Bar-Yossef et al. 2002, "KMV"): exact below 64, within some
                    13 % above
    top_k           exact counts of up to 64 values; above that, of the 64 values with the smallest hashes
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, Final
from zlib import crc32

from flows.logic.expressions.numbers import number_of
from schemas.config import Aggregate, Value
from schemas.records.customer_profile import MICRO

BUCKETS_PER_WINDOW: Final = 12  # a window slides in steps of a twelfth
HALF_LIVES: Final = 32  # older contributions are below 1 in 4 billion
SKETCH: Final = 64
AMOUNT_MAX: Final = 1e9  # larger amounts are taken for errors and do not count
_OF_NUMBERS: Final = ("sum", "min", "max")
_HALF: Final = 2**63
TEXT_MAX: Final = 128

Update = Callable[[Any, int, Any], Any]  # (state or None, time_ms, value) -> state
Merge = Callable[[Any, Any], Any]
Read = Callable[[Any, int], Any]  # (state or None, now_ms) -> value


def slot_of(aggregate: Aggregate) -> int:
    """Return the key of a definition in `Fragment.aggregates`: another definition under the same name starts
    afresh."""
    parts = (
        aggregate.name,
        aggregate.of,
        *aggregate.on,
        aggregate.value,
        str(aggregate.over),
        str(aggregate.half_life),
    )
    return crc32("\0".join(parts).encode())


def amount_of(value: Any) -> int | None:
    """Return a number in millionths; None for what is not a number, or too large to be one."""
    number = number_of(value)
    if number is None:
        return None
    return (
        round(number * MICRO) if -AMOUNT_MAX <= number <= AMOUNT_MAX else None
    )  # not-a-number is in no range


def steps_of(value: str) -> tuple[str, ...]:
    """Return the way to a property that is named with or without `properties.`."""
    return tuple(value.removeprefix("properties.").split(".")) if value else ()


def read_as_numbers(aggregates: Iterable[Aggregate], value: Value) -> dict[str, list[tuple[str, ...]]]:
    """Return, by event name or type, the ways to the properties that figures and purchases read as numbers,
    each once."""
    found: dict[str, dict[tuple[str, ...], None]] = {
        event: {steps_of(value.amount): None} for event in value.events
    }
    for aggregate in aggregates:
        if aggregate.of in _OF_NUMBERS and aggregate.value:
            for event in aggregate.on:
                found.setdefault(event, {})[steps_of(aggregate.value)] = None
    return {event: list(ways) for event, ways in found.items()}


def is_unread(properties: dict[str, Any], way: tuple[str, ...]) -> bool:
    """Return whether something is there that is not a number, or too large to be one."""
    value: Any = properties
    for step in way:
        value = value.get(step) if type(value) is dict else None
    return value is not None and value != "" and amount_of(value) is None


def in_64_bits(total: int) -> int:
    """Return a sum as its record can hold it: beyond 9.2e12 of either sign it begins again at the other end,
    as sums of 64 bits do.

    Thousands of the largest amounts lead there, so no honest customer does, and a hostile one must not stop
    the others. A sum that stayed at its end would depend on the order of its parts.

    >>> in_64_bits(2**63 - 1), in_64_bits(2**63)
    (9223372036854775807, -9223372036854775808)
    """
    return total if -_HALF <= total < _HALF else (total + _HALF) % (2 * _HALF) - _HALF


def _hash32(value: str) -> int:
    return int.from_bytes(blake2b(value.encode("utf-8", "surrogatepass"), digest_size=4).digest())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, (dict, list)):
        return None
    return str(value)[:TEXT_MAX]


def _add_total(state: Any, time_ms: int, value: Any) -> Any:
    return in_64_bits((state or 0) + value)


def _merge_total(a: int, b: int) -> int:
    return in_64_bits(a + b)


def _bucketed(width: int, keep: int, weigh: Callable[[int, Any], Any] | None = None) -> Update:
    def update(state: Any, time_ms: int, value: Any) -> Any:
        bucket = time_ms // width
        if weigh is not None:
            value = weigh(time_ms, value)
        if state is None:
            return {bucket: value}
        if bucket in state:
            state[bucket] = in_64_bits(state[bucket] + value)
        else:
            state[bucket] = value
            _drop_old(state, keep)
        return state

    return update


def _drop_old(state: dict[int, int], keep: int) -> None:
    oldest = max(state) - keep
    for bucket in [bucket for bucket in state if bucket <= oldest]:
        del state[bucket]


def _merge_buckets(keep: int) -> Merge:
    def merge(a: dict[int, int], b: dict[int, int]) -> dict[int, int]:
        for bucket, value in b.items():
            a[bucket] = in_64_bits(a.get(bucket, 0) + value)
        _drop_old(a, keep)
        return a

    return merge


def _extreme(choose: Callable[[Any, Any], Any]) -> tuple[Update, Merge]:
    def update(state: Any, time_ms: int, value: Any) -> Any:
        return value if state is None else choose(state, value)

    return update, choose


def _later(a: Any, b: Any) -> Any:
    return a if (a[0], repr(a[1])) >= (b[0], repr(b[1])) else b  # `str` has one text for 1 and "1"


def _add_distinct(state: Any, time_ms: int, value: Any) -> Any:
    hashed = _hash32(value)
    if state is None:
        return [hashed]
    at = bisect_left(state, hashed)
    if at == len(state) or state[at] != hashed:
        state.insert(at, hashed)
        del state[SKETCH:]
    return state


def _union_smallest(a: list[int], b: list[int]) -> list[int]:
    return sorted({*a, *b})[:SKETCH]


def _read_distinct(state: Any, now_ms: int) -> int:
    if not state:
        return 0
    return len(state) if len(state) < SKETCH else round((SKETCH - 1) * 2**32 / (state[-1] + 1))


def _add_top(state: Any, time_ms: int, value: Any) -> Any:
    counts = state if state is not None else {}
    counts[value] = counts.get(value, 0) + 1
    return _keep_smallest(counts)


def _keep_smallest(counts: dict[str, int]) -> dict[str, int]:
    while len(counts) > SKETCH:
        del counts[max(counts, key=lambda value: (_hash32(value), value))]
    return counts


def _merge_top(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    for value, n in b.items():
        a[value] = a.get(value, 0) + n
    return _keep_smallest(a)


class Figure:
    """One `[[aggregate]]`, resolved once: how to take a value out of an event, update, merge and read."""

    __slots__ = ("aggregate", "merge", "on", "path", "read", "slot", "update", "value_of")

    def __init__(self, aggregate: Aggregate) -> None:
        self.aggregate = aggregate
        self.on = aggregate.on
        self.slot = slot_of(aggregate)
        self.path = steps_of(aggregate.value)
        self.update: Update
        self.merge: Merge
        self.read: Read
        scale = 1 if aggregate.of == "count" else MICRO
        match aggregate.of:
            case "count" | "sum":
                self.value_of: Callable[[Any], Any] = (
                    (lambda value: 1) if aggregate.of == "count" else amount_of
                )
                if aggregate.over is not None:
                    width = max(1, int(aggregate.over) // BUCKETS_PER_WINDOW)
                    self.update = _bucketed(width, BUCKETS_PER_WINDOW + 1)
                    self.merge = _merge_buckets(BUCKETS_PER_WINDOW + 1)
                    self.read = _read_window(width, scale)
                elif aggregate.half_life is not None:
                    self.update = _bucketed(
                        int(aggregate.half_life), HALF_LIVES, _weigh(int(aggregate.half_life), MICRO // scale)
                    )
                    self.merge = _merge_buckets(HALF_LIVES)
                    self.read = _read_decayed(int(aggregate.half_life))
                else:
                    self.update, self.merge = _add_total, _merge_total
                    self.read = (
                        (lambda state, now: state or 0)
                        if scale == 1
                        else (lambda state, now: (state or 0) / MICRO)
                    )
            case "min" | "max":
                self.value_of = _number
                self.update, self.merge = _extreme(min if aggregate.of == "min" else max)
                self.read = lambda state, now: state
            case "last":
                self.value_of = lambda value: None if isinstance(value, (dict, list)) else value
                self.update = lambda state, time_ms, value: (
                    [time_ms, value] if state is None else _later(state, [time_ms, value])
                )
                self.merge = _later
                self.read = lambda state, now: None if state is None else state[1]
            case "distinct":
                self.value_of, self.update, self.merge, self.read = (
                    _text,
                    _add_distinct,
                    _union_smallest,
                    _read_distinct,
                )
            case "top_k":
                self.value_of, self.update, self.merge = _text, _add_top, _merge_top
                k = aggregate.k
                self.read = lambda state, now: (
                    sorted(state, key=lambda value: (-state[value], value))[:k] if state else []
                )

    def apply(self, states: dict[int, Any], time_ms: int, properties: dict[str, Any]) -> None:
        """Take this event in; a value that is missing or unfit changes nothing."""
        value: Any = properties
        for step in self.path:
            value = value.get(step) if type(value) is dict else None
        if (value := self.value_of(value)) is not None:
            states[self.slot] = self.update(states.get(self.slot), time_ms, value)


def _number(value: Any) -> int | float | None:
    amount = amount_of(value)
    return None if amount is None else amount / MICRO


def _weigh(half_life: int, factor: int) -> Callable[[int, Any], int]:
    """Forward decay (Cormode et al. 2009) against the start of the value's own half-life, so that the sum is
    exact."""
    return lambda time_ms, value: round(value * factor * 2 ** (time_ms % half_life / half_life))


def _read_window(width: int, scale: int) -> Read:
    def read(state: Any, now_ms: int) -> float:
        if not state:
            return 0
        oldest, total = now_ms // width - BUCKETS_PER_WINDOW, 0
        for bucket, value in state.items():  # some are read for each event; `sum` would take twice as long
            if bucket > oldest:
                total += value
        return total if scale == 1 else total / scale

    return read


def _read_decayed(half_life: int) -> Read:
    def read(state: Any, now_ms: int) -> float:
        now = now_ms / half_life
        return (
            float(sum(value * 2.0 ** (bucket - now) for bucket, value in state.items())) / MICRO
            if state
            else 0.0
        )

    return read
