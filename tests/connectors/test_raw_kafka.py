"""What only Kafka has: the forms of records that apps write, and the ways in which a broker can say no."""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic
from structlog.testing import capture_logs

from connectors.raw import kafka_link, kafka_log
from connectors.raw.kafka_log import KafkaRawReader, KafkaRawWriter
from connectors.raw.log import START
from connectors.wire.avro import AvroReader, SchemaRegistry
from schemas.config import Kafka, Secret
from schemas.errors import TRY_AGAIN, ConfigError, Foreign, Outgrown, Refused, Unreachable
from schemas.metrics import KAFKA_SKIPPED
from schemas.wire.events import RawEvent
from tests.kafka_broker import Broker

SCHEMA = {
    "type": "record",
    "name": "Paid",
    "namespace": "shop.till",
    "fields": [{"name": "userId", "type": "string"}, {"name": "total", "type": "double"}],
}
EVENT_BYTES = 32_768
MESSAGE = b'{"type":"track","event":"Paid","userId":"u1"}'


def payload(record: dict[str, Any]) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(SCHEMA), record)
    return stream.getvalue()


@pytest.fixture
def avro(tmp_path: Path) -> AvroReader:
    (tmp_path / "7.avsc").write_text(json.dumps(SCHEMA))
    return AvroReader(SchemaRegistry(tmp_path))


@pytest.fixture
def topic(kafka: Broker) -> str:
    name = f"direct-{uuid.uuid4().hex}"
    kafka.create_topic(name, 1)
    return name


def refuse(_value: bytes) -> bytes:
    raise Foreign("not sealed by us")


def produce(
    kafka: Broker,
    topic: str,
    value: bytes | None,
    headers: dict[str, bytes] | None = None,
    partition: int = 0,
    **more: Any,
) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topic, value, headers=list((headers or {}).items()), partition=partition, **more)
    assert producer.flush(20) == 0


def read(reader: KafkaRawReader, count: int) -> list[RawEvent]:
    events: list[RawEvent] = []
    deadline = time.monotonic() + 60
    while len(events) < count:
        assert time.monotonic() < deadline, f"{len(events)} of {count} events have come"
        events += [event for batch in reader.poll(200) for event in batch.events]
    return events


def reader_of(
    kafka: Broker, *topics: str, avro: AvroReader, open: Callable[[bytes], bytes] | None = refuse
) -> KafkaRawReader:
    reader = KafkaRawReader(Kafka(bootstrap=kafka.bootstrap, topics=topics), open, avro, EVENT_BYTES)
    reader.assign(dict.fromkeys(reader.partitions(), START))
    return reader


class Electing:
    """A consumer whose partitions have no leader for the first few questions."""

    def __init__(self, consumer: Any, refusals: int) -> None:
        self._consumer = consumer
        self.refusals = refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def get_watermark_offsets(self, *args: Any, **options: Any) -> Any:
        if self.refusals > 0:
            self.refusals -= 1
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        return self._consumer.get_watermark_offsets(*args, **options)


def test_an_election_is_waited_for_and_not_for_ever(
    kafka: Broker, topic: str, avro: AvroReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(kafka, topic, b'{"type":"track"}')
    reader = KafkaRawReader(Kafka(bootstrap=kafka.bootstrap, topics=(topic,)), refuse, avro, EVENT_BYTES)
    consumer = Electing(reader._consumer, refusals=3)
    monkeypatch.setattr(reader, "_consumer", consumer)
    try:
        reader.assign({f"{topic}/0": START})
        assert len(read(reader, 1)) == 1
        assert consumer.refusals == 0
        consumer.refusals = 10_000
        monkeypatch.setattr(kafka_log, "ANSWER_S", 0.2)
        with pytest.raises(Unreachable, match="does not say where"):
            reader.assign({f"{topic}/0": START})
    finally:
        reader.close()


def one(kafka: Broker, topic: str, avro: AvroReader) -> RawEvent:
    reader = reader_of(kafka, topic, avro=avro)
    try:
        (event,) = read(reader, 1)
        return event
    finally:
        reader.close()


class TestForms:
    def test_json_is_taken_as_it_stands(self, kafka: Broker, topic: str, avro: AvroReader) -> None:
        produce(kafka, topic, MESSAGE, timestamp=1_700_000_000_000)
        assert one(kafka, topic, avro) == RawEvent(MESSAGE, 1_700_000_000_000, topic)

    def test_what_is_too_large_is_a_fault_and_keeps_its_beginning(
        self, kafka: Broker, topic: str, avro: AvroReader
    ) -> None:
        produce(kafka, topic, b"{" + b" " * EVENT_BYTES, timestamp=1_700_000_000_000)
        event = one(kafka, topic, avro)
        assert event.fault == "too_large"
        assert (
            event.detail
            == f"expected at most {EVENT_BYTES} bytes, got {EVENT_BYTES + 1}; these are the first"
        )
        assert len(event.value) == EVENT_BYTES

    def test_what_is_not_json_is_left_to_validation(
        self, kafka: Broker, topic: str, avro: AvroReader
    ) -> None:
        produce(kafka, topic, b'{"type":"tra', {"x-app": b"till"})
        event = one(kafka, topic, avro)
        assert (event.value, event.fault) == (b'{"type":"tra', None)

    @pytest.mark.parametrize("value", [None, b""])
    def test_no_value_is_a_fault(
        self, kafka: Broker, topic: str, avro: AvroReader, value: bytes | None
    ) -> None:
        produce(kafka, topic, value, key=b"k")
        event = one(kafka, topic, avro)
        assert (event.value, event.fault) == (b"", "empty")

    def test_structured_cloudevent(self, kafka: Broker, topic: str, avro: AvroReader) -> None:
        event = (
            b'{"specversion":"1.0","id":"e1","source":"/till","type":"Paid","subject":"u1",'
            b'"data":{"total":5}}'
        )
        produce(kafka, topic, event, {"content-type": b"application/cloudevents+json; charset=UTF-8"})
        message = msgspec.json.decode(one(kafka, topic, avro).value)
        assert (message["event"], message["userId"], message["messageId"]) == ("Paid", "u1", "e1")
        assert message["properties"] == {"total": 5}

    def test_binary_cloudevent(self, kafka: Broker, topic: str, avro: AvroReader) -> None:
        attributes = {
            "ce_specversion": b"1.0",
            "ce_id": b"e2",
            "ce_source": b"/till",
            "ce_type": b"Paid",
            "ce_subject": b"u1",
        }
        produce(kafka, topic, b'{"total":5}', attributes | {"content-type": b"application/json"})
        message = msgspec.json.decode(one(kafka, topic, avro).value)
        assert (message["event"], message["userId"], message["messageId"]) == ("Paid", "u1", "e2")
        assert message["properties"] == {"total": 5}

    def test_binary_cloudevent_with_avro_data(self, kafka: Broker, topic: str, avro: AvroReader) -> None:
        attributes = {"ce_specversion": b"1.0", "ce_id": b"e3", "ce_source": b"/till", "ce_type": b"Paid"}
        value = b"\0\0\0\0\x07" + payload({"userId": "u1", "total": 5.5})
        produce(kafka, topic, value, attributes | {"content-type": b"application/avro"})
        message = msgspec.json.decode(one(kafka, topic, avro).value)
        assert (message["event"], message["userId"], message["messageId"]) == ("Paid", "u1", "e3")
        assert message["properties"] == {"total": 5.5}

    @pytest.mark.parametrize(
        ("value", "headers"),
        [
            (b"{}", {"content-type": b"application/cloudevents+json"}),
            (b"[]", {"content-type": b"application/cloudevents-batch+json"}),
            (b"{}", {"ce_specversion": b"1.0", "ce_id": b"\xff"}),
        ],
    )
    def test_a_bad_cloudevent_is_a_fault(
        self, kafka: Broker, topic: str, avro: AvroReader, value: bytes, headers: dict[str, bytes]
    ) -> None:
        produce(kafka, topic, value, headers)
        event = one(kafka, topic, avro)
        assert (event.value, event.fault) == (value, "cloudevent_invalid")

    @pytest.mark.parametrize(
        ("before", "headers"),
        [(b"\0\0\0\0\x07", {}), (b"", {"__value_schema_id": b"\0\0\0\0\x07"})],
        ids=["in the value", "in a header"],
    )
    def test_avro(
        self, kafka: Broker, topic: str, avro: AvroReader, before: bytes, headers: dict[str, bytes]
    ) -> None:
        produce(kafka, topic, before + payload({"userId": "u1", "total": 5.5}), headers)
        message = msgspec.json.decode(one(kafka, topic, avro).value)
        assert message == {"type": "track", "event": "Paid", "userId": "u1", "properties": {"total": 5.5}}

    @pytest.mark.parametrize(
        ("value", "fault"),
        [
            (b"\0\0\0\0\x08" + payload({"userId": "u1", "total": 5.5}), "schema_unknown"),
            (b"\0\0\0\0\x07" + payload({"userId": "u1", "total": 5.5})[:-3], "avro_invalid"),
            (b"\0\0\0", "avro_invalid"),
        ],
        ids=["unknown id", "truncated", "no id"],
    )
    def test_bad_avro_is_a_fault(
        self, kafka: Broker, topic: str, avro: AvroReader, value: bytes, fault: str
    ) -> None:
        produce(kafka, topic, value)
        event = one(kafka, topic, avro)
        assert (event.value, event.fault) == (value, fault)

    def test_headers_that_pretend_to_be_the_gateways_stop_nothing(
        self, kafka: Broker, topic: str, avro: AvroReader
    ) -> None:
        for headers in (
            {"millrace-received": b"yesterday"},
            {
                "millrace-received": b"9" * 400,
                "millrace-source": b"\xff",
                "millrace-fault": b"no such reason",
            },
            {"millrace-received": b"5", "millrace-sealed": b"1"},
        ):
            produce(kafka, topic, MESSAGE, headers, timestamp=1_700_000_000_000)
        reader = reader_of(kafka, topic, avro=avro)
        events = read(reader, 3)
        reader.close()
        assert [(event.received_ms, event.fault) for event in events] == [(1_700_000_000_000, None)] * 2 + [
            (5, "seal_broken")
        ]

    def test_sealed_records_without_a_key_to_open_them_are_faults(
        self, kafka: Broker, topic: str, avro: AvroReader
    ) -> None:
        produce(kafka, topic, b"secret", {"millrace-received": b"5", "millrace-sealed": b"1"})
        reader = reader_of(kafka, topic, avro=avro, open=None)
        (event,) = read(reader, 1)
        reader.close()
        assert (event.value, event.fault) == (b"secret", "seal_broken")


def test_several_topics_are_read_by_one_consumer(kafka: Broker, avro: AvroReader) -> None:
    topics = [f"many-{uuid.uuid4().hex}" for _ in range(3)]
    for name in topics:
        kafka.create_topic(name, 2)
        for number in range(10):
            produce(kafka, name, b'{"n":%d}' % number, partition=number % 2)
    reader = reader_of(kafka, *topics, avro=avro)
    assert list(dict.fromkeys(name.partition("/")[0] for name in reader.partitions())) == topics
    events = read(reader, 30)
    reader.close()
    assert {
        event.source: sum(other.source == event.source for other in events) for event in events
    } == dict.fromkeys(topics, 10)


def test_committed_positions_are_group_offsets_for_dashboards(
    kafka: Broker, topic: str, avro: AvroReader
) -> None:
    for _ in range(3):
        produce(kafka, topic, MESSAGE)
    reader = reader_of(kafka, topic, avro=avro)
    read(reader, 3)
    reader.committed({f"{topic}/0": 2})
    reader.close()
    dashboard = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "millrace"})
    deadline = time.monotonic() + 60
    offset = OFFSET_INVALID
    while offset == OFFSET_INVALID and time.monotonic() < deadline:
        (found,) = dashboard.committed([TopicPartition(topic, 0)], timeout=10)
        offset = found.offset
    dashboard.close()
    assert offset == 3


def delete_records(kafka: Broker, topic: str, before: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    (deletion,) = admin.delete_records([TopicPartition(topic, 0, before)]).values()
    deletion.result(10)


class TestRetention:
    @pytest.mark.parametrize("late", [False, True], ids=["before the start", "while reading"])
    def test_what_it_took_is_skipped_and_counted_where_the_operator_says_so(
        self, kafka: Broker, topic: str, avro: AvroReader, late: bool
    ) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster deletes no records")
        for n in range(6):
            produce(kafka, topic, b'{"n":%d}' % n)
        config = Kafka(bootstrap=kafka.bootstrap, topics=(topic,), trimmed="skip")
        reader = KafkaRawReader(config, None, avro, EVENT_BYTES)
        name = f"{topic}/0"
        delete_records(kafka, topic, 4)
        with capture_logs() as said:
            if late:
                reader._next[topic, 0] = 2
                reader._consumer.assign([TopicPartition(topic, 0, 2)])  # as if they had gone after `assign`
            else:
                reader.assign({name: 1})
            events = read(reader, 2)
        assert [event.value for event in events] == [b'{"n":4}', b'{"n":5}']
        assert said == [
            {"event": "kafka_skipped", "log_level": "error", "partition": name, "records": 2, "first": 2}
        ]
        assert KAFKA_SKIPPED.labels(name)._value.get() == 2
        reader.close()

    def test_while_reading_the_default_is_to_stop(self, kafka: Broker, topic: str, avro: AvroReader) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster deletes no records")
        for _ in range(6):
            produce(kafka, topic, MESSAGE)
        delete_records(kafka, topic, 4)
        reader = KafkaRawReader(Kafka(bootstrap=kafka.bootstrap, topics=(topic,)), None, avro, EVENT_BYTES)
        reader._next[topic, 0] = 2
        reader._consumer.assign([TopicPartition(topic, 0, 2)])  # as if it had gone after `assign`
        with pytest.raises(Foreign, match=f"{topic}/0 begins at offset 4 and we have read up to 1"):
            read(reader, 6)
        reader.close()


class TestGrowth:
    def test_added_partitions_end_the_worker_for_a_new_start(
        self, kafka: Broker, topic: str, avro: AvroReader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster adds no partitions")
        assert kafka_link.LOOK_EVERY_S < 60
        monkeypatch.setattr(kafka_link, "LOOK_EVERY_S", 0.2)
        reader = reader_of(kafka, topic, avro=avro)
        produce(kafka, topic, MESSAGE)
        read(reader, 1)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        admin.create_partitions([NewPartitions(topic, 3)])[topic].result(10)
        deadline = time.monotonic() + 60
        with pytest.raises(Outgrown, match=f"{topic} has 3 partitions now, 1 before") as outgrown:
            while time.monotonic() < deadline:
                reader.poll(200)
        assert outgrown.value.exit_code == TRY_AGAIN
        reader.close()
        again = reader_of(kafka, topic, avro=avro)
        assert again.partitions() == [f"{topic}/{number}" for number in range(3)]
        again.close()

    def test_added_partitions_are_written_to(
        self, kafka: Broker, topic: str, avro: AvroReader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster adds no partitions")
        monkeypatch.setattr(kafka_link, "LOOK_EVERY_S", 0.2)

        async def drive() -> None:
            writer = KafkaRawWriter(Kafka(bootstrap=kafka.bootstrap, topics=(topic,)), None)
            await writer.append([("", RawEvent(MESSAGE, 1))] * 3)
            admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
            admin.create_partitions([NewPartitions(topic, 3)])[topic].result(10)
            deadline = time.monotonic() + 60
            while writer._partitions == 1 and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
            await writer.append([("", RawEvent(MESSAGE, 1))] * 3)
            await writer.close()

        asyncio.run(drive())
        reader = reader_of(kafka, topic, avro=avro)
        found, deadline = Counter[str](), time.monotonic() + 20
        while found.total() < 6 and time.monotonic() < deadline:
            found.update({batch.partition: len(batch.events) for batch in reader.poll(200)})
        assert found == {f"{topic}/0": 4, f"{topic}/1": 1, f"{topic}/2": 1}
        reader.close()


class TestRefusals:
    def test_a_topic_that_does_not_exist(self, kafka: Broker, avro: AvroReader) -> None:
        config = Kafka(bootstrap=kafka.bootstrap, topics=("no.such.topic",))
        for make in (
            lambda: KafkaRawReader(config, None, avro, EVENT_BYTES),
            lambda: KafkaRawWriter(config, None),
        ):
            started = time.monotonic()
            with pytest.raises(Refused, match=r"no topic no\.such\.topic"):
                make()
            assert time.monotonic() - started < 60

    def test_a_refused_login(self, kafka: Broker, topic: str, avro: AvroReader) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster knows no logins")
        for password, works in (("wrong", False), ("race", True)):
            options = {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "mill",
                "sasl.password": password,
            }
            config = Kafka(
                bootstrap=kafka.sasl_bootstrap,
                topics=(topic,),
                options={k: Secret(v) for k, v in options.items()},
            )
            if works:
                KafkaRawReader(config, None, avro, EVENT_BYTES).close()
                continue
            makers = (
                partial(KafkaRawReader, config, None, avro, EVENT_BYTES),
                partial(KafkaRawWriter, config, None),
            )
            for make in makers:
                started = time.monotonic()
                with pytest.raises(Refused, match="refuses our login") as error:
                    make()
                assert time.monotonic() - started < 60
                assert "\n" not in str(error.value)
                assert "wrong" not in str(error.value)

    def test_an_option_that_librdkafka_does_not_know(
        self, kafka: Broker, topic: str, avro: AvroReader
    ) -> None:
        config = Kafka(bootstrap=kafka.bootstrap, topics=(topic,), options={"sasl.pasword": Secret("x")})
        with pytest.raises(ConfigError, match=r"kafka\.options: .*sasl\.pasword"):
            KafkaRawReader(config, None, avro, EVENT_BYTES)

    def test_a_topic_that_was_made_anew(self, kafka: Broker, topic: str, avro: AvroReader) -> None:
        produce(kafka, topic, MESSAGE)
        reader = KafkaRawReader(Kafka(bootstrap=kafka.bootstrap, topics=(topic,)), None, avro, EVENT_BYTES)
        reader.assign({f"{topic}/0": 0})
        with pytest.raises(Foreign, match="read up to 1"):
            reader.assign({f"{topic}/0": 1})
        reader.close()

    def test_records_that_retention_has_taken(self, kafka: Broker, topic: str, avro: AvroReader) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster deletes no records")
        for _ in range(5):
            produce(kafka, topic, MESSAGE)
        delete_records(kafka, topic, 3)
        reader = KafkaRawReader(Kafka(bootstrap=kafka.bootstrap, topics=(topic,)), None, avro, EVENT_BYTES)
        with pytest.raises(
            Foreign, match=r"retention .* To go on without these 1 records set kafka\.trimmed to skip"
        ):
            reader.assign({f"{topic}/0": 1})
        reader.assign({f"{topic}/0": 2})
        assert len(read(reader, 2)) == 2
        reader.close()

    def test_a_topic_that_is_deleted_while_it_is_read(
        self, kafka: Broker, topic: str, avro: AvroReader
    ) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster deletes no topics")
        produce(kafka, topic, MESSAGE)
        reader = reader_of(kafka, topic, avro=avro)
        read(reader, 1)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        admin.delete_topics([topic])[topic].result(10)
        deadline = time.monotonic() + 60
        with pytest.raises(Refused, match="has lost a topic"):
            while time.monotonic() < deadline:
                reader.poll(200)
        reader.close()

    def test_a_record_that_the_broker_does_not_take(self, kafka: Broker) -> None:
        if not kafka.real:
            pytest.skip("the mock cluster has no topic settings")
        topic = f"narrow-{uuid.uuid4().hex}"
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        admin.create_topics([NewTopic(topic, 1, config={"max.message.bytes": "1000"})])[topic].result(10)

        async def append() -> None:
            writer = KafkaRawWriter(
                Kafka(bootstrap=kafka.bootstrap, topics=(topic,)), lambda value: value[::-1]
            )
            try:
                noise = uuid.uuid4().bytes * 20 + b"".join(uuid.uuid4().bytes for _ in range(200))
                with pytest.raises(Unreachable, match="did not store"):
                    await writer.append([("k", RawEvent(noise, 1))])
                await writer.append([("k", RawEvent(MESSAGE, 1))])
            finally:
                await writer.close()

        asyncio.run(append())
