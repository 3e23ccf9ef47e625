"""The limits: a source of whose last events too many were rejected, or raised something in our own logic, is
suspended, and no other.

A bad release must not drain what it sends into the dead letters. What suspension means depends on the way in:

by the gateway       it answers 429 for the source's write keys; what it had taken before is handled as ever
a topic of Kafka     its partitions wait where they are, and what lies in them stays there. This does not hold
                     for the topic that the gateway writes to as well: holding it would hold back others, so
                     what is bad in it goes on to the dead letters, to be replayed from there

What the gateway has told its sender at once is left out: it is no news to anybody, and a public write key
must not be able to suspend its source with it. `millrace source resume` goes on; what was received up to then
does not count any more.

What our own logic raises on is counted in the same way, so that no flow ends for it: a stranger who has found
out what our code raises on must not be able to stop it for others, nor a bad build drain all that still comes
into quarantine. What comes from no source (a timer that is due) is put aside and holds nobody.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import structlog

from flows.logic.shard.changes import Poisoned
from schemas import metrics
from schemas.config import Config
from schemas.errors import LogFull
from schemas.wire.events import RawEvent, Reject
from state.suspended import Sources, Suspension

log = structlog.get_logger()

SOURCES_MAX = 1_000  # that are counted: an app may write any name into the headers of its records
_NOT_TOLD = ("seal_broken",)  # faults that are only found behind the gateway
_REJECTED = "rejected"


class SlidingSample:
    """Counts the faults among the last `sample` events of one source, each kind of fault for itself."""

    def __init__(self, percent: float, sample: int) -> None:
        self._percent = percent
        self._sample = sample
        self._recent: deque[tuple[int, Counter[str]]] = deque()
        self._events = 0
        self._faults = Counter[str]()

    def exceeded(self, events: int, faults: Counter[str]) -> tuple[int, int, str] | None:
        """Count these. Return (events, faults, kind) of the sample where one kind is more than `percent`."""
        self._recent.append((events, faults))
        self._events += events
        self._faults += faults
        while self._events - self._recent[0][0] >= self._sample:
            gone, of_them = self._recent.popleft()
            self._events -= gone
            self._faults -= of_them
        for kind, count in self._faults.most_common(1):
            if self._events >= self._sample and count * 100 > self._percent * self._events:
                return self._events, count, kind
        return None


class Samples:
    """The samples of all sources that are counted; the one that was begun first goes when there are too
    many."""

    def __init__(self, percent: float, sample: int) -> None:
        self._percent = percent
        self._sample = sample
        self._by_source: dict[str, SlidingSample] = {}

    def __len__(self) -> int:
        return len(self._by_source)

    def sources(self) -> set[str]:
        """Return those of which there is a sample."""
        return set(self._by_source)

    def of(self, source: str) -> SlidingSample:
        """Return the sample of a source, a new one where there is none."""
        if source not in self._by_source:
            if len(self._by_source) >= SOURCES_MAX:
                del self._by_source[next(iter(self._by_source))]
            self._by_source[source] = SlidingSample(self._percent, self._sample)
        return self._by_source[source]

    def begin_again(self, source: str) -> None:
        """Forget what was counted of a source."""
        del self._by_source[source]


class Suspending:
    """What one worker knows of the suspended sources, and its word that another one is."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._known: dict[str, Suspension] = {}

    def look(self) -> dict[str, Suspension]:
        """See which are suspended now. Return what was known before."""
        before, self._known = self._known, self._sources.all()
        return before

    def known(self) -> dict[str, Suspension]:
        """Return those that are or were suspended."""
        return self._known

    def is_suspended(self, source: str) -> bool:
        """Return whether its events are held."""
        return source in self._known and self._known[source].holds

    def let_pass(self, source: str) -> int:
        """Return the time up to which what was received of it does not count; -1: it was never suspended."""
        return self._known[source].resumed_ms if source in self._known else -1

    def suspend(self, source: str, suspension: Suspension, **limit: float) -> bool:
        """Suspend it; return False where another worker was faster, or an operator has said to go on. Raises
        `LogFull`."""
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


class RejectBrake:
    """Suspends sources for what was rejected: one for each worker of `resolve`."""

    def __init__(self, config: Config, sources: Sources) -> None:
        self._percent = config.validate.reject_percent
        self._samples = Samples(self._percent, config.validate.reject_sample)
        topics = config.kafka.topics if config.raw.log == "kafka" else ()
        self._topics = frozenset(topics)
        self._own = frozenset(topics[1:])  # that the gateway does not write to
        self._sources = Suspending(sources)
        self.look()

    def look(self) -> None:
        """See which sources are suspended now; to be called about once a second."""
        before = self._sources.look()
        for source, suspension in self._sources.known().items():
            metrics.SOURCE_SUSPENDED.labels(source).set(suspension.holds)
            if not suspension.holds and source in before and before[source].holds:
                log.info("source_resumed", source=source)

    def holds(self, partition: str) -> bool:
        """Return whether a partition is to wait."""
        topic = partition.rpartition("/")[0]
        return topic in self._own and self._sources.is_suspended(topic)

    def passes(
        self, partition: str, events: Sequence[RawEvent], rejects: Sequence[tuple[int, Reject]], now_ms: int
    ) -> bool:
        """Count a window, before its commit; return False if it must not be committed, since its partition is
        to wait. Raises `LogFull`."""
        if self.holds(partition):
            return False
        for source, (total, reasons) in self._counted(events, rejects).items():
            if self._sources.is_suspended(source):
                continue
            excess = self._samples.of(source).exceeded(total, Counter({_REJECTED: reasons.total()}))
            if excess is not None:
                counted, rejected, _ = excess
                lately = dict(reasons.most_common(3))
                self._suspend(source, Suspension(now_ms, counted, rejected, lately))
        return not self.holds(partition)

    def _counted(
        self, events: Sequence[RawEvent], rejects: Sequence[tuple[int, Reject]]
    ) -> dict[str, tuple[int, Counter[str]]]:
        """Return for each source how many events there were, and how many were rejected for what; without
        those that it has been told of, or that are let pass."""
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
        self._samples.begin_again(source)
        if self._sources.suspend(source, suspension, reject_percent=self._percent):
            metrics.SOURCE_SUSPENDED.labels(source).set(1)


class PoisonBrake:
    """Suspends sources for what our own logic raised on: one for each worker of `profile`. `resolve` counts
    its own poison among its rejects."""

    def __init__(self, config: Config, sources: Sources, clock: Callable[[], float] = time.time) -> None:
        self._percent = config.validate.poison_percent
        self._samples = Samples(self._percent, config.validate.reject_sample)
        self._sources = Suspending(sources)
        self._clock = clock

    def count(self, came: Mapping[str, int], poisoned: Sequence[Poisoned]) -> None:
        """Count a batch: how many events of each source were taken, and on which others logic raised."""
        if poisoned:
            self._sources.look()
        raised: dict[str, Counter[str]] = {}
        for found in poisoned:
            if found.source and found.received_ms > self._sources.let_pass(found.source):
                raised.setdefault(found.source, Counter())[found.where] += 1
        # a sample begins with the first that was raised: before, nobody pays for it
        for source in raised.keys() | (self._samples.sources() & came.keys()):
            if self._sources.is_suspended(source):
                continue
            of_it = raised.get(source, Counter[str]())
            excess = self._samples.of(source).exceeded(came.get(source, 0) + of_it.total(), of_it)
            if excess is not None:
                self._suspend(source, *excess)

    def _suspend(self, source: str, events: int, count: int, where: str) -> None:
        suspension = Suspension(int(self._clock() * 1000), events, count, {f"poison, {where}": count})
        with suppress(LogFull):  # the next batch says it again
            self._sources.suspend(source, suspension, poison_percent=self._percent)
            self._samples.begin_again(source)
