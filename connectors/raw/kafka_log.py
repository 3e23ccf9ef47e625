"""The raw log in Kafka: one record for each event; a partition is named `<topic>/<n>`, a position is an
offset.

The gateway writes to the first topic; apps may write to any of them, in the forms that
`connectors.raw.kafka_records` reads.
"""

import asyncio
import itertools
import threading
import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from connectors.raw.kafka_link import PING_S, KafkaLink, in_words
from connectors.raw.kafka_records import Transform, headers_of, read_record
from connectors.raw.log import START
from connectors.wire.avro import AvroReader
from schemas.config import Kafka
from schemas.errors import Foreign, LogFull, Outgrown, Refused, Unreachable
from schemas.metrics import KAFKA_SKIPPED
from schemas.wire.events import RawBatch, RawEvent

log = structlog.get_logger()

ANSWER_S = 10.0  # how long it may take to say where a partition begins
ELECTION_S = 0.1  # until it is asked again, while a partition has no leader
DELIVERY_MS = 10_000  # how long it may take to store a record
BATCH_EVENTS = 500
# That wait in a producer, where kafka.options says nothing else: librdkafka's own.
RECORDS_MAX, KBYTES_MAX = 100_000, 1_048_576
COMMIT_EVERY_S = 1.0
# Said for a moment after a topic was made or a broker has come back; where they begin is the one question
# that librdkafka does not repeat.
_ELECTING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
)


class KafkaRawWriter:
    """One idempotent producer; every in-sync replica has a record before `append` returns.

    Records carry no key, since a key may be an e-mail address: the partition is computed here, by the CRC
    that librdkafka's own partitioner uses; partitions that are added are written to within half a minute. The
    constructor blocks for up to 5 s. Raises `Unreachable` (no broker, refused login, no such topic).
    """

    def __init__(self, config: Kafka, seal: Transform | None) -> None:
        self._link = KafkaLink(config)
        self._topic = config.topics[0]
        self._seal = seal
        self._turn = itertools.count()
        self._producer: Producer = self._link.open(
            Producer,
            {
                "acks": "all",
                "enable.idempotence": True,
                "delivery.timeout.ms": DELIVERY_MS,
                "linger.ms": 2,
                "compression.type": "lz4",
            },
        )
        self._records_max = int(config.options.get("queue.buffering.max.messages", RECORDS_MAX))
        self._bytes_max = int(config.options.get("queue.buffering.max.kbytes", KBYTES_MAX)) << 10
        self._bytes = 0  # on their way
        self._partitions = self._link.partitions(self._producer, (self._topic,))[self._topic]
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kafka-deliveries", daemon=True)
        self._thread.start()

    async def append(self, events: Sequence[tuple[str, RawEvent]]) -> None:
        if not events:
            return
        values = [self._seal(event.value) if self._seal else event.value for _, event in events]
        size = sum(map(len, values))
        # Looked at before the first record is handed over, for there is no way back. Nobody else hands any
        # over, so the room only grows.
        if len(self._producer) + len(events) > self._records_max or self._bytes + size > self._bytes_max:
            raise LogFull(f"{len(self._producer)} records wait for Kafka to take them")
        delivery = _Delivery(len(events))
        self._bytes += size
        try:
            self._hand_over(events, values, delivery)
            failed = await delivery.done
        finally:
            self._bytes -= size
        if failed is not None:
            raise Unreachable(
                f"Kafka at {self._link.bootstrap} did not store our events:"
                f" {self._link.trouble or failed.str()}"
            )

    def _hand_over(
        self, events: Sequence[tuple[str, RawEvent]], values: Sequence[bytes], delivery: "_Delivery"
    ) -> None:
        for count, ((key, event), value) in enumerate(zip(events, values, strict=True), 1):
            number = (
                zlib.crc32(key.encode(errors="surrogatepass")) if key else next(self._turn)
            ) % self._partitions
            headers: Any = headers_of(event, sealed=self._seal is not None)
            try:
                self._producer.produce(
                    self._topic, value, partition=number, headers=headers, on_delivery=delivery.arrived
                )
            except (BufferError, KafkaException) as error:
                why = in_words(error) if isinstance(error, KafkaException) else str(error)
                which = f"record {count} of {len(events)}; those before it may be stored"
                raise Unreachable(f"Kafka at {self._link.bootstrap} does not take {which}: {why}") from error

    async def ping(self) -> None:
        try:
            await asyncio.to_thread(self._producer.list_topics, self._topic, PING_S)
        except KafkaException as error:
            raise Unreachable(
                f"Kafka at {self._link.bootstrap} does not answer: {self._link.trouble or in_words(error)}"
            ) from error

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.to_thread(self._producer.flush, DELIVERY_MS / 1000)
        self._closing.set()
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        """Delivery reports come in here, and here only."""
        while not self._closing.is_set():
            self._producer.poll(0.2)
            for topic, count in self._link.grown(self._producer, {self._topic: self._partitions}).items():
                log.info("kafka_partitions_added", topic=topic, before=self._partitions, now=count)
                self._partitions = count


class _Delivery:
    """The records of one append; its future is done when the last of them is reported."""

    def __init__(self, records: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = records
        self._error: KafkaError | None = None
        self.done: asyncio.Future[KafkaError | None] = self._loop.create_future()

    def arrived(self, error: KafkaError | None, _message: Message) -> None:
        self._left -= 1
        self._error = error or self._error
        if not self._left and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(self._error)


class KafkaRawReader:
    """One consumer for many partitions of several topics, assigned by hand: no consumer group decides
    anything.

    A broker that goes away is waited for; `Unreachable` is for one that does not answer at the start,
    `Refused` for one that refuses our login or loses a topic. `Outgrown` says that partitions were added: it
    is raised within half a minute. `bytes_max`: of a record that an app wrote. `clock` gives the Unix time in
    ms for records without a timestamp.
    """

    def __init__(
        self,
        config: Kafka,
        open: Transform | None,
        avro: AvroReader,
        bytes_max: int,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._link = KafkaLink(config)
        self._open = open
        self._avro = avro
        self._bytes_max = bytes_max
        self._skips = config.trimmed == "skip"
        self._clock = clock
        self._consumer: Consumer = self._link.open(
            Consumer,
            {
                "group.id": config.options.get("group.id", "millrace"),  # lag dashboards look there
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 8192,  # for each partition ...
                "fetch.queue.backoff.ms": 10,  # ... and how long until a full queue is looked at again
            },
        )
        self._next: dict[tuple[str, int], int] = {}
        self._commits: dict[tuple[str, int], int] = {}
        self._commit_at = 0.0
        self._stopped = False
        self._found = self._link.partitions(self._consumer, config.topics)

    def partitions(self) -> list[str]:
        """Return them topic by topic in the order of the configuration, each in the order of its numbers."""
        return [f"{topic}/{number}" for topic, count in self._found.items() for number in range(count)]

    def assign(self, positions: Mapping[str, int]) -> None:
        """Read these. Raises `Foreign` where the broker does not have what follows a position (and
        `kafka.trimmed` does not say to skip it)."""
        self._next = {}
        self.join(positions)

    def leave(self, partitions: Collection[str]) -> None:
        for name in partitions:
            self._next.pop(_split(name), None)
        self._consume()

    def join(self, positions: Mapping[str, int]) -> None:
        beginning = set()
        for name, position in positions.items():
            topic, number = _split(name)
            low, high = self._watermarks(topic, number)
            if position == START:
                self._next[topic, number] = low
                beginning.add((topic, number))
                continue
            if position >= high:
                raise Foreign(
                    f"{name} ends at offset {high - 1} and we have read up to {position}: it was made again,"
                    " or has lost records"
                )
            following = max(position + 1, low)
            if following > position + 1:
                self._pass_over(name, position + 1, low)
            self._next[topic, number] = following
        self._consume(beginning)

    def _consume(self, beginning: Collection[tuple[str, int]] = ()) -> None:
        """From where we are, in all partitions that are ours; in these from the first record, which retention
        may take meanwhile."""
        self._stopped = False
        self._consumer.assign(
            [
                TopicPartition(*place, OFFSET_BEGINNING if place in beginning else following)
                for place, following in self._next.items()
            ]
        )

    def _pass_over(self, name: str, following: int, low: int) -> None:
        if not self._skips:
            raise Foreign(
                f"{name} begins at offset {low} and we have read up to {following - 1}: its retention was"
                " too short for us. To go on"
                f" without these {low - following} records set kafka.trimmed to skip"
            )
        KAFKA_SKIPPED.labels(name).inc(low - following)
        log.error("kafka_skipped", partition=name, records=low - following, first=following)

    def poll(self, timeout_ms: int) -> list[RawBatch]:
        for topic, count in self._link.grown(self._consumer, self._found).items():
            raise Outgrown(
                f"{topic} has {count} partitions now, {self._found[topic]} before: starting again to read all"
            )
        consume = self._consumer.consume
        # A call for many records waits until it has them all; so it is made without waiting, and the wait is
        # for the first.
        messages: list[Any] = consume(BATCH_EVENTS, 0)
        if not messages and timeout_ms > 0:
            messages = consume(1, timeout_ms / 1000)
            if messages:
                messages += consume(BATCH_EVENTS - 1, 0)
        batches: dict[tuple[str, int], tuple[list[RawEvent], list[int]]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._judge(error, message)
                continue
            place = (message.topic(), message.partition())
            batch = batches.get(place)
            if batch is None:
                if place not in self._next:  # we have left it
                    continue
                batch = batches[place] = ([], [])
            batch[0].append(read_record(message, self._open, self._avro, self._clock, self._bytes_max))
            batch[1].append(message.offset())
        if self._link.verdict:
            raise Refused(f"Kafka at {self._link.bootstrap} {self._link.verdict}")
        for place, (_, positions) in batches.items():
            self._next[place] = positions[-1] + 1
        if self._stopped:  # librdkafka has given a partition up: read all of them again from where we are
            self._consume()
        return [
            RawBatch(partition=f"{topic}/{number}", after=positions[-1], events=events, positions=positions)
            for (topic, number), (events, positions) in batches.items()
        ]

    def lag(self) -> dict[str, int]:
        """Return it in offsets, by what the broker said with the last records it gave."""
        return {
            f"{topic}/{number}": max(0, self._end(topic, number) - following)
            for (topic, number), following in self._next.items()
        }

    def committed(self, positions: Mapping[str, int]) -> None:
        """Write the group offsets that lag dashboards look at, without waiting, at most once a second.
        Nothing here reads them."""
        self._commits |= {_split(name): position + 1 for name, position in positions.items()}
        now = time.monotonic()
        if self._commits and now >= self._commit_at:
            self._commit_at = now + COMMIT_EVERY_S
            self._consumer.commit(
                offsets=[TopicPartition(*place, offset) for place, offset in self._commits.items()],
                asynchronous=True,
            )
            self._commits = {}

    def close(self) -> None:
        self._commit_at = 0.0
        self.committed({})
        self._consumer.close()
        self._avro.close()

    def _end(self, topic: str, number: int) -> int:
        _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True) or (0, -1)
        return high if high >= 0 else self._watermarks(topic, number)[1]

    def _watermarks(self, topic: str, number: int) -> tuple[int, int]:
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                found = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_S)
                break
            except KafkaException as error:
                if error.args[0].code() not in _ELECTING or time.monotonic() >= deadline:
                    where = f"where {topic}/{number} begins"
                    raise Unreachable(
                        f"Kafka at {self._link.bootstrap} does not say {where}: {in_words(error)}"
                    ) from error
                time.sleep(ELECTION_S)
        if found is None:
            raise Unreachable(f"Kafka at {self._link.bootstrap} does not say where {topic}/{number} begins")
        return found

    def _judge(self, error: KafkaError, message: Message) -> None:
        topic, number = str(message.topic()), cast(int, message.partition())
        place = f"{topic}/{number}"
        if (topic, number) not in self._next:  # we have left it
            return
        match error.code():
            case KafkaError._AUTO_OFFSET_RESET | KafkaError.OFFSET_OUT_OF_RANGE:
                low, high = self._watermarks(topic, number)
                following = self._next[topic, number]
                if not following < low <= high:
                    raise Foreign(f"{place} no longer has the records that come next: {error.str()}")
                self._pass_over(place, following, low)
                self._next[topic, number] = low
                self._stopped = True
            case KafkaError.TOPIC_AUTHORIZATION_FAILED | KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise Refused(f"Kafka at {self._link.bootstrap} does not let us read {place}: {error.str()}")
            case _:
                self._link.say(error, partition=place)  # librdkafka tries again by itself


def _split(name: str) -> tuple[str, int]:
    topic, _, number = name.rpartition("/")
    return topic, int(number)
