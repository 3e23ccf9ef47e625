"""The brake: a source of whose last events too many were rejected is suspended, and no other.

A bad release must not drain what it sends into the dead letters. What suspension means depends on the way in:

by the gateway       it answers 429 for the source's write keys; what it had taken before is handled as ever
a topic of Kafka     its partitions wait where they are, and what lies in them stays there. Not the topic that
                     the gateway writes to as
                     well: holding it would hold back others, so what is bad in it goes on to the dead
                     letters, to be replayed from there

What our own logic raises on in the shards is counted in the same way, by `flows.runtime.poison_brake`.

What the gateway has told its sender at once is left out: it is no news to anybody, and a public write key
must not be able to suspend its source with it. `millrace source resume` goes on; what was received up to then
counts no more.
"""

from collections import Counter, deque
from collections.abc import Sequence

import structlog

from schemas import metrics
from schemas.config import Config
from schemas.wire.events import RawEvent, Reject
from state.suspended import Sources, Suspension

log = structlog.get_logger()

SOURCES_MAX = 1_000  # that are counted: an app may write any name into the headers of its records
_NOT_TOLD = ("seal_broken",)  # faults that are only found behind the gateway


class RejectLimit:
    """Counts the last `sample` events of one source."""

    def __init__(self, percent: float, sample: int) -> None:
        self._percent = percent
        self._sample = sample
        self._recent: deque[tuple[int, int]] = deque()
        self._events = self._rejects = 0

    def exceeded(self, events: int, rejects: int) -> tuple[int, int] | None:
        """(events, rejects) of the sample where these make it more than `percent`."""
        self._recent.append((events, rejects))
        self._events += events
        self._rejects += rejects
        while self._recent and self._events - self._recent[0][0] >= self._sample:
            gone, bad = self._recent.popleft()
            self._events -= gone
            self._rejects -= bad
        if self._events >= self._sample and self._rejects * 100 > self._percent * self._events:
            return self._events, self._rejects
        return None


class Suspending:
    """What one worker knows of the suspended sources, and its word that another one is."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._known: dict[str, Suspension] = {}

    def look(self) -> dict[str, Suspension]:
        """See which are suspended now. What was known before."""
        before, self._known = self._known, self._sources.all()
        return before

    def known(self) -> dict[str, Suspension]:
        return self._known

    def is_suspended(self, source: str) -> bool:
        return source in self._known and self._known[source].holds

    def let_pass(self, source: str) -> int:
        """Up to when what was received of it counts no more; -1: it was never suspended."""
        return self._known[source].resumed_ms if source in self._known else -1

    def suspend(self, source: str, suspension: Suspension, **limit: float) -> bool:
        """False where another worker was faster, or an operator has said to go on. Raises `LogFull`."""
        found = self._sources.all().get(source)
        if found is not None and found != self._known.get(source):
            self._known[source] = found
            return False
        self._sources.suspend(source, suspension)
        self._known[source] = suspension
        metrics.SOURCES_SUSPENDED.labels(source).inc()
        log.error(
            "source_suspended",
            source=source,
            events=suspension.events,
            rejects=suspension.rejects,
            lately=suspension.reasons,
            **limit,
            see="millrace source list",
            go_on=f"millrace source resume {source}",
        )
        return True


class Brake:
    """One for each worker of `resolve`."""

    def __init__(self, config: Config, sources: Sources) -> None:
        self._percent, self._sample = config.validate.reject_percent, config.validate.reject_sample
        topics = config.kafka.topics if config.raw.log == "kafka" else ()
        self._topics = frozenset(topics)
        self._own = frozenset(topics[1:])  # that the gateway does not write to
        self._sources = Suspending(sources)
        self._limits: dict[str, RejectLimit] = {}
        self.look()

    def look(self) -> None:
        """See which sources are suspended now; to be called about once a second."""
        before = self._sources.look()
        for source, suspension in self._sources.known().items():
            metrics.SOURCE_SUSPENDED.labels(source).set(suspension.holds)
            if not suspension.holds and source in before and before[source].holds:
                log.info("source_resumed", source=source)

    def holds(self, partition: str) -> bool:
        """Whether it is to wait."""
        topic = partition.rpartition("/")[0]
        return topic in self._own and self._sources.is_suspended(topic)

    def passes(
        self, partition: str, events: Sequence[RawEvent], rejects: Sequence[tuple[int, Reject]], now_ms: int
    ) -> bool:
        """Count a window, before its commit; False if it must not be committed, since its partition is to
        wait. Raises `LogFull`."""
        if self.holds(partition):
            return False
        for source, (total, reasons) in self._counted(events, rejects).items():
            if self._sources.is_suspended(source):
                continue
            if source not in self._limits and len(self._limits) >= SOURCES_MAX:
                del self._limits[next(iter(self._limits))]
            limit = self._limits.setdefault(source, RejectLimit(self._percent, self._sample))
            if (excess := limit.exceeded(total, reasons.total())) is not None:
                self._suspend(source, Suspension(now_ms, *excess, dict(reasons.most_common(3))))
        return not self.holds(partition)

    def _counted(
        self, events: Sequence[RawEvent], rejects: Sequence[tuple[int, Reject]]
    ) -> dict[str, tuple[int, Counter[str]]]:
        """By source how many events, and which were rejected for what; without those that it has been told
        of, or that are let pass."""
        totals = Counter([event.source for event in events])
        bad: dict[str, Counter[str]] = {source: Counter() for source in totals}
        let_pass = {
            source: self._sources.let_pass(source) for source in totals if source in self._sources.known()
        }
        for event in events if let_pass else ():
            totals[event.source] -= event.received_ms <= let_pass.get(event.source, -1)
        for index, reject in rejects:
            event = events[index]
            if event.received_ms <= let_pass.get(event.source, -1):
                continue
            if event.fault is None or event.fault in _NOT_TOLD or event.source in self._topics:
                bad[event.source][reject.reason] += 1
            else:
                totals[event.source] -= 1
        return {source: (total, bad[source]) for source, total in totals.items() if total}

    def _suspend(self, source: str, suspension: Suspension) -> None:
        del self._limits[source]  # who goes on begins anew
        if self._sources.suspend(source, suspension, reject_percent=self._percent):
            metrics.SOURCE_SUSPENDED.labels(source).set(1)
