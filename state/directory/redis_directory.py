"""The directory on Redis: keyed identifiers -> origin -> root customer, and the only writer of the shards'
logs.

Its twin is `state.memory.memory_directory.MemoryDirectory`; `tests/contract/test_directory.py` runs on both.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, cast

import msgspec
import redis

from schemas.errors import Fenced, Foreign, LogFull, Stale
from schemas.records.consents import Standing
from schemas.records.identity_graph import ID_BYTES, Group, WindowCommit, WindowResult
from schemas.records.journal import JournalKind, Journalled
from schemas.records.shard_log import LogEntry, NotSent, Tick, pack_fact
from schemas.wire.triggers import Absorb
from state.damage import GONE, in_a_script, number, of_directory, shown
from state.directory.directory_protocol import READMITTED, Survey
from state.directory.graph_cache import GraphCache
from state.directory.layout import FORMAT, Layout
from state.directory.records import unpack
from state.redis.client import wait_for, writing
from state.redis.gather import Gather
from state.redis.names import Names

SCRIPT = ("directory.lua", "graph.lua", "orders.lua", "window.lua")  # parts of one
DROPPED_AT_ONCE = 1_000
# of dead letters: large ones by the thousand, which anybody with a write key can send, must not fill the
# server
DEAD_BYTES = 256 << 20
CHANGED_RETRIES = 5  # a window is tried again so often when others have changed the graph
Route = tuple[bytes, list[bytes]]  # a group's root, the origin of each of its facts
_pack = msgspec.msgpack.Encoder().encode


class RedisDirectory:
    """One Redis hash slot. Many writers: each commit is one script (`directory.lua`)."""

    def __init__(
        self,
        client: redis.Redis,
        names: Names,
        layout: Layout,
        *,
        log_max: int = 100_000,
        dead_max: int = 100_000,
        dead_bytes: int = DEAD_BYTES,
        journal_max: int = 0,
        replicas: int = 0,
    ) -> None:
        """`dead_max`, `dead_bytes`: of dead letters, whose oldest go first. `journal_max`: entries that may
        wait for the archive; 0 where there is none."""
        self._redis = client
        self._names = names
        self._layout = layout
        self._replicas = replicas
        self._cache = GraphCache()
        self._gather = Gather(client, layout.buckets)
        self._archived = journal_max > 0
        policy = layout.policy.settings(len(layout.limits))
        self._settings = _pack(
            [
                layout.shards,
                layout.buckets,
                list(layout.limits),
                log_max,
                dead_max,
                journal_max,
                policy,
                dead_bytes,
            ]
        )
        self._window = client.register_script(
            "".join(files("state.directory").joinpath(part).read_text() for part in SCRIPT)
        )
        self._append = client.register_script(files("state.directory").joinpath("append.lua").read_text())
        self._trim = client.register_script(files("state.directory").joinpath("trim.lua").read_text())
        self._logs = {names.log(shard): shard for shard in range(layout.shards)}

    def create(self) -> None:
        """Mark the slot as ours, or check that it is. Raises `Foreign`."""
        layout = self._layout
        self._check_mark()
        mine = {
            "name": layout.name,
            "shards": layout.shards,
            "buckets": layout.buckets,
            "keys": layout.keys,
            "format": FORMAT,
        }
        for field, value in mine.items():
            self._redis.hsetnx(self._names.meta, field, str(value))
        found = {field: cast(bytes, self._redis.hget(self._names.meta, field)).decode() for field in mine}
        format_found = number(found["format"].encode(), self._names.meta)
        if format_found > FORMAT:
            raise Foreign(
                f"state has format {found['format']}, this release reads up to {FORMAT}:"
                " use the newer millrace that wrote it"
            )
        for field, value in mine.items():
            if found[field] != str(value) and field != "format":
                remedy = "restore the key file that it was written with" if field == "keys" else "set it back"
                prefix = self._names.prefix.decode()
                raise Foreign(
                    f"the data under prefix {prefix!r} has {field} {found[field]!r}, we have {value!r}:"
                    f" this is fixed at creation; {remedy}, or use another redis.prefix or data folder"
                )
        if format_found < FORMAT:  # from here on earlier releases do not know all that is there
            self._redis.hset(self._names.meta, "format", str(FORMAT))
        self._check_positions()

    def _check_mark(self) -> None:
        """Check, before it is made, that it is not gone from beside its data. Raises `Damaged`."""
        names, client = self._names, self._redis
        if client.exists(names.meta):
            return
        other = next(iter(client.scan_iter(match=names.prefix + b":{*", count=1_000)), None)
        # Where it exists by now, another worker of a new deployment has made it meanwhile.
        if other is not None and not client.exists(names.meta):
            raise of_directory(names.meta, f"is gone, and {shown(other)} is there")

    def _check_positions(self) -> None:
        """Check that none of the few keys is gone by which all that is new is placed. Raises `Damaged`."""
        names, client = self._names, self._redis
        for field in ("journal", "tick", "matches"):
            number(cast(bytes | None, client.hget(names.meta, field)), names.meta)
        for key, speaks_of_it in (
            (names.heads, (names.meta, "tick")),
            (names.offsets, (names.stats, "events")),
        ):
            if client.hexists(*cast(tuple[str, str], speaks_of_it)) and not client.exists(key):
                raise of_directory(key, GONE)

    def commit(self, window: WindowCommit, content: bytes = b"") -> WindowResult:
        routes, answer = self._commit(window, content)
        match answer[0]:
            case b"ok":
                groups = zip(window.groups, routes, strict=True)
                asked = [one for group, route in groups if route is None for one in group.identifiers]
                self._cache.learn(asked, answer[7])
                # after it: what this window itself has suspended is looked up again
                self._cache.forget(answer[8], answer[9])
                self._forget_words(window)
                wait_for(self._redis, self._replicas)
                return WindowResult(*answer[1:7], *answer[10:13])
            case b"suspended":
                raise Stale(f"a window of {window.partition} rests on an identifier that is suspended")
            case b"stale":
                raise Stale(f"identities of a window of {window.partition} changed between seal and commit")
            case b"full" if answer[1] == b"journal":
                raise LogFull("the journal is full: the archive does not keep up", retry_after_s=1.0)
            case b"full":
                raise LogFull(f"log of shard {answer[1]} is full", retry_after_s=0.2)
            case _:
                found = answer[1].decode()
                raise Fenced(
                    f"{window.partition}: expected position {window.before}, the directory has {found}:"
                    " another worker reads it"
                )

    def _commit(self, window: WindowCommit, content: bytes) -> tuple[list[Route | None], list[Any]]:
        """Return where we knew that its groups go, and what the directory answered."""
        nowhere: list[Route | None] = [None] * len(window.groups)
        unsure = False
        for _ in range(CHANGED_RETRIES):
            routes = nowhere if unsure else self._routes(window.groups)
            answer = self._run("commit", window, content, routes, self._cache.epoch)
            if answer[0] == b"changed":
                self._cache.forget(answer[1], answer[2] if len(answer) > 2 else None)
                if window.looked_at:
                    raise Stale(f"customers of a window of {window.partition} may have said something else")
            elif answer[0] == b"unsure":
                unsure = True
            else:
                return routes, answer
        # Others unite customers faster than we can follow: all is looked up, and of what changes meanwhile we
        # hear nothing.
        self._cache.forget(self._cache.epoch, None)
        return nowhere, self._run("commit", window, content, nowhere, -1)

    def _forget_words(self, window: WindowCommit) -> None:
        """Forget the customers of whom this window has put words: of those it has founded nobody is told."""
        new = {put.field for put in window.puts if put.table == "c"}
        for root, _ in window.looked_at or () if new else ():
            if (known := self._cache.standings.get(root)) is not None and not new.isdisjoint(known.members):
                del self._cache.standings[root]

    def _routes(self, groups: Sequence[Group]) -> list[Route | None]:
        """Return where we know that groups go. Not one that shares an identifier with an earlier one of
        its window, which may move it."""
        earlier: set[bytes] = set()
        routes: list[Route | None] = []
        for group in groups:
            hashes = [identifier.hash for identifier in group.identifiers]
            routes.append(self._cache.route(group) if earlier.isdisjoint(hashes) else None)
            earlier.update(hashes)
        return routes

    def _run(
        self, mode: str, window: WindowCommit, content: bytes, routes: Sequence[Route | None], epoch: int
    ) -> list[Any]:
        numbers: list[int] = []
        blobs: list[bytes] = []
        for group, route in zip(window.groups, routes, strict=True):
            if route is not None:
                root, origins = route
                numbers += (0, len(group.facts))
                blobs.append(root)
                for fact, origin in zip(group.facts, origins, strict=True):
                    blobs += (origin, fact.payload)
                continue
            numbers += (len(group.identifiers), len(group.facts))
            for identifier in group.identifiers:
                numbers.append(identifier.strength)
                blobs.append(identifier.hash)
            for fact in group.facts:
                if fact.expected is None:
                    numbers += (fact.anchor, 0)
                    blobs.append(fact.payload)
                elif not fact.match:
                    numbers += (fact.anchor, 1)
                    blobs += (fact.payload, fact.expected)
                else:
                    numbers += (fact.anchor, 2)
                    blobs += (fact.payload, fact.expected, fact.match)
        for order in window.orders:
            blobs += (order.a, order.b, order.note)
        for put in window.puts:
            blobs += (put.field, put.value or b"")
        puts = [[put.table, int(put.value is None)] for put in window.puts]
        orders = [[order.kind, order.by, int(order.forced), int(order.origins)] for order in window.orders]
        # of a customer that we know, changes are told; one that others found meanwhile nobody tells us of
        known = {route[0] for route in routes if route is not None and epoch >= 0}
        looked_at = [pair for pair in window.looked_at or () if pair[0] not in known]
        for pair in looked_at:
            blobs += pair
        many = -1 if window.looked_at is None else len(looked_at)
        judged_by = many, window.erasures
        rest = _pack([window.rejected, len(window.dead), epoch, window.time_ms, orders, puts, *judged_by])
        head: list[Any] = [
            mode,
            window.partition,
            str(window.before),
            str(window.after),
            self._settings,
            rest,
            _pack(numbers),
        ]
        with writing(), self._reporting_damage():
            return cast(
                list[Any],
                self._window(keys=[self._names.directory], args=[*head, *blobs, *window.dead, content]),
            )

    @contextmanager
    def _reporting_damage(self) -> Iterator[None]:
        """Raise what the script has found, as `Damaged`."""
        try:
            yield
        except redis.ResponseError as error:
            if (damaged := in_a_script(error)) is not None:
                raise damaged from None
            raise

    def plan(self, groups: Sequence[Group]) -> list[bytes]:
        window = WindowCommit(partition="", before=-1, after=-1, groups=list(groups), dead=[], rejected={})
        return _ids(self._run("plan", window, b"", [None] * len(groups), -1)[1])

    def survey(self, groups: Sequence[Group], *, fresh: bool = False) -> Survey:
        nowhere: list[Route | None] = [None] * len(groups)
        routes = nowhere if fresh else self._known_routes(groups)
        asked = [group for group, route in zip(groups, routes, strict=True) if route is None]
        origins, standings = self._surveyed(asked)
        survey = Survey([], [], [])
        at = 0
        for group, route in zip(groups, routes, strict=True):
            if route is None:
                survey.origins.extend(origins[at : at + len(group.facts)])
                survey.standings.extend(standings[at : at + len(group.facts)])
                survey.known.extend([False] * len(group.facts))
                at += len(group.facts)
            else:
                survey.origins.extend(route[1])
                survey.standings.extend([self._cache.standings[route[0]]] * len(group.facts))
                survey.known.extend([True] * len(group.facts))
        return survey

    def _known_routes(self, groups: Sequence[Group]) -> list[Route | None]:
        known = self._cache.standings
        routes = self._routes(groups)
        return [route if route is not None and route[0] in known else None for route in routes]

    def _surveyed(self, groups: Sequence[Group]) -> tuple[list[bytes], list[Standing]]:
        """Ask the directory; return of each fact its origin and its customer's words."""
        if not groups:
            return [], []
        window = WindowCommit(partition="", before=-1, after=-1, groups=list(groups), dead=[], rejected={})
        answer = self._run("survey", window, b"", [None] * len(groups), -1)
        customers = {root: _standing(root, members, flat) for root, members, flat in answer[3]}
        for standing in customers.values():
            self._cache.remember(standing)
        return _ids(answer[1]), [customers[root] for root in _ids(answer[2])]

    def has_consents(self) -> bool:
        return bool(self._redis.hexists(self._names.meta, "consents"))

    def standings(self, customers: Sequence[bytes]) -> list[Standing]:
        roots = [
            root or customer
            for customer, root in zip(
                customers, self._gather(self._names.directory + b"o:", customers), strict=True
            )
        ]
        found = self._gather(self._names.directory + b"r:", roots)
        members = [
            unpack(root, packed).members if packed else (root,)
            for root, packed in zip(roots, found, strict=True)
        ]
        asked = [*dict.fromkeys(member for those in members for member in those)]
        said = dict(zip(asked, self._gather(self._names.directory + b"c:", asked), strict=True))
        return [
            Standing(
                root, those, {member: record for member in those if (record := said[member]) is not None}
            )
            for root, those in zip(roots, members, strict=True)
        ]

    def offsets(self) -> dict[str, int]:
        key = self._names.offsets
        return {partition.decode(): number(position, key) for partition, position in self._hash(key).items()}

    def read(self, after: Mapping[int, int], count: int, block_ms: int) -> list[LogEntry]:
        streams: dict[Any, Any] = {self._names.log(shard): b"%d-0" % seq for shard, seq in after.items()}
        answer = cast(list[Any], self._redis.xread(streams, count=count, block=block_ms or None))
        entries = []
        for log, found in answer:
            shard = self._logs[log]
            for entry_id, fields in found:
                kind, body = next(iter(fields.items()))
                entries.append(LogEntry(shard, int(entry_id[:-2]), kind.decode(), body))
        return entries

    def tick(self) -> bool:
        return self._do_append(JournalKind.TICK, "", 0, b"")

    def announce(self, kind: str, sender: str, seq: int, version: int, body: bytes) -> bool:
        return self._do_append(kind, sender, seq, _pack([sender, version]), str(version).encode(), body)

    def forward(self, shard: int, seq: int, message: Absorb) -> bool:
        return self._do_append(JournalKind.ABSORB, f"shard:{shard}", seq, _pack(message), message.survivor)

    def readmit(self, seq: int, origin: bytes, payload: bytes) -> bool:
        return self._do_append(
            JournalKind.READMITTED, READMITTED, seq, pack_fact(origin, origin, payload)[ID_BYTES:], origin
        )

    def forward_again(self, letter: str, message: Absorb) -> bool:
        return self._do_append(
            JournalKind.ABSORB, f"{READMITTED}:{letter}", 1, _pack(message), message.survivor
        )

    def not_sent(self, customer: bytes, what: NotSent) -> bool:
        sender = f"{what.connector}:{what.id}"
        return self._do_append(JournalKind.NOT_SENT, sender, 1, _pack(what), customer)

    def hear_again(self, letter: str, kind: str, body: bytes, time_ms: int) -> bool:
        return self._do_append(
            JournalKind.HEARD, f"{READMITTED}:{letter}", 1, kind.encode() + body, b"%d" % time_ms
        )

    def replay(self, entry: Journalled) -> bool:
        if entry.kind == JournalKind.TICK:
            second = msgspec.msgpack.decode(entry.body, type=Tick).now_ms // 1000
            return self._do_append(JournalKind.TICK, "", 0, b"", second=str(second))
        body = entry.body
        if entry.kind in (JournalKind.ABSORB, JournalKind.READMITTED, JournalKind.NOT_SENT):
            body = body[ID_BYTES:]
        return self._do_append(entry.kind, entry.sender, entry.sent, body, entry.extra, entry.announced)

    def _do_append(
        self,
        kind: str,
        sender: str,
        seq: int,
        body: bytes,
        extra: bytes = b"",
        announced: bytes = b"",
        second: str = "",
    ) -> bool:
        layout = self._layout
        args: list[Any] = [
            kind,
            sender,
            seq,
            body,
            extra,
            announced,
            layout.shards,
            layout.buckets,
            int(self._archived),
            second,
        ]
        with writing():
            return bool(self._append(keys=[self._names.directory], args=args))

    def body(self, kind: str, sender: str, version: int) -> bytes | None:
        return cast(bytes | None, self._redis.get(self._names.body(kind, sender, version)))

    def drop(self, kind: str, sender: str, before: int) -> None:
        field = f"dropped:{kind}:{sender}"
        first = int(self._redis.hget(self._names.meta, field) or 1)
        gone = [
            self._names.body(kind, sender, version)
            for version in range(first, min(before, first + DROPPED_AT_ONCE))
        ]
        if gone:
            with writing():
                self._redis.unlink(*gone)
                self._redis.hset(self._names.meta, field, first + len(gone))

    def lookup(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        found = self._gather(self._names.directory + b"i:", identifiers)
        origins = [
            None if origin is None else origin or identifier
            for identifier, origin in zip(identifiers, found, strict=True)
        ]
        known = [origin for origin in origins if origin is not None]
        roots = dict(zip(known, self._gather(self._names.directory + b"o:", known), strict=True))
        return [None if origin is None else roots[origin] or origin for origin in origins]

    def root(self, origin: bytes) -> bytes:
        return cast(bytes, self._redis.hget(self._bucket(b"o:", origin), origin) or origin)

    def erasures(self) -> int:
        return int(self._redis.hget(self._names.meta, "erased") or 0)

    def suppressed(self) -> frozenset[bytes]:
        return frozenset(cast(list[bytes], self._redis.hkeys(self._names.suppressed)))

    def erased(self, origins: Sequence[bytes]) -> list[bool]:
        return [mark is not None for mark in self._gather(self._names.directory + b"x:", origins)]

    def suspended(self) -> dict[bytes, int]:
        return {identifier: int(since) for identifier, since in self._hash(self._names.suspended).items()}

    def _bucket(self, kind: bytes, identity: bytes) -> str:
        return self._names.bucket(kind, identity, self._layout.buckets)

    def trim(self, positions: Mapping[int, int]) -> None:
        if positions:
            with writing():
                self._trim(
                    keys=[self._names.directory],
                    args=[n for shard, seq in positions.items() for n in (shard, seq + 1)],
                )

    def heads(self) -> dict[int, int]:
        key = self._names.heads
        found = {int(shard): number(seq, key) for shard, seq in self._hash(key).items()}
        return {shard: found.get(shard, 0) for shard in range(self._layout.shards)}

    def said_last(self) -> int:
        return int(cast(bytes | None, self._redis.hget(self._names.meta, "matches")) or 0)

    def sent(self, sender: str) -> int:
        return number(cast(bytes | None, self._redis.hget(self._names.senders, sender)), self._names.senders)

    def stats(self) -> dict[str, int]:
        return {
            name.decode(): number(n, self._names.stats) for name, n in self._hash(self._names.stats).items()
        }

    def _hash(self, key: bytes) -> dict[bytes, bytes]:
        return cast(dict[bytes, bytes], self._redis.hgetall(key))


def _ids(joined: bytes) -> list[bytes]:
    return [joined[at : at + ID_BYTES] for at in range(0, len(joined), ID_BYTES)]


def _standing(root: bytes, members: bytes, flat: Sequence[bytes]) -> Standing:
    return Standing(root, tuple(_ids(members)), dict(zip(flat[::2], flat[1::2], strict=True)))
