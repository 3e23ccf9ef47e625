"""A dispatcher takes triggers to one connector: it joins identifiers, tries, tries again, gives up.

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
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
import structlog

from connectors.sinks.sink import Delivered, Delivery, Disable, Outcome, Retry, Sink
from flows.dispatch.attempt import Raised, attempt
from flows.logic.delivery import Backoff, Breaker, BreakerPolicy, Progress, Waiting
from flows.logic.shard.quarantine import places
from schemas import metrics
from schemas.config import Connector, Deliver
from schemas.errors import CustomerDamaged, LogFull
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Trigger
from state.redis.client import INFRASTRUCTURE

log = structlog.get_logger()

IN_FLIGHT_MAX = 4_096  # triggers of one connector in memory, those that wait for a retry included
OUTCOMES = ("delivered", "retried", "dead")
SPAN_MAX = (
    2_000  # of one shard, from the lowest unsettled one on: what is delivered again after a crash, at most
)
_IDENTIFY = 256  # customers in one call, unless the sink takes larger batches

_decode = msgspec.msgpack.Decoder(Trigger).decode
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


@dataclass(frozen=True)
class Desk:
    """What a dispatcher needs of state."""

    identify: Callable[
        [list[str], tuple[str, ...]], list[dict[str, str]]
    ]  # the sealed fields of these customers, opened
    dead: Callable[[str, bytes, str], None]  # keep (connector, packed trigger, reason) for `millrace dead`
    disable: Callable[[str, str], None]  # remember that this (connector, endpoint) wants nothing more
    disabled: Callable[[], Mapping[str, str]]  # connector -> endpoint of those remembered
    count: Callable[[str, Mapping[str, int]], None] = lambda _connector, _more: (
        None
    )  # add these to what `millrace status` shows


@dataclass(slots=True, eq=False)
class Parcel:
    """One outbox entry on its way to one connector. Without a trigger it has nothing to carry: not for us, or
    broken (`fault`)."""

    shard: int
    seq: int
    body: bytes
    trigger: Trigger | None = None
    fault: str = ""
    rank: int = 0  # the order of arrival
    attempts: int = 0
    due_ms: float = 0.0
    alone: bool = False  # goes in a batch of its own, since it was in one that the sink raised on


async def when_there_is_room(call: Callable[..., None], *args: Any) -> None:
    """`call` in a thread, again and again while Redis has no room for what it writes."""
    while True:
        try:
            return await asyncio.to_thread(call, *args)
        except LogFull as full:
            log.warning("no_room", reason=str(full))
            await asyncio.sleep(full.retry_after_s)


def endpoint(connector: Connector) -> str:
    """What a 410 disables: another URL is another endpoint. A digest, because a URL may hold a secret."""
    return blake2b(connector.endpoint.encode(), digest_size=8).hexdigest()


class Dispatcher:
    """One connector's triggers in the shards of this worker."""

    lane = Lane.TRIGGERS

    def __init__(
        self, connector: Connector, deliver: Deliver, sink: Sink, desk: Desk, cursors: Mapping[int, int]
    ) -> None:
        """`cursors`: where to begin in each shard that is ours."""
        self.name = connector.name
        self.disabled = desk.disabled().get(connector.name) == endpoint(connector)
        self.moved: Callable[[], None] = lambda: None  # set by the delivery loop: a cursor may have moved
        self._connector, self._sink, self._desk = connector, sink, desk
        # the reader's side
        self._after = dict(cursors)
        self._taken = 0
        # the loop's side
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settled = 0
        self._progress = {shard: Progress(seq) for shard, seq in cursors.items()}
        self._stored = dict(cursors)
        self._waiting: Waiting[Parcel] = Waiting()
        self._lost: list[tuple[Parcel, str]] = []  # to be dead letters
        self._rank = 0
        self._backoff = Backoff(deliver.backoff, deliver.backoff_max)
        self._breaker = Breaker(BreakerPolicy(deliver.breaker_failures, deliver.breaker_rest))
        self._attempts_max = deliver.attempts
        self._group = max(_IDENTIFY, sink.batch_max)
        self._slots = asyncio.Semaphore(sink.concurrency)
        self._wake = asyncio.Event()
        self._closing = False
        self._deliveries = {outcome: metrics.DELIVERIES.labels(self.name, outcome) for outcome in OUTCOMES}
        self._uncounted: Counter[str] = Counter()
        self._attempt_seconds = metrics.DELIVERY_SECONDS.labels(self.name)
        self._delivered_seconds = metrics.DELIVERED_SECONDS.labels(self.name)

    # --- the reader's side
    # ------------------------------------------------------------------------------------------

    def positions(self) -> dict[int, int]:
        """Where to read on, for each shard that has room."""
        return {shard: seq for shard, seq in self._after.items() if self._progress[shard].span < SPAN_MAX}

    def room(self) -> int:
        """How many entries of each shard may be read now; 0 until a good part of the window is free."""
        free = max(IN_FLIGHT_MAX, 4 * len(self._after)) - (self._taken - self._settled)
        return free // len(self._after) if free >= IN_FLIGHT_MAX // 4 and self._after else 0

    def address(self, entries: Sequence[Entry]) -> list[Parcel]:
        """Which of them are for this connector."""
        return [self._addressed(entry) for entry in entries]

    def read_up_to(self, entries: Sequence[Entry]) -> None:
        """These have been read; they come as `accept` next."""
        for entry in entries:
            self._after[entry.shard] = entry.seq
        self._taken += len(entries)

    def accept(self, parcels: list[Parcel]) -> None:
        assert self._loop is not None, "the delivery loop runs the dispatcher first"
        with suppress(RuntimeError):  # the loop has ended: the delivery loop's `check` says why
            self._loop.call_soon_threadsafe(self._take, parcels)

    def _addressed(self, entry: Entry) -> Parcel:
        if self.disabled:
            return Parcel(entry.shard, entry.seq, b"")
        try:
            trigger = _decode(entry.body)
        except (ValueError, RecursionError) as error:  # a text that is no UTF-8 is no error of msgspec's own
            return Parcel(entry.shard, entry.seq, entry.body, fault=f"not a trigger: {error}")
        if self.name not in trigger.to:
            return Parcel(entry.shard, entry.seq, b"")
        trigger.receipt.emitted_ms = entry.stamp_ms
        return Parcel(entry.shard, entry.seq, entry.body, trigger)

    # --- the loop's side
    # --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `close`, and then until what is under way has come back."""
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as calls:
            while not self._closing:
                if self.disabled:
                    self._lost += [(parcel, "the connector is disabled") for parcel in self._waiting.clear()]
                if self._lost:
                    await self._bury()
                elif group := self._due():
                    await self._dispatch(group, calls)
                else:
                    await self._rest()
        await self._bury()

    def close(self) -> None:
        """Start nothing new."""
        self._closing = True
        self._wake.set()

    async def close_sink(self) -> None:
        await self._sink.close()

    def unstored(self) -> dict[int, int]:
        """Cursors that have moved since they were last asked for."""
        moved = {
            shard: progress.cursor
            for shard, progress in self._progress.items()
            if progress.cursor != self._stored[shard]
        }
        self._stored.update(moved)
        return moved

    def uncounted(self) -> dict[str, int]:
        """What became of attempts since this was last asked for, by outcome."""
        more, self._uncounted = self._uncounted, Counter()
        return dict(more)

    def count(self, more: Mapping[str, int]) -> None:
        self._desk.count(self.name, more)

    def _count(self, outcome: str) -> None:
        self._deliveries[outcome].inc()
        self._uncounted[outcome] += 1

    def _take(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            self._progress[parcel.shard].take(parcel.seq)
            if parcel.fault:
                self._lost.append((parcel, parcel.fault))
            elif parcel.trigger is None:
                self._finish(parcel)
            else:
                self._rank += 1
                parcel.rank = self._rank
                self._waiting.push(parcel.due_ms, parcel.rank, parcel)
        self.moved()
        self._wake.set()

    def _due(self) -> list[Parcel]:
        now = _now_ms()
        if self._breaker.wait_ms(now) != 0:
            return []
        return self._waiting.pop(now, 1 if self._breaker.is_open else self._group)

    async def _dispatch(self, group: list[Parcel], calls: asyncio.TaskGroup) -> None:
        """Start a call for each batch of these, as the sink's concurrency and the breaker let them; what may
        not go waits on."""
        group, deliveries = await self._identified(group)
        at = 0
        while at < len(group):
            await self._slots.acquire()
            wanted = 0 if self._closing or self.disabled else self._batch_size(group, at)
            count = self._breaker.admit(_now_ms(), wanted)
            if count == 0:
                self._slots.release()
                break
            calls.create_task(self._attempt(group[at : at + count], deliveries[at : at + count]))
            at += count
        for parcel in group[at:]:
            self._waiting.push(parcel.due_ms, parcel.rank, parcel)

    def _batch_size(self, group: Sequence[Parcel], at: int) -> int:
        """How many from `at` on may go in one call."""
        if group[at].alone:
            return 1
        end = min(len(group), at + self._sink.batch_max)
        return next((here for here in range(at, end) if group[here].alone), end) - at

    async def _identified(self, group: list[Parcel]) -> tuple[list[Parcel], list[Delivery]]:
        """Asked anew for each attempt: a customer who has been erased since must not go out from memory.
        Without those who cannot be named, which wait for another attempt."""
        try:
            return group, await self._named(group)
        except CustomerDamaged as error:
            where = str(error)
        except INFRASTRUCTURE:
            raise
        except Exception as error:  # noqa: BLE001  # a defect of ours, on somebody among them
            where = f"{type(error).__name__} at {places(error)[-1]}"
        if len(group) == 1:
            log.error(
                "customer_not_named",
                connector=self.name,
                where=where,
                then="tried again, in the end a dead letter",
            )
            self._later(group[0], f"the customer cannot be named: {where}")
            return [], []
        alone = [await self._identified([parcel]) for parcel in group]
        return [parcel for parcels, _ in alone for parcel in parcels], [
            delivery for _, found in alone for delivery in found
        ]

    async def _named(self, group: list[Parcel]) -> list[Delivery]:
        triggers = [parcel.trigger for parcel in group if parcel.trigger is not None]
        if not self._connector.identify:
            return [Delivery(trigger, {}) for trigger in triggers]
        customers = [trigger.customer for trigger in triggers]
        names = await asyncio.to_thread(self._desk.identify, customers, self._connector.identify)
        return [Delivery(trigger, known) for trigger, known in zip(triggers, names, strict=True)]

    async def _attempt(self, parcels: list[Parcel], deliveries: list[Delivery]) -> None:
        with self._attempt_seconds.time():
            outcomes = await attempt(self._sink, deliveries, self.name)
        self._slots.release()
        was_open, was_disabled = self._breaker.is_open, self.disabled
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            self._settle(parcel, outcome)
        self.moved()
        if self._breaker.is_open != was_open:
            self._report_breaker(outcomes[-1])
        if self.disabled and not was_disabled:
            log.warning("connector_disabled", connector=self.name)
            await when_there_is_room(self._desk.disable, self.name, endpoint(self._connector))
        self._wake.set()

    def _settle(self, parcel: Parcel, outcome: Outcome) -> None:
        if isinstance(outcome, Retry):
            pause_ms = None if outcome.after_s is None else outcome.after_s * 1000
            self._breaker.failed(_now_ms(), pause_ms)
            parcel.alone = isinstance(outcome, Raised)
            self._later(parcel, outcome.reason, pause_ms)
            return
        self._breaker.succeeded()  # whatever it says of this one, it is there
        if isinstance(outcome, Delivered):
            self._note_delivered(parcel)
            self._finish(parcel)
        else:
            self._lost.append((parcel, outcome.reason))
            self.disabled |= isinstance(outcome, Disable)

    def _later(self, parcel: Parcel, reason: str, pause_ms: float | None = None) -> None:
        """Another attempt, if there is one left."""
        parcel.attempts += 1
        if parcel.attempts >= self._attempts_max:
            self._lost.append((parcel, f"{reason}; {parcel.attempts} attempts"))
            return
        self._count("retried")
        self.moved()
        parcel.due_ms = _now_ms() + max(
            self._backoff.delay_ms(parcel.attempts, random.random()), pause_ms or 0
        )
        self._waiting.push(parcel.due_ms, parcel.rank, parcel)

    async def _bury(self) -> None:
        """Only when a dead letter is safe may the cursor pass its trigger."""
        lost, self._lost = self._lost, []
        for parcel, reason in lost:
            body = _encode(parcel.trigger) if parcel.trigger else parcel.body
            await when_there_is_room(self._desk.dead, self.name, body, reason)
            self._count("dead")
            self._finish(parcel)
        if lost:
            self.moved()
            log.warning("deliveries_dead", connector=self.name, count=len(lost), reason=lost[-1][1])

    def _finish(self, parcel: Parcel) -> None:
        self._progress[parcel.shard].finish(parcel.seq)
        self._settled += 1

    def _note_delivered(self, parcel: Parcel) -> None:
        self._count("delivered")
        if parcel.trigger is not None:
            self._delivered_seconds.observe(max(0.0, time.time() - parcel.trigger.receipt.received_ms / 1000))

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
        """Until something has come, or is due, or the breaker lets go."""
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
