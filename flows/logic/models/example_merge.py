"""The one order in which the examples of all shards are learnt: by (tick, shard, sequence).

Each shard's lane arrives in its own order and at its own pace. An item may be taken only once no shard can
still bring an earlier one; so what is taken, and in which order, is a function of the lanes alone, not of
when they were read.

A tick is one second of a shard's clock. Within a shard ticks are made non-decreasing (an item of an earlier
second takes the tick of its predecessor), which makes the order total whatever a lane holds.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heapreplace
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Merge(Generic[Item]):
    """Holds what was read and may not be taken yet. `positions` and `tick` are those of the last item taken
    before."""

    def __init__(self, shards: Iterable[int], positions: Mapping[int, int], tick: int = 0) -> None:
        self._waiting: dict[int, deque[tuple[int, int, Item]]] = {shard: deque() for shard in shards}
        self._read = {shard: positions.get(shard, 0) for shard in self._waiting}
        self._read_tick = dict.fromkeys(self._waiting, tick)
        self.positions = dict(self._read)
        self.tick = tick

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def reading(self, room: int) -> dict[int, int]:
        """Return where to go on reading, for each shard of which fewer than `room` items wait."""
        return {shard: self._read[shard] for shard, waiting in self._waiting.items() if len(waiting) < room}

    def add(self, shard: int, seq: int, tick: int, item: Item) -> int:
        """Let the next item of a shard wait; return how many sequence numbers before it are missing (0 in a
        whole lane)."""
        missing = seq - self._read[shard] - 1
        if missing < 0:
            return 0  # seen before
        self._read[shard] = seq
        self._read_tick[shard] = max(tick, self._read_tick[shard])
        self._waiting[shard].append((self._read_tick[shard], seq, item))
        return missing

    def take(self, before: int, drained: frozenset[int], limit: int) -> list[Item]:
        """Return at most `limit` items in order, all with a tick < `before`.

        `drained` are the shards that have no further item of such a tick beyond those that wait.
        """
        if any(not waiting and shard not in drained for shard, waiting in self._waiting.items()):
            return []
        heads = [(waiting[0][0], shard) for shard, waiting in self._waiting.items() if waiting]
        heapify(heads)
        taken: list[Item] = []
        while heads and len(taken) < limit:
            tick, shard = heads[0]
            if tick >= before:
                break
            waiting = self._waiting[shard]
            self.tick, self.positions[shard], item = waiting.popleft()
            taken.append(item)
            if waiting:
                heapreplace(heads, (waiting[0][0], shard))
            elif shard in drained:
                heappop(heads)
            else:
                break  # its next item may come before the other heads
        return taken
