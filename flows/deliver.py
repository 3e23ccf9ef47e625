"""The flow `deliver`: outbox -> dispatchers -> receivers, and the internal lane -> directory.

    read      each dispatcher from its own cursors, so that none waits for another; blocks while there is
              nothing for anybody
    address   decode; which entries are for this connector
    hand out  to the dispatcher, whose calls run beside this dataflow (`flows.dispatch.dispatcher`,
              `flows.dispatch.loop`)

A cursor passes a trigger when it has been delivered, or is safe as a dead letter: at least once, with ids
that stay the same.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import bytewax.operators as op
import msgspec
import structlog
from bytewax.dataflow import Dataflow

from connectors.sinks.sink import Sink
from flows.dispatch.admission import Admission, doors
from flows.dispatch.dispatcher import DeliveryRecords, Dispatcher, Entry
from flows.dispatch.loop import DeliveryLoop
from flows.runtime.engine import Stop, run_flow
from flows.runtime.sift import note, story
from flows.runtime.steps import each, steps_sink, steps_source
from schemas.config import Config, Connector
from schemas.errors import LogFull
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Absorb
from state.redis.client import INFRASTRUCTURE

if TYPE_CHECKING:  # who runs this flow has made one; others need only its steps
    from flows.runtime.deployment import Deployment

log = structlog.get_logger()

BLOCK_MS = 500  # nothing to do: the longest that a stop, or an absorb, waits
_BUSY_BLOCK_MS = 10  # somebody's window is full: look again soon
_STEADY_ROOM = 100  # entries of each shard
_TRIM_EVERY_S = 1.0
INTERNAL = "internal"  # the consumer of the internal lane, and the connector that its dead letters name


class Outbox(Protocol):
    """What this flow needs of the shards' outboxes."""

    def cursors(self, lane: str, consumer: str) -> dict[int, int]:
        """Return how far a consumer has come in each shard."""

    def read(self, lane: str, after: Mapping[int, int], count: int, block_ms: int) -> Sequence[Entry]:
        """Return entries behind these positions; wait up to `block_ms` for the first."""

    def advance(self, lane: str, consumer: str, upto: Mapping[int, int]) -> None:
        """Move a consumer's cursors."""

    def trim(self, lane: str, consumers: Sequence[str]) -> None:
        """Drop what all of these consumers have passed."""


class Directory(Protocol):
    """What this flow needs of the directory."""

    def forward(self, shard: int, seq: int, message: Absorb) -> bool:
        """Append an absorb to the log of whoever holds the survivor now; return False if it was seen
        before."""


class Reader(Protocol):
    """Something that the flow reads a lane for."""

    lane: str

    def positions(self) -> dict[int, int]:
        """Return where to read on, for each shard that it wants more of."""

    def room(self) -> int:
        """Return how many entries of each shard it can take; 0: none now."""

    def read_up_to(self, entries: Sequence[Entry]) -> None:
        """Note that these are on their way to `accept`."""

    def address(self, entries: Sequence[Entry]) -> list[Any]:
        """Return what `accept` wants to have of them."""

    def accept(self, items: list[Any]) -> None:
        """Take what `address` made."""


class Work(NamedTuple):
    """What was read for one reader: entries first, then what `address` made of them."""

    reader: Reader
    items: Sequence[Any]


class Steady:
    """A reader that does its work at once, in order, in the dataflow's own thread."""

    def __init__(
        self,
        outbox: Outbox,
        lane: str,
        consumer: str,
        cursors: Mapping[int, int],
        handle: Callable[[Entry], None],
        clock: Callable[[], float] = time.monotonic,
        patiently: Callable[[Callable[[], None]], bool] | None = None,
    ) -> None:
        """Begin at `cursors`. `patiently` does a step when there is room for what it writes, and returns
        False if there is no more time."""
        self.lane = lane
        self._outbox, self._consumer, self._handle = outbox, consumer, handle
        self._after = dict(cursors)
        self._clock = clock
        self._patiently = patiently or Stop().patiently
        self._trim_due = True  # whoever was here before may have died in between
        self._trimmed_s = 0.0

    def positions(self) -> dict[int, int]:
        """Return where to read on."""
        return self._after

    def room(self) -> int:
        """Return how many entries it takes; and tidy up behind itself, since this is asked whether there is
        work or not."""
        if self._trim_due and self._clock() - self._trimmed_s >= _TRIM_EVERY_S:
            self._trimmed_s = self._clock()
            with suppress(LogFull):
                self._outbox.trim(self.lane, [self._consumer])
                self._trim_due = False
        return _STEADY_ROOM

    def read_up_to(self, entries: Sequence[Entry]) -> None:
        """Note that these have been read."""
        self._after.update({entry.shard: entry.seq for entry in entries})

    def address(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries as they are."""
        return list(entries)

    def accept(self, items: list[Entry]) -> None:
        """Handle these, then move the cursors behind them."""
        upto = {entry.shard: entry.seq for entry in items}
        steps: list[Callable[[], None]] = [partial(self._handle, entry) for entry in items]
        steps.append(partial(self._outbox.advance, self.lane, self._consumer, upto))
        self._trim_due = all(self._patiently(step) for step in steps) or self._trim_due


def forwarding(directory: Directory, dead: Callable[[str, bytes, str], None]) -> Callable[[Entry], None]:
    """Return what handles the internal lane: an absorb goes to the log of whichever shard holds the survivor
    now. The directory drops repeats."""
    decode = msgspec.msgpack.Decoder(Absorb).decode

    def handle(entry: Entry) -> None:
        try:
            message = decode(entry.body)
        except (ValueError, RecursionError) as error:  # a text that is no UTF-8 is no error of msgspec's own
            dead(INTERNAL, entry.body, f"not an absorb: {error}")
            return
        try:
            directory.forward(entry.shard, entry.seq, message)
        except INFRASTRUCTURE:
            raise
        except Exception as error:  # noqa: BLE001  # a defect of ours on this one: it must not hold back the others
            note("deliver", error, shard=entry.shard, entry=entry.seq)
            dead(INTERNAL, entry.body, f"poison: {story(error)}")

    return handle


class DeliveryWorker:
    """All readers of one worker, and what they share."""

    def __init__(
        self,
        config: Config,
        shards: Sequence[int],
        *,
        outbox: Outbox,
        directory: Directory,
        records: DeliveryRecords,
        door: Callable[[Connector], Admission],
        sink: Callable[[Connector], Sink],
        stop: Stop | None = None,
    ) -> None:
        """Make the readers. `stop` ends what waits for room. Raises `ConfigError` for a connector that can
        never work."""
        patiently = (stop or Stop()).patiently

        def cursors(lane: str, consumer: str) -> dict[int, int]:
            stored = outbox.cursors(lane, consumer)
            return {shard: stored.get(shard, 0) for shard in shards}

        self._outbox = outbox
        dispatchers = [
            Dispatcher(
                connector,
                config.deliver,
                sink(connector),
                door(connector),
                records,
                cursors(Lane.TRIGGERS, connector.name),
            )
            for connector in config.connector
            if connector.enabled
        ]
        internal = Steady(
            outbox,
            Lane.ABSORBS,
            INTERNAL,
            cursors(Lane.ABSORBS, INTERNAL),
            forwarding(directory, records.keep_dead),
            patiently=patiently,
        )
        self._readers: list[Reader] = [*dispatchers, internal]
        if not dispatchers:  # triggers for nobody must not fill the outbox
            self._readers.append(
                Steady(
                    outbox,
                    Lane.TRIGGERS,
                    "nobody",
                    cursors(Lane.TRIGGERS, "nobody"),
                    lambda _: None,
                    patiently=patiently,
                )
            )
        self._loop = DeliveryLoop(dispatchers, outbox)

    def start(self) -> None:
        """Start the dispatchers."""
        self._loop.start()

    def stop(self) -> None:
        """Wait for what is under way."""
        self._loop.close()

    def collect(self) -> list[Work]:
        """Return what there is for each reader with room; wait up to `BLOCK_MS` for the first entry."""
        self._loop.check()
        free = [reader for reader in self._readers if reader.room() and reader.positions()]
        work = [found for reader in free if (found := self._read(reader, 0)).items]
        if work:
            return work
        full = len(free) < len(self._readers)
        block_ms = _BUSY_BLOCK_MS if full else BLOCK_MS
        # Who has just found nothing is at the end of every shard, so one of them can wait for all: new
        # triggers wake it
        waiting = next((reader for reader in free if reader.lane == Lane.TRIGGERS), None)
        if waiting is None:
            time.sleep(block_ms / 1000)
            return []
        found = self._read(waiting, block_ms)
        return [found] if found.items else []

    def _read(self, reader: Reader, block_ms: int) -> Work:
        entries = self._outbox.read(reader.lane, reader.positions(), reader.room(), block_ms)
        reader.read_up_to(entries)
        return Work(reader, entries)


def _hand_out(work: Work) -> None:
    work.reader.accept(list(work.items))


def dataflow(worker: DeliveryWorker, stop: Stop) -> Dataflow:
    """Read, address, hand out. It ends when `stop` says so; what is under way is waited for."""
    flow = Dataflow("deliver")
    source = steps_source(worker.collect, stop, begin=worker.start, end=worker.stop)
    read = op.input("read", flow, source)
    addressed = op.map("address", read, lambda work: Work(work.reader, work.reader.address(work.items)))
    op.output("hand_out", addressed, steps_sink(each(_hand_out), stop))
    return flow


def run(deployment: "Deployment", worker: int, workers: int) -> None:
    """Deliver what the shards at `worker` modulo `workers` send, until SIGTERM or SIGINT. Raises `Fatal`,
    `ConfigError`."""
    config = deployment.config
    shards = range(worker, config.shards.count, workers)
    stop = Stop()
    made = DeliveryWorker(
        config,
        shards,
        outbox=deployment.outbox,
        directory=deployment.directory,
        records=deployment.deliveries,
        door=doors(deployment),
        sink=deployment.sink,
        stop=stop,
    )
    log.info(
        "deliver_started",
        shards=len(shards),
        connectors=[connector.name for connector in config.connector if connector.enabled],
    )
    run_flow(dataflow(made, stop), stop)
