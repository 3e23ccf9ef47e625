"""Which shards have room in their outbox. What waits says for whom: a stall is never silent.

`learn` takes the examples of a second when every shard has committed the end of it
(`flows.logic.models.example_merge`). So a shard whose lane of examples is full within one second must not
wait for room, for it would wait for `learn`, and `learn` for it: it reads on to the end of the second.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Example

log = structlog.get_logger()

EXAMPLES = Lane.EXAMPLES
TAKEN_BY = {Lane.TRIGGERS: "deliver", Lane.ABSORBS: "deliver", EXAMPLES: "learn"}
SAY_AFTER_S = 5.0
SAY_EVERY_S = 60.0
SAID_MAX = 5  # shards in one go


class Store(Protocol):
    """What of the shards is asked for."""

    def backlog(self, shards: Sequence[int]) -> dict[int, dict[str, int]]:
        """Return how many entries lie in each lane of these shards."""

    def oldest(self, shard: int, lane: str) -> bytes | None:
        """Return the oldest entry of a lane."""

    def readers(self, shard: int) -> dict[str, int]:
        """Return how far each reader (`lane:consumer`) has come."""


class Room:
    """Of one worker's shards."""

    def __init__(self, store: Store, most: int, clock: Callable[[], float]) -> None:
        """`most`: entries of one lane."""
        self._store = store
        self._most = most
        self._clock = clock
        self._since: dict[int, float] = {}  # when each began to wait
        self._said = -SAY_EVERY_S

    def full(self, clocks_ms: Mapping[int, int]) -> set[int]:
        """Return the shards that have to wait. `clocks_ms`: of all shards, as far as they have read."""
        now = self._clock()
        waiting = {}
        for shard, entries in self._store.backlog(list(clocks_ms)).items():
            over = [lane for lane, count in entries.items() if count >= self._most]
            if over and not (over == [EXAMPLES] and self._is_of_this_second(shard, clocks_ms[shard])):
                waiting[shard] = {lane: entries[lane] for lane in over}
        self._since = {shard: self._since.get(shard, now) for shard in waiting}
        if now - min(self._since.values(), default=now) >= SAY_AFTER_S and now - self._said >= SAY_EVERY_S:
            self._said = now
            self._say(waiting, now)
        return set(waiting)

    def _is_of_this_second(self, shard: int, clock_ms: int) -> bool:
        """Return whether nobody can take an example before the shard's clock moves on."""
        oldest = self._store.oldest(shard, EXAMPLES)
        try:
            return oldest is not None and _decode(oldest).answered_ms // 1000 >= clock_ms // 1000
        except msgspec.MsgspecError:  # one that `learn` passes over
            return False

    def _say(self, waiting: Mapping[int, Mapping[str, int]], now: float) -> None:
        longest = sorted(waiting, key=self._since.__getitem__)
        for shard in longest[:SAID_MAX]:
            for lane, entries in waiting[shard].items():
                log.warning(
                    "shard_waits",
                    shard=shard,
                    lane=lane,
                    entries=entries,
                    outbox_max=self._most,
                    behind=self._slowest(shard, lane),
                    seconds=round(now - self._since[shard]),
                    shards=len(waiting),
                )

    def _slowest(self, shard: int, lane: str) -> str:
        """Return who has to take something before the shard goes on."""
        cursors = {
            name.partition(":")[2]: seq
            for name, seq in self._store.readers(shard).items()
            if name.startswith(f"{lane}:")
        }
        slowest = min(cursors, key=cursors.__getitem__, default="")
        return f"{TAKEN_BY[lane]} {slowest}".rstrip()


_decode = msgspec.msgpack.Decoder(Example).decode
