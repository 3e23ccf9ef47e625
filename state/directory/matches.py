"""What matching reads of the directory: its own log, the records and blocking keys that it keeps, and who
belongs together.

It writes like everybody else: a `WindowCommit` whose partition is `PARTITION` and whose positions are those
of its log. `state.memory.memory_directory.MemoryDirectory` is the twin.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, cast

import msgspec
import redis

from schemas.records.identity_graph import ID_BYTES
from schemas.records.match_log import MATCH_KINDS, AnyMatchKind
from state.directory.layout import Layout
from state.directory.records import unpack
from state.keys import MATCHED
from state.redis.gather import Gather
from state.redis.names import Names

PARTITION = "match"
SEALED_AS = MATCHED  # what the seal of a record is bound to, beside its customer
Customer = tuple[bytes, list[bytes]]  # root, origins
Table = Literal["mk", "mr", "matcher"]  # blocking keys, records by origin, its own state


class Said(msgspec.Struct, frozen=True):
    """One entry of its log: records (`r`: origin, length, sealed), what stewards decided (`d`: two origins,
    `1` if they are one), or whom to forget (`x`: origins)."""

    seq: int
    kind: AnyMatchKind
    body: bytes
    time_ms: int


class Matches(Protocol):
    """Raises `Unreachable` where the server cannot be reached."""

    def position(self) -> int:
        """Return the last entry of the log that is committed; 0 before the first."""

    def said_since(self, after: int, count: int, block_ms: int) -> list[Said]: ...

    def keep(self, table: Table, fields: Sequence[bytes]) -> list[bytes | None]:
        """Return what was put there."""

    def customers(self, origins: Sequence[bytes]) -> list[Customer]:
        """Return the customer that each origin belongs to now, with all its origins; none for who is
        unknown."""

    def cannot_link(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        """Return for each origin those whose customers it is never to be united with."""

    def bucket(self, number: int) -> dict[bytes, bytes]:
        """Return all records (`mr`) of one bucket; bucket `number` modulo their count."""


class RedisMatches:
    def __init__(self, client: redis.Redis, names: Names, layout: Layout) -> None:
        self._redis = client
        self._names = names
        self._buckets = layout.buckets
        self._gather = Gather(client, layout.buckets)

    def position(self) -> int:
        return max(0, int(cast(bytes | None, self._redis.hget(self._names.offsets, PARTITION)) or 0))

    def said_since(self, after: int, count: int, block_ms: int) -> list[Said]:
        answer = cast(
            list[Any],
            self._redis.xread({self._names.matches: b"%d-0" % after}, count=count, block=block_ms or None),
        )
        return [_said(entry_id, fields) for _, found in answer for entry_id, fields in found]

    def keep(self, table: Table, fields: Sequence[bytes]) -> list[bytes | None]:
        if table == "matcher":
            return cast(list[bytes | None], self._redis.hmget(self._names.matcher, list(fields)))
        return self._gather(self._names.directory + table.encode() + b":", fields)

    def customers(self, origins: Sequence[bytes]) -> list[Customer]:
        directory = self._names.directory  # most origins are a root: the others are asked for theirs
        found = dict(zip(origins, self._gather(directory + b"r:", origins), strict=True))
        retired = [origin for origin, packed in found.items() if packed is None]
        roots = {
            origin: root
            for origin, root in zip(retired, self._gather(directory + b"o:", retired), strict=True)
            if root is not None
        }
        survivors = [root for root in dict.fromkeys(roots.values()) if root not in found]
        found.update(zip(survivors, self._gather(directory + b"r:", survivors), strict=True))
        return [_customer(root := roots.get(origin, origin), found[root]) for origin in origins]

    def cannot_link(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        if not origins or not self._redis.hlen(self._names.cannot_link):
            return [[] for _ in origins]
        found = cast(list[bytes | None], self._redis.hmget(self._names.cannot_link, list(origins)))
        return [
            [packed[at : at + ID_BYTES] for at in range(0, len(packed), ID_BYTES)] if packed else []
            for packed in found
        ]

    def bucket(self, number: int) -> dict[bytes, bytes]:
        return cast(
            dict[bytes, bytes],
            self._redis.hgetall(self._names.directory + b"mr:%d" % (number % self._buckets)),
        )


def _customer(root: bytes, packed: bytes | None) -> Customer:
    return root, [*unpack(root, packed).members] if packed else []


def _said(entry_id: bytes, fields: dict[bytes, bytes]) -> Said:
    kind = next(kind for kind in MATCH_KINDS if kind.encode() in fields)
    return Said(int(entry_id[:-2]), kind, fields[kind.encode()], int(fields[b"t"]))
