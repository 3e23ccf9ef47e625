"""Memory twins of the directory, the shards and the outbox: the oracle of the Redis ones, and what simulation
runs on.

Written to be obvious rather than fast. The clock is an argument.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

import msgspec

from schemas.errors import Fenced, LogFull, Stale
from schemas.records.customer_profile import Head
from schemas.records.identity_graph import (
    ID_BYTES,
    Group,
    Identifier,
    Pair,
    Put,
    Union,
    WindowCommit,
    WindowResult,
    shard_of,
)
from schemas.records.journal import JournalKind, Journalled
from schemas.records.outbox_lanes import LANES, QUEUES, Lane
from schemas.records.shard_log import (
    Announced,
    Expect,
    Kind,
    Lend,
    LogEntry,
    LogKind,
    Retire,
    Split,
    Tick,
    pack_fact,
)
from schemas.wire.triggers import Absorb
from state.directory.graph import Graph, Suspended
from state.directory.handed_over import Changes
from state.directory.matches import PARTITION, Customer, Said, Table
from state.directory.redis_directory import READMITTED, Layout
from state.shards.redis_shards import DECISIONS_MAX, QUARANTINED_MAX, OutboxEntry, ShardCommit

_encode = msgspec.msgpack.Encoder().encode


_GIVES: dict[type, tuple[str, Kind]] = {
    Retire: ("retired", LogKind.RETIRE),
    Lend: ("root", LogKind.LEND),
    Split: ("root", LogKind.SPLIT),
}


def _both(change: Retire | Lend | Split) -> tuple[bytes, bytes]:
    """Who gives, and who takes."""
    match change:
        case Retire():
            return change.retired, change.survivor
        case Lend():
            return change.root, change.to
        case Split():
            return change.root, change.part


class MemoryDirectory:
    """Twin of `state.directory.redis_directory.RedisDirectory`."""

    def __init__(self, layout: Layout, clock_ms: Callable[[], int], *, log_max: int = 100_000) -> None:
        self.layout = layout
        self.graph = Graph(layout.limits, layout.policy)
        self.logs: dict[int, list[LogEntry]] = {shard: [] for shard in range(layout.shards)}
        self.journal: list[tuple[str, bytes]] = []
        self.dead: list[bytes] = []
        self._clock_ms = clock_ms
        self._log_max = log_max
        self._heads = dict.fromkeys(range(layout.shards), 0)
        self._offsets: dict[str, int] = {}
        self.senders: dict[str, int] = {}
        self._bodies: dict[tuple[str, str, int], bytes] = {}
        self._stats: dict[str, int] = {}
        self.said: list[Said] = []
        self._said = 0  # entries ever
        self.kept: dict[tuple[str, bytes], bytes] = {}  # what matching keeps
        self._records: dict[int, dict[bytes, bytes]] = {}  # of it the records, by bucket
        self.ticked_s = 0

    def commit(self, window: WindowCommit, content: bytes = b"") -> WindowResult:
        if self._offsets.get(window.partition, -1) != window.before:
            raise Fenced(
                f"{window.partition}: expected position {window.before}, the directory has {self._offsets.get(window.partition, -1)}"
            )
        graph, result, changes = self.graph.copy(), WindowResult(), Changes()
        try:
            routes = graph.window(window, result, changes)
        except Suspended:
            raise Stale(f"a window of {window.partition} rests on an identifier that is suspended") from None
        bodies: dict[int, list[bytes]] = {}
        for group, landed in zip(window.groups, routes, strict=True):
            for fact, (root, origin) in zip(group.facts, landed, strict=True):
                if fact.expected is not None and fact.expected != origin:
                    raise Stale(
                        f"identities of a window of {window.partition} changed between seal and commit"
                    )
                bodies.setdefault(shard_of(root, self.layout.shards), []).append(
                    pack_fact(root, origin, fact.payload)
                )
        shard = partial(shard_of, count=self.layout.shards)
        handed = [
            root for change in (*changes.retired, *changes.lent, *changes.then) for root in _both(change)
        ]
        touched = {*bodies, *map(shard, handed)}
        for number in touched:
            if len(self.logs[number]) >= self._log_max:
                raise LogFull(f"log of shard {number} is full", retry_after_s=0.2)
        self.graph = graph
        for retire in changes.retired:
            self._expect(retire)
        changes.number()
        for lend in changes.lent:
            self._expect(lend)
        for number, parts in bodies.items():
            self._append(number, LogKind.EVENTS, b"".join(parts))
        for lend in changes.lent:
            self._append(shard(lend.root), LogKind.LEND, _encode(lend))
        for retire in changes.retired:
            self._append(shard(retire.retired), LogKind.RETIRE, _encode(retire))
        for change in changes.then:
            self._expect(change)
            giver, kind = _GIVES[type(change)]
            self._append(shard(getattr(change, giver)), kind, _encode(change))
        said = [
            origin + len(fact.match).to_bytes(4) + fact.match
            for group, landed in zip(window.groups, routes, strict=True)
            for fact, (_root, origin) in zip(group.facts, landed, strict=True)
            if fact.match
        ]
        for kind, parts in (("r", said), ("d", changes.labels)):
            if parts and self.layout.policy.matches:
                self.said.append(
                    Said(self._next_said(), "r" if kind == "r" else "d", b"".join(parts), window.time_ms)
                )
        if window.partition == PARTITION:
            self.said = [said for said in self.said if said.seq > window.after]
        for put in window.puts:
            if put.value is None:
                self.kept.pop((put.table, put.field), None)
            else:
                self.kept[put.table, put.field] = put.value
            if put.table == "mr":
                self._keep_record(put)
        self.dead += window.dead
        counts = {
            name: getattr(result, name)
            for name in ("created", "attached", "united", "moved", "refused", "divided", "suspended")
        }
        counts |= {f"rejected:{reason}": n for reason, n in window.rejected.items()}
        counts["events"] = sum(len(group.facts) for group in window.groups)
        for name, n in counts.items():
            if n:
                self._stats[name] = self._stats.get(name, 0) + n
        self._offsets[window.partition] = window.after
        self.journal.append(
            (JournalKind.WINDOW, _encode([window.partition, str(window.before), str(window.after)]))
        )
        result.journal = len(self.journal)
        return result

    def _expect(self, change: Retire | Lend | Split) -> None:
        """Whoever is to be given something hears of it first."""
        taker = _both(change)[1]
        body = (
            Expect(taker, [], change.identifier, change.home)
            if isinstance(change, Lend)
            else [taker, change.origins]
        )
        self._append(shard_of(taker, self.layout.shards), LogKind.EXPECT, _encode(body))

    def _next_said(self) -> int:
        self._said += 1
        return self._said

    def _keep_record(self, put: Put) -> None:
        """By bucket."""
        bucket = self._records.setdefault(int.from_bytes(put.field[:4]) % self.layout.buckets, {})
        if put.value is None:
            bucket.pop(put.field, None)
        else:
            bucket[put.field] = put.value

    def _append(self, shard: int, kind: Kind, body: bytes) -> None:
        self._heads[shard] += 1
        self.logs[shard].append(LogEntry(shard, self._heads[shard], kind, body))

    def plan(self, groups: Sequence[Group]) -> list[bytes]:
        routes = self.graph.copy().window(
            WindowCommit("", -1, -1, list(groups), [], {}), WindowResult(), Changes(), planned=True
        )
        return [origin for landed in routes for _root, origin in landed]

    def offsets(self) -> dict[str, int]:
        return dict(self._offsets)

    def read(self, after: Mapping[int, int], count: int, block_ms: int) -> list[LogEntry]:
        return [
            entry
            for shard, seq in after.items()
            for entry in [e for e in self.logs[shard] if e.seq > seq][:count]
        ]

    def tick(self) -> bool:
        second = self._clock_ms() // 1000
        if second <= self.ticked_s:
            return False
        self.ticked_s = second
        self._broadcast(LogKind.TICK, _encode(Tick(second * 1000)))
        return True

    def _broadcast(self, kind: Kind, body: bytes) -> None:
        for shard in self.logs:
            self._append(shard, kind, body)
        self.journal.append((kind, body))

    def _taken(self, sender: str, seq: int) -> bool:
        if seq <= self.senders.get(sender, 0):
            return True
        self.senders[sender] = seq
        return False

    def announce(self, kind: Kind, sender: str, seq: int, version: int, body: bytes) -> bool:
        if self._taken(sender, seq):
            return False
        self._bodies[kind, sender, version] = body
        self._broadcast(kind, _encode(Announced(sender, version)))
        return True

    def body(self, kind: str, sender: str, version: int) -> bytes | None:
        return self._bodies.get((kind, sender, version))

    def drop(self, kind: str, sender: str, before: int) -> None:
        for version in range(1, before):
            self._bodies.pop((kind, sender, version), None)

    def forward(self, shard: int, seq: int, message: Absorb) -> bool:
        if self._taken(f"shard:{shard}", seq):
            return False
        self._take_in(LogKind.ABSORB, message.survivor, _encode(message))
        return True

    def readmit(self, seq: int, origin: bytes, payload: bytes) -> bool:
        if self._taken(READMITTED, seq):
            return False
        self._take_in(LogKind.EVENTS, origin, pack_fact(origin, origin, payload)[ID_BYTES:])
        return True

    def forward_again(self, letter: str, message: Absorb) -> bool:
        if self._taken(f"{READMITTED}:{letter}", 1):
            return False
        self._take_in(LogKind.ABSORB, message.survivor, _encode(message))
        return True

    def hear_again(self, letter: str, kind: str, body: bytes, time_ms: int) -> bool:
        if self._taken(f"{READMITTED}:{letter}", 1):
            return False
        self._hear(kind.encode() + body, time_ms)
        return True

    def _hear(self, body: bytes, time_ms: int) -> None:
        self.said.append(Said(self._next_said(), "r" if body[:1] == b"r" else "d", body[1:], time_ms))
        self.journal.append((JournalKind.HEARD, body))

    def _take_in(self, kind: Kind, origin: bytes, message: bytes) -> None:
        """For whoever the origin belongs to now."""
        root = self.graph.root(origin)
        self._append(shard_of(root, self.layout.shards), kind, root + message)
        self.journal.append((kind, root + message))

    def replay(self, entry: Journalled) -> bool:
        if entry.kind == JournalKind.TICK:
            second = msgspec.msgpack.decode(entry.body, type=Tick).now_ms // 1000
            if second <= self.ticked_s:
                return False
            self.ticked_s = second
            self._broadcast(LogKind.TICK, entry.body)
            return True
        if self._taken(entry.sender, entry.sent):
            return False
        if entry.kind in (JournalKind.ABSORB, JournalKind.READMITTED):
            self._take_in(
                LogKind.ABSORB if entry.kind == JournalKind.ABSORB else "e",
                entry.extra,
                entry.body[ID_BYTES:],
            )
            return True
        if entry.kind == JournalKind.HEARD:
            self._hear(entry.body, int(entry.extra))
            return True
        self._bodies[entry.kind, entry.sender, int(entry.extra)] = entry.announced
        self._broadcast(LogKind.CONFIG if entry.kind == JournalKind.CONFIG else "m", entry.body)
        return True

    def suspended(self) -> dict[bytes, int]:
        return dict(self.graph.suspended)

    def union(self, seq: int) -> Union | None:
        return self.graph.ledger.get(seq)

    def unions(self, after: int, count: int) -> list[Union]:
        return [union for seq, union in self.graph.ledger.items() if seq > after][:count]

    def newest(self, before: int, count: int) -> list[Union]:
        return [union for seq, union in reversed(self.graph.ledger.items()) if seq < before][:count]

    def holdings(self, roots: Sequence[bytes]) -> list[tuple[list[bytes], list[Identifier]]]:
        return [self.members(root) for root in roots]

    def homes(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        return [self.graph.origins.get(identifier) for identifier in identifiers]

    def alone(self, identifiers: Sequence[bytes]) -> list[bool]:
        return [identifier in self.graph.alone for identifier in identifiers]

    def cannot_link(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        return [list(self.graph.cannot_link.get(origin, ())) for origin in origins]

    def about(self, origins: Sequence[bytes], count: int) -> tuple[list[Union], bool]:
        found, complete = dict[int, Union](), True
        for origin in origins:
            naming = [
                union
                for union in reversed(self.graph.ledger.values())
                if origin in (union.retired, union.survivor, union.one, union.other)
            ]
            found |= {union.seq: union for union in naming[:count]}
            complete &= len(naming) <= count
        return sorted(found.values(), key=lambda union: -union.seq), complete

    def edges(self, root: bytes) -> list[tuple[int, bytes, bytes]]:
        return list(self.graph.unions.get(root, ()))

    def members(self, root: bytes) -> tuple[list[bytes], list[Identifier]]:
        record = self.graph.records.get(root)
        return (
            (list(record.members), [Identifier(*held) for held in record.identifiers]) if record else ([], [])
        )

    def reviews(self) -> list[Pair]:
        return sorted(self.graph.reviews.values(), key=lambda pair: (pair.time_ms, pair.a, pair.b))

    # --- what matching reads

    def position(self) -> int:
        return max(0, self._offsets.get(PARTITION, 0))

    def said_since(self, after: int, count: int, block_ms: int) -> list[Said]:
        return [said for said in self.said if said.seq > after][:count]

    def keep(self, table: Table, fields: Sequence[bytes]) -> list[bytes | None]:
        return [self.kept.get((table, field)) for field in fields]

    def customers(self, origins: Sequence[bytes]) -> list[Customer]:
        return [(root, self.members(root)[0]) for root in map(self.graph.root, origins)]

    def bucket(self, number: int) -> dict[bytes, bytes]:
        return dict(self._records.get(number % self.layout.buckets, {}))

    def lookup(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        return [
            self.graph.root(self.graph.origins[i]) if i in self.graph.origins else None for i in identifiers
        ]

    def root(self, origin: bytes) -> bytes:
        return self.graph.root(origin)

    def trim(self, positions: Mapping[int, int]) -> None:
        for shard, seq in positions.items():
            self.logs[shard] = [entry for entry in self.logs[shard] if entry.seq > seq]

    def heads(self) -> dict[int, int]:
        return dict(self._heads)

    def said_last(self) -> int:
        return self._said

    def sent(self, sender: str) -> int:
        return self.senders.get(sender, 0)

    def stats(self) -> dict[str, int]:
        return dict(self._stats)


class MemoryShards:
    """Twin of `state.shards.redis_shards.RedisShards` and of `RedisOutbox`."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heads = {shard: Head() for shard in range(count)}
        self._counters: dict[int, dict[str, int]] = {shard: {} for shard in range(count)}
        self.profiles: dict[int, dict[bytes, bytes]] = {shard: {} for shard in range(count)}
        self.sensitive: dict[int, dict[bytes, bytes]] = {shard: {} for shard in range(count)}
        self.past: dict[int, dict[bytes, bytes]] = {shard: {} for shard in range(count)}
        self.timers: dict[int, dict[bytes, int]] = {shard: {} for shard in range(count)}
        lanes = (*LANES, Lane.QUARANTINE)
        self.outbox: dict[tuple[int, str], list[OutboxEntry]] = {
            (shard, lane): [] for shard in range(count) for lane in lanes
        }
        self._cursors: dict[tuple[int, str, str], int] = {}

    def claim(self, shards: Sequence[int]) -> dict[int, Head]:
        for shard in shards:
            self._heads[shard].epoch += 1
        return {shard: self._heads[shard].copy() for shard in shards}

    def rewind(self, shard: int, offset: int) -> None:
        self.claim([shard])
        self._heads[shard].offset, self._heads[shard].mark = offset, b""

    def load(self, shard: int, roots: Iterable[bytes]) -> dict[bytes, bytes | None]:
        return {root: self.profiles[shard].get(root) for root in roots}

    def load_many(
        self, wanted: Mapping[int, Sequence[bytes]], sensitive: Mapping[int, Sequence[bytes]]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        return (
            [self.profiles[shard].get(root) for shard, roots in wanted.items() for root in roots],
            [self.sensitive[shard].get(root) for shard, roots in sensitive.items() for root in roots],
        )

    def load_past(self, wanted: Mapping[int, Sequence[bytes]]) -> list[bytes | None]:
        return [self.past[shard].get(root) for shard, roots in wanted.items() for root in roots]

    def traces(self, wanted: Mapping[int, Sequence[bytes]]) -> list[tuple[int, bytes]]:
        kept = {shard: self.timers[shard].keys() | self.sensitive[shard].keys() for shard in wanted}
        return [(shard, root) for shard, roots in wanted.items() for root in roots if root in kept[shard]]

    def key(self, kind: Literal["p", "xs", "u"], shard: int, root: bytes) -> str:
        return f"{{s{shard:02d}}}:{kind}:{root.hex()}"

    def due(self, wanted: Mapping[int, tuple[int, int]]) -> dict[int, list[tuple[int, bytes]]]:
        return {
            shard: sorted((due, root) for root, due in self.timers[shard].items() if due <= upto_ms)[:limit]
            for shard, (upto_ms, limit) in wanted.items()
        }

    def commit(self, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        for commit in commits:
            if self._heads[commit.shard] != commit.before:
                raise Fenced(
                    f"shard {commit.shard}: its head is {self._heads[commit.shard]}, expected {commit.before}"
                )
        for commit in commits:
            shard = commit.shard
            self._heads[shard] = commit.head.copy()
            if commit.counters:
                self._counters[shard] = dict(commit.counters)
            for table, changes in (
                (self.profiles[shard], commit.profiles),
                (self.sensitive[shard], commit.sensitive),
                (self.past[shard], commit.past),
            ):
                for root, packed in changes.items():
                    if packed is None:
                        table.pop(root, None)
                    else:
                        table[root] = packed
            for root, more in commit.past_more.items():
                self.past[shard][root] = self.past[shard].get(root, b"") + more
            for root, due in commit.timers.items():
                if due:
                    self.timers[shard][root] = due
                else:
                    self.timers[shard].pop(root, None)
            for lane, seq, body in commit.outbox:
                self.outbox[shard, lane].append(OutboxEntry(shard, seq, body, stamp_ms))
            del self.outbox[shard, Lane.DECISIONS][:-DECISIONS_MAX]
            del self.outbox[shard, Lane.QUARANTINE][:-QUARANTINED_MAX]

    def heads(self) -> dict[int, Head]:
        return {shard: head.copy() for shard, head in self._heads.items()}

    def counters(self) -> dict[int, dict[str, int]]:
        return {shard: counters.copy() for shard, counters in self._counters.items()}

    def backlog(self, shards: Sequence[int]) -> dict[int, dict[str, int]]:
        return {shard: {lane: len(self.outbox[shard, lane]) for lane in QUEUES} for shard in shards}

    def oldest(self, shard: int, lane: str) -> bytes | None:
        return next((entry.body for entry in self.outbox[shard, lane]), None)

    def readers(self, shard: int) -> dict[str, int]:
        return {
            f"{lane}:{consumer}": seq for (of, lane, consumer), seq in self._cursors.items() if of == shard
        }

    def cursors(self, lane: str, consumer: str) -> dict[int, int]:
        return {shard: self._cursors.get((shard, lane, consumer), 0) for shard in range(self._count)}

    def read(self, lane: str, after: Mapping[int, int], count: int, block_ms: int) -> list[OutboxEntry]:
        return [
            entry
            for shard, seq in after.items()
            for entry in [e for e in self.outbox[shard, lane] if e.seq > seq][:count]
        ]

    def advance(self, lane: str, consumer: str, upto: Mapping[int, int]) -> None:
        for shard, seq in upto.items():
            self._cursors[shard, lane, consumer] = max(seq, self._cursors.get((shard, lane, consumer), 0))

    def set_back(self, lane: str, consumer: str, shard: int, seq: int) -> None:
        self._cursors[shard, lane, consumer] = seq

    def trim(self, lane: str, consumers: Sequence[str]) -> None:
        for shard in range(self._count):
            done = min((self._cursors.get((shard, lane, consumer), 0) for consumer in consumers), default=0)
            self.outbox[shard, lane] = [entry for entry in self.outbox[shard, lane] if entry.seq > done]

    def clocks(self) -> dict[int, int]:
        return {shard: head.clock_ms for shard, head in self._heads.items()}

    def in_force(self, sender: str) -> int:
        return min(head.models.get(sender, 0) for head in self._heads.values())
