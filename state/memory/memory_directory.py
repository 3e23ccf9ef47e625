"""Twin of the directory in memory: the oracle of `state.directory.redis_directory`, of the ledger and of what
matching reads; and what simulation runs on.

Written to be obvious rather than fast. The clock is an argument.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from schemas.errors import Fenced, LogFull, Stale
from schemas.records.consents import Standing
from schemas.records.identity_graph import (
    ID_BYTES,
    Group,
    Order,
    Put,
    Routed,
    WindowCommit,
    WindowResult,
    shard_of,
)
from schemas.records.journal import JournalKind, Journalled
from schemas.records.match_log import MATCH_KINDS, AnyMatchKind, MatchKind
from schemas.records.shard_log import (
    Announced,
    Erase,
    Expect,
    Kind,
    Lend,
    LogEntry,
    LogKind,
    NotSent,
    Retire,
    Split,
    Tick,
    pack_fact,
)
from schemas.wire.triggers import Absorb
from state.directory.directory_protocol import READMITTED, Survey
from state.directory.graph import ERASED, Graph
from state.directory.graph_window import Suspended, take_window
from state.directory.handed_over import HandOvers
from state.directory.layout import Layout
from state.directory.matches import PARTITION, Customer, Said, Table
from state.memory.memory_ledger import MemoryLedger

_encode = msgspec.msgpack.Encoder().encode

HandOver = Retire | Lend | Split | Erase
Key = TypeVar("Key")

_KINDS: Final[Mapping[type, Kind]] = {
    Retire: LogKind.RETIRE,
    Lend: LogKind.LEND,
    Split: LogKind.SPLIT,
    Erase: LogKind.ERASE,
}
_COUNTED: Final = ("created", "attached", "united", "moved", "refused", "divided", "suspended", "erased")


class _Landed(NamedTuple):
    """A fact, and the customer and the origin that it belongs to."""

    fact: Routed
    root: bytes
    origin: bytes


class MemoryDirectory(MemoryLedger):
    """Twin of `state.directory.redis_directory.RedisDirectory`."""

    def __init__(self, layout: Layout, clock_ms: Callable[[], int], *, log_max: int = 100_000) -> None:
        super().__init__(Graph(layout.limits, layout.policy))
        self.layout = layout
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
        self._refused: set[str] = set()
        self._erasures = 0

    # --- windows

    def commit(self, window: WindowCommit, content: bytes = b"") -> WindowResult:
        found = self._offsets.get(window.partition, -1)
        if found != window.before:
            raise Fenced(f"{window.partition}: expected position {window.before}, the directory has {found}")
        if window.erasures not in (-1, self._erasures):
            raise Stale(f"somebody was erased since a window of {window.partition} was made")
        if any(map(self._comes_late, window.orders)):
            raise Stale(f"a customer may have been heard of since a window of {window.partition} was made")
        graph, result, changes = self.graph.copy(), WindowResult(), HandOvers()
        try:
            routes = take_window(graph, window, result, changes, then=self._check_words)
        except Suspended:
            raise Stale(f"a window of {window.partition} rests on an identifier that is suspended") from None
        landed = _landed(window, routes)
        facts = self._facts(landed)
        self._check_room({*facts, *map(self._shard_of, _concerned(changes))})
        # from here on nothing is refused
        self._erasures += (graph.marks, graph.suppressed.keys()) != (
            self.graph.marks,
            self.graph.suppressed.keys(),
        )
        for origin, mark in graph.marks.items():
            if mark == ERASED:
                self.kept.pop(("c", origin), None)
        self.graph = graph
        self._append_all(facts, changes)
        self._tell_matching(landed, changes, window.time_ms)
        if window.partition == PARTITION:
            self.said = [said for said in self.said if said.seq > window.after]
        for put in window.puts:
            self._put(put)
        self.dead += window.dead
        self._count(window, result)
        self._offsets[window.partition] = window.after
        note = _encode([window.partition, str(window.before), str(window.after)])
        self.journal.append((JournalKind.WINDOW, note))
        result.journal = len(self.journal)
        return result

    def _comes_late(self, order: Order) -> bool:
        """Return whether the customer's shard may have heard of it since this detachment was decided."""
        if order.kind != "detach" or not order.b:
            return False
        return self._heads[self._shard_of(self.graph.root(order.a))] != int.from_bytes(order.b)

    def _shard_of(self, root: bytes) -> int:
        return shard_of(root, self.layout.shards)

    def _facts(self, landed: Sequence[_Landed]) -> dict[int, list[bytes]]:
        """Return the packed facts of each shard."""
        facts: dict[int, list[bytes]] = {}
        for fact, root, origin in landed:
            if fact.payload:
                facts.setdefault(self._shard_of(root), []).append(pack_fact(root, origin, fact.payload))
        return facts

    def _check_room(self, shards: Iterable[int]) -> None:
        for shard in shards:
            if len(self.logs[shard]) >= self._log_max:
                raise LogFull(f"log of shard {shard} is full", retry_after_s=0.2)

    def _append_all(self, facts: Mapping[int, list[bytes]], changes: HandOvers) -> None:
        """Whoever is to be given something hears of it first: before the facts that may be part of it."""
        for retire in changes.retired:
            self._expect(retire)
        changes.number()
        for lend in changes.lent:
            self._expect(lend)
        for shard, parts in facts.items():
            self._append(shard, LogKind.EVENTS, b"".join(parts))
        for lend in changes.lent:
            self._ask_to_give(lend)
        for retire in changes.retired:
            self._ask_to_give(retire)
        for change in changes.then:
            if not isinstance(change, Erase):
                self._expect(change)
            self._ask_to_give(change)

    def _expect(self, change: Retire | Lend | Split) -> None:
        taker = _taker(change)
        if isinstance(change, Lend):
            body = _encode(Expect(taker, [], change.identifier, change.home))
        else:
            body = _encode([taker, change.origins])
        self._append(self._shard_of(taker), LogKind.EXPECT, body)

    def _ask_to_give(self, change: HandOver) -> None:
        self._append(self._shard_of(_giver(change)), _KINDS[type(change)], _encode(change))

    def _tell_matching(self, landed: Sequence[_Landed], changes: HandOvers, time_ms: int) -> None:
        if not self.layout.policy.matches:
            return
        records = [
            origin + len(fact.match).to_bytes(4) + fact.match for fact, _, origin in landed if fact.match
        ]
        if records:
            self._say(MatchKind.RECORDS, b"".join(records), time_ms)
        if changes.labels:
            self._say(MatchKind.DECISIONS, b"".join(changes.labels), time_ms)

    def _say(self, kind: AnyMatchKind, body: bytes, time_ms: int) -> None:
        self._said += 1
        self.said.append(Said(self._said, kind, body, time_ms))

    def _put(self, put: Put) -> None:
        """Keep what matching keeps; records by bucket, too."""
        _change(self.kept, (put.table, put.field), put.value)
        if put.table == "mr":
            number = int.from_bytes(put.field[:4]) % self.layout.buckets
            _change(self._records.setdefault(number, {}), put.field, put.value)

    def _count(self, window: WindowCommit, result: WindowResult) -> None:
        counts = {name: getattr(result, name) for name in _COUNTED}
        counts |= {f"rejected:{reason}": n for reason, n in window.rejected.items()}
        counts["events"] = sum(bool(fact.payload) for group in window.groups for fact in group.facts)
        for name, n in counts.items():
            if n:
                self._stats[name] = self._stats.get(name, 0) + n

    def _append(self, shard: int, kind: Kind, body: bytes) -> None:
        self._heads[shard] += 1
        self.logs[shard].append(LogEntry(shard, self._heads[shard], kind, body))

    def plan(self, groups: Sequence[Group]) -> list[bytes]:
        window = WindowCommit(partition="", before=-1, after=-1, groups=list(groups), dead=[], rejected={})
        routes = take_window(self.graph.copy(), window, WindowResult(), HandOvers(), planned=True)
        return [origin for landed in routes for _root, origin in landed]

    def _check_words(self, graph: Graph, window: WindowCommit) -> None:
        """As `window.lua` does. Raises `Stale`."""
        if window.looked_at is None:
            changed = self.has_consents()
        else:
            changed = any(
                mark not in ((now := self._standing(graph, root)).mark, now.whole_mark)
                for root, mark in window.looked_at
            )
        if changed:
            raise Stale(f"consent of a customer of a window of {window.partition} has changed")

    def _standing(self, graph: Graph, origin: bytes) -> Standing:
        root = graph.root(origin)
        members = graph.records[root].members if root in graph.records else (root,)
        said = {member: self.kept.get(("c", member)) for member in members}
        records = {member: record for member, record in said.items() if record is not None}
        return Standing(root, members, records)

    def survey(self, groups: Sequence[Group], *, fresh: bool = False) -> Survey:
        graph = self.graph.copy()
        window = WindowCommit(partition="", before=-1, after=-1, groups=list(groups), dead=[], rejected={})
        routes = take_window(graph, window, WindowResult(), HandOvers(), planned=True)
        origins = [origin for landed in routes for _root, origin in landed]
        standings = [self._standing(graph, origin) for origin in origins]
        return Survey(origins, standings, [False] * len(origins))

    def has_consents(self) -> bool:
        return any(table == "c" for table, _ in self.kept)

    def standings(self, customers: Sequence[bytes]) -> list[Standing]:
        return [self._standing(self.graph, customer) for customer in customers]

    def offsets(self) -> dict[str, int]:
        return dict(self._offsets)

    def read(self, after: Mapping[int, int], count: int, block_ms: int) -> list[LogEntry]:
        return [
            entry
            for shard, seq in after.items()
            for entry in [e for e in self.logs[shard] if e.seq > seq][:count]
        ]

    # --- everything else that concerns a shard

    def tick(self) -> bool:
        return self._tick(self._clock_ms() // 1000)

    def _tick(self, second: int) -> bool:
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
        return self._take_in(LogKind.ABSORB, message.survivor, _encode(message))

    def readmit(self, seq: int, origin: bytes, payload: bytes) -> bool:
        if self._taken(READMITTED, seq):
            return False
        return self._take_in(LogKind.EVENTS, origin, pack_fact(origin, origin, payload)[ID_BYTES:])

    def forward_again(self, letter: str, message: Absorb) -> bool:
        if self._taken(f"{READMITTED}:{letter}", 1):
            return False
        return self._take_in(LogKind.ABSORB, message.survivor, _encode(message))

    def not_sent(self, customer: bytes, what: NotSent) -> bool:
        if (named := f"{what.connector}:{what.id}") in self._refused:
            return False
        self._refused.add(named)
        return self._take_in(LogKind.NOT_SENT, customer, _encode(what))

    def hear_again(self, letter: str, kind: str, body: bytes, time_ms: int) -> bool:
        if self._taken(f"{READMITTED}:{letter}", 1):
            return False
        self._hear(kind.encode() + body, time_ms)
        return True

    def _hear(self, body: bytes, time_ms: int) -> None:
        kind = next(kind for kind in MATCH_KINDS if body[:1] == kind.encode())
        self._say(kind, body[1:], time_ms)
        self.journal.append((JournalKind.HEARD, body))

    def _take_in(self, kind: Kind, origin: bytes, message: bytes) -> bool:
        """For whoever the origin belongs to now; False for nobody, who was erased. Who is being erased is
        still given what was on its way, but no events."""
        mark = self.graph.marks.get(origin)
        if mark == ERASED or (mark and kind in (LogKind.EVENTS, LogKind.NOT_SENT)):
            self._stats["dropped_for_erased"] = self._stats.get("dropped_for_erased", 0) + 1
            return False
        root = self.graph.root(origin)
        self._append(self._shard_of(root), kind, root + message)
        self.journal.append((kind, root + message))
        return True

    def erasures(self) -> int:
        return self._erasures

    def suppressed(self) -> frozenset[bytes]:
        return frozenset(self.graph.suppressed)

    def erased(self, origins: Sequence[bytes]) -> list[bool]:
        return [origin in self.graph.marks for origin in origins]

    def replay(self, entry: Journalled) -> bool:
        if entry.kind == JournalKind.TICK:
            return self._tick(msgspec.msgpack.decode(entry.body, type=Tick).now_ms // 1000)
        if entry.kind == JournalKind.NOT_SENT:
            what = msgspec.msgpack.decode(entry.body[ID_BYTES:], type=NotSent)
            return self.not_sent(entry.extra, what)
        if self._taken(entry.sender, entry.sent):
            return False
        match entry.kind:
            case JournalKind.ABSORB:
                return self._take_in(LogKind.ABSORB, entry.extra, entry.body[ID_BYTES:])
            case JournalKind.READMITTED:
                return self._take_in(LogKind.EVENTS, entry.extra, entry.body[ID_BYTES:])
            case JournalKind.HEARD:
                self._hear(entry.body, int(entry.extra))
            case _:
                self._bodies[entry.kind, entry.sender, int(entry.extra)] = entry.announced
                is_config = entry.kind == JournalKind.CONFIG
                self._broadcast(LogKind.CONFIG if is_config else LogKind.MODEL, entry.body)
        return True

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


def _landed(window: WindowCommit, routes: Sequence[Sequence[tuple[bytes, bytes]]]) -> list[_Landed]:
    """Return where each fact of a window landed. Raises `Stale` if its personal data was sealed for somebody
    else."""
    landed = []
    for group, places in zip(window.groups, routes, strict=True):
        for fact, (root, origin) in zip(group.facts, places, strict=True):
            if fact.expected is not None and fact.expected != origin:
                raise Stale(f"identities of a window of {window.partition} changed between seal and commit")
            landed.append(_Landed(fact, root, origin))
    return landed


def _concerned(changes: HandOvers) -> Iterator[bytes]:
    """Yield the customers that give or take something."""
    for change in (*changes.retired, *changes.lent, *changes.then):
        yield _giver(change)
        yield _taker(change)


def _giver(change: HandOver) -> bytes:
    return change.retired if isinstance(change, Retire) else change.root


def _taker(change: HandOver) -> bytes:
    match change:
        case Retire():
            return change.survivor
        case Lend():
            return change.to
        case Split():
            return change.part
        case Erase():
            return change.root


def _change(table: dict[Key, bytes], key: Key, value: bytes | None) -> None:
    """None deletes."""
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
