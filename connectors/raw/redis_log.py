"""The raw log in Redis Streams: one stream for each partition, one entry for up to 500 events.

    <prefix>:raw:<pp>     XADD * b <blob> n <events> c <events ever appended>; blob =
                          seal(msgpack(list[RawEvent]))
    <prefix>:raw:counts   hash; a:<p> = events ever appended to partition p, t:<p> = events trimmed from it

Position of an entry: `ms << 20 | seq` of its stream id. What a partition holds is `a - t`, exact at all
times: both are absolute numbers, so neither a repeated trim nor a restart can make them drift.
"""

import asyncio
import contextlib
import itertools
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import redis
import redis.asyncio
import stamina
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from connectors.raw.log import START
from schemas.errors import Foreign, LogFull, Unreachable
from schemas.wire.events import RawBatch, RawEvent

Transform = Callable[[bytes], bytes]
_Append = tuple[list[tuple[int, RawEvent]], asyncio.Future[None]]  # partition of each event

ENTRY_EVENTS = 500  # events in one entry, and in one batch
ENTRY_BYTES = 1024 * 1024
FETCH_ENTRIES = 16  # of one partition in one read; with ENTRY_BYTES it bounds what waits in a reader
PATIENCE_S = 3.0  # how long a server may be away
WAIT_MS = 1_000  # how long replicas may take to have what was appended
TRIM_EVERY_S = 1.0
BLOCK_MS_MAX = 5_000
SOCKET_TIMEOUT_S = 10.0
_SCRIPT = (Path(__file__).parent / "raw_append.lua").read_text()
_AWAY = (redis.ConnectionError, redis.TimeoutError)
_WANTS_ROOM = ("when used memory >", "MISCONF", "NOREPLICAS")  # memory, disk, replicas

_write_events = msgspec.msgpack.encode
_read_events = msgspec.msgpack.Decoder(list[RawEvent]).decode


class RedisRawWriter:
    """Group commit: while one round trip is under way, the appends that arrive gather for the next.

    `seal` encrypts an entry's blob; None leaves it plain. `max_events` is what each partition may hold; of an
    append that raises `LogFull` nothing is stored, whichever of its partitions is full. An append returns
    when so many `replicas` have it; it raises `Unreachable` if they are fewer, although the server itself may
    keep it.
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
        self._keys = [_counts_key(prefix), *(_stream_key(prefix, number) for number in range(partitions))]
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
        except _AWAY as error:
            raise Unreachable(f"raw log: redis does not answer: {error}") from error

    async def close(self) -> None:
        """Waits for the appends under way."""
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
        """Of the script: events that came together share entries."""
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
                on=_may_pass, attempts=None, timeout=PATIENCE_S, wait_initial=0.05, wait_max=0.5
            ):
                with attempt:
                    lost = attempt.num > 1
                    room, replicas = await self._call(arguments)
        except (*_AWAY, redis.ResponseError) as error:
            said = str(error)
            if any(words in said for words in _WANTS_ROOM) and not lost:
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


class RedisRawReader:
    """One connection for all partitions. A server that is away for longer than 3 s raises `Unreachable`; an
    entry that `open` or the decoder cannot read raises `Foreign`.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        partitions: int,
        open: Transform | None,
        hold: Callable[[redis.Redis], None] = lambda _: None,
    ) -> None:
        """`hold`: makes the client end with its server (`state.redis.client.stay_with_server`). What was
        committed there may be undone on the one that comes next, and must not be trimmed from it."""
        self._redis = redis.Redis.from_url(
            url, protocol=2, socket_timeout=SOCKET_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
        hold(self._redis)
        self._prefix = prefix
        self._partitions = partitions
        self._open = open
        self._sources: dict[str, _Source] = {}
        self._trim_at = 0.0

    def partitions(self) -> list[str]:
        """`events/0` ... in the order of their numbers; more than configured where a partition of former
        times still holds events."""
        counts = self._counts()
        numbers = [int(field[2:]) for field in counts if field.startswith(b"a:")]
        held = (number for number in numbers if counts[b"a:%d" % number] > counts.get(b"t:%d" % number, 0))
        return [f"events/{number}" for number in range(max(self._partitions, max(held, default=-1) + 1))]

    def assign(self, positions: Mapping[str, int]) -> None:
        self._sources = {}
        self.join(positions)

    def leave(self, partitions: Collection[str]) -> None:
        for name in partitions:
            self._sources.pop(name, None)

    def join(self, positions: Mapping[str, int]) -> None:
        counts = self._counts()
        for name, position in positions.items():
            number = int(name.rpartition("/")[2])
            source = _Source(name, number, _stream_key(self._prefix, number), position)
            found = self._entry_at(source.stream, position) if position != START else None
            # An entry that is gone was trimmed, and all before it.
            source.polled = int(found[b"c"]) if found is not None else counts.get(b"t:%d" % number, 0)
            self._sources[name] = source

    def poll(self, timeout_ms: int) -> list[RawBatch]:
        self._trim()
        hungry = [source for source in self._sources.values() if not source.entries]
        if hungry:
            nothing_yet = len(hungry) == len(self._sources)
            self._fetch(hungry, min(timeout_ms, BLOCK_MS_MAX) if nothing_yet and timeout_ms > 0 else None)
        return [batch for source in self._sources.values() if (batch := source.take(self._open)) is not None]

    def lag(self) -> dict[str, int]:
        """In events."""
        counts = self._counts()
        return {
            name: max(0, counts.get(b"a:%d" % source.number, 0) - source.polled)
            for name, source in self._sources.items()
        }

    def committed(self, positions: Mapping[str, int]) -> None:
        """Trims what is committed, at most once a second."""
        for name, position in positions.items():
            if (source := self._sources.get(name)) is not None:
                source.commit(position)
        self._trim()

    def close(self) -> None:
        self._trim_at = 0.0
        with contextlib.suppress(Unreachable):  # then the next reader trims
            self._trim()
        self._redis.close()

    def _fetch(self, sources: list["_Source"], block_ms: int | None) -> None:
        after: dict[Any, Any] = {
            source.stream: _stream_id(source.fetched) if source.fetched != START else "0"
            for source in sources
        }
        by_stream = {source.stream.encode(): source for source in sources}
        for stream, entries in _patiently(
            lambda: self._redis.xread(after, count=FETCH_ENTRIES, block=block_ms)
        ):
            for entry_id, fields in entries:
                by_stream[stream].add(_position(entry_id), fields)

    def _entry_at(self, stream: str, position: int) -> dict[bytes, bytes] | None:
        stream_id = _stream_id(position)
        found = _patiently(lambda: self._redis.xrange(stream, stream_id, stream_id))
        return found[0][1] if found else None

    def _trim(self) -> None:
        now = time.monotonic()
        due = [source for source in self._sources.values() if source.trim_to is not None]
        if not due or now < self._trim_at:
            return
        self._trim_at = now + TRIM_EVERY_S
        with self._redis.pipeline(transaction=True) as pipe:
            for source in due:
                assert source.trim_to is not None
                position, events = source.trim_to
                pipe.xtrim(source.stream, minid=_stream_id(position + 1), approximate=False)
                pipe.hset(_counts_key(self._prefix), f"t:{source.number}", events)
            try:
                _patiently(pipe.execute)
            except LogFull:  # with a full disk Redis does not even shorten; later, then
                return
        for source in due:
            source.trim_to = None

    def _counts(self) -> dict[bytes, int]:
        counts = _patiently(lambda: self._redis.hgetall(_counts_key(self._prefix)))
        return {field: int(count) for field, count in counts.items()}


class _Source:
    """One partition as its reader sees it."""

    def __init__(self, name: str, number: int, stream: str, position: int) -> None:
        self.name = name
        self.number = number
        self.stream = stream
        self.fetched = position
        self.polled = 0  # events ever appended up to the last one handed out
        self.entries: deque[tuple[int, dict[bytes, bytes]]] = deque()  # fetched and not yet handed out
        self.trim_to: tuple[int, int] | None = None  # committed position, and events ever appended up to it
        self._handed: deque[tuple[int, int]] = deque()  # the same for each batch that is not yet committed

    def add(self, position: int, fields: dict[bytes, bytes]) -> None:
        self.entries.append((position, fields))
        self.fetched = position

    def take(self, open: Transform | None) -> RawBatch | None:
        """As many whole entries as make up to `ENTRY_EVENTS` events, and one at least."""
        events: list[RawEvent] = []
        positions: list[int] = []
        while self.entries:
            position, fields = self.entries[0]
            if events and len(events) + int(fields[b"n"]) > ENTRY_EVENTS:
                break
            self.entries.popleft()
            try:
                blob = fields[b"b"]
                found = _read_events(open(blob) if open else blob)
            except msgspec.DecodeError as error:
                place = f"entry {_stream_id(position)} of the raw log's {self.name}"
                raise Foreign(f"{place} cannot be read ({error}); is raw.seal as it was?") from error
            events += found
            positions += [position] * len(found)
            self.polled = int(fields[b"c"])
        if not events:
            return None
        self._handed.append((positions[-1], self.polled))
        return RawBatch(partition=self.name, after=positions[-1], events=events, positions=positions)

    def commit(self, position: int) -> None:
        while self._handed and self._handed[0][0] <= position:
            self.trim_to = self._handed.popleft()


def reserve(client: redis.Redis, prefix: str, positions: Mapping[str, int]) -> None:
    """In an empty log: whatever comes has a position above these, whatever the server's clock says."""
    for name, position in positions.items():
        log, _, number = name.rpartition("/")
        if log == "events" and position > 0:
            stream = _stream_key(prefix, int(number))
            client.xadd(stream, {"b": b""}, id=_stream_id(position))
            client.xtrim(stream, maxlen=0, approximate=False)


def _may_pass(error: Exception) -> bool:
    """A refused login does not pass by waiting."""
    return isinstance(error, _AWAY) and not isinstance(error, redis.AuthenticationError)


def _patiently(call: Callable[[], Any]) -> Any:
    try:
        for attempt in stamina.retry_context(
            on=_may_pass, attempts=None, timeout=PATIENCE_S, wait_initial=0.05, wait_max=0.5
        ):
            with attempt:
                return call()
    except (*_AWAY, redis.ResponseError) as error:
        if any(words in str(error) for words in _WANTS_ROOM):
            raise LogFull(f"redis has no room: {error}") from None
        raise Unreachable(f"raw log: redis does not answer: {error}") from error


def _finish(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return  # its caller has gone away
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _stream_key(prefix: str, number: int) -> str:
    return f"{prefix}:raw:{number:02d}"


def _counts_key(prefix: str) -> str:
    return f"{prefix}:raw:counts"


def _stream_id(position: int) -> str:
    return f"{position >> 20}-{position & 0xFFFFF}"


def _position(stream_id: bytes) -> int:
    ms, _, seq = stream_id.partition(b"-")
    return int(ms) << 20 | int(seq)
