"""What there is to read of identities: the ledger of unions, the queue for stewards.

All of it is written by the directory's script alone; `state.memory.memory_ledger.MemoryLedger` is the twin.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, Protocol, cast

import redis

from schemas.records.identity_graph import ID_BYTES, Identifier, Pair, Union
from state.directory.layout import Layout
from state.directory.records import unpack
from state.redis.gather import Gather
from state.redis.names import Names

_ENTRY_BYTES = 6  # of the number of an entry, where another one names it
_EDGE = Struct(f">6s{ID_BYTES}s{ID_BYTES}s")


class Ledger(Protocol):
    """Raises `Unreachable` where the server cannot be reached."""

    def unions(self, after: int, count: int) -> list[Union]:
        """Return entries behind number `after`, oldest first; the oldest of all are dropped in time."""

    def newest(self, before: int, count: int) -> list[Union]:
        """Return entries with numbers below `before`, newest first."""

    def union(self, seq: int) -> Union | None:
        """Return one entry; None if it was dropped."""

    def about(self, origins: Sequence[bytes], count: int) -> tuple[list[Union], bool]:
        """Return entries that name one of these, newest first: of each origin the newest `count`. And
        whether these are all that there are."""

    def edges(self, root: bytes) -> list[tuple[int, bytes, bytes]]:
        """Return the unions that made a customer and still stand: number in the ledger, and the two
        origins that its evidence is about."""

    def members(self, root: bytes) -> tuple[list[bytes], list[Identifier]]:
        """Return a customer's origins and identifiers, oldest first; nothing for who is no root."""

    def holdings(self, roots: Sequence[bytes]) -> list[tuple[list[bytes], list[Identifier]]]:
        """Return the members of many customers."""

    def homes(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        """Return the origin of each, None where unknown."""

    def alone(self, identifiers: Sequence[bytes]) -> list[bool]:
        """Return for each whether it came with others and had events to itself since (noted where
        newcomers may leave)."""

    def cannot_link(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        """Return for each the origins that it is never united with."""

    def reviews(self) -> list[Pair]:
        """Return pairs that wait for a steward, oldest first."""


class RedisLedger:
    def __init__(self, client: redis.Redis, names: Names, layout: Layout) -> None:
        self._redis = client
        self._names = names
        self._layout = layout
        self._gather = Gather(client, layout.buckets)

    def unions(self, after: int, count: int) -> list[Union]:
        found = cast(
            list[Any], self._redis.xrange(self._names.ledger, min=cast(str, b"(%d-0" % after), count=count)
        )
        return [_union(entry_id, fields) for entry_id, fields in found]

    def newest(self, before: int, count: int) -> list[Union]:
        found = cast(
            list[Any],
            self._redis.xrevrange(self._names.ledger, max=cast(str, b"(%d-0" % before), count=count),
        )
        return [_union(entry_id, fields) for entry_id, fields in found]

    def union(self, seq: int) -> Union | None:
        found = cast(list[Any], self._redis.xrange(self._names.ledger, min=f"{seq}-0", max=f"{seq}-0"))
        return _union(*found[0]) if found else None

    def about(self, origins: Sequence[bytes], count: int) -> tuple[list[Union], bool]:
        """Follow all origins back together, one round trip a step: an entry says which one before it named
        the same origin."""
        origins, seen = list(dict.fromkeys(origins)), dict[int, dict[bytes, bytes]]()
        firsts = self._each("hget", [(self._bucket(b"u:", origin), b"h" + origin) for origin in origins])
        at = {origin: int.from_bytes(first) for origin, first in zip(origins, firsts, strict=True) if first}
        for step in range(count + 1):
            at = self._past_skipped(at)
            fresh = sorted({seq for seq in at.values() if seq not in seen})
            found = self._each("xrange", [(self._names.ledger, f"{seq}-0", f"{seq}-0") for seq in fresh])
            held = {seq: entry[0][1] for seq, entry in zip(fresh, found, strict=True) if entry}
            at = {origin: seq for origin, seq in at.items() if seq in held or seq in seen}
            if step == count or not at:
                break
            seen |= held
            at = {origin: before for origin, seq in at.items() if (before := _before(seen[seq], origin))}
        return [_union(b"%d-0" % seq, seen[seq]) for seq in sorted(seen, reverse=True)], not at

    def _past_skipped(self, at: dict[bytes, int]) -> dict[bytes, int]:
        """Lead each origin past the entries that also named somebody who was erased."""
        skipped = self._names.skipped
        while at:
            numbers = sorted({*at.values()})
            fields = [seq.to_bytes(_ENTRY_BYTES) for seq in numbers]
            links = cast(list[bytes | None], self._redis.hmget(skipped, fields))
            past = {seq: found for seq, found in zip(numbers, links, strict=True) if found is not None}
            if not past:
                break
            names = 4 * ID_BYTES
            at = {
                origin: _linked(past[seq][:names], past[seq][names:], origin) if seq in past else seq
                for origin, seq in at.items()
            }
            at = {origin: seq for origin, seq in at.items() if seq}
        return at

    def _each(self, command: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What each call of the command answers, in one round trip."""
        if not calls:
            return []
        with self._redis.pipeline(transaction=False) as pipeline:
            for arguments in calls:
                getattr(pipeline, command)(*arguments)
            return pipeline.execute()

    def edges(self, root: bytes) -> list[tuple[int, bytes, bytes]]:
        packed = cast(bytes, self._redis.hget(self._bucket(b"u:", root), root) or b"")
        return [(int.from_bytes(seq), one, other) for seq, one, other in _EDGE.iter_unpack(packed)]

    def members(self, root: bytes) -> tuple[list[bytes], list[Identifier]]:
        return self.holdings([root])[0]

    def holdings(self, roots: Sequence[bytes]) -> list[tuple[list[bytes], list[Identifier]]]:
        return [
            _held(*found)
            for found in zip(roots, self._gather(self._names.directory + b"r:", roots), strict=True)
        ]

    def alone(self, identifiers: Sequence[bytes]) -> list[bool]:
        return [found is not None for found in self._gather(self._names.directory + b"a:", identifiers)]

    def homes(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        found = self._gather(self._names.directory + b"i:", identifiers)
        return [
            None if origin is None else origin or identifier
            for identifier, origin in zip(identifiers, found, strict=True)
        ]

    def cannot_link(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        found = (
            cast(list[bytes | None], self._redis.hmget(self._names.cannot_link, list(origins)))
            if origins
            else []
        )
        return [
            [packed[at : at + ID_BYTES] for at in range(0, len(packed), ID_BYTES)] if packed else []
            for packed in found
        ]

    def reviews(self) -> list[Pair]:
        found = cast(dict[bytes, bytes], self._redis.hgetall(self._names.reviews))
        return sorted(
            (_pair(key, packed) for key, packed in found.items()),
            key=lambda pair: (pair.time_ms, pair.a, pair.b),
        )

    def _bucket(self, kind: bytes, origin: bytes) -> str:
        return self._names.bucket(kind, origin, self._layout.buckets)


def _held(root: bytes, packed: bytes | None) -> tuple[list[bytes], list[Identifier]]:
    """Origins, identifiers."""
    if packed is None:
        return [], []
    record = unpack(root, packed)
    return [*record.members], [Identifier(strength, held) for strength, held in record.identifiers]


def _before(fields: dict[bytes, bytes], origin: bytes) -> int:
    """The entry before this one that named the origin; 0: there is none."""
    return _linked(fields[b"r"] + fields[b"s"] + fields[b"o"], fields.get(b"h", b""), origin)


def _linked(named: bytes, before: bytes, origin: bytes) -> int:
    """Follow the link of one of the origins that are named; 0: it leads nowhere."""
    places = [at for at in range(0, len(named), ID_BYTES) if named[at : at + ID_BYTES] == origin]
    at = _ENTRY_BYTES * (places[0] // ID_BYTES)
    return int.from_bytes(before[at : at + _ENTRY_BYTES])


def _union(entry_id: bytes, fields: dict[bytes, bytes]) -> Union:
    one, other = fields[b"o"][:ID_BYTES], fields[b"o"][ID_BYTES:]
    return Union(
        seq=int(entry_id[:-2]),
        kind="union" if fields[b"k"] == b"union" else "undo",
        retired=fields[b"r"],
        survivor=fields[b"s"],
        one=one,
        other=other,
        undone=int(fields[b"n"]),
        by=fields[b"b"].decode(),
        evidence=fields[b"e"],
        time_ms=int(fields[b"t"]),
        partition=fields[b"p"].decode(),
        position=int(fields[b"a"]),
    )


def _pair(key: bytes, packed: bytes) -> Pair:
    time_ms, length = int.from_bytes(packed[:8]), packed[8]
    return Pair(
        a=key[:ID_BYTES],
        b=key[ID_BYTES:],
        by=packed[9 : 9 + length].decode(),
        note=packed[9 + length :],
        time_ms=time_ms,
    )
