"""One hash for each shard, for the directory and for the whole: two systems with equal digests are the same
system.

What counts is what a system says, not how it lies in memory: entries rather than the buckets of the hashes
that hold them, the plain value rather than the nonce that it was sealed with. So a twin in memory, a copy,
and a system that was rebuilt from its log have the same digest. `docs/simulation.md` lists what is in it and
what is not.

Each entry is hashed alone, and a unit's digest is the sum of these modulo 2^256: no order, no sorting, hardly
any memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol, cast

import msgspec
import redis

from schemas.errors import Damaged, Moving
from schemas.records.customer_profile import Head, Sensitive
from schemas.records.identity_graph import ID_BYTES, shard_of
from schemas.records.outbox_lanes import LANES, Lane
from schemas.records.shard_log import LogKind
from schemas.wire.triggers import Trigger
from state.damage import of_customer, shown
from state.directory.layout import Layout
from state.directory.records import Record, unpack
from state.directory.redis_directory import RedisDirectory
from state.keys import DataKeys
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_shards import MemoryShards
from state.redis.names import Names
from state.shards.compression import Dictionaries
from state.shards.redis_shards import DECISIONS_MAX

TRIES = 8  # for a shard that is committed while it is read
PAGE = 1_000  # entries asked of the server at a time
_BYTES = 32
_HEAD = msgspec.msgpack.Decoder(Head).decode
_COUNTERS = msgspec.msgpack.Decoder(dict[str, int]).decode
_SENSITIVE = msgspec.msgpack.Decoder(Sensitive).decode
_TRIGGER = msgspec.msgpack.Decoder(Trigger).decode

Entry = tuple[bytes, bytes, bytes]  # kind, key, value
Sealing = tuple[bytes, str, bytes]  # origin, field, sealed value
Unseal = Callable[[Sequence[Sealing]], list[bytes]]


class Unit(msgspec.Struct, frozen=True):
    """A shard, or the directory. `position`: its offset in its log, or the length of the journal."""

    digest: str  # 64 hex digits
    entries: int
    position: int


class Digest(msgspec.Struct, frozen=True):
    whole: str  # 64 hex digits
    directory: Unit
    shards: tuple[Unit, ...]


class Directory(Protocol):
    """What of a directory is small enough to be asked for at once."""

    def offsets(self) -> dict[str, int]: ...
    def heads(self) -> dict[int, int]: ...
    def stats(self) -> dict[str, int]: ...
    def body(self, kind: str, sender: str, version: int) -> bytes | None: ...


class Sum:
    """The digest of a set of entries, in whatever order they come."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.total = self.entries = 0
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        kind, key, value = entry
        hashed = blake2b(len(key).to_bytes(4), digest_size=_BYTES, person=kind)
        hashed.update(key)
        hashed.update(value)
        self.total += int.from_bytes(hashed.digest())
        self.entries += 1

    def unit(self, position: int) -> Unit:
        return Unit((self.total % 2 ** (8 * _BYTES)).to_bytes(_BYTES).hex(), self.entries, position)


def whole(directory: Unit, shards: Sequence[Unit]) -> Digest:
    """All units as one."""
    hashed = blake2b(digest_size=_BYTES)
    for unit in (directory, *shards):
        hashed.update(bytes.fromhex(unit.digest))
    return Digest(hashed.hexdigest(), directory, tuple(shards))


# --- what an entry is
# -----------------------------------------------------------------------------------------------


def as_stored(values: Sequence[Sealing]) -> list[bytes]:
    """Sealed values by their bytes: for copies, and where nothing is sealed."""
    return [sealed for _origin, _field, sealed in values]


def as_said(keys: DataKeys) -> Unseal:
    """Sealed values by what they say. What no key opens any more is told apart from what was damaged."""

    def unsealed(values: Sequence[Sealing]) -> list[bytes]:
        found = keys.of({origin for origin, _field, _sealed in values})
        said = []
        for origin, field, sealed in values:
            key = found.get(origin)
            plain = key.open(field, sealed) if key else None
            said.append(
                b"erased" if key is None else b"damaged:" + sealed if plain is None else b"plain:" + plain
            )
        return said

    return unsealed


def _number(value: int) -> bytes:
    return b"%d" % value


def _numbers(kind: bytes, found: Mapping[str, int]) -> Iterator[Entry]:
    """Zero is as good as absent."""
    return ((kind, name.encode(), _number(n)) for name, n in found.items() if n)


def _head(head: Head) -> Iterator[Entry]:
    """Without the epoch: it counts who has claimed the shard, not what happened in it. And without the mark
    of the last entry: it goes by the bytes of seals, which a rebuilt log has anew."""
    fixed = {"offset": head.offset, "clock": head.clock_ms, "rules": head.rules}
    yield from _numbers(b"head", fixed)
    yield from _numbers(b"out-seq", head.outbox)
    yield from _numbers(b"model", head.models)


def _sealed(records: Iterable[tuple[bytes, bytes]], unseal: Unseal) -> Iterator[Entry]:
    """Sensitive records: one entry for each field."""
    fields = []
    for root, packed in records:
        try:
            held = _SENSITIVE(packed).origins
        except msgspec.MsgspecError:
            yield b"unreadable", root, packed
            continue
        for origin, found in held.items():
            fields += [
                (root + origin + name.encode(), sealed.moment, (origin, name, sealed.value))
                for name, sealed in found.items()
            ]
    if fields:
        for (key, moment, _), said in zip(fields, unseal([sealing for _, _, sealing in fields]), strict=True):
            yield b"sensitive", key, _number(moment) + b":" + said


def _queued(lane: str, seq: int, body: bytes) -> Entry:
    """A trigger by its id: its body also says when it was handled, and that is different each time."""
    return (
        b"out:" + lane.encode(),
        _number(seq),
        _TRIGGER(body).id.encode() if lane == Lane.TRIGGERS else body,
    )


def _record(record: Record) -> bytes:
    members, held = (
        b"".join(record.members),
        b"".join(bytes([strength]) + held for strength, held in record.identifiers),
    )
    return len(record.members).to_bytes(2) + members + held


def _directory(directory: Directory, senders: Mapping[str, int], marks: Mapping[str, int]) -> Iterator[Entry]:
    """All but the graph. `marks`: length of the journal, last tick."""
    yield from _numbers(
        b"offset", {partition: position + 2 for partition, position in directory.offsets().items()}
    )  # never 0
    yield from _numbers(b"log", {str(shard): seq for shard, seq in directory.heads().items()})
    yield from _numbers(b"stat", directory.stats())
    yield from _numbers(b"mark", marks)
    yield from _numbers(b"sender", senders)
    for sender, version in senders.items():
        for kind in (LogKind.CONFIG, LogKind.MODEL):
            if (body := directory.body(kind, sender, version)) is not None:
                yield b"body", f"{kind}:{sender}:{version}".encode(), body


# --- twins
# ----------------------------------------------------------------------------------------------------------


def of_memory(directory: MemoryDirectory, shards: MemoryShards, unseal: Unseal = as_stored) -> Digest:
    """The digest of a pair of twins."""
    graph, senders = directory.graph, directory.senders
    total = Sum(
        _directory(directory, senders, {"journal": len(directory.journal), "tick": directory.ticked_s})
    )
    for identifier, origin in graph.origins.items():
        total.add((b"identifier", identifier, origin))
    for origin, root in graph.roots.items():
        total.add((b"origin", origin, root))
    for root, record in graph.records.items():
        total.add((b"record", root, _record(record)))
    counters = shards.counters()
    units = []
    for shard, head in shards.heads().items():
        found = Sum(_head(head))
        for entries in (
            ((b"profile", root, packed) for root, packed in shards.profiles[shard].items()),
            _sealed(shards.sensitive[shard].items(), unseal),
            ((b"past", root, packed) for root, packed in shards.past[shard].items()),
            ((b"timer", root, _number(due)) for root, due in shards.timers[shard].items()),
            _numbers(b"counter", counters[shard]),
            (_queued(lane, entry.seq, entry.body) for lane in LANES for entry in shards.outbox[shard, lane]),
        ):
            for entry in entries:
                found.add(entry)
        units.append(found.unit(head.offset))
    return whole(total.unit(len(directory.journal)), units)


# --- Redis
# ----------------------------------------------------------------------------------------------------------


class Reading:
    """One reading of a deployment on Redis. It only reads, never blocks the server for more than a page, and
    needs no pause.

    Customers are found by the directory's buckets, not by SCAN, which may give a key twice. Every customer of
    a shard was in the directory before the shard heard of it, so all those are known that a head read
    *before* the directory can have.
    """

    def __init__(
        self,
        client: redis.Redis,
        names: Names,
        layout: Layout,
        directory: RedisDirectory,
        unseal: Unseal = as_stored,
    ) -> None:
        self._redis = client
        self._names = names
        self._layout = layout
        self._directory = directory
        self._unseal = unseal
        self._dictionaries = Dictionaries(client, names)
        self._customers = [bytearray() for _ in range(layout.shards)]  # 12 bytes each

    def digest(self) -> Digest:
        """Raises `Moving` for a unit that was committed during each of several readings."""
        units: dict[int, Unit] = {}
        ours: Unit | None = None
        for _ in range(TRIES):
            heads = self._heads()
            ours = self._graph(keep=ours)
            for shard in range(self._layout.shards):
                if shard not in units and (unit := self._shard(shard, heads[shard])) is not None:
                    units[shard] = unit
            if ours is not None and len(units) == self._layout.shards:
                return whole(ours, [units[shard] for shard in range(self._layout.shards)])
        moving = (
            "the directory" if ours is None else f"shard {min({*range(self._layout.shards)} - units.keys())}"
        )
        raise Moving(
            f"{moving} was committed during each of {TRIES} readings: try again when less is going on, or stop the flows for it"
        )

    # --- the directory

    def _graph(self, keep: Unit | None) -> Unit | None:
        """Notes all customers. Gives the directory's unit, None if a window was committed meanwhile."""
        before = self._directory.offsets()
        total = Sum()
        for customers in self._customers:
            customers.clear()
        for first in range(0, self._layout.buckets, PAGE):
            numbers = range(first, min(first + PAGE, self._layout.buckets))
            pipeline = self._redis.pipeline(transaction=False)
            for kind in (
                b"r:",
                b"o:",
                b"i:",
            ):  # an origin goes from r to o and never back: in this order none is missed
                for number in numbers:
                    pipeline.hgetall((self._names.directory + kind + _number(number)).decode())
            answers = cast(list[dict[bytes, bytes]], pipeline.execute())
            third = len(numbers)
            records, origins, identifiers = answers[:third], answers[third : 2 * third], answers[2 * third :]
            for bucket in records:
                for root, packed in bucket.items():
                    total.add((b"record", root, _record(unpack(root, packed))))
            for kind, buckets in ((b"origin", origins), (b"identifier", identifiers)):
                for bucket in buckets:
                    for key, value in bucket.items():
                        total.add((kind, key, value or key))
            for customer in dict.fromkeys(key for bucket in (*records, *origins) for key in bucket):
                self._customers[shard_of(customer, self._layout.shards)] += customer
        if keep is not None:
            return keep
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(self._names.senders)
            pipeline.hmget(self._names.meta, "journal", "tick")
            senders, (journal, tick) = pipeline.execute()
        journal = int(journal or 0)
        sent = {sender.decode(): int(seq) for sender, seq in senders.items()}
        for entry in _directory(self._directory, sent, {"journal": journal, "tick": int(tick or 0)}):
            total.add(entry)
        still = int(cast(bytes | None, self._redis.hget(self._names.meta, "journal")) or 0) == journal
        return total.unit(journal) if still and self._directory.offsets() == before else None

    # --- a shard

    def _heads(self) -> list[bytes | None]:
        return cast(
            list[bytes | None],
            self._redis.mget([self._names.head(shard) for shard in range(self._layout.shards)]),
        )

    def _shard(self, shard: int, earlier: bytes | None) -> Unit | None:
        """None if it was committed meanwhile, or has customers that came after the directory was read."""
        names = self._names
        packed, counters = cast(
            list[bytes | None], self._redis.mget(names.head(shard), names.counters(shard))
        )
        head, counted = _HEAD(packed) if packed else Head(), _COUNTERS(counters) if counters else {}
        total = Sum(_head(head))
        profiles = 0
        for entry in self._entries(shard, head):
            total.add(entry)
            profiles += entry[0] == b"profile"
        for entry in _numbers(b"counter", counted):
            total.add(entry)
        complete = packed == earlier or profiles == counted.get("profiles", 0)
        return total.unit(head.offset) if complete and self._redis.get(names.head(shard)) == packed else None

    def _entries(self, shard: int, head: Head) -> Iterator[Entry]:
        prefix, customers = self._names.shard(shard), bytes(self._customers[shard])
        for first in range(0, len(customers), PAGE * ID_BYTES):
            page = customers[first : first + PAGE * ID_BYTES]
            roots = [page[at : at + ID_BYTES] for at in range(0, len(page), ID_BYTES)]
            found = cast(
                list[bytes | None],
                self._redis.mget([prefix + kind + root for kind in (b"p:", b"x:", b"u:") for root in roots]),
            )
            about = partial(_about, shard, prefix, roots)
            profiles = self._dictionaries.plain(found[: len(roots)], about)
            yield from (
                (b"profile", root, packed)
                for root, packed in zip(roots, profiles, strict=True)
                if packed is not None
            )
            yield from (
                (b"past", root, packed)
                for root, packed in zip(roots, found[2 * len(roots) :], strict=True)
                if packed is not None
            )
            sensitive = zip(roots, found[len(roots) :], strict=False)
            yield from _sealed(
                [(root, packed) for root, packed in sensitive if packed is not None], self._unseal
            )
        yield from self._buckets(shard)
        former, at = self._names.former_timers(shard), 0
        while due := cast(
            list[tuple[bytes, float]], self._redis.zrange(former, at, at + PAGE - 1, withscores=True)
        ):
            yield from ((b"timer", root, _number(int(time_ms))) for root, time_ms in due)
            at += PAGE
        for lane in LANES:
            yield from self._lane(
                shard, lane, head.outbox.get(lane, 0) - DECISIONS_MAX if lane == Lane.DECISIONS else 0
            )

    def _buckets(self, shard: int) -> Iterator[Entry]:
        """Sealed records and timers. A bucket whose timers would never be looked at is as wrong as one
        without them."""
        names, buckets = self._names, self._layout.shard_buckets
        indexed = cast(
            list[tuple[bytes, float]], self._redis.zrange(names.due(shard), 0, -1, withscores=True)
        )
        firsts = {int(bucket): at for bucket, at in indexed}
        for first in range(0, buckets, PAGE):
            numbers = range(first, min(first + PAGE, buckets))
            pipeline = self._redis.pipeline(transaction=False)
            for number in numbers:
                pipeline.hgetall(names.sealed(shard, number))
                pipeline.zrange(names.timers(shard, number), 0, -1, withscores=True)
            answers = pipeline.execute()
            yield from _sealed([entry for sealed in answers[::2] for entry in sealed.items()], self._unseal)
            for number, timers in zip(
                numbers, cast(list[list[tuple[bytes, float]]], answers[1::2]), strict=True
            ):
                yield from ((b"timer", root, _number(int(time_ms))) for root, time_ms in timers)
                if firsts.get(number) != (timers[0][1] if timers else None):
                    yield b"unindexed", _number(number), b""

    def _lane(self, shard: int, lane: str, after: int) -> Iterator[Entry]:
        """Decisions are trimmed by the server in larger steps than by the twin, so the older ones are passed
        over."""
        start = b"(%d-0" % max(0, after)
        while found := cast(
            list[Any], self._redis.xrange(self._names.outbox(shard, lane), min=cast(str, start), count=PAGE)
        ):
            yield from (_queued(lane, int(entry_id[:-2]), fields[b"b"]) for entry_id, fields in found)
            start = b"(" + found[-1][0]


def _about(shard: int, prefix: bytes, roots: Sequence[bytes], at: int, reason: str) -> Damaged:
    return of_customer(f"{shown(prefix)}p:{roots[at].hex()}", shard, roots[at], reason)
