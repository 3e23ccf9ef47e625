"""The gate that nothing passes about a customer who is being erased, or was."""

from collections.abc import Sequence
from typing import Final

from flows.dispatch.verdicts import Dropped, Gate, Postponed, Refusal
from flows.runtime.deployment import Deployment
from schemas.records.identity_graph import ID_BYTES
from schemas.wire.triggers import Trigger

ERASED: Final = Dropped("the customer was erased")  # without a code: nothing is recorded of it


def erased_gate(deployment: Deployment) -> Gate:
    """Return the gate of a deployment."""
    directory = deployment.directory

    def refuse(triggers: Sequence[Trigger]) -> list[Refusal | Postponed | None]:
        gone = directory.erased([_origin(trigger.customer) for trigger in triggers])
        return [ERASED if one else None for one in gone]

    return refuse


def _origin(customer: str) -> bytes:
    """Return the origin that names a customer; for what is none of ours one that nobody has."""
    try:
        return bytes.fromhex(customer).ljust(ID_BYTES, b"\0")
    except ValueError:
        return bytes(ID_BYTES)
