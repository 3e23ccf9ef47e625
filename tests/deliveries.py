"""Triggers for the tests of delivery."""

import msgspec

from connectors.sinks.sink import Delivery
from schemas.wire.triggers import Receipt, Trigger


def trigger(number: int, to: tuple[str, ...] = ("hook",), **changes: object) -> Trigger:
    """A trigger that is told from others by its number."""
    made = Trigger(
        id=f"trg-{number}",
        customer=f"{number:024x}",
        rule="cart_left",
        action="remind",
        channel="push",
        purpose="marketing",
        to=list(to),
        cause=f"message-{number}",
        reasons={"cart_value": 99.5, "items": 2},
        scores={"churn": {"score": 0.25, "version": 3}},
        properties={"product": "Tee ☕"},
        receipt=Receipt(
            event_ms=1_000, received_ms=2_000, resolved_ms=3_000, applied_ms=4_000, emitted_ms=5_000
        ),
    )
    return msgspec.structs.replace(made, **changes)


def delivery(number: int, **identifiers: str) -> Delivery:
    return Delivery(trigger(number), identifiers)
