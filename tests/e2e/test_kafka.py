"""All of millrace on a real Kafka: events by HTTP and straight from apps, triggers on topics, a broker that
is killed in mid-flow."""

import itertools
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient

from tests.kafka_apps import (
    FOLDER_ID,
    SCHEMA,
    STRUCTURED,
    Headers,
    avro_of_the_folder,
    avro_reader,
    cloudevent,
    consume,
    forms,
    headers_of,
    json_reader,
    produce,
    track,
)
from tests.kafka_broker import Broker
from tests.publisher import Batch, Publisher, Store
from tests.running import Running, running
from tests.schema_registry import schema_registry

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


@dataclass(frozen=True)
class Stack:
    """Millrace on Kafka, and what is around it."""

    millrace: Running
    kafka: Broker
    registry: str
    events: str  # the topic that the gateway writes to
    orders: str  # one that apps alone write to
    triggers: str  # Avro
    copies: str  # the same triggers as JSON


@pytest.fixture(scope="module")
def stack(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("kafka")
    schemas = folder / "data" / "schemas" / "avro"
    schemas.mkdir(parents=True)
    (schemas / f"{FOLDER_ID}.avsc").write_text(json.dumps(SCHEMA))
    topics = {name: f"{name}-{uuid.uuid4().hex}" for name in ("events", "orders", "triggers", "copies")}
    for topic in topics.values():
        kafka.create_topic(topic, 2)
    with (
        schema_registry() as registry,
        running(folder, CONFIG.format(bootstrap=kafka.bootstrap, registry=registry, **topics)) as millrace,
    ):
        yield Stack(millrace, kafka, registry, **topics)


def test_http_to_topic_to_trigger_that_a_stock_avro_consumer_reads(stack: Stack) -> None:
    batch = [
        {
            "type": "identify",
            "userId": "maria",
            "traits": {"email": "maria@example.com"},
            "messageId": "maria-1",
        },
        {
            "type": "track",
            "userId": "maria",
            "event": "Paid",
            "properties": {"total": 12.5, "till": 3},
            "messageId": "maria-2",
        },
    ]
    assert stack.millrace.post("/v1/batch", {"batch": batch}).status_code == 200

    registry = SchemaRegistryClient({"url": stack.millrace.url})
    (record,) = consume(stack.kafka.bootstrap, stack.triggers, lambda message: message, bool)
    trigger = avro_reader(registry, stack.triggers)(record)
    assert (trigger["rule"], trigger["action"], trigger["cause"]) == ("thank_you", "thank", "maria-2")
    assert trigger["identity"] == {"user_id": "maria", "email": "maria@example.com"}
    assert trigger["properties"] == {"total": 12.5, "till": 3}
    assert registry.get_latest_version(f"{stack.triggers}-value").schema_id == int.from_bytes(
        (record.value() or b"")[1:5], "big"
    )
    context = headers_of(record)
    assert (context["ce_id"], context["ce_subject"], context["content-type"]) == (
        trigger["id"],
        trigger["customer"],
        "application/avro",
    )
    assert (
        trigger["customer"] == (record.key() or b"").decode() == stack.millrace.profile("maria")["customer"]
    )
    receipt = trigger["receipt"]
    assert (
        receipt["received_ms"]
        <= receipt["resolved_ms"]
        <= receipt["emitted_ms"]
        < receipt["received_ms"] + 60_000
    )

    (copy,) = consume(stack.kafka.bootstrap, stack.copies, lambda message: message, bool)
    event = json_reader(copy)
    assert (event["id"], event["data"]["identity"]) == (trigger["id"], {"user_id": "maria"})
    assert headers_of(copy) == {"content-type": STRUCTURED.decode()}


def test_kafka_to_kafka_in_every_form_with_and_without_keys(stack: Stack) -> None:
    wanted = {}  # the user by messageId
    for (form, made), topic, keyed in itertools.product(
        forms(stack.registry, stack.orders).items(), (stack.events, stack.orders), (True, False)
    ):
        user = f"{form}-{topic.partition('-')[0]}-{'keyed' if keyed else 'bare'}"
        value, headers = made(user)
        produce(stack.kafka.bootstrap, topic, value, key=user.encode() if keyed else None, headers=headers)
        wanted[f"{user}-1"] = user

    told = consume(
        stack.kafka.bootstrap,
        stack.copies,
        lambda message: json_reader(message)["data"],
        lambda found: wanted.keys() <= {data["cause"] for data in found},
    )
    figures = [
        (data["cause"], data["identity"]["user_id"], data["properties"]["total"])
        for data in told
        if data["cause"] in wanted
    ]
    assert sorted(figures) == sorted((cause, user, 5) for cause, user in wanted.items())
    profiles = {user: stack.millrace.profile(user) for user in wanted.values()}
    assert all((profile["events"], profile["aggregates"]["paid"]) == (1, 5) for profile in profiles.values())


def test_bad_records_are_dead_letters_and_stop_nothing(stack: Stack) -> None:
    def json_of(**more: Any) -> bytes:
        return json.dumps(track("bad", **more)).encode()

    of_unknown_schema = b"\0" + (4_711).to_bytes(4, "big") + avro_of_the_folder("bad")[5:]
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
        ("schema_unknown", of_unknown_schema, {}),
        ("avro_invalid", avro_of_the_folder("bad")[:-3], {}),
        ("avro_invalid", b"\0\0", {}),
        (
            "cloudevent_invalid",
            json.dumps(cloudevent("bad") | {"id": ""}).encode(),
            {"content-type": STRUCTURED},
        ),
        ("cloudevent_invalid", b"[]", {"content-type": b"application/cloudevents-batch+json"}),
        ("seal_broken", json_of(), {"millrace-received": b"1", "millrace-sealed": b"1"}),
    ]
    bootstrap, orders = stack.kafka.bootstrap, stack.orders
    places = {produce(bootstrap, orders, value, headers=headers): reason for reason, value, headers in bad}
    produce(bootstrap, orders, json.dumps(track("after-the-bad")).encode())
    stack.millrace.eventually(lambda: stack.millrace.profile("after-the-bad").get("events") == 1)

    def listed() -> dict[str, str]:
        lines = [
            line.split()
            for line in stack.millrace.command("dead", "list", "--limit", "1000").splitlines()[1:]
        ]
        return {f"{words[-2]} {words[-1].partition(':')[0]}": words[1] for words in lines}

    stack.millrace.eventually(lambda: places.keys() <= listed().keys())
    assert {place: reason for place, reason in listed().items() if place in places} == places
    assert stack.millrace.profile("bad") == {}


# --- the broker is killed ---

PEOPLE = 30


def orders(name: str, person: str) -> Callable[[int], Batch]:
    def batch(number: int) -> Batch:
        return [
            track(f"{person}-{(number * 7 + n) % PEOPLE}", messageId=f"{name}-{number}-{n}")
            for n in range(10)
        ]

    return batch


def directly(stack: Stack) -> Store:
    """An app whose producer gives up after two seconds, and which then writes the whole batch again."""
    options = {
        "bootstrap.servers": stack.kafka.bootstrap,
        "acks": "all",
        "message.timeout.ms": 2_000,
        "log_level": 0,
    }
    producer = Producer(options)

    def store(batch: Batch) -> bool:
        errors: list[object] = []
        for event in batch:
            value, key = json.dumps(event).encode(), event["userId"].encode()
            producer.produce(stack.orders, value, key, on_delivery=lambda error, _: errors.append(error))
        return producer.flush(10) == 0 and not any(errors)

    return store


def survived(stack: Stack, test: str, away_s: float) -> float:
    """The broker is killed while two publishers send, and away for so long. Seconds from its return until an
    event is in a profile."""
    if not stack.kafka.real:
        pytest.skip("the mock cluster cannot be killed: a real broker needs Java 17 and Maven")
    ways = {"http": stack.millrace.stored, "direct": directly(stack)}
    with ExitStack() as stores:
        publishers = [
            stores.enter_context(Publisher(orders(f"{test}-{way}", f"{test}-person"), store))
            for way, store in ways.items()
        ]
        for publisher in publishers:
            publisher.await_batches(20)
        stack.kafka.kill()
        time.sleep(away_s)
        stack.kafka.start()
        returned = time.monotonic()
        first = track(f"{test}-first", messageId=f"{test}-first")
        stack.millrace.eventually(lambda: stack.millrace.stored([first]))
        stack.millrace.eventually(lambda: stack.millrace.profile(f"{test}-first").get("events") == 1)
        again_s = time.monotonic() - returned
        stack.millrace.eventually(stack.millrace.ready)
        for publisher in publishers:
            publisher.await_batches(10)
    assert all(publisher.retries > 0 for publisher in publishers), (
        "the kill was not noticed: the test shows nothing"
    )
    sent = {message: user for publisher in publishers for message, user in publisher.sent.items()}

    def causes(triggers: list[dict[str, Any]]) -> dict[str, str]:
        """By the trigger's id, as a receiver that drops repeats has them."""
        return {
            trigger["id"]: trigger["cause"]
            for trigger in triggers
            if trigger["cause"].startswith((f"{test}-http-", f"{test}-direct-"))
        }

    readers: dict[str, Callable[[Message], dict[str, Any]]] = {
        stack.triggers: avro_reader(SchemaRegistryClient({"url": stack.millrace.url}), stack.triggers),
        stack.copies: lambda message: json_reader(message)["data"],
    }
    for topic, read in readers.items():
        told = consume(
            stack.kafka.bootstrap, topic, read, lambda found: set(causes(found).values()) >= sent.keys()
        )
        assert sorted(causes(told).values()) == sorted(sent)
    counted = Counter(sent.values())
    assert {user: stack.millrace.profile(user).get("events") for user in counted} == counted
    return again_s


def test_a_broker_that_is_killed_in_mid_flow_loses_nothing_and_doubles_nothing(stack: Stack) -> None:
    survived(stack, "killed", 3)


@pytest.mark.slow
def test_a_broker_that_fails_for_a_minute_loses_nothing_and_doubles_nothing(stack: Stack) -> None:
    before = workers(stack.millrace)
    print(f"processing again {survived(stack, 'away', 60):.1f} s after the broker's return")
    assert workers(stack.millrace) == before, "they wait: nobody has to be started again"


def workers(millrace: Running) -> set[int]:
    return {child.pid for child in psutil.Process(millrace.process.pid).children()}
