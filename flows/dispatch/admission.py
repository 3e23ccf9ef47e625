"""The one door before every send: first attempt, later retry and replay of a dead letter alike.

It is asked again before each attempt, because what held a moment ago need not hold now: a customer who has
been erased, or has withdrawn a consent, since the trigger was fired gets nothing from memory.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog

from connectors.sinks.sink import Delivery
from flows.dispatch.consent_gate import consent_gate
from flows.dispatch.erased_gate import erased_gate
from flows.dispatch.verdicts import Admitted, Dead, Dropped, Gate, Postponed, Refusal, Verdict
from flows.logic.shard.quarantine import places
from flows.runtime.deployment import Deployment
from flows.runtime.engine import no_room
from flows.runtime.patience import KeysWait, patiently_beside
from schemas import metrics
from schemas.config import Connector
from schemas.errors import CustomerDamaged, KeysAway
from schemas.records.shard_log import NotSent
from schemas.wire.triggers import Trigger
from state.directory.directory_protocol import Directory
from state.redis.client import INFRASTRUCTURE

log = structlog.get_logger()

_decode = msgspec.msgpack.Decoder(Trigger).decode


# The customers' plain values by which a receiver knows them, for customers (hex ids) and fields
Identify = Callable[[list[str], tuple[str, ...]], list[dict[str, str]]]
# Records that this trigger was refused at the door of this connector
Report = Callable[[Trigger, str, Dropped], None]

# What makes the gates of a deployment; asked in this order, before personal data is opened
GATES: tuple[Callable[[Deployment], Gate], ...] = (erased_gate, consent_gate)
DISABLED: Final = Dead("the connector is disabled")
_NOT_ADDRESSED = Dropped("it is not for this connector")
_UNREAD = Dropped(DISABLED.reason)


class Admission:
    """The door of one connector."""

    def __init__(
        self, connector: Connector, identify: Identify, report: Report, gates: Sequence[Gate] = ()
    ) -> None:
        """Open the door. `identify`, `report` and `gates` may block: they are called in a thread."""
        self.disabled = False  # it wants nothing more: set by who sends, when the receiver says so
        self._name = connector.name
        self._fields = connector.identify
        self._identify = identify
        self._report = report
        self._gates = tuple(gates)
        self._keys_wait = KeysWait(connector.name)

    def read(self, body: bytes) -> Trigger | Refusal:
        """Return the trigger that an entry of the outbox, or a dead letter, holds for this connector; or why
        there is none."""
        if self.disabled:
            return _UNREAD
        try:
            trigger = _decode(body)
        except (ValueError, RecursionError) as error:  # text that is not UTF-8 raises an error of Python's
            return Dead(f"not a trigger: {error}")
        return trigger if self._name in trigger.to else _NOT_ADDRESSED

    async def admit(self, triggers: Sequence[Trigger]) -> list[Verdict]:
        """Decide on each of these, in order; to be asked just before each attempt. Raises what ends a
        worker."""
        while True:
            try:
                return await self._decided(triggers)
            except KeysAway as away:  # then all is asked again: who may be written to changes meanwhile
                self._keys_wait(away)
                await asyncio.sleep(away.retry_after_s)

    async def _decided(self, triggers: Sequence[Trigger]) -> list[Verdict]:
        if self.disabled:
            return [DISABLED] * len(triggers)
        verdicts: dict[int, Verdict] = {}
        left = list(range(len(triggers)))
        for gate in self._gates:
            said = await asyncio.to_thread(gate, [triggers[index] for index in left])
            against = {
                index: refusal for index, refusal in zip(left, said, strict=True) if refusal is not None
            }
            verdicts.update(against)
            left = [index for index in left if index not in against]
        named = await self._named([triggers[index] for index in left])
        verdicts.update(zip(left, named, strict=True))
        await self._record(triggers, verdicts)
        return [verdicts[index] for index in range(len(triggers))]

    async def _record(self, triggers: Sequence[Trigger], verdicts: Mapping[int, Verdict]) -> None:
        """Record why what fired is not sent, waiting while Redis has no room. Recorded again, it is there
        once."""
        for index, verdict in verdicts.items():
            if isinstance(verdict, Dropped) and verdict.code:
                metrics.NOT_SENT.labels(self._name, verdict.code).inc()
                await patiently_beside(partial(self._report, triggers[index], self._name, verdict), no_room)

    async def _named(self, triggers: Sequence[Trigger]) -> list[Verdict]:
        """Join the names by which the receiver knows the customers. One who cannot be named holds up nobody
        else."""
        if not self._fields or not triggers:
            return [Admitted(Delivery(trigger, {})) for trigger in triggers]
        customers = [trigger.customer for trigger in triggers]
        try:
            names = await asyncio.to_thread(self._identify, customers, self._fields)
            pairs = list(zip(triggers, names, strict=True))
        except CustomerDamaged as error:
            where = str(error)
        except INFRASTRUCTURE:
            raise
        except Exception as error:  # noqa: BLE001  # a defect of ours, on somebody among them
            where = f"{type(error).__name__} at {places(error)[-1]}"
        else:
            return [Admitted(Delivery(trigger, known)) for trigger, known in pairs]
        if len(triggers) > 1:
            return [verdict for trigger in triggers for verdict in await self._named([trigger])]
        log.error(
            "customer_not_named",
            connector=self._name,
            where=where,
            then="tried again, in the end a dead letter",
        )
        return [Postponed(f"the customer cannot be named: {where}")]


def doors(deployment: Deployment) -> Callable[[Connector], Admission]:
    """Return what makes the door of each connector of a deployment: the same for all ways out."""
    gates = [make(deployment) for make in GATES]
    report = partial(_report, deployment.directory)
    return lambda connector: Admission(connector, deployment.contacts.identify, report, gates)


def _report(directory: Directory, trigger: Trigger, connector: str, refusal: Dropped) -> None:
    directory.not_sent(bytes.fromhex(trigger.customer), not_sent(trigger, connector, refusal))


def not_sent(trigger: Trigger, connector: str, refusal: Dropped) -> NotSent:
    """Return the record that a trigger was refused at the door."""
    return NotSent(
        id=trigger.id,
        rule=trigger.rule,
        cause=trigger.cause,
        action=trigger.action,
        connector=connector,
        reason=refusal.code,
        detail=refusal.reason,
        at_ms=int(time.time() * 1000),
    )
