"""Apps at both ends of the topics: they write events in every form that millrace reads, and read what it
writes."""

import io
import json
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import fastavro
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

STRUCTURED = b"application/cloudevents+json"
FOLDER_ID = 7  # a schema that lies in a folder; no registry knows the id
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

Headers = dict[str, bytes]
Form = Callable[[str], tuple[bytes, Headers]]  # the record of one user's event
Read = TypeVar("Read")


def produce(
    bootstrap: str,
    topic: str,
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: Headers | None = None,
) -> str:
    """Write one record; return where it lies: `topic/partition offset`."""
    reports: list[Message] = []
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(
        topic,
        value,
        key,
        headers=list((headers or {}).items()),
        on_delivery=lambda _, report: reports.append(report),
    )
    assert producer.flush(60) == 0
    (report,) = reports
    assert report.error() is None, report.error()
    return f"{topic}/{report.partition()} {report.offset()}"


def consume(
    bootstrap: str,
    topic: str,
    read: Callable[[Message], Read],
    enough: Callable[[list[Read]], bool],
    within_s: float = 60,
) -> list[Read]:
    """Return what `read` makes of a topic's records, from its beginning until there are `enough`."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[Read] = []
    deadline = time.monotonic() + within_s
    try:
        while not enough(found):
            assert time.monotonic() < deadline, (
                f"{len(found)} records of {topic} are not enough after {within_s} s"
            )
            for message in consumer.consume(500, 0.2):
                assert message.error() is None, message.error()
                found.append(read(message))
    finally:
        consumer.close()
    return found


def json_reader(message: Message) -> Any:
    return json.loads(message.value() or b"")


def avro_reader(registry: SchemaRegistryClient, topic: str) -> Callable[[Message], Any]:
    """Make a reader with the published deserializer."""
    deserialize = AvroDeserializer(registry)
    return lambda message: deserialize(message.value(), SerializationContext(topic, MessageField.VALUE))


def headers_of(message: Message) -> dict[str, str]:
    listed: Any = message.headers() or []
    return {name: value.decode() for name, value in listed}


# --- one event: `user` has paid 5, messageId `<user>-1` ---


def track(user: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "userId": user,
        "event": "Paid",
        "properties": {"total": 5},
        "messageId": f"{user}-1",
    } | more


def cloudevent(user: str) -> dict[str, Any]:
    """Return a CloudEvent without its data."""
    return {"specversion": "1.0", "id": f"{user}-1", "source": "/till", "type": "Paid", "subject": user}


def avro_of_the_folder(user: str) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(SCHEMA), _paid(user))
    return b"\0" + FOLDER_ID.to_bytes(4, "big") + stream.getvalue()


def forms(registry: str, topic: str) -> dict[str, Form]:
    """Return every form in which an app may write it; Avro also by the published serializer, its schema
    registered by itself."""
    client, schema = SchemaRegistryClient({"url": registry}), json.dumps(SCHEMA)
    stock = AvroSerializer(client, schema)
    stock_with_header = AvroSerializer(
        client, schema, conf={"schema.id.serializer": header_schema_id_serializer}
    )

    def avro(user: str) -> bytes:
        return bytes(stock(_paid(user), SerializationContext(topic, MessageField.VALUE)) or b"")

    def avro_with_header(user: str) -> tuple[bytes, Headers]:
        headers: Any = {}
        return bytes(
            stock_with_header(_paid(user), SerializationContext(topic, MessageField.VALUE, headers)) or b""
        ), headers

    return {
        "json": lambda user: (json.dumps(track(user)).encode(), {}),
        "ce-structured": lambda user: (
            json.dumps(cloudevent(user) | {"data": {"total": 5}}).encode(),
            {"content-type": STRUCTURED},
        ),
        "ce-binary": lambda user: (b'{"total":5}', _binary(user, b"application/json")),
        "ce-binary-avro": lambda user: (avro(user), _binary(user, b"application/avro")),
        "avro-folder": lambda user: (avro_of_the_folder(user), {}),
        "avro-registry": lambda user: (avro(user), {}),
        "avro-header": avro_with_header,
    }


def _binary(user: str, content_type: bytes) -> Headers:
    return {f"ce_{name}": value.encode() for name, value in cloudevent(user).items()} | {
        "content-type": content_type
    }


def _paid(user: str) -> dict[str, Any]:
    return {"userId": user, "messageId": f"{user}-1", "total": Decimal("5.00")}
