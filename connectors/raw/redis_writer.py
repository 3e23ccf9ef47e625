"""The gateway's side of the raw log in Redis Streams; `connectors.raw.redis_log` says how it lies there."""

import asyncio
import itertools
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import redis
import redis.asyncio
import stamina
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff

from connectors.raw.redis_log import (
    AWAY,
    ENTRY_EVENTS,
    PATIENCE_S,
    SOCKET_TIMEOUT_S,
    WANTS_ROOM,
    Transform,
    counts_key,
    may_pass,
    stream_key,
)
from schemas.errors import LogFull, Unreachable
from schemas.wire.events import RawEvent

_Append = tuple[list[tuple[int, RawEvent]], asyncio.Future[None]]  # partition of each event
ENTRY_BYTES = 1024 * 1024
WAIT_MS = 1_000  # how long replicas may take to have what was appended
_SCRIPT = (Path(__file__).parent / "raw_append.lua").read_text()
_write_events = msgspec.msgpack.encode


class RedisRawWriter:
    """Group commit: while one round trip is under way, the appends that arrive gather for the next.

    `seal` encrypts an entry's blob; None leaves it plain. `max_events` is what each partition may hold; of an
    append that raises `LogFull` nothing is stored, whichever of its partitions is full. An append returns
    when this many `replicas` have it; it raises `Unreachable` if they are fewer, although the server itself
    may keep it.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        partitions: int,
        max_events: int,
        seal: Transform | None,
        replicas: int = 0,
    ) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url, protocol=2, socket_timeout=SOCKET_TIMEOUT_S, retry=AsyncRetry(NoBackoff(), 0)
        )
        self._append = self._redis.register_script(_SCRIPT)
        self._keys = [counts_key(prefix), *(stream_key(prefix, number) for number in range(partitions))]
        self._partitions = partitions
        self._max_events = max_events
        self._seal = seal
        self._replicas = replicas
        self._turn = itertools.count()
        self._waiting: list[_Append] = []
        self._flusher: asyncio.Task[None] | None = None

    async def append(self, events: Sequence[tuple[str, RawEvent]]) -> None:
        if not events:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(([(self._partition(key), event) for key, event in events], future))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        await future

    def _partition(self, key: str) -> int:
        return (
            zlib.crc32(key.encode(errors="surrogatepass")) if key else next(self._turn)
        ) % self._partitions

    async def ping(self) -> None:
        try:
            await self._redis.ping()
        except AWAY as error:
            raise Unreachable(f"raw log: redis does not answer: {error}") from error

    async def close(self) -> None:
        """Wait for the appends under way."""
        if self._flusher is not None:
            await self._flusher
        await self._redis.aclose()

    async def _flush(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                errors: Mapping[asyncio.Future[None], Exception]
                try:
                    errors = await self._store(waiting)
                except Exception as error:  # noqa: BLE001 - raised where it belongs: in each `append` that waits
                    errors = {future: error for _, future in waiting}
                for _, future in waiting:
                    _finish(future, errors.get(future))
        finally:
            self._flusher = None

    async def _store(self, waiting: list[_Append]) -> dict[asyncio.Future[None], Exception]:
        """The appends that found a partition full: of these nothing is stored, of the others all."""
        errors: dict[asyncio.Future[None], Exception] = {}
        while waiting:
            room = await self._send(self._arguments(waiting))
            if not room:
                break
            fitting = self._fitting(waiting, room, errors)
            waiting = [append for append, fits in zip(waiting, fitting, strict=True) if fits]
        return errors

    def _fitting(
        self, waiting: list[_Append], room: list[int], errors: dict[asyncio.Future[None], Exception]
    ) -> list[bool]:
        """Which of them fit as a whole, those that came first before others."""
        fitting = []
        for events, future in waiting:
            wanted = Counter(number for number, _ in events)
            full = next((number for number, count in wanted.items() if count > room[number]), None)
            fitting.append(full is None)
            if full is not None:
                errors[future] = LogFull(
                    f"partition {full} of the raw log has no room: it may hold {self._max_events} events"
                )
                continue
            for number, count in wanted.items():
                room[number] -= count
        return fitting

    def _arguments(self, waiting: list[_Append]) -> list[Any]:
        """Return what the script gets: events that came together share entries."""
        entries: list[_Entry] = []
        open_entries: dict[int, _Entry] = {}
        for events, _ in waiting:
            for number, event in events:
                entry = open_entries.get(number)
                if (
                    entry is None
                    or len(entry.events) == ENTRY_EVENTS
                    or entry.size + len(event.value) > ENTRY_BYTES
                ):
                    entry = open_entries[number] = _Entry(number)
                    entries.append(entry)
                entry.events.append(event)
                entry.size += len(event.value)
        arguments: list[Any] = [self._max_events]
        for entry in entries:
            blob = _write_events(entry.events)
            arguments += (entry.partition, len(entry.events), self._seal(blob) if self._seal else blob)
        return arguments

    async def _send(self, arguments: list[Any]) -> list[int]:
        """Nothing where all is stored, else what room each partition has.

        Raises `LogFull` where nothing is stored, `Unreachable` where it may be.
        """
        lost = False  # an answer: what it would have said nobody knows
        try:
            async for attempt in stamina.retry_context(
                on=may_pass, attempts=None, timeout=PATIENCE_S, wait_initial=0.05, wait_max=0.5
            ):
                with attempt:
                    lost = attempt.num > 1
                    room, replicas = await self._call(arguments)
        except (*AWAY, redis.ResponseError) as error:
            said = str(error)
            if any(words in said for words in WANTS_ROOM) and not lost:
                raise LogFull(f"redis has no room: {said}", retry_after_s=5.0) from None
            if "READONLY" in said:  # a failover: the next append finds the new primary
                await self._redis.connection_pool.disconnect()
            raise Unreachable(f"raw log: redis does not take our events: {said}") from error
        if room and lost:
            raise Unreachable(
                "raw log: redis has no room now, and may have taken our events before its answer was lost"
            )
        if not room and replicas < self._replicas:
            raise Unreachable(
                f"raw log: expected {self._replicas} replicas to have our events within {WAIT_MS} ms,"
                f" {replicas} have them: check"
                " `redis.replicas` and the replicas"
            )
        return room

    async def _call(self, arguments: list[Any]) -> tuple[list[int], int]:
        """What the script says, and how many replicas have what it wrote."""
        if not self._replicas:
            return await self._append(keys=self._keys, args=arguments), 0
        # In one piece, since WAIT speaks of what its own connection has written: on a new one it would
        # promise nothing.
        async with self._redis.pipeline(transaction=False) as pipeline:
            await self._append(keys=self._keys, args=arguments, client=pipeline)
            pipeline.wait(self._replicas, WAIT_MS)
            room, replicas = await pipeline.execute()
        return room, replicas


class _Entry:
    __slots__ = ("events", "partition", "size")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.events: list[RawEvent] = []
        self.size = 0


def _finish(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return  # its caller has gone away
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
