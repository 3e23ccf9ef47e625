"""All of millrace on a real Kafka: events arrive by HTTP and straight from apps, triggers go to topics, the broker is killed in mid-flow."""

import io
import itertools
import json
import re
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
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
from tests.running import COMMAND, Running, environment, free_ports, running
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
        return f"{topic}/{report.partition()} {report.offset()}"


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


def track(user: str, **more: Any) -> dict[str, Any]:
    return {"type": "track", "userId": user, "event": "Paid", "properties": {"total": 5}, "messageId": f"{user}-1"} | more


def cloudevent(user: str) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"{user}-1", "source": "/till", "type": "Paid", "subject": user}


def binary(user: str, content_type: str) -> Headers:
    return {f"ce_{name}": value.encode() for name, value in cloudevent(user).items()} | {"content-type": content_type.encode()}


def paid(user: str) -> dict[str, Any]:
    return {"userId": user, "messageId": f"{user}-1", "total": Decimal("5.00")}


def avro_of_the_folder(user: str) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(SCHEMA), paid(user))
    return b"\0" + FOLDER_ID.to_bytes(4, "big") + stream.getvalue()


class StockAvro:
    """Values as the published serializer writes them, its schema registered by itself."""

    def __init__(self, registry: str, topic: str) -> None:
        client, schema = SchemaRegistryClient({"url": registry}), json.dumps(SCHEMA)
        self._topic = topic
        self._in_value = AvroSerializer(client, schema)
        self._in_header = AvroSerializer(client, schema, conf={"schema.id.serializer": header_schema_id_serializer})

    def value(self, user: str) -> bytes:
        return bytes(self._in_value(paid(user), SerializationContext(self._topic, MessageField.VALUE)))

    def with_header(self, user: str) -> tuple[bytes, Headers]:
        headers: Headers = {}
        return bytes(self._in_header(paid(user), SerializationContext(self._topic, MessageField.VALUE, headers))), headers


def test_kafka_to_kafka_in_every_form_with_and_without_keys(stack: Stack) -> None:
    stock = StockAvro(stack.registry, stack.orders)
    forms: dict[str, Callable[[str], tuple[bytes, Headers]]] = {
        "json": lambda user: (json.dumps(track(user)).encode(), {}),
        "ce-structured": lambda user: (json.dumps(cloudevent(user) | {"data": {"total": 5}}).encode(), {"content-type": CLOUDEVENTS}),
        "ce-binary": lambda user: (b'{"total":5}', binary(user, "application/json")),
        "ce-binary-avro": lambda user: (stock.value(user), binary(user, "application/avro")),
        "avro-folder": lambda user: (avro_of_the_folder(user), {}),
        "avro-registry": lambda user: (stock.value(user), {}),
        "avro-header": stock.with_header,
    }
    users = []
    for (form, made), topic, keyed in itertools.product(forms.items(), (stack.events, stack.orders), (True, False)):
        user = f"{form}-{topic.partition('-')[0]}-{'keyed' if keyed else 'bare'}"
        value, headers = made(user)
        stack.produce(topic, value, key=user.encode() if keyed else None, headers=headers)
        users.append(user)
    wanted = {f"{user}-1": user for user in users}

    def all_there(found: list[Message]) -> bool:
        return wanted.keys() <= {json.loads(record.value())["data"]["cause"] for record in found}

    data = [json.loads(record.value())["data"] for record in read_topic(stack.kafka, stack.copies, all_there)]
    told = [(event["cause"], event["identity"]["user_id"], event["properties"]["total"]) for event in data if event["cause"] in wanted]
    assert sorted(told) == sorted((cause, user, 5) for cause, user in wanted.items())
    profiles = {user: stack.millrace.profile(user) for user in users}
    assert {user: (profile["events"], profile["aggregates"]["paid"]) for user, profile in profiles.items()} == dict.fromkeys(users, (1, 5))


def test_bad_records_are_dead_letters_and_stop_nothing(stack: Stack) -> None:
    def json_of(**more: Any) -> bytes:
        return json.dumps(track("bad") | more).encode()

    unknown = b"\0" + (4_711).to_bytes(4, "big")
    bad: list[tuple[str, bytes | None, Headers]] = [
        ("empty", None, {}),
        ("empty", b"", {}),
        ("not_json", b'{"type":"tra', {}),
        ("not_json", b"\x1f\x8b\x08\x00", {}),
        ("not_json", json_of(properties={"total": float("nan")}), {}),
        ("not_json", json_of().replace(b"Paid", b"\\ud800"), {}),
        ("not_an_object", b"[" + json_of() + b"]", {}),
        ("too_large", json_of(properties={"note": "x" * 33_000}), {}),
        ("too_large", json_of(properties={f"p{n}": n for n in range(10_000)}), {}),
        ("too_deep", json_of().replace(b'"total": 5', b'"total": ' + b"[" * 100 + b"]" * 100), {}),
        ("number_out_of_range", json_of(properties={"total": 2**70}), {}),
        ("type_unknown", json_of(type="pay"), {}),
        ("id_invalid", json_of(userId="u" * 10_000), {}),
        ("id_invalid", json_of(userId={"id": "u"}), {}),
        ("timestamp_out_of_range", json_of(timestamp="1970-01-01T00:00:00Z"), {}),
        ("timestamp_out_of_range", json_of(timestamp="2090-01-01T00:00:00Z"), {}),
        ("timestamp_invalid", json_of(timestamp="yesterday"), {}),
        ("schema_unknown", unknown + avro_of_the_folder("bad")[5:], {}),
        ("avro_invalid", avro_of_the_folder("bad")[:-3], {}),
        ("avro_invalid", b"\0\0", {}),
        ("cloudevent_invalid", json.dumps(cloudevent("bad") | {"id": ""}).encode(), {"content-type": CLOUDEVENTS}),
        ("cloudevent_invalid", b"[]", {"content-type": b"application/cloudevents-batch+json"}),
        ("seal_broken", json_of(), {"millrace-received": b"1", "millrace-sealed": b"1"}),
    ]
    places = {stack.produce(stack.orders, value, headers=headers): reason for reason, value, headers in bad}
    stack.produce(stack.orders, json.dumps(track("after-the-bad")).encode())
    stack.millrace.eventually(lambda: stack.millrace.profile("after-the-bad").get("events") == 1, 10)

    def listed() -> dict[str, str]:
        lines = [line.split() for line in stack.millrace.command("dead", "list", "--limit", "1000").splitlines()[1:]]
        return {f"{words[-2]} {words[-1].partition(':')[0]}": words[1] for words in lines}

    stack.millrace.eventually(lambda: places.keys() <= listed().keys(), 10)
    assert {place: reason for place, reason in listed().items() if place in places} == places
    assert stack.millrace.profile("bad") == {}


# --- the broker is killed ----------------------------------------------------------------------------------------------------------------


class Publisher:
    """Sends small batches of orders without a pause, each again (with the same ids) until it is stored."""

    people = [f"person-{n}" for n in range(30)]

    def __init__(self, name: str, store: Callable[[list[dict[str, Any]]], bool]) -> None:
        self.sent: dict[str, str] = {}  # user by messageId; all stored when `stop` returns
        self.retries = 0
        self._name = name
        self._store = store
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(40)
        assert not self._thread.is_alive(), "a batch was never stored"

    def _run(self) -> None:
        for number in itertools.count():
            if self._over.is_set():
                return
            users = [self.people[(number * 7 + n) % len(self.people)] for n in range(10)]
            batch = [track(user, messageId=f"{self._name}-{number}-{n}") for n, user in enumerate(users)]
            while not self._store(batch):
                self.retries += 1
                time.sleep(0.1)
            self.sent |= {event["messageId"]: user for event, user in zip(batch, users, strict=True)}
            time.sleep(0.02)


def by_http(stack: Stack) -> Callable[[list[dict[str, Any]]], bool]:
    def store(batch: list[dict[str, Any]]) -> bool:
        try:
            return stack.millrace.post("/v1/batch", {"batch": batch}, timeout_s=2).status_code == 200
        except httpx.TransportError:
            return False

    return store


def directly(stack: Stack) -> Callable[[list[dict[str, Any]]], bool]:
    """An app whose producer gives up after two seconds, and which then writes the whole batch again."""
    options = {"bootstrap.servers": stack.kafka.bootstrap, "acks": "all", "message.timeout.ms": 2_000, "log_level": 0}
    producer = Producer(options)

    def store(batch: list[dict[str, Any]]) -> bool:
        errors: list[Any] = []
        for event in batch:
            value = json.dumps(event).encode()
            producer.produce(stack.orders, value, event["userId"].encode(), on_delivery=lambda error, _: errors.append(error))
        return producer.flush(10) == 0 and not any(errors)

    return store


def test_a_broker_that_is_killed_in_mid_flow_loses_nothing_and_doubles_nothing(stack: Stack) -> None:
    if not stack.kafka.real:
        pytest.skip("the mock cluster cannot be killed: a real broker needs Java 17 and Maven")
    publishers = [Publisher("http", by_http(stack)), Publisher("direct", directly(stack))]
    try:
        time.sleep(2)
        stack.kafka.kill()
        time.sleep(3)
        stack.kafka.start()
        stack.millrace.eventually(stack.millrace.ready, 20)
        time.sleep(1)
    finally:
        for publisher in publishers:
            publisher.stop()
    assert all(publisher.retries > 0 for publisher in publishers), "the kill was not noticed: the test shows nothing"
    sent = {cause: user for publisher in publishers for cause, user in publisher.sent.items()}
    ours = ("http-", "direct-")

    def causes(records: list[Message], read: Callable[[Message], dict[str, Any]]) -> dict[str, str]:
        """By the trigger's id, as a receiver that drops repeats has them."""
        return {trigger["id"]: trigger["cause"] for trigger in map(read, records) if trigger["cause"].startswith(ours)}

    deserialize = AvroDeserializer(SchemaRegistryClient({"url": stack.millrace.url}))
    readers: dict[str, Callable[[Message], dict[str, Any]]] = {
        stack.triggers: lambda record: deserialize(record.value(), SerializationContext(stack.triggers, MessageField.VALUE)),
        stack.copies: lambda record: json.loads(record.value())["data"],  # type: ignore[no-any-return]  # JSON
    }
    for topic, read in readers.items():
        records = read_topic(stack.kafka, topic, lambda found, read=read: set(causes(found, read).values()) >= sent.keys(), 30)  # type: ignore[misc]
        assert sorted(causes(records, read).values()) == sorted(sent)
    counted = {user: stack.millrace.profile(user).get("events") for user in Publisher.people}
    assert counted == Counter(sent.values())


# --- wrong configurations ----------------------------------------------------------------------------------------------------------------

WORKER = """
[redis]
url = "{redis}"
prefix = "{prefix}"
[raw]
log = "kafka"
[kafka]
bootstrap = "{bootstrap}"
topics = ["{topic}"]
[kafka.options]
{options}
"""
LOGIN = """
"security.protocol" = "SASL_PLAINTEXT"
"sasl.mechanism" = "PLAIN"
"sasl.username" = "mill"
"sasl.password" = "not-the-one"
"""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("topic", "has no topic no.such.topic: create it first"),
        ("bootstrap", "does not answer: .*Connection refused"),
        ("login", "refuses our login: .*"),
        ("option", "No such configuration property.*"),
    ],
)
def test_a_fault_of_the_configuration_is_one_clear_line(kafka: Broker, redis_url: str, tmp_path: Path, fault: str, words: str) -> None:
    if fault == "login" and not kafka.real:
        pytest.skip("the mock cluster knows no logins: a real broker needs Java 17 and Maven")
    topic = f"there-{uuid.uuid4().hex}"
    kafka.create_topic(topic)
    file = tmp_path / "millrace.toml"
    file.write_text(
        WORKER.format(
            redis=redis_url,
            prefix=f"fault-{fault}",
            bootstrap={"bootstrap": "127.0.0.1:1", "login": kafka.sasl_bootstrap}.get(fault, kafka.bootstrap),
            topic="no.such.topic" if fault == "topic" else topic,
            options={"login": LOGIN, "option": '"sasl.pasword" = "x"'}.get(fault, ""),
        )
    )
    file.chmod(0o600)
    started = time.monotonic()
    for flow, process in [(flow, start(tmp_path, "run", flow, "--worker", "0/1", "-c", str(file))) for flow in ("resolve", "gateway")]:
        _, said = process.communicate(timeout=15)
        assert process.returncode == 1
        assert re.fullmatch(rf"millrace {flow} 0/1: (Kafka at \S+|kafka\.options:) {words}\n", said)
        assert "not-the-one" not in said
    # Later than that the supervisor would take each death for a new one, and never give up.
    assert time.monotonic() - started < Patience().quick_s


def test_the_supervisor_gives_up_on_a_topic_that_is_not_there(kafka: Broker, tmp_path: Path) -> None:
    file = tmp_path / "millrace.toml"
    http, metrics = free_ports(2)
    file.write_text(
        f'[raw]\nlog = "kafka"\n[kafka]\nbootstrap = "{kafka.bootstrap}"\ntopics = ["no.such.topic"]\n'
        f'[gateway]\nlisten = "127.0.0.1:{http}"\n[metrics]\nlisten = "127.0.0.1:{metrics}"\n'
    )
    file.chmod(0o600)
    process = start(tmp_path, "run", "all", "-c", str(file))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    plain = [line for line in said.splitlines() if not line.startswith("{")]
    assert set(plain[:-1]) == {
        f"millrace {flow} 0/1: Kafka at {kafka.bootstrap} has no topic no.such.topic: create it first" for flow in ("gateway", "resolve")
    }
    assert plain[-1].endswith("giving up; its own last line says why")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *arguments], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
