"""What the door says of a delivery."""

from collections.abc import Callable, Sequence

import msgspec

from connectors.sinks.sink import Delivery
from schemas.wire.triggers import Trigger


class Admitted(msgspec.Struct, frozen=True):
    """It may go, as this."""

    delivery: Delivery


class Dropped(msgspec.Struct, frozen=True):
    """It must not go, and that is as it should be: nothing is kept of it, but a decision record where there
    is a `code` for it."""

    reason: str
    code: str = ""  # such as `consent`


class Dead(msgspec.Struct, frozen=True):
    """It cannot go: it is kept as a dead letter."""

    reason: str


class Postponed(msgspec.Struct, frozen=True):
    """Whether it may go cannot be told now: this counts as a failed attempt."""

    reason: str


Refusal = Dropped | Dead
Verdict = Admitted | Refusal | Postponed

# What a gate says of each of these triggers; None where it has nothing against it
Gate = Callable[[Sequence[Trigger]], Sequence[Refusal | Postponed | None]]
