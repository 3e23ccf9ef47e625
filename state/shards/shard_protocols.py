"""The shards and their outbox as the flows see them: Redis, or their twin `MemoryShards`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from schemas.records.customer_profile import Head


class ShardCommit(msgspec.Struct):
    """All that one shard changes, committed at once. None deletes; a timer of 0 is taken out of the index."""

    shard: int
    before: Head  # what must still be there
    head: Head
    counters: dict[str, int]
    profiles: dict[bytes, bytes | None]
    sensitive: dict[bytes, bytes | None]
    timers: dict[bytes, int]
    outbox: list[tuple[str, int, bytes]]  # lane, sequence, body
    past: dict[bytes, bytes | None] = {}  # what united customers were made of
    past_more: dict[bytes, bytes] = {}  # appended to it


class OutboxEntry(msgspec.Struct, frozen=True):
    shard: int
    seq: int
    body: bytes
    stamp_ms: int  # when it was committed


class Shards(Protocol):
    """Raises `Unreachable` where the server cannot be reached."""

    def claim(self, shards: Sequence[int]) -> dict[int, Head]:
        """Become their writer: raises their epochs, so that whoever wrote them before is refused from now
        on."""

    def rewind(self, shard: int, offset: int) -> None:
        """Become its writer, and have it read its log from behind `offset`: for a shard that is ahead of its
        log."""

    def load(self, shard: int, roots: Iterable[bytes]) -> dict[bytes, bytes | None]: ...

    def load_many(
        self, wanted: Mapping[int, Sequence[bytes]], sensitive: Mapping[int, Sequence[bytes]]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """Return profiles and sensitive records, in the order of the arguments, in one round trip."""

    def load_past(self, wanted: Mapping[int, Sequence[bytes]]) -> list[bytes | None]:
        """Return what united customers were made of, in the order of the argument."""

    def traces(self, wanted: Mapping[int, Sequence[bytes]]) -> list[tuple[int, bytes]]:
        """Return those of them that have a timer or a sealed record: (shard, root). A customer without a
        profile should have neither."""

    def key(self, kind: Literal["p", "xs", "u"], shard: int, root: bytes) -> str:
        """Return where a customer's profile, sealed record or past lies, for people."""

    def due(self, wanted: Mapping[int, tuple[int, int]]) -> dict[int, list[tuple[int, bytes]]]:
        """Return for each shard (up to due_ms, how many) the (due_ms, root) of its timer index, in order."""

    def commit(self, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        """Commit all of them or none. Raises `Fenced`; `LogFull` where the server has no room."""

    def heads(self) -> dict[int, Head]: ...

    def counters(self) -> dict[int, dict[str, int]]: ...

    def backlog(self, shards: Sequence[int]) -> dict[int, dict[str, int]]:
        """Return the number of entries in each queue of each shard's outbox."""

    def oldest(self, shard: int, lane: str) -> bytes | None:
        """Return the first entry in a lane, if there is one."""

    def readers(self, shard: int) -> dict[str, int]:
        """Return the cursors of a shard's consumers, `LANE:CONSUMER`, as far as they have taken anything."""


class Outbox(Protocol):
    """The shards' outboxes, as `deliver` and `learn` see them."""

    def cursors(self, lane: str, consumer: str) -> dict[int, int]: ...

    def read(self, lane: str, after: Mapping[int, int], count: int, block_ms: int) -> list[OutboxEntry]: ...

    def advance(self, lane: str, consumer: str, upto: Mapping[int, int]) -> None:
        """Raise cursors, never lower them: a stale consumer moves none back. Raises `LogFull` where the
        server has no room."""

    def set_back(self, lane: str, consumer: str, shard: int, seq: int) -> None:
        """Set a cursor back to `seq`: for a consumer that is ahead of what it feeds. Raises `LogFull` as
        above."""

    def trim(self, lane: str, consumers: Sequence[str]) -> None:
        """Drop what all these consumers have taken. Raises `LogFull` where the server has no disk."""

    def drop(self, lane: str, shard: int, seqs: Sequence[int]) -> None:
        """Remove entries from the midst of a lane: readers pass over what is not there."""

    def clocks(self) -> dict[int, int]: ...

    def in_force(self, sender: str) -> int:
        """Return the oldest version of a model that any shard has taken up; 0 while one has none."""
