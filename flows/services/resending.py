"""How dead letters are sent again: events into the raw log, facts into their shards' logs, records into the
log of matching, deliveries to their receivers.

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
from flows.deliver import INTERNAL
from flows.dispatch.admission import Admission, doors
from flows.dispatch.attempt import attempt
from flows.dispatch.verdicts import Admitted
from flows.runtime.deployment import Deployment
from schemas.config import Connector
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
    deployment: Deployment,
    events: Iterable[DeadEvent],
    facts: Iterable[DeadFact],
    examples: Iterable[DeadExample],
    deliveries: Iterable[DeadDelivery],
    tally: Tally,
) -> None:
    """Send all of these again; `tally` says what became of them. Raises `LogFull`, `Unreachable`."""
    _readmit(deployment, facts, tally)
    for dead in examples:
        deployment.models.readmit(dead)
        tally.sent += 1
    batches = _batches(events)
    if (first := next(batches, None)) is not None:
        await _resend_events(deployment, first, batches, tally)
    await _resend_deliveries(deployment, _batches(deliveries), tally)


# --- events ---------------------------------------------------------------------------------------


async def _resend_events(
    deployment: Deployment, batch: list[DeadEvent] | None, rest: Iterator[list[DeadEvent]], tally: Tally
) -> None:
    letters, mender = deployment.dead_events, _Mender(deployment)
    writer = deployment.raw_writer()
    try:
        while batch:
            ready: list[tuple[str, RawEvent]] = []
            going: list[str] = []
            for dead in batch:
                if dead.letter.partition == MATCHING:
                    hear(deployment, dead, tally)
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


def hear(deployment: Deployment, dead: DeadEvent, tally: Tally) -> None:
    """Put what matching raised on into its log again, as an entry of its own."""
    if not deployment.config.matching.enabled:
        tally.keep(dead.name, "matching is off (matching.enabled)")
        return
    try:
        body = deployment.log_seal.open(dead.letter.sealed)
    except Foreign as error:
        tally.keep(dead.name, str(error))
        return
    deployment.directory.hear_again(dead.name, chr(body[0]), body[1:], dead.letter.received_ms)
    deployment.dead_events.drop([dead.id])
    tally.sent += 1


class _Mender:
    """Decides whether an event would pass now. One that would not is left alone: it would only come back, and
    it would count towards `validate.reject_percent`, which suspends its source."""

    def __init__(self, deployment: Deployment) -> None:
        self._seal = deployment.log_seal
        self._avro = deployment.avro_reader()
        self._validator = deployment.validator()

    def mend(self, letter: DeadLetter) -> tuple[str, RawEvent] | Reject:
        """Return the event as the raw log takes it, under the key that keeps a customer's order. The time of
        its receipt stays, because a message without an id of its own is named by it."""
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


# --- facts ----------------------------------------------------------------------------------------


def _readmit(deployment: Deployment, facts: Iterable[DeadFact], tally: Tally) -> None:
    """They passed once, and what they hold is sealed for their customer, so they go in where windows come
    out: by the directory, into the log of whoever the customer is now. They keep their message id, by which a
    customer counts each once."""
    directory, letters = deployment.directory, deployment.dead_facts
    for dead in facts:
        found = dead.quarantined
        if not found.payload:
            tally.keep(dead.name, "a timer was due: its customer is looked at again anyhow")
            continue
        while not directory.readmit(directory.sent(READMITTED) + 1, found.origin, found.payload):
            pass  # another replay took that sequence just now
        letters.drop(dead)
        tally.sent += 1


# --- deliveries -----------------------------------------------------------------------------------


async def _resend_deliveries(
    deployment: Deployment, batches: Iterator[list[DeadDelivery]], tally: Tally
) -> None:
    connectors = {connector.name: connector for connector in deployment.config.connector if connector.enabled}
    receivers: dict[str, _Receiver] = {}
    door = doors(deployment)
    try:
        for batch in batches:
            by_connector: dict[str, list[DeadDelivery]] = defaultdict(list)
            for dead in batch:
                by_connector[dead.connector].append(dead)
            for name, found in by_connector.items():
                if name == ARCHIVE and name not in connectors:
                    _look_up(deployment, found, tally)
                elif name == INTERNAL:
                    _forward(deployment, found, tally)
                elif why := _no_receiver(name, connectors.get(name)):
                    for dead in found:
                        tally.keep(dead.name, why)
                else:
                    if name not in receivers:
                        connector = connectors[name]
                        receivers[name] = _Receiver(
                            deployment, connector, door(connector), deployment.sink(connector)
                        )
                    await receivers[name].hand_over(found, tally)
    finally:
        for receiver in receivers.values():
            await receiver.close()


def _no_receiver(name: str, connector: Connector | None) -> str:
    """Why nothing can be sent to it; empty where something can."""
    if connector is None:
        return f"no connector {name} is configured and enabled"
    if connector.lacks_secret:
        return f"{name}: its secret is not in the environment; set the variable that its `secrets` names"
    return ""


def _forward(deployment: Deployment, found: list[DeadDelivery], tally: Tally) -> None:
    """Customers who retired, on their way to who survived them."""
    directory, letters = deployment.directory, deployment.dead_deliveries
    for dead in found:
        try:
            message = _read_absorb(dead.body)
        except (ValueError, RecursionError):
            tally.keep(dead.name, "what it holds is no customer on the way to another")
            continue
        directory.forward_again(dead.name, message)
        letters.drop([dead.id])
        tally.sent += 1


def _look_up(deployment: Deployment, found: list[DeadDelivery], tally: Tally) -> None:
    """Entries that the archive keeps as they lay in the journal: nothing has to be sent, but this build must
    be able to read and to write them."""
    archive = deployment.archive
    for dead in found:
        try:
            kept = archive.entry(int(dead.body))
            if kept is None:
                raise Foreign("the archive has no such entry any more")
            archive.packed(kept.entry)
        except Exception as error:  # noqa: BLE001  # the defect that it was kept for is still there
            raises = f"this build raises on it too: {type(error).__name__}"
            tally.keep(dead.name, str(error) if isinstance(error, Foreign) else raises)
            continue
        deployment.dead_deliveries.drop([dead.id])
        tally.sent += 1
        tally.notes.append(
            f"{dead.name}: entry {kept.entry.seq} of the journal is whole in the archive: {kept.place}"
        )


class _Receiver:
    """One receiver. After `deliver.breaker_failures` failures in a row it is left in peace."""

    def __init__(self, deployment: Deployment, connector: Connector, door: Admission, sink: Sink) -> None:
        """Take a receiver's door and sink. A receiver that had said that it wants nothing more is asked
        again: the door is open for it."""
        self._name = connector.name
        self._door = door
        self._sink = sink
        self._letters = deployment.dead_deliveries
        self._deliveries = deployment.deliveries
        self._failures_max = deployment.config.deliver.breaker_failures
        self._failures = 0

    async def hand_over(self, found: list[DeadDelivery], tally: Tally) -> None:
        """Send these, as far as the door and the receiver let them."""
        ready: list[tuple[DeadDelivery, Trigger]] = []
        for dead in found:
            trigger = self._door.read(dead.body)
            if isinstance(trigger, Trigger):
                ready.append((dead, trigger))
            else:
                tally.keep(dead.name, trigger.reason)
        size = self._sink.batch_max
        for at in range(0, len(ready), size):
            part = ready[at : at + size]
            if self._failures >= self._failures_max:
                for dead, _ in part:
                    tally.keep(dead.name, f"{self._name} failed {self._failures} times in a row")
                continue
            await self._send(part, tally)

    async def _send(self, part: list[tuple[DeadDelivery, Trigger]], tally: Tally) -> None:
        going: list[DeadDelivery] = []
        deliveries: list[Delivery] = []
        verdicts = await self._door.admit([trigger for _, trigger in part])
        for (dead, _), verdict in zip(part, verdicts, strict=True):
            if isinstance(verdict, Admitted):
                going.append(dead)
                deliveries.append(verdict.delivery)
            else:
                tally.keep(dead.name, verdict.reason)
        if going:
            self._settle(going, await attempt(self._sink, deliveries, self._name), tally)

    def _settle(self, tried: list[DeadDelivery], outcomes: list[Outcome], tally: Tally) -> None:
        taken = []
        for dead, outcome in zip(tried, outcomes, strict=True):
            self._failures = self._failures + 1 if isinstance(outcome, Retry) else 0
            if isinstance(outcome, Delivered):
                taken.append(dead.id)
            else:
                tally.keep(dead.name, f"{self._name}: {outcome.reason}")
        self._letters.drop(taken)
        tally.sent += len(taken)
        if taken and self._name in self._deliveries.disabled():
            self._deliveries.enable(self._name)
            again = f"{self._name} had answered 410 and takes triggers again"
            tally.notes.append(f"{again}: restart `deliver` to go on with it")

    async def close(self) -> None:
        await self._sink.close()


def _batches(found: Iterable[AnyDead]) -> Iterator[list[AnyDead]]:
    iterator = iter(found)
    return iter(lambda: list(islice(iterator, BATCH)), [])
