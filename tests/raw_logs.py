"""Both raw logs, plain and sealed, and what a test writes to them and reads."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from connectors.raw.kafka_log import KafkaRawReader, KafkaRawWriter
from connectors.raw.log import START, RawReader, RawWriter
from connectors.raw.redis_log import RedisRawReader
from connectors.raw.redis_writer import RedisRawWriter
from connectors.wire.avro import AvroReader, SchemaRegistry
from schemas.config import Kafka
from schemas.errors import Foreign
from schemas.wire.events import RawBatch, RawEvent
from tests.kafka_broker import Broker

PARTITIONS = 4
EVENT_BYTES = 32_768
NOBODY = "127.0.0.1:1"


def scramble(value: bytes) -> bytes:
    """Stands for a seal: not what it was, and known when seen again."""
    return b"sealed:" + bytes(byte ^ 0x5A for byte in value)


def unscramble(value: bytes) -> bytes:
    if not value.startswith(b"sealed:"):
        raise Foreign("not sealed by us")
    return bytes(byte ^ 0x5A for byte in value[7:])


class RedisLog:
    def __init__(self, url: str, sealed: bool, restart: Callable[[], None] | None = None) -> None:
        self.url, self.sealed, self._restart = url, sealed, restart

    def writer(self, max_events: int = 100_000) -> RawWriter:
        return RedisRawWriter(self.url, "mr", PARTITIONS, max_events, scramble if self.sealed else None)

    def reader(self) -> RawReader:
        return RedisRawReader(self.url, "mr", PARTITIONS, unscramble if self.sealed else None)

    def restart(self) -> None:
        assert self._restart is not None
        self._restart()


class KafkaLog:
    def __init__(self, broker: Broker, sealed: bool) -> None:
        self.broker, self.sealed = broker, sealed
        self.config = Kafka(bootstrap=broker.bootstrap, topics=(f"raw-{uuid.uuid4().hex}",))
        broker.create_topic(self.config.topics[0], PARTITIONS)

    def writer(self) -> RawWriter:
        return KafkaRawWriter(self.config, scramble if self.sealed else None)

    def reader(self) -> RawReader:
        return KafkaRawReader(
            self.config, unscramble if self.sealed else None, AvroReader(SchemaRegistry(None)), EVENT_BYTES
        )

    def restart(self) -> None:
        self.broker.restart()


Log = RedisLog | KafkaLog


def event(text: str) -> RawEvent:
    return RawEvent(text.encode(), 1_700_000_000_000, "web")


def pairs(count: int, keys: int = 7) -> list[tuple[str, RawEvent]]:
    return [(f"key-{number % keys}", event(f"key-{number % keys}:{number}")) for number in range(count)]


def use(writer: RawWriter, job: Callable[[RawWriter], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        try:
            await job(writer)
        finally:
            await writer.close()

    asyncio.run(whole())


def append(raw_log: Log, events: list[tuple[str, RawEvent]]) -> None:
    use(raw_log.writer(), lambda writer: writer.append(events))


def from_start(reader: RawReader) -> None:
    reader.assign(dict.fromkeys(reader.partitions(), START))


def read(reader: RawReader, count: int, within_s: float = 60) -> list[RawBatch]:
    """Batches of at least so many events."""
    batches: list[RawBatch] = []
    deadline = time.monotonic() + within_s
    while count > 0:
        assert time.monotonic() < deadline, f"{count} events have not come"
        for batch in reader.poll(200):
            batches.append(batch)
            count -= len(batch.events)
    return batches


def texts(batches: list[RawBatch]) -> list[str]:
    return [found.value.decode() for batch in batches for found in batch.events]
