"""Twin of the shards and their outbox in memory: the oracle of `state.shards.redis_shards`, and what
simulation runs on.

Written to be obvious rather than fast.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from schemas.errors import Fenced
from schemas.records.customer_profile import Head
from schemas.records.outbox_lanes import LANES, QUEUES, Lane
from state.shards.redis_shards import DECISIONS_MAX, QUARANTINED_MAX
from state.shards.shard_protocols import OutboxEntry, ShardCommit

Value = TypeVar("Value")


class MemoryShards:
    """Twin of `state.shards.redis_shards.RedisShards` and of `RedisOutbox`."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heads = {shard: Head() for shard in range(count)}
        self._counters: dict[int, dict[str, int]] = {shard: {} for shard in range(count)}
        self.profiles: dict[int, dict[bytes, bytes]] = {shard: {} for shard in range(count)}
        self.sensitive: dict[int, dict[bytes, bytes]] = {shard: {} for shard in range(count)}
        self.past: dict[int, dict[bytes, bytes]] = {shard: {} for shard in range(count)}
        self.timers: dict[int, dict[bytes, int]] = {shard: {} for shard in range(count)}
        lanes = (*LANES, Lane.QUARANTINE)
        self.outbox: dict[tuple[int, str], list[OutboxEntry]] = {
            (shard, lane): [] for shard in range(count) for lane in lanes
        }
        self._cursors: dict[tuple[int, str, str], int] = {}

    def claim(self, shards: Sequence[int]) -> dict[int, Head]:
        for shard in shards:
            self._heads[shard].epoch += 1
        return {shard: self._heads[shard].copy() for shard in shards}

    def rewind(self, shard: int, offset: int) -> None:
        self.claim([shard])
        self._heads[shard].offset, self._heads[shard].mark = offset, b""

    def load(self, shard: int, roots: Iterable[bytes]) -> dict[bytes, bytes | None]:
        return {root: self.profiles[shard].get(root) for root in roots}

    def load_many(
        self, wanted: Mapping[int, Sequence[bytes]], sensitive: Mapping[int, Sequence[bytes]]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        return (
            [self.profiles[shard].get(root) for shard, roots in wanted.items() for root in roots],
            [self.sensitive[shard].get(root) for shard, roots in sensitive.items() for root in roots],
        )

    def load_past(self, wanted: Mapping[int, Sequence[bytes]]) -> list[bytes | None]:
        return [self.past[shard].get(root) for shard, roots in wanted.items() for root in roots]

    def traces(self, wanted: Mapping[int, Sequence[bytes]]) -> list[tuple[int, bytes]]:
        kept = {shard: self.timers[shard].keys() | self.sensitive[shard].keys() for shard in wanted}
        return [(shard, root) for shard, roots in wanted.items() for root in roots if root in kept[shard]]

    def key(self, kind: Literal["p", "xs", "u"], shard: int, root: bytes) -> str:
        return f"{{s{shard:02d}}}:{kind}:{root.hex()}"

    def due(self, wanted: Mapping[int, tuple[int, int]]) -> dict[int, list[tuple[int, bytes]]]:
        return {
            shard: sorted((due, root) for root, due in self.timers[shard].items() if due <= upto_ms)[:limit]
            for shard, (upto_ms, limit) in wanted.items()
        }

    def commit(self, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        for commit in commits:
            found = self._heads[commit.shard]
            if found != commit.before:
                raise Fenced(f"shard {commit.shard}: its head is {found}, expected {commit.before}")
        for commit in commits:
            self._store(commit, stamp_ms)

    def _store(self, commit: ShardCommit, stamp_ms: int) -> None:
        shard = commit.shard
        self._heads[shard] = commit.head.copy()
        if commit.counters:
            self._counters[shard] = dict(commit.counters)
        _change(self.profiles[shard], commit.profiles)
        _change(self.sensitive[shard], commit.sensitive)
        _change(self.past[shard], commit.past)
        for root, more in commit.past_more.items():
            self.past[shard][root] = self.past[shard].get(root, b"") + more
        _change(self.timers[shard], {root: due or None for root, due in commit.timers.items()})
        for lane, seq, body in commit.outbox:
            self.outbox[shard, lane].append(OutboxEntry(shard, seq, body, stamp_ms))
        del self.outbox[shard, Lane.DECISIONS][:-DECISIONS_MAX]
        del self.outbox[shard, Lane.QUARANTINE][:-QUARANTINED_MAX]

    def heads(self) -> dict[int, Head]:
        return {shard: head.copy() for shard, head in self._heads.items()}

    def counters(self) -> dict[int, dict[str, int]]:
        return {shard: counters.copy() for shard, counters in self._counters.items()}

    def backlog(self, shards: Sequence[int]) -> dict[int, dict[str, int]]:
        return {shard: {lane: len(self.outbox[shard, lane]) for lane in QUEUES} for shard in shards}

    def oldest(self, shard: int, lane: str) -> bytes | None:
        return next((entry.body for entry in self.outbox[shard, lane]), None)

    def readers(self, shard: int) -> dict[str, int]:
        return {
            f"{lane}:{consumer}": seq for (of, lane, consumer), seq in self._cursors.items() if of == shard
        }

    def cursors(self, lane: str, consumer: str) -> dict[int, int]:
        return {shard: self._cursors.get((shard, lane, consumer), 0) for shard in range(self._count)}

    def read(self, lane: str, after: Mapping[int, int], count: int, block_ms: int) -> list[OutboxEntry]:
        return [
            entry
            for shard, seq in after.items()
            for entry in [e for e in self.outbox[shard, lane] if e.seq > seq][:count]
        ]

    def advance(self, lane: str, consumer: str, upto: Mapping[int, int]) -> None:
        for shard, seq in upto.items():
            self._cursors[shard, lane, consumer] = max(seq, self._cursors.get((shard, lane, consumer), 0))

    def set_back(self, lane: str, consumer: str, shard: int, seq: int) -> None:
        self._cursors[shard, lane, consumer] = seq

    def trim(self, lane: str, consumers: Sequence[str]) -> None:
        for shard in range(self._count):
            done = min((self._cursors.get((shard, lane, consumer), 0) for consumer in consumers), default=0)
            self.outbox[shard, lane] = [entry for entry in self.outbox[shard, lane] if entry.seq > done]

    def drop(self, lane: str, shard: int, seqs: Sequence[int]) -> None:
        gone = {*seqs}
        self.outbox[shard, lane] = [entry for entry in self.outbox[shard, lane] if entry.seq not in gone]

    def clocks(self) -> dict[int, int]:
        return {shard: head.clock_ms for shard, head in self._heads.items()}

    def in_force(self, sender: str) -> int:
        return min(head.models.get(sender, 0) for head in self._heads.values())


def _change(table: dict[bytes, Value], changes: Mapping[bytes, Value | None]) -> None:
    """None deletes."""
    for root, value in changes.items():
        if value is None:
            table.pop(root, None)
        else:
            table[root] = value
