"""What there is to read of identities: the ledger of unions, the queue for stewards.

All of it is written by the directory's script alone; `state.memory.MemoryDirectory` is the twin here, too.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, Protocol, cast

import redis

from schemas.identity import ID_BYTES, Identifier, Pair, Union
from state.directory import Layout
from state.names import Names
from state.records import unpack

_EDGE = Struct(f">6s{ID_BYTES}s{ID_BYTES}s")


class Ledger(Protocol):
    """Raises `Unreachable` where the server cannot be reached."""

    def unions(self, after: int, count: int) -> list[Union]:
        """Entries behind number `after`, oldest first; the oldest of all are dropped in time."""

    def newest(self, before: int, count: int) -> list[Union]:
        """Entries with numbers below `before`, newest first."""

    def union(self, seq: int) -> Union | None:
        """One entry; None if it was dropped."""

    def edges(self, root: bytes) -> list[tuple[int, bytes, bytes]]:
        """The unions that made a customer and still stand: number in the ledger, and the two origins that its evidence is about."""

    def members(self, root: bytes) -> tuple[list[bytes], list[Identifier]]:
        """A customer's origins and identifiers, oldest first; nothing for who is no root."""

    def apart(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        """For each the origins that it is never united with."""

    def reviews(self) -> list[Pair]:
        """Pairs that wait for a steward, oldest first."""


class RedisLedger:
    def __init__(self, client: redis.Redis, names: Names, layout: Layout) -> None:
        self._redis = client
        self._names = names
        self._layout = layout

    def unions(self, after: int, count: int) -> list[Union]:
        found = cast(list[Any], self._redis.xrange(self._names.ledger, min=cast(str, b"(%d-0" % after), count=count))
        return [_union(entry_id, fields) for entry_id, fields in found]

    def newest(self, before: int, count: int) -> list[Union]:
        found = cast(list[Any], self._redis.xrevrange(self._names.ledger, max=cast(str, b"(%d-0" % before), count=count))
        return [_union(entry_id, fields) for entry_id, fields in found]

    def union(self, seq: int) -> Union | None:
        found = cast(list[Any], self._redis.xrange(self._names.ledger, min=f"{seq}-0", max=f"{seq}-0"))
        return _union(*found[0]) if found else None

    def edges(self, root: bytes) -> list[tuple[int, bytes, bytes]]:
        packed = cast(bytes, self._redis.hget(self._bucket(b"u:", root), root) or b"")
        return [(int.from_bytes(seq), one, other) for seq, one, other in _EDGE.iter_unpack(packed)]

    def members(self, root: bytes) -> tuple[list[bytes], list[Identifier]]:
        packed = cast(bytes | None, self._redis.hget(self._bucket(b"r:", root), root))
        if packed is None:
            return [], []
        record = unpack(root, packed)
        return [*record.members], [Identifier(strength, held) for strength, held in record.identifiers]

    def apart(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        found = cast(list[bytes | None], self._redis.hmget(self._names.apart, list(origins))) if origins else []
        return [[packed[at : at + ID_BYTES] for at in range(0, len(packed), ID_BYTES)] if packed else [] for packed in found]

    def reviews(self) -> list[Pair]:
        found = cast(dict[bytes, bytes], self._redis.hgetall(self._names.reviews))
        return sorted((_pair(key, packed) for key, packed in found.items()), key=lambda pair: (pair.time_ms, pair.a, pair.b))

    def _bucket(self, kind: bytes, origin: bytes) -> str:
        return self._names.bucket(kind, origin, self._layout.buckets)


def _union(entry_id: bytes, fields: dict[bytes, bytes]) -> Union:
    one, other = fields[b"o"][:ID_BYTES], fields[b"o"][ID_BYTES:]
    return Union(
        int(entry_id[:-2]),
        "union" if fields[b"k"] == b"union" else "undo",
        fields[b"r"],
        fields[b"s"],
        one,
        other,
        int(fields[b"n"]),
        fields[b"b"].decode(),
        fields[b"e"],
        int(fields[b"t"]),
        fields[b"p"].decode(),
        int(fields[b"a"]),
    )


def _pair(key: bytes, packed: bytes) -> Pair:
    time_ms, length = int.from_bytes(packed[:8]), packed[8]
    return Pair(key[:ID_BYTES], key[ID_BYTES:], packed[9 : 9 + length].decode(), packed[9 + length :], time_ms)
