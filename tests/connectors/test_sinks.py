"""File, Redis Stream and Kafka sinks against the real things."""

import asyncio
import io
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import fastavro
import pytest
import redis
from confluent_kafka import Consumer, TopicPartition

from connectors.sinks.file_sink import FileSink
from connectors.sinks.kafka_sink import KafkaSink, _settings
from connectors.sinks.redis_sink import RedisSink
from connectors.sinks.sink import DELIVERED, Delivery, Failed, Outcome, Retry, Sink
from connectors.sinks.table import SINKS, Surroundings, make_sink
from schemas.config import AnyConnector, FileConnector, Kafka, KafkaConnector, RedisConnector, Secret
from schemas.units import Duration
from schemas.wire import cloudevents, trigger_avro
from tests.deliveries import delivery, trigger

SOURCE = "/millrace/test"
BATCH = [delivery(number, user_id=f"user {number}") for number in range(5)]


def unencodable() -> Delivery:
    return Delivery(trigger(99, reasons={"what": object()}), {})


def test_every_type_of_connector_has_a_sink(tmp_path: Path, redis_url: str) -> None:
    """What the configuration takes, something delivers; and the table makes it of its own options alone."""
    assert set(SINKS) == set(get_args(AnyConnector))
    surroundings = Surroundings(source=SOURCE, folder=tmp_path, redis_url=redis_url, kafka=Kafka())
    lines = make_sink(FileConnector(name="lines", path="lines.jsonl"), surroundings)
    stream = make_sink(RedisConnector(name="stream", stream="out", max_length=3), surroundings)
    for sink in (lines, stream):
        assert asyncio.run(_deliver(sink)) == [DELIVERED] * 5
    assert len((tmp_path / "lines.jsonl").read_text().splitlines()) == 5
    assert redis.Redis.from_url(redis_url).xlen("out") >= 3


async def _deliver(sink: Sink) -> list[Outcome]:
    try:
        return await sink.deliver(BATCH)
    finally:
        await sink.close()


class TestFile:
    def test_a_line_for_each_trigger(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "triggers.jsonl"
        sink = FileSink(path, SOURCE)
        assert sink.deliver(BATCH[:2]) == [DELIVERED] * 2
        assert sink.deliver(BATCH[2:]) == [DELIVERED] * 3
        events = [json.loads(line) for line in path.read_text().splitlines()]
        assert [event["id"] for event in events] == [f"trg-{number}" for number in range(5)]
        assert events[3]["data"]["identity"] == {"user_id": "user 3"}

    def test_only_its_owner_may_read_it(self, tmp_path: Path) -> None:
        FileSink(tmp_path / "t", SOURCE).deliver(BATCH)
        assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600

    def test_a_line_torn_by_a_crash_is_taken_back(self, tmp_path: Path) -> None:
        path = tmp_path / "t"
        path.write_bytes(b'{"id":"whole"}\n{"id":"to' + b"r" * 200_000)
        assert FileSink(path, SOURCE).deliver(BATCH[:1]) == [DELIVERED]
        assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["whole", "trg-0"]

    def test_a_file_that_is_one_torn_line_is_emptied(self, tmp_path: Path) -> None:
        path = tmp_path / "t"
        path.write_bytes(b"x" * 70_000)
        FileSink(path, SOURCE).deliver(BATCH[:1])
        assert len(path.read_text().splitlines()) == 1

    def test_it_may_be_moved_away_at_any_time(self, tmp_path: Path) -> None:
        sink = FileSink(tmp_path / "t", SOURCE)
        sink.deliver(BATCH[:1])
        (tmp_path / "t").rename(tmp_path / "t.1")
        sink.deliver(BATCH[1:2])
        assert "trg-1" in (tmp_path / "t").read_text()

    def test_a_full_disk_is_tried_again_and_leaves_no_torn_line(self, tmp_path: Path) -> None:
        path = tmp_path / "t"
        sink = FileSink(path, SOURCE)
        assert sink.deliver(BATCH[:1]) == [DELIVERED]
        before = path.read_bytes()
        child = os.fork()
        if child == 0:  # the limit holds for a whole process
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, len(before) + 100))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            outcomes = sink.deliver(BATCH)
            os._exit(0 if all(isinstance(outcome, Retry) for outcome in outcomes) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert path.read_bytes() == before

    def test_a_place_that_cannot_be_written_to(self, tmp_path: Path) -> None:
        assert [type(outcome) for outcome in FileSink(tmp_path, SOURCE).deliver(BATCH)] == [Retry] * 5

    def test_what_cannot_be_encoded_fails_alone(self, tmp_path: Path) -> None:
        outcomes = FileSink(tmp_path / "t", SOURCE).deliver([BATCH[0], unencodable(), BATCH[1]])
        assert [type(outcome) for outcome in outcomes] == [type(DELIVERED), Failed, type(DELIVERED)]
        assert len((tmp_path / "t").read_text().splitlines()) == 2


class TestRedis:
    def test_entries_hold_the_id_and_the_event(self, redis_url: str) -> None:
        sink = RedisSink(redis_url, "triggers", 1_000, SOURCE)
        assert sink.deliver(BATCH) == [DELIVERED] * 5
        sink.close()
        with redis.Redis.from_url(redis_url) as client:
            entries = [fields for _, fields in client.xrange("triggers")]
        assert [fields[b"id"] for fields in entries] == [b"trg-%d" % number for number in range(5)]
        assert json.loads(entries[2][b"body"])["data"]["identity"] == {"user_id": "user 2"}

    def test_the_stream_is_bounded(self, redis_url: str) -> None:
        sink = RedisSink(redis_url, "triggers", 100, SOURCE)
        for _ in range(10):
            sink.deliver([delivery(number) for number in range(100)])
        with redis.Redis.from_url(redis_url) as client:
            assert client.xlen("triggers") < 300
        sink.close()

    def test_a_key_of_another_type_is_tried_again(self, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.set("triggers", "something else")
        sink = RedisSink(redis_url, "triggers", 100, SOURCE)
        assert [type(outcome) for outcome in sink.deliver(BATCH)] == [Retry] * 5
        with redis.Redis.from_url(redis_url) as client:
            client.delete("triggers")
        assert sink.deliver(BATCH) == [DELIVERED] * 5
        sink.close()

    def test_a_server_that_is_away(self, tmp_path: Path) -> None:
        sink = RedisSink(f"unix://{tmp_path}/none.sock", "triggers", 100, SOURCE, timeout_s=0.5)
        outcomes = sink.deliver([*BATCH, unencodable()])
        assert [type(outcome) for outcome in outcomes] == [Retry] * 5 + [Failed]

    def test_what_cannot_be_encoded_fails_alone(self, redis_url: str) -> None:
        sink = RedisSink(redis_url, "triggers", 100, SOURCE)
        outcomes = sink.deliver([unencodable(), BATCH[0]])
        assert [type(outcome) for outcome in outcomes] == [Failed, type(DELIVERED)]
        sink.close()


def topic_of(kafka: Any) -> str:
    name = f"triggers-{uuid4().hex[:8]}"
    kafka.create_topic(name, 3)
    return name


def read_back(bootstrap: str, topic: str, count: int) -> list[Any]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": uuid4().hex, "auto.offset.reset": "earliest"}
    )
    try:
        # the mock has its own number of them
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        messages: list[Any] = []
        deadline = time.monotonic() + 60
        while len(messages) < count and time.monotonic() < deadline:
            messages += [message for message in consumer.consume(count, 0.2) if not message.error()]
        return messages
    finally:
        consumer.close()


def from_wire_format(value: bytes) -> Any:
    """As a deserializer with a registry does it."""
    assert value[0] == 0
    (schema,) = (found.schema for found in trigger_avro.REGISTERED if found.id == int.from_bytes(value[1:5]))
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), fastavro.parse_schema(schema), None)


def connector(topic: str, **changes: Any) -> KafkaConnector:
    return KafkaConnector(**{"name": "bus", "topic": topic, "timeout": Duration(15_000)} | changes)


@pytest.fixture
def sinks() -> Iterator[list[KafkaSink]]:
    made: list[KafkaSink] = []
    yield made
    for sink in made:
        sink.close()


class TestKafka:
    def test_structured_json_keyed_by_customer(self, kafka: Any, sinks: list[KafkaSink]) -> None:
        topic = topic_of(kafka)
        sinks.append(KafkaSink(connector(topic), Kafka(bootstrap=kafka.bootstrap), SOURCE))
        assert sinks[0].deliver(BATCH) == [DELIVERED] * 5
        messages = read_back(kafka.bootstrap, topic, 5)
        assert {message.key().decode() for message in messages} == {item.trigger.customer for item in BATCH}
        assert {json.loads(message.value())["id"] for message in messages} == {
            item.trigger.id for item in BATCH
        }
        assert dict(messages[0].headers())["content-type"] == b"application/cloudevents+json"

    def test_avro_in_the_wire_format_with_the_event_in_headers(
        self, kafka: Any, sinks: list[KafkaSink]
    ) -> None:
        topic = topic_of(kafka)
        sinks.append(KafkaSink(connector(topic, format="avro"), Kafka(bootstrap=kafka.bootstrap), SOURCE))
        assert sinks[0].deliver(BATCH) == [DELIVERED] * 5
        for message in read_back(kafka.bootstrap, topic, 5):
            headers = {name: value.decode() for name, value in message.headers()}
            record = from_wire_format(message.value())
            assert record["id"] == headers["ce_id"]
            assert headers["ce_type"] == cloudevents.TYPE
            assert headers["content-type"] == "application/avro"
            assert record["properties"] == {"product": "Tee ☕"}
            assert record["identity"]["user_id"].startswith("user ")

    def test_too_large_fails_for_good_and_alone(self, kafka: Any, sinks: list[KafkaSink]) -> None:
        topic = topic_of(kafka)
        sinks.append(KafkaSink(connector(topic), Kafka(bootstrap=kafka.bootstrap), SOURCE))
        huge = Delivery(trigger(1, properties={"text": "x" * 1_100_000}), {})
        outcomes = sinks[0].deliver([BATCH[0], huge, unencodable(), BATCH[1]])
        assert [type(outcome) for outcome in outcomes] == [type(DELIVERED), Failed, Failed, type(DELIVERED)]

    def test_no_broker_is_tried_again_within_the_timeout(self, sinks: list[KafkaSink]) -> None:
        settings = connector("triggers", timeout=Duration(1_000))
        sinks.append(KafkaSink(settings, Kafka(bootstrap="127.0.0.1:1"), SOURCE))
        begun = time.monotonic()
        outcomes = sinks[0].deliver(BATCH)
        assert [type(outcome) for outcome in outcomes] == [Retry] * 5
        assert time.monotonic() - begun < 30

    def test_closing_lets_go_of_a_delivery_that_waits(self) -> None:
        sink = KafkaSink(
            connector("triggers", timeout=Duration(120_000)), Kafka(bootstrap="127.0.0.1:1"), SOURCE
        )
        threading.Timer(0.3, sink.close).start()
        begun = time.monotonic()
        outcomes: list[Outcome] = sink.deliver(BATCH)
        assert [type(outcome) for outcome in outcomes] == [Retry] * 5
        assert time.monotonic() - begun < 60

    @pytest.mark.slow  # tests/e2e/test_kafka.py kills it as well
    def test_goes_on_after_the_broker_was_killed(self, kafka: Any, sinks: list[KafkaSink]) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster cannot be killed")
        topic = topic_of(kafka)
        sinks.append(
            KafkaSink(connector(topic, timeout=Duration(1_500)), Kafka(bootstrap=kafka.bootstrap), SOURCE)
        )
        assert sinks[0].deliver(BATCH[:2]) == [DELIVERED] * 2
        kafka.kill()
        try:
            assert [type(outcome) for outcome in sinks[0].deliver(BATCH[2:])] == [Retry] * 3
        finally:
            kafka.restart()
        deadline = time.monotonic() + 60
        left = BATCH[2:]
        while left and time.monotonic() < deadline:
            outcomes = sinks[0].deliver(left)
            left = [item for item, outcome in zip(left, outcomes, strict=True) if outcome is not DELIVERED]
        assert not left
        assert {json.loads(message.value())["id"] for message in read_back(kafka.bootstrap, topic, 5)} == {
            item.trigger.id for item in BATCH
        }

    def test_a_refused_login_is_tried_again(self, kafka: Any, sinks: list[KafkaSink]) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster knows no logins")
        options = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "mill",
            "sasl.password": "wrong",
        }
        settings = Kafka(
            bootstrap=kafka.sasl_bootstrap, options={name: Secret(value) for name, value in options.items()}
        )
        sinks.append(KafkaSink(connector("triggers", timeout=Duration(1_000)), settings, SOURCE))
        assert [type(outcome) for outcome in sinks[0].deliver(BATCH)] == [Retry] * 5


def test_batches_are_compressed_by_what_every_client_reads_unless_options_say_otherwise() -> None:
    """kafka-python and KafkaJS have only gzip without a further library."""
    assert _settings(connector("t"), Kafka())["compression.type"] == "gzip"
    assert (
        _settings(connector("t"), Kafka(options={"compression.type": Secret("lz4")}))["compression.type"]
        == "lz4"
    )
