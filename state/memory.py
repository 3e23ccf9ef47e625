"""Memory twins of the directory, the shards and the outbox: the oracle of the Redis ones, and what simulation runs on.

Written to be obvious rather than fast. The clock is an argument.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec

from schemas.errors import Fenced, LogFull, Stale
from schemas.identity import ID_BYTES, Group, WindowCommit, WindowResult, shard_of
from schemas.journal import Journalled
from schemas.log import Announced, Expect, Kind, Lend, LogEntry, Retire, Tick, pack_fact
from schemas.profile import Head
from schemas.triggers import Absorb
from state.directory import READMITTED, Layout
from state.shards import DECISIONS_MAX, LANES, QUARANTINE, QUARANTINED_MAX, QUEUES, OutboxEntry, ShardCommit

_encode = msgspec.msgpack.Encoder().encode


class Record(msgspec.Struct, frozen=True):
    """A root customer: its member origins and its identifiers, oldest first. A value, so that copies of a graph may share it."""

    members: tuple[bytes, ...] = ()
    identifiers: tuple[tuple[int, bytes], ...] = ()

    def count(self, strength: int) -> int:
        return sum(1 for held, _ in self.identifiers if held == strength)

    def user(self) -> bytes | None:
        return next((identifier for strength, identifier in self.identifiers if strength == 0), None)


class Graph:
    """Identifiers -> origins -> root customers, and what one window does to it."""

    def __init__(self, limits: Sequence[int]) -> None:
        self.limits = limits
        self.origins: dict[bytes, bytes] = {}  # identifier -> origin
        self.roots: dict[bytes, bytes] = {}  # origin -> root, where it is not its own
        self.records: dict[bytes, Record] = {}

    def copy(self) -> "Graph":
        """For a window that may yet be refused."""
        copied = Graph(self.limits)
        copied.origins, copied.roots, copied.records = self.origins.copy(), self.roots.copy(), self.records.copy()
        return copied

    def root(self, origin: bytes) -> bytes:
        return self.roots.get(origin, origin)

    def user(self, root: bytes) -> bytes | None:
        return self.records[root].user() if root in self.records else None

    def fits(self, root: bytes, strength: int) -> bool:
        return self.records[root].count(strength) < self.limits[strength]

    def found(self, origin: bytes) -> bytes:
        """A new customer; its origin is the identifier, or the next free value."""
        while origin in self.records or origin in self.roots:
            origin = ((int.from_bytes(origin) + 1) % 2 ** (8 * ID_BYTES)).to_bytes(ID_BYTES)
        self.records[origin] = Record((origin,))
        return origin

    def unite(self, a: bytes, b: bytes) -> Retire | None:
        """Who retires: the one with a user id survives, else the smaller id; None where a limit forbids it."""
        if any(self.records[b].count(s) and self.records[a].count(s) + self.records[b].count(s) > n for s, n in enumerate(self.limits)):
            return None
        has_a, has_b = self.user(a) is not None, self.user(b) is not None
        if (has_b and not has_a) or (has_a == has_b and b < a):
            a, b = b, a
        retired = self.records.pop(b)
        for member in retired.members:
            self.roots[member] = a
        survivor = self.records[a]
        self.records[a] = Record(survivor.members + retired.members, survivor.identifiers + retired.identifiers)
        return Retire(b, a, list(retired.members))

    def attach(self, root: bytes, strength: int, identifier: bytes) -> None:
        record = self.records[root]
        self.records[root] = Record(record.members, (*record.identifiers, (strength, identifier)))

    def detach(self, root: bytes, identifier: bytes) -> None:
        record = self.records[root]
        self.records[root] = Record(record.members, tuple(held for held in record.identifiers if held[1] != identifier))

    def resolve(self, group: Group, result: WindowResult, changes: "Changes") -> bytes | None:
        """Take one group in; the origin that its newcomers belong to, None where nothing changed."""
        known = [i for i in group.identifiers if i.hash in self.origins]
        if len(known) == len(group.identifiers) and len({self.root(self.origins[i.hash]) for i in known}) == 1:
            return None
        strongest = group.identifiers[0]
        user = strongest.hash if strongest.strength == 0 else None
        winner: bytes | None = None
        home: bytes | None = None
        movers = []
        for identifier in known:
            origin = self.origins[identifier.hash]
            root = self.root(origin)
            if winner == root:
                continue
            ours = user or (self.user(winner) if winner else None)
            theirs = self.user(root)
            if ours and theirs and ours != theirs:
                movers.append(identifier)
            elif winner is None:
                winner, home = root, origin
            elif (retire := self.unite(winner, root)) is not None:
                changes.retired.append(retire)
                winner = retire.survivor
                result.united += 1
            else:
                result.refused += 1
        fresh = winner is None
        if winner is None or home is None:
            winner = home = self.found(strongest.hash)
            result.created += 1
        for identifier in group.identifiers:
            if identifier in known:
                continue
            if self.fits(winner, identifier.strength):
                self.origins[identifier.hash] = home
                self.attach(winner, identifier.strength, identifier.hash)
                result.attached += not fresh
            else:
                result.refused += 1
        for identifier in movers:
            if self.fits(winner, identifier.strength):
                origin = self.origins[identifier.hash]
                before = self.root(origin)
                changes.lent.append(Lend(before, winner, identifier.hash, origin))
                self.detach(before, identifier.hash)
                self.origins[identifier.hash] = home
                self.attach(winner, identifier.strength, identifier.hash)
                result.moved += 1
            else:
                result.refused += 1
        return home

    def window(self, groups: Sequence[Group], result: WindowResult, changes: "Changes") -> list[list[tuple[bytes, bytes]]]:
        """(root, origin) of each fact of each group."""
        routes = []
        for group in groups:
            home = self.resolve(group, result, changes)
            landed = []
            for fact in group.facts:
                origin = self.origins.get(group.identifiers[fact.anchor].hash) or home or self.origins[group.identifiers[0].hash]
                landed.append((self.root(origin), origin))
            routes.append(landed)
        return routes


class Changes(msgspec.Struct):
    """What one window makes customers hand over."""

    retired: list[Retire] = []
    lent: list[Lend] = []

    def number(self) -> None:
        """Tell each lender which expectations of its window are younger than its debt."""
        moved = Counter[tuple[bytes, bytes]]()
        for lend in reversed(self.lent):
            lend.later = moved[lend.root, lend.identifier]
            moved[lend.to, lend.identifier] += 1


class MemoryDirectory:
    """Twin of `state.directory.RedisDirectory`."""

    def __init__(self, layout: Layout, clock_ms: Callable[[], int], *, log_max: int = 100_000) -> None:
        self.layout = layout
        self.graph = Graph(layout.limits)
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
        self.ticked_s = 0

    def commit(self, window: WindowCommit, content: bytes = b"") -> WindowResult:
        if self._offsets.get(window.partition, -1) != window.before:
            raise Fenced(
                f"{window.partition}: expected position {window.before}, the directory has {self._offsets.get(window.partition, -1)}"
            )
        graph, result, changes = self.graph.copy(), WindowResult(), Changes()
        routes = graph.window(window.groups, result, changes)
        bodies: dict[int, list[bytes]] = {}
        for group, landed in zip(window.groups, routes, strict=True):
            for fact, (root, origin) in zip(group.facts, landed, strict=True):
                if fact.expected is not None and fact.expected != origin:
                    raise Stale(f"identities of a window of {window.partition} changed between seal and commit")
                bodies.setdefault(shard_of(root, self.layout.shards), []).append(pack_fact(root, origin, fact.payload))
        shard = partial(shard_of, count=self.layout.shards)
        handed = [root for r in changes.retired for root in (r.retired, r.survivor)] + [
            root for m in changes.lent for root in (m.root, m.to)
        ]
        touched = {*bodies, *map(shard, handed)}
        for number in touched:
            if len(self.logs[number]) >= self._log_max:
                raise LogFull(f"log of shard {number} is full", retry_after_s=0.2)
        self.graph = graph
        for retire in changes.retired:
            self._append(shard(retire.survivor), "x", _encode([retire.survivor, retire.origins]))
        changes.number()
        for lend in changes.lent:
            self._append(shard(lend.to), "x", _encode(Expect(lend.to, [], lend.identifier)))
        for number, parts in bodies.items():
            self._append(number, "e", b"".join(parts))
        for lend in changes.lent:
            self._append(shard(lend.root), "l", _encode(lend))
        for retire in changes.retired:
            self._append(shard(retire.retired), "r", _encode(retire))
        self.dead += window.dead
        counts = {name: getattr(result, name) for name in ("created", "attached", "united", "moved", "refused")}
        counts |= {f"rejected:{reason}": n for reason, n in window.rejected.items()}
        counts["events"] = sum(len(group.facts) for group in window.groups)
        for name, n in counts.items():
            if n:
                self._stats[name] = self._stats.get(name, 0) + n
        self._offsets[window.partition] = window.after
        self.journal.append(("w", _encode([window.partition, str(window.before), str(window.after)])))
        result.journal = len(self.journal)
        return result

    def _append(self, shard: int, kind: Kind, body: bytes) -> None:
        self._heads[shard] += 1
        self.logs[shard].append(LogEntry(shard, self._heads[shard], kind, body))

    def plan(self, groups: Sequence[Group]) -> list[bytes]:
        routes = self.graph.copy().window(groups, WindowResult(), Changes())
        return [origin for landed in routes for _root, origin in landed]

    def offsets(self) -> dict[str, int]:
        return dict(self._offsets)

    def read(self, after: Mapping[int, int], count: int, block_ms: int) -> list[LogEntry]:
        return [entry for shard, seq in after.items() for entry in [e for e in self.logs[shard] if e.seq > seq][:count]]

    def tick(self) -> bool:
        second = self._clock_ms() // 1000
        if second <= self.ticked_s:
            return False
        self.ticked_s = second
        self._broadcast("t", _encode(Tick(second * 1000)))
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

    def forward(self, shard: int, seq: int, message: Absorb) -> bool:
        if self._taken(f"shard:{shard}", seq):
            return False
        self._take_in("a", message.survivor, _encode(message))
        return True

    def readmit(self, seq: int, origin: bytes, payload: bytes) -> bool:
        if self._taken(READMITTED, seq):
            return False
        self._take_in("e", origin, pack_fact(origin, origin, payload)[ID_BYTES:])
        return True

    def _take_in(self, kind: Kind, origin: bytes, message: bytes) -> None:
        """For whoever the origin belongs to now."""
        root = self.graph.root(origin)
        self._append(shard_of(root, self.layout.shards), kind, root + message)
        self.journal.append((kind, root + message))

    def replay(self, entry: Journalled) -> bool:
        if entry.kind == "t":
            second = msgspec.msgpack.decode(entry.body, type=Tick).now_ms // 1000
            if second <= self.ticked_s:
                return False
            self.ticked_s = second
            self._broadcast("t", entry.body)
            return True
        if self._taken(entry.sender, entry.sent):
            return False
        if entry.kind in ("a", "e"):
            self._take_in("a" if entry.kind == "a" else "e", entry.extra, entry.body[ID_BYTES:])
            return True
        self._bodies[entry.kind, entry.sender, int(entry.extra)] = entry.announced
        self._broadcast("c" if entry.kind == "c" else "m", entry.body)
        return True

    def lookup(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        return [self.graph.root(self.graph.origins[i]) if i in self.graph.origins else None for i in identifiers]

    def root(self, origin: bytes) -> bytes:
        return self.graph.root(origin)

    def trim(self, positions: Mapping[int, int]) -> None:
        for shard, seq in positions.items():
            self.logs[shard] = [entry for entry in self.logs[shard] if entry.seq > seq]

    def heads(self) -> dict[int, int]:
        return dict(self._heads)

    def sent(self, sender: str) -> int:
        return self.senders.get(sender, 0)

    def stats(self) -> dict[str, int]:
        return dict(self._stats)


class MemoryShards:
    """Twin of `state.shards.RedisShards` and of `RedisOutbox`."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heads = {shard: Head() for shard in range(count)}
        self._counters: dict[int, dict[str, int]] = {shard: {} for shard in range(count)}
        self.profiles: dict[int, dict[bytes, bytes]] = {shard: {} for shard in range(count)}
        self.sensitive: dict[int, dict[bytes, bytes]] = {shard: {} for shard in range(count)}
        self.timers: dict[int, dict[bytes, int]] = {shard: {} for shard in range(count)}
        lanes = (*LANES, QUARANTINE)
        self.outbox: dict[tuple[int, str], list[OutboxEntry]] = {(shard, lane): [] for shard in range(count) for lane in lanes}
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

    def due(self, wanted: Mapping[int, tuple[int, int]]) -> dict[int, list[tuple[int, bytes]]]:
        return {
            shard: sorted((due, root) for root, due in self.timers[shard].items() if due <= upto_ms)[:limit]
            for shard, (upto_ms, limit) in wanted.items()
        }

    def commit(self, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        for commit in commits:
            if self._heads[commit.shard] != commit.before:
                raise Fenced(f"shard {commit.shard}: its head is {self._heads[commit.shard]}, expected {commit.before}")
        for commit in commits:
            shard = commit.shard
            self._heads[shard] = commit.head.copy()
            if commit.counters:
                self._counters[shard] = dict(commit.counters)
            for table, changes in ((self.profiles[shard], commit.profiles), (self.sensitive[shard], commit.sensitive)):
                for root, packed in changes.items():
                    if packed is None:
                        table.pop(root, None)
                    else:
                        table[root] = packed
            for root, due in commit.timers.items():
                if due:
                    self.timers[shard][root] = due
                else:
                    self.timers[shard].pop(root, None)
            for lane, seq, body in commit.outbox:
                self.outbox[shard, lane].append(OutboxEntry(shard, seq, body, stamp_ms))
            del self.outbox[shard, "d"][:-DECISIONS_MAX]
            del self.outbox[shard, QUARANTINE][:-QUARANTINED_MAX]

    def heads(self) -> dict[int, Head]:
        return {shard: head.copy() for shard, head in self._heads.items()}

    def counters(self) -> dict[int, dict[str, int]]:
        return {shard: counters.copy() for shard, counters in self._counters.items()}

    def backlog(self, shards: Sequence[int]) -> dict[int, int]:
        return {shard: max(len(self.outbox[shard, lane]) for lane in QUEUES) for shard in shards}

    def cursors(self, lane: str, consumer: str) -> dict[int, int]:
        return {shard: self._cursors.get((shard, lane, consumer), 0) for shard in range(self._count)}

    def read(self, lane: str, after: Mapping[int, int], count: int, block_ms: int) -> list[OutboxEntry]:
        return [entry for shard, seq in after.items() for entry in [e for e in self.outbox[shard, lane] if e.seq > seq][:count]]

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
