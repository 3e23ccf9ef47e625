"""The one door before every send: first attempt, later retry and replay of a dead letter alike.

It is asked again before each attempt, because what held a moment ago need not hold now: a customer who has
been erased, or has withdrawn a consent, since the trigger was fired gets nothing from memory.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from connectors.sinks.sink import Delivery
from flows.logic.shard.quarantine import places
from flows.runtime.deployment import Deployment
from schemas.config import Connector
from schemas.errors import CustomerDamaged
from schemas.wire.triggers import Trigger
from state.redis.client import INFRASTRUCTURE

log = structlog.get_logger()

_decode = msgspec.msgpack.Decoder(Trigger).decode


class Admitted(msgspec.Struct, frozen=True):
    """It may go, as this."""

    delivery: Delivery


class Dropped(msgspec.Struct, frozen=True):
    """It must not go, and that is as it should be: nothing is kept."""

    reason: str


class Dead(msgspec.Struct, frozen=True):
    """It cannot go: it is kept as a dead letter."""

    reason: str


class Postponed(msgspec.Struct, frozen=True):
    """Whether it may go cannot be told now: this counts as a failed attempt."""

    reason: str


Refusal = Dropped | Dead
Verdict = Admitted | Refusal | Postponed

# The customers' plain values by which a receiver knows them, for customers (hex ids) and fields
Identify = Callable[[list[str], tuple[str, ...]], list[dict[str, str]]]
# What a gate says of each of these triggers; None where it has nothing against it
Gate = Callable[[Sequence[Trigger]], Sequence[Refusal | Postponed | None]]

GATES: tuple[Gate, ...] = ()  # of every connector; asked in this order, before personal data is opened
DISABLED: Final = Dead("the connector is disabled")
_NOT_ADDRESSED = Dropped("it is not for this connector")
_UNREAD = Dropped(DISABLED.reason)


class Admission:
    """The door of one connector."""

    def __init__(self, connector: Connector, identify: Identify, gates: Sequence[Gate] = ()) -> None:
        """Open the door. `identify` and `gates` may block: they are called in a thread."""
        self.disabled = False  # it wants nothing more: set by who sends, when the receiver says so
        self._name = connector.name
        self._fields = connector.identify
        self._identify = identify
        self._gates = tuple(gates)

    def read(self, body: bytes) -> Trigger | Refusal:
        """Return the trigger that an entry of the outbox, or a dead letter, holds for this connector; or why
        there is none."""
        if self.disabled:
            return _UNREAD
        try:
            trigger = _decode(body)
        except (ValueError, RecursionError) as error:  # a text that is no UTF-8 is no error of msgspec's own
            return Dead(f"not a trigger: {error}")
        return trigger if self._name in trigger.to else _NOT_ADDRESSED

    async def admit(self, triggers: Sequence[Trigger]) -> list[Verdict]:
        """Decide on each of these, in order; to be asked just before each attempt. Raises what ends a
        worker."""
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
        return [verdicts[index] for index in range(len(triggers))]

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
    return lambda connector: Admission(connector, deployment.contacts.identify, GATES)
