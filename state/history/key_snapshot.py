"""A consistent copy of a deployment's keys while the flows run, and the way back into an empty Redis.

Each unit (one hash slot: a shard, the directory ...) is copied as it was in one instant, between two commits:

  1. its bulk (profiles, buckets of the graph) is read while it changes, and the server tells which keys
     changed meanwhile;
  2. these are read again until they are few;
  3. the last of them, and all that is small (head, counters, timers, outbox, cursors ...), are read in one
     MULTI, under a
     WATCH on the key that every commit writes (a shard's head, the directory's meta). A commit in between:
     once more.

Later records of a key replace earlier ones. The shards are copied first, the directory last, and while that
goes on the shards' logs are not trimmed (`Names.hold`): so they hold all that came behind each shard's copy.
A writer never waits.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec
import redis
import structlog
from redis.exceptions import WatchError

from schemas.errors import Foreign, Unreachable
from schemas.records.customer_profile import Head
from state.directory.layout import FORMAT, Layout
from state.history.changed_keys import Changes
from state.redis.names import Names

log = structlog.get_logger()

HOLD_MS = 20_000  # renewed with every page; a backup that was killed holds nothing for longer than this
UNFINISHED = "(unfinished restore)"  # carried for the name until all is there: no flow takes it for its own
PAGE = 1_000  # keys in one round trip
LAST_MAX = 1_000  # keys that are left for the MULTI
TRIES = 500  # of a unit that is committed in between
_TAG = re.compile(rb"\{([a-z]+|s\d+)\}:")
_SHARD = re.compile(rb"\{s(\d+)\}:")
_DIRECTORY = b"{dir}:"
_DIRECTORY_BULK = (b"i:", b"o:", b"r:", b"u:", b"a:", b"x:", b"body:")
_SHARD_STRINGS = (b"p:", b"x:", b"u:")
_SHARD_BULK = (*_SHARD_STRINGS, b"xs:", b"tm:")
_APART = (
    b"journal",
    b"hold",
    b"archived",
    b"dead",
    b"log:",
)  # of the directory: not copied, or copied behind it by position
_LEFT_OUT = (
    b"{keys}:",
    b"{kek}:",
    b"{copy}:",
    b"{centre}:",
)  # the keys of customers are kept apart, so that who is erased stays erased; what expires is not kept
_decode_head = msgspec.msgpack.Decoder(Head).decode


class Copied(msgspec.Struct, array_like=True, frozen=True):
    """One key: behind the prefix. `none`: it is gone. Streams of more than one record are appended to."""

    key: bytes
    type: str  # string, hash, zset, set, list, stream, none
    value: Any  # bytes | [[field, value]] | [[member, score]] | [member] | [[id, [field, value ...]]] | None


class Cut(msgspec.Struct, frozen=True):
    """The moment that a copy stands for."""

    journal: int  # the last entry that the directory contains
    tick_s: int  # the last tick that it announced
    offsets: dict[int, int]  # shard -> the last entry of its log that its copy contains


Sink = Callable[[Copied], None]


class Copying:
    """One copy. `sink` takes what is copied."""

    def __init__(self, client: redis.Redis, names: Names, name: str, sink: Sink) -> None:
        self._redis = client
        self._names = names
        self._name = name
        self._sink = sink
        self._small: dict[bytes, set[bytes]] = {}  # tag -> keys that are read in the MULTI
        self._dirty: dict[bytes, set[bytes]] = {}  # tag -> bulk keys that changed since they were read

    def run(self, shards: int) -> Cut:
        """Copy everything. Raises `Fenced` (another backup is under way), `Unreachable`."""
        self._take_hold()
        try:
            with Changes(self._redis, self._names) as changes:
                self._bulk(changes)
                offsets = {}
                for shard in range(shards):
                    head = self._unit(changes, b"{s%02d}:" % shard, self._names.head(shard))
                    offsets[shard] = _decode_head(head).offset if head else 0
                meta = self._unit(changes, _DIRECTORY, self._names.meta)
                heads = {
                    int(shard): int(seq) for shard, seq in cast(dict[bytes, bytes], meta["heads"]).items()
                }
                for shard, offset in offsets.items():
                    self._log(shard, offset, heads.get(shard, 0))
                for tag in sorted(self._small.keys() | self._dirty.keys()):
                    if not tag.startswith(_DIRECTORY) and not _SHARD.match(tag):
                        self._unit(changes, tag, None)
            self._keep_hold()  # it held to the end
        finally:
            if self._redis.get(self._names.hold) == self._name.encode():
                self._redis.delete(self._names.hold)
        return Cut(int(meta["journal"] or 0), int(meta["tick"] or 0), offsets)

    # --- the hold

    def _take_hold(self) -> None:
        if not self._redis.set(self._names.hold, self._name, nx=True, px=HOLD_MS):
            other = cast(bytes, self._redis.get(self._names.hold) or b"?").decode()
            raise Unreachable(
                f"backup {other} is being made (or was killed less than {HOLD_MS // 1000} s ago): try again"
                " later"
            )

    def _keep_hold(self) -> None:
        if self._redis.get(self._names.hold) != self._name.encode() or not self._redis.pexpire(
            self._names.hold, HOLD_MS
        ):
            raise Unreachable(
                f"the copy stood still for more than {HOLD_MS // 1000} s: logs may have been trimmed behind"
                " it; try again"
            )

    # --- bulk

    def _bulk(self, changes: Changes) -> None:
        page: list[bytes] = []
        for key in self._redis.scan_iter(match=self._names.prefix + b":{*", count=PAGE):
            if self._sort(key) and len(page := [*page, key]) >= PAGE:
                self._copy(page)
                page = []
                changes.listen()
        self._copy(page)

    def _sort(self, key: bytes) -> bool:
        """Whether it is bulk; what is small is remembered by its unit."""
        tag, rest = self._split(key)
        if not tag or tag in _LEFT_OUT or (tag == _DIRECTORY and rest.startswith(_APART)):
            return False
        if (
            rest.startswith(_DIRECTORY_BULK)
            if tag == _DIRECTORY
            else _SHARD.match(tag) and rest.startswith(_SHARD_BULK)
        ):
            return True
        self._small.setdefault(tag, set()).add(key)
        return False

    def _split(self, key: bytes) -> tuple[bytes, bytes]:
        match = _TAG.match(key, len(self._names.prefix) + 1)
        return (match[0], key[match.end() :]) if match else (b"", b"")

    def _copy(self, keys: Sequence[bytes]) -> None:
        """As they are now."""
        if keys:
            self._keep_hold()
            types = self._types(keys)
            pipeline = self._redis.pipeline(transaction=False)
            _ask(pipeline, types)
            self._give(types, pipeline.execute())

    def _types(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """Profiles and buckets are known by their names."""
        types, asked = {}, []
        for key in keys:
            tag, rest = self._split(key)
            if rest[:2] in _SHARD_STRINGS and _SHARD.match(tag):
                types[key] = "string"
            else:
                asked.append(key)
        pipeline = self._redis.pipeline(transaction=False)
        for key in asked:
            pipeline.type(key)
        return types | {key: found.decode() for key, found in zip(asked, pipeline.execute(), strict=True)}

    def _give(self, types: dict[bytes, str], answers: Sequence[Any]) -> None:
        for (key, kind), answer in zip(types.items(), answers, strict=True):
            self._sink(_copied(key[len(self._names.prefix) + 1 :], kind, answer))

    # --- one unit in one instant

    def _unit(self, changes: Changes, tag: bytes, guard: bytes | None) -> Any:
        """What `guard` holds: for a shard its packed head, for the directory its journal, tick and heads."""
        for _ in range(TRIES):
            with self._redis.pipeline(transaction=True) as pipeline:
                if guard is not None:
                    pipeline.watch(guard)  # type: ignore[no-untyped-call]  # untyped in the library
                for key in changes.take():
                    if self._sort(key):
                        self._dirty.setdefault(self._split(key)[0], set()).add(key)
                dirty = sorted(self._dirty.get(tag, ()))
                if len(dirty) > LAST_MAX:
                    pipeline.reset()
                    for first in range(0, len(dirty), PAGE):
                        self._copy(dirty[first : first + PAGE])
                    self._dirty[tag].clear()
                    continue
                types = self._types([*dirty, *sorted(self._small.get(tag, ()))])
                pipeline.multi()
                _ask(pipeline, types)
                if tag == _DIRECTORY:
                    pipeline.hmget(self._names.meta, "journal", "tick")
                    pipeline.hgetall(self._names.heads)
                    pipeline.xrevrange(self._names.dead, count=1)
                elif guard is not None:
                    pipeline.get(guard)
                else:
                    pipeline.ping()
                try:
                    answers = pipeline.execute()
                except WatchError:
                    continue
            self._keep_hold()
            self._give(types, answers[: len(types)])
            self._dirty.pop(tag, None)
            if tag != _DIRECTORY:
                return answers[-1]
            (journal, tick), heads, last = answers[-3:]
            if last:
                self._stream(self._names.dead, b"-", last[0][0])
            return {"journal": journal, "tick": tick, "heads": heads}
        raise Unreachable(
            f"{tag.decode()} was committed {TRIES} times while it was copied: try again when less is going on"
        )

    # --- what is copied by position

    def _log(self, shard: int, offset: int, head: int) -> None:
        seqs = (
            self._stream(self._names.log(shard), b"%d-0" % (offset + 1), b"%d-0" % head)
            if head > offset
            else 0
        )
        if seqs != max(0, head - offset):
            raise Unreachable(
                f"the log of shard {shard} was trimmed behind its copy (is a worker of an older release"
                " running?): try again"
            )

    def _stream(self, key: bytes, first: bytes, last: bytes) -> int:
        n = 0
        while found := cast(
            list[Any], self._redis.xrange(key, cast(str, first), cast(str, last), count=PAGE)
        ):
            self._keep_hold()
            self._sink(_copied(key[len(self._names.prefix) + 1 :], "stream", found))
            n += len(found)
            first = b"(" + found[-1][0]
        return n


def _ask(pipeline: Any, types: dict[bytes, str]) -> None:
    for key, kind in types.items():
        match kind:
            case "string":
                pipeline.get(key)
            case "hash":
                pipeline.hgetall(key)
            case "zset":
                pipeline.zrange(key, 0, -1, withscores=True)
            case "set":
                pipeline.smembers(key)
            case "list":
                pipeline.lrange(key, 0, -1)
            case "stream":
                pipeline.xrange(key)
            case "none":
                pipeline.exists(key)
            case other:
                raise Foreign(f"the key {key!r} is of type {other}: no key of ours is")


def _copied(key: bytes, kind: str, answer: Any) -> Copied:
    match kind:
        case "hash":
            value: Any = [list(pair) for pair in answer.items()]
        case "zset":
            value = [list(pair) for pair in answer]
        case "set":
            value = sorted(answer)
        case "stream":
            value = [
                [entry_id, [word for pair in fields.items() for word in pair]] for entry_id, fields in answer
            ]
        case "none":
            value = None
        case _:
            value = answer
    gone = value is None or (kind != "string" and not value)
    return Copied(key, "none" if gone else kind, None if gone else value)


def load(client: redis.Redis, names: Names, copied: Iterable[Copied]) -> None:
    """Write what was copied, in its order. `meta` comes without the deployment's name, so that no flow takes
    it for whole."""
    pipeline, waiting = client.pipeline(transaction=False), 0
    for one in copied:
        key: Any = names.prefix + b":" + one.key
        value = one.value
        if one.type != "stream" and key != names.meta:
            pipeline.unlink(key)
        match one.type:
            case "string":
                pipeline.set(key, value)
            case "hash":
                pairs = {field: held for field, held in value if not (key == names.meta and field == b"name")}
                pipeline.hset(key, mapping=pairs)
            case "zset":
                pipeline.zadd(key, dict(value))
            case "set":
                pipeline.sadd(key, *value)
            case "list":
                pipeline.rpush(key, *value)
            case "stream":
                for entry_id, words in value:
                    # untyped in the library
                    pipeline.execute_command("XADD", key, entry_id, *words)  # type: ignore[no-untyped-call]
        waiting += 1 if one.type != "stream" else len(value)
        if waiting >= PAGE:
            pipeline.execute()
            waiting = 0
    pipeline.execute()


def begin_anew(client: redis.Redis, names: Names, layout: Layout) -> None:
    """Mark an empty prefix as one that is being filled; what was left by whoever died in doing so goes first.
    Raises `Foreign`."""
    if client.hget(names.meta, "name") == UNFINISHED.encode():
        log.warning("unfinished_restore_removed", prefix=names.prefix.decode())
        for key in keys_of(client, names):
            if key != names.meta:
                client.unlink(key)
        client.delete(names.meta)  # last: until then it is known for what it is
    if (left := next(keys_of(client, names), None)) is not None:
        raise Foreign(
            f"the target is not empty: Redis holds {left!r}; restore into an empty data folder, or set"
            " another redis.prefix"
        )
    fields: dict[Any, Any] = {
        "shards": layout.shards,
        "buckets": layout.buckets,
        "keys": layout.keys,
        "format": FORMAT,
    }
    client.hset(names.meta, mapping=fields | {"name": UNFINISHED})


def keys_of(client: redis.Redis, names: Names) -> Iterator[bytes]:
    """Yield every key of the deployment."""
    return cast(Iterator[bytes], client.scan_iter(match=names.prefix + b":*", count=PAGE))
