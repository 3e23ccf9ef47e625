"""A dispatcher takes triggers to one connector: it asks at the door, tries, tries again, gives up.

It has two sides. The thread of the dataflow reads for it (`positions`, `address`, `accept`); all else happens
on the event loop of `flows.dispatch.loop`. Each counter is written by one side only, so there are no locks.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
import structlog

from connectors.sinks.sink import Delivered, Delivery, Disable, Outcome, Retry, Sink
from flows.dispatch.admission import DISABLED, Admission
from flows.dispatch.attempt import Raised, attempt
from flows.dispatch.verdicts import Admitted, Dead, Dropped, Postponed, Refusal
from flows.logic.delivery import Backoff, Breaker, BreakerPolicy, Progress, Waiting
from flows.runtime.engine import no_room
from flows.runtime.patience import patiently_beside
from schemas import metrics
from schemas.config import Connector, Deliver
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Trigger

log = structlog.get_logger()

IN_FLIGHT_MAX = 4_096  # triggers of one connector in memory, those that wait for a retry included
OUTCOMES = ("delivered", "retried", "dead")
# of one shard, from the lowest unsettled one on: what is delivered again after a crash, at most
SPAN_MAX = 2_000
VERDICT_MS = 500.0  # for so long the door's answer holds, while a delivery waits for a free slot
_ADMITTED_MAX = 256  # deliveries that the door is asked about at once, unless the sink takes larger batches

_encode = msgspec.msgpack.Encoder().encode


class Entry(Protocol):
    """An entry of an outbox lane."""

    @property
    def shard(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def stamp_ms(self) -> int: ...


class DeliveryRecords(Protocol):
    """What is remembered of deliveries beside the cursors (`state.shards.deliveries`)."""

    def keep_dead(self, connector: str, body: bytes, reason: str) -> None:
        """Keep a packed trigger for `millrace dead`."""

    def disable(self, connector: str, endpoint: str) -> None:
        """Remember that this endpoint wants nothing more."""

    def disabled(self) -> Mapping[str, str]:
        """Return connector -> endpoint of those remembered."""

    def count(self, connector: str, more: Mapping[str, int]) -> None:
        """Add to what `millrace status` shows."""


@dataclass(slots=True, eq=False)
class PendingDelivery:
    """One outbox entry on its way to one connector. Without a trigger there is nothing to send: `refused`
    says why."""

    shard: int
    seq: int
    body: bytes
    trigger: Trigger | None = None
    refused: Refusal | None = None
    rank: int = 0  # the order of arrival
    attempts: int = 0
    due_ms: float = 0.0
    alone: bool = False  # goes in a batch of its own, since it was in one that the sink raised on


async def when_there_is_room(call: Callable[..., None], *args: Any) -> None:
    """Do a call in a thread, waiting while Redis has no room for what it writes."""
    await patiently_beside(partial(call, *args), no_room)


def endpoint(connector: Connector) -> str:
    """Return what a 410 disables: another URL is another endpoint. A digest, because a URL may hold a
    secret."""
    return blake2b(connector.endpoint.encode(), digest_size=8).hexdigest()


class Dispatcher:
    """One connector's triggers in the shards of this worker."""

    lane = Lane.TRIGGERS

    def __init__(
        self,
        connector: Connector,
        deliver: Deliver,
        sink: Sink,
        door: Admission,
        records: DeliveryRecords,
        cursors: Mapping[int, int],
    ) -> None:
        """Begin at `cursors`, in each shard that is ours. What `records` says of the endpoint closes
        `door`."""
        self.name = connector.name
        self.moved: Callable[[], None] = lambda: None  # set by the delivery loop: a cursor may have moved
        self._connector, self._sink, self._records = connector, sink, records
        self._door = door
        self._door.disabled = records.disabled().get(connector.name) == endpoint(connector)
        # the reader's side
        self._after = dict(cursors)
        self._taken = 0
        # the loop's side
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settled = 0
        self._progress = {shard: Progress(seq) for shard, seq in cursors.items()}
        self._stored = dict(cursors)
        self._waiting: Waiting[PendingDelivery] = Waiting()
        self._lost: list[tuple[PendingDelivery, str]] = []  # to be dead letters
        self._rank = 0
        self._backoff = Backoff(deliver.backoff, deliver.backoff_max)
        self._breaker = Breaker(BreakerPolicy(deliver.breaker_failures, deliver.breaker_rest))
        self._attempts_max = deliver.attempts
        self._group = max(_ADMITTED_MAX, sink.batch_max)
        self._slots = asyncio.Semaphore(sink.concurrency)
        self._wake = asyncio.Event()
        self._closing = False
        self._deliveries = {outcome: metrics.DELIVERIES.labels(self.name, outcome) for outcome in OUTCOMES}
        self._uncounted: Counter[str] = Counter()
        self._attempt_seconds = metrics.DELIVERY_SECONDS.labels(self.name)
        self._delivered_seconds = metrics.DELIVERED_SECONDS.labels(self.name)

    # --- the reader's side

    def positions(self) -> dict[int, int]:
        """Return where to read on, for each shard that has room."""
        return {shard: seq for shard, seq in self._after.items() if self._progress[shard].span < SPAN_MAX}

    def room(self) -> int:
        """Return how many entries of each shard may be read now; 0 until a good part of the window is
        free."""
        free = max(IN_FLIGHT_MAX, 4 * len(self._after)) - (self._taken - self._settled)
        return free // len(self._after) if free >= IN_FLIGHT_MAX // 4 and self._after else 0

    def address(self, entries: Sequence[Entry]) -> list[PendingDelivery]:
        """Return what each of them is for this connector."""
        return [self._addressed(entry) for entry in entries]

    def read_up_to(self, entries: Sequence[Entry]) -> None:
        """Note that these have been read; they come as `accept` next."""
        for entry in entries:
            self._after[entry.shard] = entry.seq
        self._taken += len(entries)

    def accept(self, pending: list[PendingDelivery]) -> None:
        """Take what `address` made of entries that were read."""
        assert self._loop is not None, "the delivery loop runs the dispatcher first"
        with suppress(RuntimeError):  # the loop has ended: the delivery loop's `check` says why
            self._loop.call_soon_threadsafe(self._take, pending)

    def _addressed(self, entry: Entry) -> PendingDelivery:
        match self._door.read(entry.body):
            case Dropped() as refused:
                return PendingDelivery(entry.shard, entry.seq, b"", refused=refused)
            case Dead() as refused:
                return PendingDelivery(entry.shard, entry.seq, entry.body, refused=refused)
            case trigger:
                trigger.receipt.emitted_ms = entry.stamp_ms
                return PendingDelivery(entry.shard, entry.seq, entry.body, trigger)

    # --- the loop's side

    async def run(self) -> None:
        """Deliver until `close`, and then until what is under way has come back."""
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as calls:
            while not self._closing:
                if self._door.disabled:
                    self._lost += [(pending, DISABLED.reason) for pending in self._waiting.clear()]
                if self._lost:
                    await self._keep_dead()
                elif group := self._due():
                    await self._dispatch(group, calls)
                else:
                    await self._rest()
        await self._keep_dead()

    def close(self) -> None:
        """Start nothing new."""
        self._closing = True
        self._wake.set()

    async def close_sink(self) -> None:
        """Close the receiver."""
        await self._sink.close()

    def unstored(self) -> dict[int, int]:
        """Return the cursors that have moved since this was last asked for."""
        moved = {
            shard: progress.cursor
            for shard, progress in self._progress.items()
            if progress.cursor != self._stored[shard]
        }
        self._stored.update(moved)
        return moved

    def uncounted(self) -> dict[str, int]:
        """Return what became of attempts since this was last asked for, by outcome."""
        more, self._uncounted = self._uncounted, Counter()
        return dict(more)

    def count(self, more: Mapping[str, int]) -> None:
        """Add to what is remembered of attempts, by outcome."""
        self._records.count(self.name, more)

    def _count(self, outcome: str) -> None:
        self._deliveries[outcome].inc()
        self._uncounted[outcome] += 1

    def _take(self, taken: list[PendingDelivery]) -> None:
        for pending in taken:
            self._progress[pending.shard].take(pending.seq)
            match pending.refused:
                case Dead(reason):
                    self._lost.append((pending, reason))
                case Dropped():
                    self._finish(pending)
                case None:
                    self._rank += 1
                    pending.rank = self._rank
                    self._waiting.push(pending.due_ms, pending.rank, pending)
        self.moved()
        self._wake.set()

    def _due(self) -> list[PendingDelivery]:
        now = _now_ms()
        if self._breaker.wait_ms(now) != 0:
            return []
        return self._waiting.pop(now, 1 if self._breaker.is_open else self._group)

    async def _dispatch(self, due: list[PendingDelivery], calls: asyncio.TaskGroup) -> None:
        """Start a call for each batch of what the door lets pass, as the sink's concurrency and the breaker
        let them; what may not go yet waits on."""
        group, deliveries = await self._admitted(due)
        at, asked_ms = 0, _now_ms()
        while at < len(group):
            await self._slots.acquire()
            if _now_ms() - asked_ms > VERDICT_MS:  # a slow receiver: much may have been withdrawn meanwhile
                group, deliveries = await self._admitted(group[at:])
                at, asked_ms = 0, _now_ms()
                if not group:
                    self._slots.release()
                    break
            wanted = 0 if self._closing or self._door.disabled else self._batch_size(group, at)
            count = self._breaker.admit(_now_ms(), wanted)
            if count == 0:
                self._slots.release()
                break
            calls.create_task(self._attempt(group[at : at + count], deliveries[at : at + count]))
            at += count
        for pending in group[at:]:
            self._waiting.push(pending.due_ms, pending.rank, pending)

    def _batch_size(self, group: Sequence[PendingDelivery], at: int) -> int:
        """Return how many from `at` on may go in one call."""
        if group[at].alone:
            return 1
        end = min(len(group), at + self._sink.batch_max)
        return next((here for here in range(at, end) if group[here].alone), end) - at

    async def _admitted(self, due: list[PendingDelivery]) -> tuple[list[PendingDelivery], list[Delivery]]:
        """Return those of these that the door lets pass, and what each of them sends."""
        going, deliveries = [], []
        triggers = [pending.trigger for pending in due if pending.trigger is not None]
        for pending, verdict in zip(due, await self._door.admit(triggers), strict=True):
            match verdict:
                case Admitted(delivery):
                    going.append(pending)
                    deliveries.append(delivery)
                case Postponed(reason):
                    self._later(pending, reason)
                case Dead(reason):
                    self._lost.append((pending, reason))
                case Dropped(reason):
                    log.info("delivery_dropped", connector=self.name, reason=reason)
                    self._finish(pending)
                    self.moved()
        return going, deliveries

    async def _attempt(self, group: list[PendingDelivery], deliveries: list[Delivery]) -> None:
        with self._attempt_seconds.time():
            outcomes = await attempt(self._sink, deliveries, self.name)
        self._slots.release()
        was_open, was_disabled = self._breaker.is_open, self._door.disabled
        for pending, outcome in zip(group, outcomes, strict=True):
            self._settle(pending, outcome)
        self.moved()
        if self._breaker.is_open != was_open:
            self._report_breaker(outcomes[-1])
        if self._door.disabled and not was_disabled:
            log.warning("connector_disabled", connector=self.name)
            await when_there_is_room(self._records.disable, self.name, endpoint(self._connector))
        self._wake.set()

    def _settle(self, pending: PendingDelivery, outcome: Outcome) -> None:
        if isinstance(outcome, Retry):
            pause_ms = None if outcome.after_s is None else outcome.after_s * 1000
            self._breaker.failed(_now_ms(), pause_ms)
            pending.alone = isinstance(outcome, Raised)
            self._later(pending, outcome.reason, pause_ms)
            return
        self._breaker.succeeded()  # whatever it says of this one, it is there
        if isinstance(outcome, Delivered):
            self._note_delivered(pending)
            self._finish(pending)
        else:
            self._lost.append((pending, outcome.reason))
            self._door.disabled |= isinstance(outcome, Disable)

    def _later(self, pending: PendingDelivery, reason: str, pause_ms: float | None = None) -> None:
        """Wait for another attempt, if there is one left."""
        pending.attempts += 1
        if pending.attempts >= self._attempts_max:
            self._lost.append((pending, f"{reason}; {pending.attempts} attempts"))
            return
        self._count("retried")
        self.moved()
        pending.due_ms = _now_ms() + max(
            self._backoff.delay_ms(pending.attempts, random.random()), pause_ms or 0
        )
        self._waiting.push(pending.due_ms, pending.rank, pending)

    async def _keep_dead(self) -> None:
        """Keep what is lost as dead letters: only when one is safe may the cursor pass its trigger."""
        lost, self._lost = self._lost, []
        for pending, reason in lost:
            body = _encode(pending.trigger) if pending.trigger else pending.body
            await when_there_is_room(self._records.keep_dead, self.name, body, reason)
            self._count("dead")
            self._finish(pending)
        if lost:
            self.moved()
            log.warning("deliveries_dead", connector=self.name, count=len(lost), reason=lost[-1][1])

    def _finish(self, pending: PendingDelivery) -> None:
        self._progress[pending.shard].finish(pending.seq)
        self._settled += 1

    def _note_delivered(self, pending: PendingDelivery) -> None:
        self._count("delivered")
        if pending.trigger is not None:
            self._delivered_seconds.observe(
                max(0.0, time.time() - pending.trigger.receipt.received_ms / 1000)
            )

    def _report_breaker(self, outcome: Outcome) -> None:
        metrics.BREAKER_OPEN.labels(self.name).set(self._breaker.is_open)
        if self._breaker.is_open:
            log.warning(
                "connector_rests",
                connector=self.name,
                reason=outcome.reason if isinstance(outcome, Retry) else "",
            )
        else:
            log.info("connector_works_again", connector=self.name)

    async def _rest(self) -> None:
        """Wait until something has come, or is due, or the breaker lets go."""
        now = _now_ms()
        due, open_again = self._waiting.wait_ms(now), self._breaker.wait_ms(now)
        with suppress(TimeoutError):
            async with asyncio.timeout(
                None if due is None or open_again is None else max(due, open_again) / 1000
            ):
                await self._wake.wait()
        self._wake.clear()


def _now_ms() -> float:
    return time.monotonic() * 1000
