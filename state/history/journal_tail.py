"""The directory's journal as the archive reads it: what is new, how far it is safe, and what may go."""

from typing import Any, Protocol, cast

import redis

from schemas.records.journal import Journalled
from state.redis.names import Names

PAGE = 1_000


class Journal(Protocol):
    """Raises `Unreachable` where the server cannot be reached."""

    def read(self, after: int, count: int, block_ms: int) -> list[Journalled]:
        """Return entries behind `after`; waits up to `block_ms` for the first. `content` is sealed."""

    def head(self) -> int:
        """Return the last entry that was written."""

    def archived(self) -> int | None:
        """Return the last entry that is safe in the archive; None if there never was one."""

    def advance(self, upto: int) -> None:
        """Drop the entries up to this one: they are safe."""


class RedisJournal:
    """One stream, and beside it in the same slot how far it is safe: if Redis comes back older, both are."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._redis = client
        self._names = names

    def read(self, after: int, count: int, block_ms: int) -> list[Journalled]:
        answer = cast(
            list[Any],
            self._redis.xread({self._names.journal: b"%d-0" % after}, count=count, block=block_ms or None),
        )
        return [_entry(found_id, fields) for _stream, found in answer for found_id, fields in found]

    def head(self) -> int:
        return int(cast(bytes | None, self._redis.hget(self._names.meta, "journal")) or 0)

    def archived(self) -> int | None:
        found = cast(bytes | None, self._redis.get(self._names.archived))
        return None if found is None else int(found)

    def advance(self, upto: int) -> None:
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(self._names.archived, upto)
            pipeline.xtrim(self._names.journal, minid=f"{upto + 1}-0", approximate=False)
            pipeline.execute()

    def start(self, after: int) -> int:
        """Return behind which entry, `after` or a later one, everything is still here with all that an
        archive needs."""
        first = cast(
            list[Any], self._redis.xrange(self._names.journal, min=cast(str, b"(%d-0" % after), count=1)
        )
        if not first:
            return max(after, self.head())
        last = int(first[0][0][:-2]) - 1
        at = last
        while found := self.read(at, PAGE, 0):
            at = found[-1].seq
            last = max((entry.seq for entry in found if entry.bare), default=last)
        return last


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Journalled:
    kind, body = next(iter(fields.items()))
    return Journalled(
        seq=int(entry_id[:-2]),
        kind=kind.decode(),
        body=body,
        sender=fields.get(b"sender", b"").decode(),
        sent=int(fields.get(b"sent", 0)),
        extra=fields.get(b"extra", b""),
        announced=fields.get(b"announced", b""),
        content=fields.get(b"content", b""),
    )
