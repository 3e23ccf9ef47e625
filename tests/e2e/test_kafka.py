"""All of millrace on a real Kafka: events arrive by HTTP and straight from apps, triggers go to topics, the broker is killed in mid-flow."""

import io
import itertools
import json
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pytest
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from flows.supervisor import Patience
from tests.kafka_broker import Broker
from tests.running import COMMAND, Running, environment, running
from tests.schema_registry import schema_registry

pytestmark = pytest.mark.timeout(120)

CONFIG = """
[raw]
log = "kafka"
[kafka]
bootstrap = "{bootstrap}"
topics = ["{events}", "{orders}"]
registry = "{registry}"
[shards]
count = 8
[window]
wait = "50ms"
[[aggregate]]
name = "paid"
of = "sum"
on = ["Paid"]
value = "total"
[[trigger]]
name = "thank_you"
on = {{event = "Paid"}}
action = "thank"
purpose = "service"
to = ["bus", "json"]
[[connector]]
name = "bus"
type = "kafka"
topic = "{triggers}"
format = "avro"
identify = ["user_id", "email"]
[[connector]]
name = "json"
type = "kafka"
topic = "{copies}"
identify = ["user_id"]
[deliver]
breaker_rest = "1s"
"""

SCHEMA = {
    "type": "record",
    "name": "Paid",
    "namespace": "shop.till",
    "fields": [
        {"name": "userId", "type": "string"},
        {"name": "messageId", "type": "string"},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    ],
}
FOLDER_ID = 7  # `schemas/avro/7.avsc` in the data folder; the registry knows no such id
CLOUDEVENTS = b"application/cloudevents+json"

Headers = dict[str, bytes]


@dataclass(frozen=True)
class Stack:
    """Millrace on Kafka, and the apps around it."""

    millrace: Running
    kafka: Broker
    registry: str
    events: str  # the topic that the gateway writes to
    orders: str  # one that apps alone write to
    triggers: str  # Avro
    copies: str  # the same triggers as JSON

    def produce(self, topic: str, value: bytes | None, *, key: bytes | None = None, headers: Headers | None = None) -> str:
        """Where it lies, as dead letters name it."""
        reports: list[Message] = []
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        producer.produce(topic, value, key, headers=list((headers or {}).items()), on_delivery=lambda _, report: reports.append(report))
        assert producer.flush(20) == 0
        (report,) = reports
        assert report.error() is None
        return f"{topic}/{report.partition()} {report.offset()}:0"


@pytest.fixture(scope="module")
def stack(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("kafka")
    schemas = folder / "data" / "schemas" / "avro"
    schemas.mkdir(parents=True)
    (schemas / f"{FOLDER_ID}.avsc").write_text(json.dumps(SCHEMA))
    topics = {name: f"{name}-{uuid.uuid4().hex}" for name in ("events", "orders", "triggers", "copies")}
    for topic in topics.values():
        kafka.create_topic(topic, 2)
    with schema_registry() as registry, running(folder, CONFIG.format(bootstrap=kafka.bootstrap, registry=registry, **topics)) as millrace:
        yield Stack(millrace, kafka, registry, **topics)


def read_topic(kafka: Broker, topic: str, enough: Callable[[list[Message]], bool], within_s: float = 20) -> list[Message]:
    """All of a topic's records from its beginning, once there are `enough`."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[Message] = []
    deadline = time.monotonic() + within_s
    try:
        while not enough(found):
            assert time.monotonic() < deadline, f"{len(found)} records of {topic} after {within_s} s are not enough"
            message = consumer.poll(0.2)
            if message is not None:
                assert message.error() is None, message.error()
                found.append(message)
    finally:
        consumer.close()
    return found


def headers_of(message: Message) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers() or []}


def test_http_to_topic_to_trigger_that_a_stock_avro_consumer_reads(stack: Stack) -> None:
    batch = [
        {"type": "identify", "userId": "maria", "traits": {"email": "maria@example.com"}, "messageId": "maria-1"},
        {"type": "track", "userId": "maria", "event": "Paid", "properties": {"total": 12.5, "till": 3}, "messageId": "maria-2"},
    ]
    assert stack.millrace.post("/v1/batch", {"batch": batch}).status_code == 200

    registry = SchemaRegistryClient({"url": stack.millrace.url})
    deserialize = AvroDeserializer(registry)
    (record,) = read_topic(stack.kafka, stack.triggers, lambda found: len(found) == 1)
    trigger = deserialize(record.value(), SerializationContext(stack.triggers, MessageField.VALUE))
    assert (trigger["rule"], trigger["action"], trigger["cause"]) == ("thank_you", "thank", "maria-2")
    assert trigger["identity"] == {"user_id": "maria", "email": "maria@example.com"}
    assert trigger["properties"] == {"total": 12.5, "till": 3}
    assert registry.get_latest_version(f"{stack.triggers}-value").schema_id == int.from_bytes(record.value()[1:5], "big")
    context = headers_of(record)
    assert (context["ce_id"], context["ce_subject"], context["content-type"]) == (trigger["id"], trigger["customer"], "application/avro")
    assert record.key().decode() == trigger["customer"] == stack.millrace.profile("maria")["customer"]
    receipt = trigger["receipt"]
    assert receipt["received_ms"] <= receipt["resolved_ms"] <= receipt["emitted_ms"] < receipt["received_ms"] + 5_000

    (copy,) = read_topic(stack.kafka, stack.copies, lambda found: len(found) == 1)
    event = json.loads(copy.value())
    assert (event["id"], event["data"]["identity"]) == (trigger["id"], {"user_id": "maria"})
    assert headers_of(copy) == {"content-type": CLOUDEVENTS.decode()}


# --- Kafka -> Kafka ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    value: bytes
    headers: Headers = field(default_factory=dict)


def avro(user: str) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(SCHEMA), {"userId": user, "messageId": f"{user}-1", "total": fastavro_decimal()})
    return stream.getvalue()


def fastavro_decimal() -> Any:
    from decimal import Decimal

    return Decimal("5.00")
