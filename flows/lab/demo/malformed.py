"""Events as broken clients send them. Each kind names the reject reason that it deserves."""

import gzip
from functools import reduce
from typing import Any, Final

from schemas.wire.events import RawEvent, RejectReason

PLANTED: Final = "Defect Met"  # the event that `Defective` fails on
_DEEP: dict[str, Any] = reduce(lambda inner, _: {"in": inner}, range(40), {})

#: What each kind does to a good track event; `None` takes the field away.
FAULTS: tuple[tuple[RejectReason, dict[str, Any]], ...] = (
    ("id_missing", {"userId": None, "anonymousId": None}),
    ("id_invalid", {"userId": {"id": 7}}),
    ("id_blocked", {"userId": "null", "anonymousId": None}),
    ("type_unknown", {"type": "purchase"}),
    ("event_missing", {"event": None}),
    ("message_id_invalid", {"messageId": "m" * 200}),
    ("timestamp_invalid", {"timestamp": "the day after tomorrow"}),
    ("timestamp_out_of_range", {"timestamp": "2090-01-01T00:00:00Z"}),
    ("too_deep", {"properties": _DEEP}),
    ("too_many_properties", {"properties": {f"p{i}": i for i in range(1_500)}}),
    ("too_large", {"properties": {"note": "x" * 40_000}}),
    ("number_out_of_range", {"properties": {"total": 2**70}}),
    ("field_invalid", {"properties": ["not", "an", "object"]}),
    # No fault of the client's: millrace itself fails on it (`flows.lab.demo.defect`).
    ("poison", {"event": PLANTED}),
)

#: Whole requests that no gateway can read: each must be answered with 400, and nothing of it may be stored.
UNREADABLE: tuple[bytes, ...] = (
    b'{"batch": [{"type": "track", "event": "Order Compl',
    b"%%%",
    gzip.compress(b'{"batch": []}' * 100)[:-20],
)


def broken(message: dict[str, Any], fault: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the message with the fault in it."""
    return {key: value for key, value in {**message, **fault}.items() if value is not None}


class Defective:
    """Stands in for a `Validator`, which may be machine code, and raises on that event."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._validator, name)

    def check(self, raw: RawEvent) -> Any:
        if raw.fault is None and PLANTED.encode() in raw.value:
            raise ArithmeticError
        return self._validator.check(raw)
