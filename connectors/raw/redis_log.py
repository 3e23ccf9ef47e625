"""The raw log in Redis Streams: one stream for each partition, one entry for up to 500 events.

    <prefix>:raw:<pp>     XADD * b <blob> n <events> c <events ever appended>; blob =
                          seal(msgpack(list[RawEvent]))
    <prefix>:raw:counts   hash; a:<p> = events ever appended to partition p, t:<p> = events trimmed from it

Position of an entry: `ms << 20 | seq` of its stream id. What a partition holds is `a - t`, exact at all
times: both are absolute numbers, so neither a repeated trim nor a restart can make them drift.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
import redis
import redis.asyncio
import stamina
from redis.backoff import NoBackoff
from redis.retry import Retry

from connectors.raw.log import START
from schemas.errors import Foreign, LogFull, Unreachable
from schemas.wire.events import RawBatch, RawEvent

Transform = Callable[[bytes], bytes]

ENTRY_EVENTS = 500  # events in one entry, and in one batch
FETCH_ENTRIES = 16  # of one partition in one read; with ENTRY_BYTES it bounds what waits in a reader
PATIENCE_S = 3.0  # how long a server may be away
TRIM_EVERY_S = 1.0
BLOCK_MS_MAX = 5_000
SOCKET_TIMEOUT_S = 10.0
AWAY = (redis.ConnectionError, redis.TimeoutError)
WANTS_ROOM = ("when used memory >", "MISCONF", "NOREPLICAS")  # memory, disk, replicas

_read_events = msgspec.msgpack.Decoder(list[RawEvent]).decode


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
        """Return `events/0` ... in the order of their numbers; more than configured where a partition of
        former times still holds events."""
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
            source = _Source(name, number, stream_key(self._prefix, number), position)
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
        """Return it in events."""
        counts = self._counts()
        return {
            name: max(0, counts.get(b"a:%d" % source.number, 0) - source.polled)
            for name, source in self._sources.items()
        }

    def committed(self, positions: Mapping[str, int]) -> None:
        """Trim what is committed, at most once a second."""
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
                pipe.hset(counts_key(self._prefix), f"t:{source.number}", events)
            try:
                _patiently(pipe.execute)
            except LogFull:  # with a full disk Redis does not even shorten; later, then
                return
        for source in due:
            source.trim_to = None

    def _counts(self) -> dict[bytes, int]:
        counts = _patiently(lambda: self._redis.hgetall(counts_key(self._prefix)))
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
        """Return as many whole entries as make up to `ENTRY_EVENTS` events, and one at least."""
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
    """See to it, in an empty log, that whatever comes has a position above these, whatever the server's
    clock says."""
    for name, position in positions.items():
        log, _, number = name.rpartition("/")
        if log == "events" and position > 0:
            stream = stream_key(prefix, int(number))
            client.xadd(stream, {"b": b""}, id=_stream_id(position))
            client.xtrim(stream, maxlen=0, approximate=False)


def may_pass(error: Exception) -> bool:
    """Return whether waiting may help: a refused login does not pass."""
    return isinstance(error, AWAY) and not isinstance(error, redis.AuthenticationError)


def _patiently(call: Callable[[], Any]) -> Any:
    try:
        for attempt in stamina.retry_context(
            on=may_pass, attempts=None, timeout=PATIENCE_S, wait_initial=0.05, wait_max=0.5
        ):
            with attempt:
                return call()
    except (*AWAY, redis.ResponseError) as error:
        if any(words in str(error) for words in WANTS_ROOM):
            raise LogFull(f"redis has no room: {error}") from None
        raise Unreachable(f"raw log: redis does not answer: {error}") from error


def stream_key(prefix: str, number: int) -> str:
    """Return the key of a partition."""
    return f"{prefix}:raw:{number:02d}"


def counts_key(prefix: str) -> str:
    """Return the key of the counts of all partitions."""
    return f"{prefix}:raw:counts"


def _stream_id(position: int) -> str:
    return f"{position >> 20}-{position & 0xFFFFF}"


def _position(stream_id: bytes) -> int:
    ms, _, seq = stream_id.partition(b"-")
    return int(ms) << 20 | int(seq)
