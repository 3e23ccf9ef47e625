"""One hash for each shard, for the directory and for the whole: two systems with equal digests are the same
system.

What counts is what a system says, not how it lies in memory: entries rather than the buckets of the hashes
that hold them, the plain value rather than the nonce that it was sealed with. So a twin in memory, a copy,
and a system that was rebuilt from its log have the same digest. `docs/simulation.md` lists what is in it and
what is not.

Each entry is hashed alone, and a unit's digest is the sum of these modulo 2^256: no order, no sorting, hardly
any memory.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import msgspec
import redis

from schemas.errors import Damaged, Moving
from schemas.records.customer_profile import Head
from schemas.records.identity_graph import ID_BYTES, shard_of
from schemas.records.outbox_lanes import LANES, Lane
from state.damage import of_customer, shown
from state.digest_entries import (
    Digest,
    Entry,
    Sealing,
    Sum,
    Unit,
    Unseal,
    as_said,
    as_stored,
    directory_entries,
    head_entries,
    number_entries,
    number_text,
    queued_entry,
    record_value,
    sealed_entries,
    whole,
)
from state.directory.layout import Layout
from state.directory.records import unpack
from state.directory.redis_directory import RedisDirectory
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_shards import MemoryShards
from state.redis.names import Names
from state.shards.compression import Dictionaries
from state.shards.redis_shards import DECISIONS_MAX

TRIES = 8  # for a shard that is committed while it is read
PAGE = 1_000  # entries asked of the server at a time

__all__ = [
    "Digest",
    "Entry",
    "Reading",
    "Sealing",
    "Sum",
    "Unit",
    "Unseal",
    "as_said",
    "as_stored",
    "of_memory",
    "whole",
]
_HEAD = msgspec.msgpack.Decoder(Head).decode
_COUNTERS = msgspec.msgpack.Decoder(dict[str, int]).decode

# --- twins
# ----------------------------------------------------------------------------------------------------------


def of_memory(directory: MemoryDirectory, shards: MemoryShards, unseal: Unseal = as_stored) -> Digest:
    """Return the digest of a pair of twins."""
    graph = directory.graph
    marks = {"journal": len(directory.journal), "tick": directory.ticked_s}
    total = Sum(directory_entries(directory, directory.senders, marks))
    for identifier, origin in graph.origins.items():
        total.add((b"identifier", identifier, origin))
    for origin, root in graph.roots.items():
        total.add((b"origin", origin, root))
    for root, record in graph.records.items():
        total.add((b"record", root, record_value(record)))
    counters = shards.counters()
    units = []
    for shard, head in shards.heads().items():
        found = Sum(head_entries(head))
        found.add_all(_shard_of_memory(shards, shard, unseal))
        found.add_all(number_entries(b"counter", counters[shard]))
        units.append(found.unit(head.offset))
    return whole(total.unit(len(directory.journal)), units)


def _shard_of_memory(shards: MemoryShards, shard: int, unseal: Unseal) -> Iterator[Entry]:
    yield from ((b"profile", root, packed) for root, packed in shards.profiles[shard].items())
    yield from sealed_entries(shards.sensitive[shard].items(), unseal)
    yield from ((b"past", root, packed) for root, packed in shards.past[shard].items())
    yield from ((b"timer", root, number_text(due)) for root, due in shards.timers[shard].items())
    for lane in LANES:
        for entry in shards.outbox[shard, lane]:
            yield queued_entry(lane, entry.seq, entry.body)


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
        """Return the digest. Raises `Moving` for a unit that was committed during each of several
        readings."""
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
            f"{moving} was committed during each of {TRIES} readings:"
            " try again when less is going on, or stop the flows for it"
        )

    # --- the directory

    def _graph(self, keep: Unit | None) -> Unit | None:
        """Note all customers. Return the directory's unit, None if a window was committed meanwhile."""
        before = self._directory.offsets()
        total = Sum()
        for customers in self._customers:
            customers.clear()
        for first in range(0, self._layout.buckets, PAGE):
            self._page(range(first, min(first + PAGE, self._layout.buckets)), total)
        if keep is not None:
            return keep
        journal = self._few(total)
        packed = cast(bytes | None, self._redis.hget(self._names.meta, "journal"))
        still = int(packed or 0) == journal and self._directory.offsets() == before
        return total.unit(journal) if still else None

    def _page(self, numbers: range, total: Sum) -> None:
        """Add some buckets of the graph, and note whose they are."""
        pipeline = self._redis.pipeline(transaction=False)
        # An origin goes from r to o and never back: in this order none is missed.
        for kind in (b"r:", b"o:", b"i:"):
            for number in numbers:
                pipeline.hgetall((self._names.directory + kind + number_text(number)).decode())
        answers = cast(list[dict[bytes, bytes]], pipeline.execute())
        third = len(numbers)
        records, origins, identifiers = answers[:third], answers[third : 2 * third], answers[2 * third :]
        for bucket in records:
            for root, packed in bucket.items():
                total.add((b"record", root, record_value(unpack(root, packed))))
        _add_buckets(total, b"origin", origins)
        _add_buckets(total, b"identifier", identifiers)
        for customer in dict.fromkeys(key for bucket in (*records, *origins) for key in bucket):
            self._customers[shard_of(customer, self._layout.shards)] += customer

    def _few(self, total: Sum) -> int:
        """Add what is not the graph; return the length of the journal."""
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(self._names.senders)
            pipeline.hmget(self._names.meta, "journal", "tick")
            senders, (journal, tick) = pipeline.execute()
        sent = {sender.decode(): int(seq) for sender, seq in senders.items()}
        marks = {"journal": int(journal or 0), "tick": int(tick or 0)}
        total.add_all(directory_entries(self._directory, sent, marks))
        return marks["journal"]

    # --- a shard

    def _heads(self) -> list[bytes | None]:
        return cast(
            list[bytes | None],
            self._redis.mget([self._names.head(shard) for shard in range(self._layout.shards)]),
        )

    def _shard(self, shard: int, earlier: bytes | None) -> Unit | None:
        """Return a shard's unit, None if it was committed meanwhile, or has customers that came after the
        directory was read."""
        names = self._names
        packed, counters = cast(
            list[bytes | None], self._redis.mget(names.head(shard), names.counters(shard))
        )
        head, counted = _HEAD(packed) if packed else Head(), _COUNTERS(counters) if counters else {}
        total = Sum(head_entries(head))
        profiles = 0
        for entry in self._entries(shard, head):
            total.add(entry)
            profiles += entry[0] == b"profile"
        for entry in number_entries(b"counter", counted):
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
            yield from sealed_entries(
                [(root, packed) for root, packed in sensitive if packed is not None], self._unseal
            )
        yield from self._buckets(shard)
        former, at = self._names.former_timers(shard), 0
        while due := cast(
            list[tuple[bytes, float]], self._redis.zrange(former, at, at + PAGE - 1, withscores=True)
        ):
            yield from ((b"timer", root, number_text(int(time_ms))) for root, time_ms in due)
            at += PAGE
        for lane in LANES:
            first = head.outbox.get(lane, 0) - DECISIONS_MAX if lane == Lane.DECISIONS else 0
            yield from self._lane(shard, lane, first)

    def _buckets(self, shard: int) -> Iterator[Entry]:
        """Yield sealed records and timers. A bucket whose timers would never be looked at is as wrong as one
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
            yield from sealed_entries(
                [entry for sealed in answers[::2] for entry in sealed.items()], self._unseal
            )
            for number, timers in zip(
                numbers, cast(list[list[tuple[bytes, float]]], answers[1::2]), strict=True
            ):
                yield from ((b"timer", root, number_text(int(time_ms))) for root, time_ms in timers)
                if firsts.get(number) != (timers[0][1] if timers else None):
                    yield b"unindexed", number_text(number), b""

    def _lane(self, shard: int, lane: str, after: int) -> Iterator[Entry]:
        """Yield what lies in a lane. Decisions are trimmed by the server in larger steps than by the twin,
        so the older ones are passed over."""
        start = b"(%d-0" % max(0, after)
        while found := cast(
            list[Any], self._redis.xrange(self._names.outbox(shard, lane), min=cast(str, start), count=PAGE)
        ):
            yield from (queued_entry(lane, int(entry_id[:-2]), fields[b"b"]) for entry_id, fields in found)
            start = b"(" + found[-1][0]


def _about(shard: int, prefix: bytes, roots: Sequence[bytes], at: int, reason: str) -> Damaged:
    return of_customer(f"{shown(prefix)}p:{roots[at].hex()}", shard, roots[at], reason)


def _add_buckets(total: Sum, kind: bytes, buckets: Sequence[dict[bytes, bytes]]) -> None:
    for bucket in buckets:
        for key, value in bucket.items():
            total.add((kind, key, value or key))
