"""A trigger as Avro in the Confluent wire format: `0x00`, the schema's id as 4 bytes big-endian, the record.

The gateway serves `REGISTERED` at the read-only paths of a schema registry, so a stock deserializer pointed
at it needs nothing else. A published schema never changes: a new form is a new entry with the next id and
version.
"""

import io
from collections.abc import Mapping
from typing import Any

import fastavro
import msgspec
from fastavro.types import Schema

from schemas.wire import cloudevents
from schemas.wire.triggers import Trigger

CONTENT_TYPE = "application/avro"
SUBJECT = "millrace.trigger-value"
_MAGIC = b"\x00"

_VALUE = ["null", "boolean", "long", "double", "string"]  # what is nested deeper stands as JSON text


def _text(name: str, doc: str) -> dict[str, Any]:
    return {"name": name, "type": "string", "doc": doc}


def _time(name: str, doc: str) -> dict[str, Any]:
    return {"name": name, "type": "long", "doc": f"{doc}, Unix milliseconds"}


TRIGGER: dict[str, Any] = {
    "type": "record",
    "name": "Trigger",
    "namespace": "millrace",
    "doc": "What the engine tells the outside about one customer.",
    "fields": [
        _text("id", "stable over retries and replays: receivers drop repeats by it"),
        _text("customer", "24 hex digits"),
        {
            "name": "identity",
            "type": {"type": "map", "values": "string"},
            "doc": "fields that this receiver may know the customer by",
        },
        _text("rule", "name of the trigger rule"),
        _text("action", "what the receiver should do"),
        _text("channel", "where to do it, or empty"),
        _text("purpose", "the purpose that consent was checked for"),
        _text("cause", "messageId of the event, or the timer"),
        {
            "name": "reasons",
            "type": {"type": "map", "values": _VALUE},
            "doc": "the values that the rule looked at",
        },
        {
            "name": "scores",
            "type": {
                "type": "map",
                "values": {
                    "type": "record",
                    "name": "Score",
                    "fields": [
                        {"name": "score", "type": ["null", "double"]},
                        {"name": "version", "type": "long", "default": 0},
                    ],
                },
            },
            "doc": "by model",
        },
        {
            "name": "properties",
            "type": {"type": "map", "values": _VALUE},
            "doc": "the event's general properties",
        },
        {
            "name": "receipt",
            "type": {
                "type": "record",
                "name": "Receipt",
                "fields": [
                    _time("event_ms", "when it happened, clock skew corrected"),
                    _time("received_ms", "when it reached us"),
                    _time("resolved_ms", "when it was routed to its customer"),
                    _time("applied_ms", "when the rule fired"),
                    _time("emitted_ms", "when the trigger was committed"),
                ],
            },
            "doc": "the latency receipt",
        },
    ],
}


class Registered(msgspec.Struct, frozen=True):
    """A schema as a registry knows it."""

    id: int
    version: int
    schema: dict[str, Any]


REGISTERED: tuple[Registered, ...] = (Registered(id=1, version=1, schema=TRIGGER),)

_latest = REGISTERED[-1]
_parsed: Schema = fastavro.parse_schema(_latest.schema)
_head = _MAGIC + _latest.id.to_bytes(4, "big")
_as_json = msgspec.json.encode


def encode(trigger: Trigger, identity: Mapping[str, str]) -> bytes:
    """Return the record behind its head of five bytes."""
    record = cloudevents.data(trigger, identity)
    record["reasons"] = _flat(trigger.reasons)
    record["properties"] = _flat(trigger.properties)
    out = io.BytesIO()
    out.write(_head)
    fastavro.schemaless_writer(out, _parsed, record)
    return out.getvalue()


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    return _as_json(value).decode()
