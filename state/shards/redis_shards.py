"""The shards on Redis: profiles, timers, counters and outbox of each, committed together with the position in
its log.

Its twin is `state.memory.memory_shards.MemoryShards`; `tests/contract/test_shards.py` runs on both.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Literal, cast

import msgspec
import redis
from redis.exceptions import WatchError

from schemas.errors import Damaged, Fenced
from schemas.records.customer_profile import Head
from schemas.records.outbox_lanes import LANES, QUEUES, Lane
from state.damage import CHANGED, GONE, UNREADABLE, number, of_customer, of_shard, shown
from state.redis.client import wait_for, writing
from state.redis.names import Names
from state.shards.compression import Compressor, Dictionaries
from state.shards.shard_protocols import OutboxEntry, ShardCommit

DECISIONS_MAX, QUARANTINED_MAX = 10_000, 10_000  # of each shard; the oldest go first
_MAX = {Lane.DECISIONS: DECISIONS_MAX, Lane.QUARANTINE: QUARANTINED_MAX}


def script(name: str) -> str:
    """Return a Lua script without its comments: inside a transaction it is sent whole each time."""
    lines = files("state.shards").joinpath(f"{name}.lua").read_text().splitlines()
    return "\n".join(line.partition("--")[0].strip() for line in lines if line.partition("--")[0].strip())


_ADVANCE, _TIMERS, _DUE, _OUTBOX, _TRACES = (
    script(name) for name in ("advance", "timers", "due", "outbox", "traces")
)
_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_counters = msgspec.msgpack.Decoder(dict[str, int]).decode

DROPPED_AT_ONCE = 1_000  # entries of a lane


def bucket_of(root: bytes, buckets: int) -> int:
    """Return where in its shard a customer's sealed record and timer lie. (The first bytes say in which
    shard.)"""
    return int.from_bytes(root[4:8]) % buckets


class RedisShards:
    """One Redis hash slot for each shard. One writer for each, guarded by WATCH on its head.

    What is seldom written lies in buckets of some 20 customers, which Redis keeps as one flat allocation.
    State of format 1 has a key for each sealed record and one set of timers: these are read as well, and go
    when their customer is written.
    """

    def __init__(
        self, client: redis.Redis, names: Names, count: int, buckets: int, *, replicas: int = 0
    ) -> None:
        """`buckets`: of each shard, `Layout.shard_buckets`; never changed later."""
        self._redis = client
        self._names = names
        self._count = count
        self._buckets = buckets
        self._replicas = replicas
        self._prefix = [names.shard(shard) for shard in range(count)]
        self._dictionaries = Dictionaries(client, names, replicas)
        self._compressor = Compressor(self._dictionaries)

    def claim(self, shards: Sequence[int]) -> dict[int, Head]:
        return {shard: self._claim(shard) for shard in shards}

    def _claim(self, shard: int, offset: int | None = None) -> Head:
        key = self._names.head(shard)
        with self._redis.pipeline() as pipeline:
            while True:
                try:
                    pipeline.watch(key)  # type: ignore[no-untyped-call]  # untyped in the library
                    packed = cast(bytes | None, pipeline.get(key))
                    if packed is None and pipeline.exists(
                        self._names.counters(shard), self._names.due(shard)
                    ):
                        raise of_shard(key, shard, GONE)
                    head = _head(packed, key, shard)
                    head.epoch += 1
                    if offset is not None:
                        head.offset, head.mark = offset, b""
                    pipeline.multi()
                    pipeline.set(key, _encode(head))
                    pipeline.execute()
                    return head
                except WatchError:  # the former writer committed just now: it will be refused from here on
                    continue

    def rewind(self, shard: int, offset: int) -> None:
        self._claim(shard, offset)

    def load(self, shard: int, roots: Iterable[bytes]) -> dict[bytes, bytes | None]:
        wanted = list(roots)
        return dict(zip(wanted, self.load_many({shard: wanted}, {})[0], strict=True))

    def load_many(
        self, wanted: Mapping[int, Sequence[bytes]], sensitive: Mapping[int, Sequence[bytes]]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        keys = [self._prefix[shard] + b"p:" + root for shard, roots in wanted.items() for root in roots]
        sealed = [(shard, root) for shard, roots in sensitive.items() for root in roots]
        middle = len(keys)
        keys += [self._names.former_sealed(shard, root) for shard, root in sealed]
        if not keys:
            return [], []
        if not sealed:
            return self._plain(wanted, cast(list[bytes | None], self._redis.mget(keys))), []
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.mget(
            keys
        )  # first: a record that a writer takes from there to its bucket meanwhile is found in one of them
        for shard, root in sealed:
            pipeline.hget(self._sealed(shard, root), root)
        former, *now = pipeline.execute()
        return self._plain(wanted, former[:middle]), [
            new or old for new, old in zip(now, former[middle:], strict=True)
        ]

    def _plain(
        self, wanted: Mapping[int, Sequence[bytes]], stored: Sequence[bytes | None]
    ) -> list[bytes | None]:
        """Raises `Damaged`, naming the first that cannot be unpacked."""

        def about(at: int, reason: str) -> Damaged:
            shard, root = [(shard, root) for shard, roots in wanted.items() for root in roots][at]
            return of_customer(self.key("p", shard, root), shard, root, reason)

        return self._dictionaries.plain(stored, about)

    def traces(self, wanted: Mapping[int, Sequence[bytes]]) -> list[tuple[int, bytes]]:
        roots = [(shard, root) for shard, each in wanted.items() for root in each]
        if not roots:
            return []
        places = {shard: at for at, shard in enumerate(wanted, 1)}
        args: list[Any] = []
        for shard, root in roots:
            args += (places[shard], bucket_of(root, self._buckets), root)
        found = cast(
            list[int],
            self._redis.eval(_TRACES, len(places), *(self._prefix[shard] for shard in places), *args),
        )
        return [roots[at - 1] for at in found]

    def key(self, kind: Literal["p", "xs", "u"], shard: int, root: bytes) -> str:
        if kind == "xs":
            return f"{shown(self._sealed(shard, root))}, field {root.hex()},"
        return f"{shown(self._prefix[shard])}{kind}:{root.hex()}"

    def _sealed(self, shard: int, root: bytes) -> bytes:
        return self._names.sealed(shard, bucket_of(root, self._buckets))

    def load_past(self, wanted: Mapping[int, Sequence[bytes]]) -> list[bytes | None]:
        keys = [self._prefix[shard] + b"u:" + root for shard, roots in wanted.items() for root in roots]
        return cast(list[bytes | None], self._redis.mget(keys)) if keys else []

    def due(self, wanted: Mapping[int, tuple[int, int]]) -> dict[int, list[tuple[int, bytes]]]:
        pipeline = self._redis.pipeline(transaction=False)
        for shard, (upto_ms, limit) in wanted.items():
            pipeline.eval(_DUE, 1, self._prefix[shard], upto_ms, limit)
        answers = zip(wanted.items(), pipeline.execute(), strict=True)
        return {
            shard: sorted(zip(map(int, found[1::2]), found[::2], strict=True))[:limit]
            for (shard, (_, limit)), found in answers
        }

    def commit(self, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        heads = [self._names.head(commit.shard) for commit in commits]
        self._compressor.learn()
        with self._redis.pipeline() as pipeline:
            pipeline.watch(*heads)  # type: ignore[no-untyped-call]  # as above
            stored = cast(list[bytes | None], pipeline.mget(heads))
            for commit, key, packed in zip(commits, heads, stored, strict=True):
                _check_head(commit, key, packed)
            pipeline.multi()
            self._queue(pipeline, commits, stamp_ms)
            try:
                with writing():
                    pipeline.execute()
            except WatchError:
                shards = [commit.shard for commit in commits]
                raise Fenced(
                    f"shards {shards}: another worker claimed one of them during the commit"
                ) from None
        wait_for(self._redis, self._replicas)

    def _queue(self, pipeline: Any, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        """Put all that is written into the transaction: few fat commands, for each costs the client."""
        values: dict[bytes, bytes] = {}
        gone: list[bytes] = []
        timed: list[bytes] = []
        timers: list[Any] = []
        lanes: dict[tuple[int, str], int] = {}  # touched, and at which place
        entries: list[Any] = []
        for commit in commits:
            prefix = self._prefix[commit.shard]
            values[prefix + b"head"] = _encode(commit.head)
            if commit.counters:
                values[prefix + b"counters"] = _encode(commit.counters)
            self._queue_profiles(pipeline, commit, values, gone)
            self._queue_sealed(pipeline, commit, gone)
            if commit.timers:
                timed.append(prefix)
                for root, due in commit.timers.items():
                    timers += (len(timed), bucket_of(root, self._buckets), root, due)
            for lane, seq, body in commit.outbox:
                entries += (lanes.setdefault((commit.shard, lane), len(lanes) + 1), seq, body)
        pipeline.mset(values)
        if timed:
            pipeline.eval(_TIMERS, len(timed), *timed, *timers)
        if lanes:
            streams = (self._names.outbox(shard, lane) for shard, lane in lanes)
            limits = (_MAX.get(lane, 0) for _shard, lane in lanes)
            pipeline.eval(_OUTBOX, len(lanes), *streams, stamp_ms, *limits, *entries)
        if gone:
            pipeline.unlink(*gone)

    def _queue_profiles(
        self, pipeline: Any, commit: ShardCommit, values: dict[bytes, bytes], gone: list[bytes]
    ) -> None:
        """Profiles, and what united customers were made of."""
        prefix = self._prefix[commit.shard]
        for root, profile in commit.profiles.items():
            if profile is None:
                gone.append(prefix + b"p:" + root)
            else:
                values[prefix + b"p:" + root] = self._compressor.stored(root, profile)
        for root, past in commit.past.items():
            if past is None:
                gone.append(prefix + b"u:" + root)
            else:
                values[prefix + b"u:" + root] = past
        for root, more in commit.past_more.items():
            pipeline.append(prefix + b"u:" + root, more)

    def _queue_sealed(self, pipeline: Any, commit: ShardCommit, gone: list[bytes]) -> None:
        for root, sealed in commit.sensitive.items():
            bucket = self._sealed(commit.shard, root)
            if sealed is None:
                pipeline.execute_command("HDEL", bucket, root)
            else:
                pipeline.execute_command("HSET", bucket, root, sealed)
            gone.append(self._names.former_sealed(commit.shard, root))

    def heads(self) -> dict[int, Head]:
        keys = [self._names.head(shard) for shard in range(self._count)]
        return {
            shard: _head(packed, keys[shard], shard)
            for shard, packed in enumerate(cast(list[bytes | None], self._redis.mget(keys)))
        }

    def counters(self) -> dict[int, dict[str, int]]:
        keys = [self._names.counters(shard) for shard in range(self._count)]
        counted: dict[int, dict[str, int]] = {}
        for shard, packed in enumerate(cast(list[bytes | None], self._redis.mget(keys))):
            try:
                counted[shard] = _decode_counters(packed) if packed else {}
            except UNREADABLE as error:
                raise of_shard(keys[shard], shard, f"{CHANGED} ({error})") from None
        return counted

    def backlog(self, shards: Sequence[int]) -> dict[int, dict[str, int]]:
        pipeline = self._redis.pipeline(transaction=False)
        for shard in shards:
            for lane in QUEUES:
                pipeline.xlen(self._names.outbox(shard, lane))
        lengths = iter(cast(list[int], pipeline.execute()))
        return {shard: {lane: next(lengths) for lane in QUEUES} for shard in shards}

    def oldest(self, shard: int, lane: str) -> bytes | None:
        found = cast(list[Any], self._redis.xrange(self._names.outbox(shard, lane), count=1))
        return cast(bytes, found[0][1][b"b"]) if found else None

    def readers(self, shard: int) -> dict[str, int]:
        found = cast(dict[bytes, bytes], self._redis.hgetall(self._names.cursors(shard)))
        return {name.decode(): int(seq) for name, seq in found.items()}


class RedisOutbox:
    """Reads lanes with one XREAD for all shards; the cursors of each consumer lie in the shard's own slot."""

    def __init__(self, client: redis.Redis, names: Names, count: int) -> None:
        self._redis = client
        self._names = names
        self._count = count
        self._shard_of = {
            (names.outbox(shard, lane)): shard for shard in range(count) for lane in (*LANES, Lane.QUARANTINE)
        }

    def cursors(self, lane: str, consumer: str) -> dict[int, int]:
        pipeline = self._redis.pipeline(transaction=False)
        for shard in range(self._count):
            pipeline.hget(self._names.cursors(shard), f"{lane}:{consumer}")
        return {
            shard: number(seq, self._names.cursors(shard)) for shard, seq in enumerate(pipeline.execute())
        }

    def read(self, lane: str, after: Mapping[int, int], count: int, block_ms: int) -> list[OutboxEntry]:
        streams = {self._names.outbox(shard, lane): b"%d-0" % seq for shard, seq in after.items()}
        answer = cast(list[Any], self._redis.xread(streams, count=count, block=block_ms or None))  # type: ignore[arg-type]
        return [
            OutboxEntry(self._shard_of[stream], int(entry_id[:-2]), fields[b"b"], int(fields[b"t"]))
            for stream, found in answer
            for entry_id, fields in found
        ]

    def advance(self, lane: str, consumer: str, upto: Mapping[int, int]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for shard, seq in upto.items():
            pipeline.eval(_ADVANCE, 1, self._names.cursors(shard), f"{lane}:{consumer}", seq)
        with writing():
            pipeline.execute()

    def set_back(self, lane: str, consumer: str, shard: int, seq: int) -> None:
        with writing():
            self._redis.hset(self._names.cursors(shard), f"{lane}:{consumer}", str(seq))

    def trim(self, lane: str, consumers: Sequence[str]) -> None:
        if not consumers:
            return
        all_cursors = [self.cursors(lane, consumer) for consumer in consumers]
        pipeline = self._redis.pipeline(transaction=False)
        for shard in range(self._count):
            if (seq := min(cursors[shard] for cursors in all_cursors)) > 0:
                pipeline.xtrim(self._names.outbox(shard, lane), minid=f"{seq + 1}-0", approximate=False)
        with writing():
            pipeline.execute()

    def drop(self, lane: str, shard: int, seqs: Sequence[int]) -> None:
        for first in range(0, len(seqs), DROPPED_AT_ONCE):
            some = seqs[first : first + DROPPED_AT_ONCE]
            self._redis.xdel(self._names.outbox(shard, lane), *(f"{seq}-0" for seq in some))

    def clocks(self) -> dict[int, int]:
        return {shard: head.clock_ms for shard, head in enumerate(self._heads())}

    def in_force(self, sender: str) -> int:
        return min(head.models.get(sender, 0) for head in self._heads())

    def _heads(self) -> list[Head]:
        keys = [self._names.head(shard) for shard in range(self._count)]
        found = cast(list[bytes | None], self._redis.mget(keys))
        return [_head(packed, keys[shard], shard) for shard, packed in enumerate(found)]


def _check_head(commit: ShardCommit, key: bytes, packed: bytes | None) -> None:
    """Check that the shard is as the commit expects it. Raises `Fenced`, `Damaged`."""
    if packed is None and commit.before.epoch:
        raise of_shard(key, commit.shard, GONE)
    found = _head(packed, key, commit.shard)
    if found != commit.before:
        raise Fenced(
            f"shard {commit.shard}: its head is {found}, expected {commit.before}:"
            " another worker has claimed it"
        )


def _head(packed: bytes | None, key: bytes, shard: int) -> Head:
    """Raises `Damaged`."""
    try:
        return _decode_head(packed) if packed else Head()
    except UNREADABLE as error:
        raise of_shard(key, shard, f"{CHANGED} ({error})") from None
