"""Triggers on the wire: CloudEvents in both modes, and Avro in the Confluent form."""

import io
import json
from urllib.parse import unquote

import fastavro
import pytest

from connectors.wire import formats
from schemas.wire import cloudevents, trigger_avro
from schemas.wire.triggers import Receipt, Trigger

TRIGGER = Trigger(
    id="t-1",
    customer="00" * 12,
    rule="win_back",
    action="offer",
    channel="mail",
    purpose="marketing",
    to=["crm"],
    cause="m-1",
    reasons={"days": 31, "churn": 0.9, "vip": True, "tags": ["a", {"b": 1}], "none": None, "big": 2**70},
    scores={"churn": {"score": 0.9, "version": 3}},
    properties={"total": 5, "name": "Ünïcode"},
    receipt=Receipt(event_ms=1, received_ms=2, resolved_ms=3, applied_ms=4, emitted_ms=1_700_000_000_123),
)
SOURCE = "/millrace/größe a%b"


def test_structured() -> None:
    event = json.loads(cloudevents.structured(TRIGGER, SOURCE, {"user_id": "u1"}))
    data = event.pop("data")
    assert event == {
        "specversion": "1.0",
        "id": "t-1",
        "source": SOURCE,
        "type": "millrace.trigger",
        "subject": "00" * 12,
        "time": "2023-11-14T22:13:20.123Z",
        "partitionkey": "00" * 12,
        "datacontenttype": "application/json",
    }
    assert data["identity"] == {"user_id": "u1"}
    assert data["reasons"] == TRIGGER.reasons
    assert data["receipt"] == {
        "event_ms": 1,
        "received_ms": 2,
        "resolved_ms": 3,
        "applied_ms": 4,
        "emitted_ms": 1_700_000_000_123,
    }
    assert "to" not in data  # who else gets it is nobody's business
    assert data == json.loads(cloudevents.payload(TRIGGER, {"user_id": "u1"}))


def test_the_same_trigger_gives_the_same_bytes() -> None:
    assert cloudevents.structured(TRIGGER, SOURCE, {}) == cloudevents.structured(TRIGGER, SOURCE, {})


def test_headers_for_http_are_percent_encoded_and_for_kafka_plain() -> None:
    attributes = cloudevents.attributes(TRIGGER, SOURCE)
    http, kafka = cloudevents.headers(TRIGGER, SOURCE, "ce-"), cloudevents.headers(TRIGGER, SOURCE, "ce_")
    assert {name.removeprefix("ce_"): value for name, value in kafka.items()} == attributes
    assert {name.removeprefix("ce-"): unquote(value) for name, value in http.items()} == attributes
    assert all(value.isascii() and " " not in value for value in http.values())
    assert http["ce-time"] == attributes["time"]


def test_our_own_event_is_one_that_we_would_take() -> None:
    assert isinstance(formats.structured(cloudevents.structured(TRIGGER, SOURCE, {})), bytes)


def test_avro_has_the_confluent_head_and_the_registered_schema() -> None:
    body = trigger_avro.encode(TRIGGER, {"user_id": "u1"})
    assert body[:5] == b"\x00\x00\x00\x00\x01"
    (registered,) = trigger_avro.REGISTERED
    record = fastavro.schemaless_reader(io.BytesIO(body[5:]), registered.schema, None)
    assert isinstance(record, dict)
    assert record["reasons"] == TRIGGER.reasons | {"tags": '["a",{"b":1}]', "big": str(2**70)}
    assert record["scores"] == TRIGGER.scores
    assert record["receipt"]["emitted_ms"] == 1_700_000_000_123
    assert record["identity"] == {"user_id": "u1"}


@pytest.mark.parametrize("value", [True, 1, -(2**63), 2**63 - 1, 1.5, "text", None])
def test_avro_keeps_the_type_of_a_value(value: object) -> None:
    reasons = {"x": value}
    body = trigger_avro.encode(
        Trigger(
            **{name: getattr(TRIGGER, name) for name in TRIGGER.__struct_fields__} | {"reasons": reasons}
        ),
        {},
    )
    record = fastavro.schemaless_reader(io.BytesIO(body[5:]), trigger_avro.TRIGGER, None)
    assert isinstance(record, dict)
    assert (type(record["reasons"]["x"]), record["reasons"]["x"]) == (type(value), value)
