"""What our own logic raises on, counted by source: one that sends too much of it is suspended, and no flow
ends for it.

A stranger who has found out what our code raises on must not be able to stop it for others, nor a bad build
drain all that still comes into quarantine. `flows.runtime.reject_brake` says what suspension means. What is
no source's (a timer that is due) is put aside and holds nobody.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from flows.logic.shard.changes import Poisoned
from flows.runtime.reject_brake import SOURCES_MAX, Suspending
from schemas.config import Config
from schemas.errors import LogFull
from state.suspended import Sources, Suspension


class PoisonLimit:
    """Counts on how many of the last `sample` events of one source one defect was raised."""

    def __init__(self, percent: float, sample: int) -> None:
        self._percent = percent
        self._sample = sample
        self._recent: deque[tuple[int, Counter[str]]] = deque()
        self._events = 0
        self._raised = Counter[str]()

    def exceeded(self, events: int, raised: Counter[str]) -> tuple[int, int, str] | None:
        """`raised`: how often, by place. (events, how many it was raised on, where) of the sample where this
        is more than `percent`."""
        self._recent.append((events, raised))
        self._events += events
        self._raised += raised
        while self._events - self._recent[0][0] >= self._sample:
            gone, of_them = self._recent.popleft()
            self._events -= gone
            self._raised -= of_them
        for where, count in self._raised.most_common(1):
            if self._events >= self._sample and count * 100 > self._percent * self._events:
                return self._events, count, where
        return None


class PoisonBrake:
    """One for each worker of `profile`. `resolve` counts its own poison among its rejects."""

    def __init__(self, config: Config, sources: Sources, clock: Callable[[], float] = time.time) -> None:
        self._percent, self._sample = config.validate.poison_percent, config.validate.reject_sample
        self._sources = Suspending(sources)
        self._clock = clock
        self._limits: dict[str, PoisonLimit] = {}

    def count(self, came: Mapping[str, int], poisoned: Sequence[Poisoned]) -> None:
        """A batch: how many events of each source were taken, and on which others logic raised."""
        if poisoned:
            self._sources.look()
        raised: dict[str, Counter[str]] = {}
        for found in poisoned:
            if found.source and found.received_ms > self._sources.let_pass(found.source):
                raised.setdefault(found.source, Counter())[found.where] += 1
        for source in {*raised, *(self._limits.keys() & came.keys())}:
            if self._sources.is_suspended(source):
                continue
            of_it = raised.get(source, Counter[str]())
            excess = self._limit_of(source).exceeded(came.get(source, 0) + of_it.total(), of_it)
            if excess is not None:
                self._suspend(source, *excess)

    def _limit_of(self, source: str) -> PoisonLimit:
        """It begins with the first that was raised: before, nobody pays for it."""
        if source not in self._limits and len(self._limits) >= SOURCES_MAX:
            del self._limits[next(iter(self._limits))]
        return self._limits.setdefault(source, PoisonLimit(self._percent, self._sample))

    def _suspend(self, source: str, events: int, count: int, where: str) -> None:
        suspension = Suspension(int(self._clock() * 1000), events, count, {f"poison, {where}": count})
        with suppress(LogFull):  # the next batch says it again
            self._sources.suspend(source, suspension, poison_percent=self._percent)
            del self._limits[source]  # who goes on begins anew
