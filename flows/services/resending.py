"""What `millrace dead replay` does: events go into the raw log again, facts into their shards' logs, records
into the log of matching, deliveries to their receivers.

An entry is removed when the log or the receiver has what it holds, and not before: a replay that dies
half-way sends some of it twice, which message ids and trigger ids make harmless. What would fail again stays,
with the reason.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from connectors.sinks.sink import Delivered, Delivery, Outcome, Retry, Sink
from connectors.wire import formats
from flows.archive import ARCHIVE
from flows.deliver import INTERNAL, make_sink
from flows.dispatch.attempt import attempt
from flows.runtime import deployment
from schemas.config import Config, Connector
from schemas.errors import Foreign
from schemas.wire.events import DeadLetter, RawEvent, Reject
from schemas.wire.triggers import Absorb, Trigger
from state.dead_letter_logs import DeadDelivery, DeadEvent, DeadExample, DeadFact
from state.directory.directory_protocol import READMITTED
from state.directory.matches import PARTITION as MATCHING

BATCH = 100
_read_absorb = msgspec.msgpack.Decoder(Absorb).decode

AnyDead = TypeVar("AnyDead", DeadEvent, DeadDelivery)


class Tally:
    """What became of them."""

    def __init__(self) -> None:
        self.sent = 0
        self.kept: list[tuple[str, str]] = []  # name, why
        self.notes: list[str] = []

    def keep(self, name: str, why: str) -> None:
        self.kept.append((name, why))


async def resend(
    config: Config,
    events: Iterable[DeadEvent],
    facts: Iterable[DeadFact],
    examples: Iterable[DeadExample],
    deliveries: Iterable[DeadDelivery],
    tally: Tally,
) -> None:
    """All of these. Raises `LogFull`, `Unreachable`."""
    _readmit(config, facts, tally)
    for dead in examples:
        deployment.models(config).readmit(dead)
        tally.sent += 1
    batches = _batches(events)
    if (first := next(batches, None)) is not None:
        await _resend_events(config, first, batches, tally)
    await _resend_deliveries(config, _batches(deliveries), tally)


# --- events
# ---------------------------------------------------------------------------------------------------------


async def _resend_events(
    config: Config, batch: list[DeadEvent] | None, rest: Iterator[list[DeadEvent]], tally: Tally
) -> None:
    letters, mender = deployment.dead_events(config), _Mender(config)
    writer = deployment.raw_writer(config)
    try:
        while batch:
            ready: list[tuple[str, RawEvent]] = []
            going: list[str] = []
            for dead in batch:
                if dead.letter.partition == MATCHING:
                    hear(config, dead, tally)
                    continue
                mended = mender.mend(dead.letter)
                if isinstance(mended, Reject):
                    tally.keep(
                        dead.name, f"it would be refused again: {mended.reason}: {mended.detail}".rstrip(": ")
                    )
                else:
                    ready.append(mended)
                    going.append(dead.id)
            await writer.append(ready)
            letters.drop(going)
            tally.sent += len(going)
            batch = next(rest, None)
    finally:
        await writer.close()
        mender.close()


def hear(config: Config, dead: DeadEvent, tally: Tally) -> None:
    """What matching raised on goes into its log again, as an entry of its own."""
    if not config.matching.enabled:
        tally.keep(dead.name, "matching is off (matching.enabled)")
        return
    try:
        body = deployment.log_seal(config).open(dead.letter.sealed)
    except Foreign as error:
        tally.keep(dead.name, str(error))
        return
    deployment.directory(config).hear_again(dead.name, chr(body[0]), body[1:], dead.letter.received_ms)
    deployment.dead_events(config).drop([dead.id])
    tally.sent += 1


class _Mender:
    """Decides whether an event would pass now. One that would not is left alone: it would only come back, and
    it would count towards `validate.reject_percent`, which suspends its source."""

    def __init__(self, config: Config) -> None:
        self._seal = deployment.log_seal(config)
        self._avro = deployment.avro_reader(config)
        self._validator = deployment.validator(config)

    def mend(self, letter: DeadLetter) -> tuple[str, RawEvent] | Reject:
        """The event as the raw log takes it, under the key that keeps a customer's order. The time of its
        receipt stays, because a message without an id of its own is named by it."""
        try:
            value = self._translated(letter)
        except Foreign as error:
            return Reject("seal_broken", str(error))
        if isinstance(value, Reject):
            return value
        event = RawEvent(value, letter.received_ms, letter.source)
        try:
            checked = self._validator.check(event)
        except Exception as error:  # noqa: BLE001  # the defect that made it `poison` is still there
            return Reject("poison", type(error).__name__)
        return checked if isinstance(checked, Reject) else (checked.user_id or checked.message, event)

    def _translated(self, letter: DeadLetter) -> bytes | Reject:
        """As JSON of Segment's form: what the edge could not read then, it may read now that a schema or a
        key is back."""
        value = self._seal.open(letter.sealed)
        match letter.reason:
            case "seal_broken":
                return self._seal.open(value)
            case "schema_unknown" | "avro_invalid":
                return self._avro.message(value)
            case "cloudevent_invalid":
                return formats.structured(value)
            case _:
                return value

    def close(self) -> None:
        self._avro.close()


# --- facts
# ----------------------------------------------------------------------------------------------------------


def _readmit(config: Config, facts: Iterable[DeadFact], tally: Tally) -> None:
    """They passed once, and what they hold is sealed for their customer, so they go in where windows come
    out: by the directory, into the log of whoever the customer is now. They keep their message id, by which a
    customer counts each once."""
    directory, letters = deployment.directory(config), deployment.dead_facts(config)
    for dead in facts:
        found = dead.quarantined
        if not found.payload:
            tally.keep(dead.name, "a timer was due: its customer is looked at again anyhow")
            continue
        while not directory.readmit(directory.sent(READMITTED) + 1, found.origin, found.payload):
            pass  # another replay took that sequence just now
        letters.drop(dead)
        tally.sent += 1


# --- deliveries
# -----------------------------------------------------------------------------------------------------


async def _resend_deliveries(config: Config, batches: Iterator[list[DeadDelivery]], tally: Tally) -> None:
    connectors = {connector.name: connector for connector in config.connector if connector.enabled}
    counters: dict[str, _Counter] = {}
    make = make_sink(config, deployment.redis_url(config))
    try:
        for batch in batches:
            by_connector: dict[str, list[DeadDelivery]] = defaultdict(list)
            for dead in batch:
                by_connector[dead.connector].append(dead)
            for name, found in by_connector.items():
                if name == ARCHIVE and name not in connectors:
                    _look_up(config, found, tally)
                    continue
                if name == INTERNAL:
                    _forward(config, found, tally)
                    continue
                if name not in connectors:
                    for dead in found:
                        tally.keep(dead.name, f"no connector {name} is configured and enabled")
                    continue
                if connectors[name].lacks_secret:
                    for dead in found:
                        tally.keep(
                            dead.name,
                            f"{name}: its secret is not in the environment; set the variable that its `secrets` names",
                        )
                    continue
                if name not in counters:
                    counters[name] = _Counter(config, connectors[name], make(connectors[name]))
                await counters[name].hand_over(found, tally)
    finally:
        for counter in counters.values():
            await counter.close()


def _forward(config: Config, found: list[DeadDelivery], tally: Tally) -> None:
    """Customers who retired, on their way to who survived them."""
    directory, letters = deployment.directory(config), deployment.dead_deliveries(config)
    for dead in found:
        try:
            message = _read_absorb(dead.body)
        except (ValueError, RecursionError):
            tally.keep(dead.name, "what it holds is no customer on the way to another")
            continue
        directory.forward_again(dead.name, message)
        letters.drop([dead.id])
        tally.sent += 1


def _look_up(config: Config, found: list[DeadDelivery], tally: Tally) -> None:
    """Entries that the archive keeps as they lay in the journal: nothing has to be sent, but this build must
    be able to read and to write them."""
    archive = deployment.archive(config)
    for dead in found:
        try:
            kept = archive.entry(int(dead.body))
            if kept is None:
                raise Foreign("the archive has no such entry any more")
            archive.packed(kept.entry)
        except Exception as error:  # noqa: BLE001  # the defect that it was kept for is still there
            tally.keep(
                dead.name,
                str(error)
                if isinstance(error, Foreign)
                else f"this build raises on it too: {type(error).__name__}",
            )
            continue
        deployment.dead_deliveries(config).drop([dead.id])
        tally.sent += 1
        tally.notes.append(
            f"{dead.name}: entry {kept.entry.seq} of the journal is whole in the archive: {kept.place}"
        )


class _Counter:
    """One receiver. After `deliver.breaker_failures` failures in a row it is left in peace."""

    def __init__(self, config: Config, connector: Connector, sink: Sink) -> None:
        self._connector = connector
        self._sink = sink
        self._letters = deployment.dead_deliveries(config)
        self._deliveries = deployment.deliveries(config)
        self._identify = deployment.identify(config)
        self._failures_max = config.deliver.breaker_failures
        self._failures = 0

    async def hand_over(self, found: list[DeadDelivery], tally: Tally) -> None:
        ready: list[tuple[DeadDelivery, Trigger]] = []
        for dead in found:
            if (trigger := dead.trigger) is None:
                tally.keep(dead.name, "what it holds is no trigger")
            else:
                ready.append((dead, trigger))
        size = self._sink.batch_max
        for at in range(0, len(ready), size):
            part = ready[at : at + size]
            if self._failures >= self._failures_max:
                for dead, _ in part:
                    tally.keep(dead.name, f"{self._connector.name} failed {self._failures} times in a row")
                continue
            triggers = [trigger for _, trigger in part]
            names = self._identify([trigger.customer for trigger in triggers], self._connector.identify)
            batch = [Delivery(trigger, known) for trigger, known in zip(triggers, names, strict=True)]
            outcomes = await attempt(self._sink, batch, self._connector.name)
            self._settle([dead for dead, _ in part], outcomes, tally)

    def _settle(self, tried: list[DeadDelivery], outcomes: list[Outcome], tally: Tally) -> None:
        taken = []
        for dead, outcome in zip(tried, outcomes, strict=True):
            self._failures = self._failures + 1 if isinstance(outcome, Retry) else 0
            if isinstance(outcome, Delivered):
                taken.append(dead.id)
            else:
                tally.keep(dead.name, f"{self._connector.name}: {outcome.reason}")
        self._letters.drop(taken)
        tally.sent += len(taken)
        if taken and self._connector.name in self._deliveries.disabled():
            self._deliveries.enable(self._connector.name)
            tally.notes.append(
                f"{self._connector.name} had answered 410 and takes triggers again: restart `deliver` to go on with it"
            )

    async def close(self) -> None:
        await self._sink.close()


def _batches(found: Iterable[AnyDead]) -> Iterator[list[AnyDead]]:
    iterator = iter(found)
    return iter(lambda: list(islice(iterator, BATCH)), [])
