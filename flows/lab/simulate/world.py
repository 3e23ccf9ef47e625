"""What lasts while workers come and go: raw log, directory, shards, models, keys, receiver and time, all in
memory.

The twins are those of `state/`; here they also remember what happened, so that it can be judged afterwards.
Nothing is sealed in earnest: a sealed value says under whose key it lies, and equal values are equal bytes.
"""

import pickle
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from flows.lab.simulate.consent_witness import Witness
from flows.logic.facets.vocabulary import compile_rules
from flows.logic.fields.identifiers import Identifiers
from flows.logic.rules.ruleset import CompiledRules
from flows.resolve import ALIAS_OF_USERS
from flows.services.subjects.erasing import PARTITION as PRIVACY
from schemas.config import Config, Identity, Namespace, Shards, Validate, Window
from schemas.config.toml import rules_from
from schemas.records.customer_profile import Profile
from schemas.records.identity_graph import WindowCommit, WindowResult
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import NotSent
from schemas.units import Duration
from schemas.wire.events import DeadLetter, RawEvent
from schemas.wire.triggers import Absorb, Trigger
from state.directory.graph import ERASED, Graph
from state.directory.layout import Layout
from state.directory.matches import PARTITION as MATCH
from state.directory.policy import Policy
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_models import MemoryModels
from state.memory.memory_requests import MemoryRequests
from state.memory.memory_shards import MemoryShards
from state.model_store import Signer
from state.shards.shard_protocols import ShardCommit

_DECIDED = {MATCH: "d", PRIVACY: "p"}  # no events come with these commits: what was decided then holds
_profile = msgspec.msgpack.Decoder(Profile).decode
_letter = msgspec.msgpack.Decoder(DeadLetter).decode
START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SHARDS, PARTITIONS, DEDUPE = 3, 2, 64
HASH_KEY = bytes(32)
PLENTY = 1_000_000

_NAMESPACES = (
    Namespace(name="user_id", paths=("userId",), limit=1),
    Namespace(name="email", paths=("traits.email",), limit=3, normalize="lower"),
    Namespace(name="anonymous", paths=("anonymousId",), limit=6, at_limit="newcomer"),
)
CONFIG = Config(
    identity=Identity(namespace=_NAMESPACES),
    window=Window(wait=Duration.parse("200ms"), events=3),
    shards=Shards(count=SHARDS, dedupe=DEDUPE),
    validate=Validate(reject_percent=100, reject_sample=PLENTY),
)
LIMITS = [namespace.limit for namespace in _NAMESPACES]
LAYOUT = Layout.of("simulated", SHARDS, 1_000, LIMITS, policy=Policy.of(CONFIG.identity, CONFIG.matching))

# ("w", partition, before, after, aliases refused as things were when it was judged)
# ("d", what `match` decided) | ("p", what an erasure did) | ("h", letter, kind, body, time)
# ("t", second) | ("a", shard, seq) | ("n", customer, trigger) | ("c" or "m", sender, seq, version)
Past = tuple[Any, ...]


class Directory(MemoryDirectory):
    """Remembers the order of all that it took in."""

    def __init__(self, world: "World", log_max: int) -> None:
        super().__init__(LAYOUT, lambda: world.now_ms, log_max=log_max)
        self.history: list[Past] = []
        self.witness = Witness()
        self._identify = Identifiers(CONFIG.identity, HASH_KEY).of
        self._raw: Callable[[str], list[list[RawEvent]]] = lambda partition: world.raw[partition]

    def _check_words(self, graph: Graph, window: WindowCommit) -> None:
        super()._check_words(graph, window)
        self._judged = graph.copy()  # before the orders of the window

    def _facts(self, landed: Sequence[Any]) -> dict[int, list[bytes]]:
        self._landed = {id(fact): (root, origin) for fact, root, origin in landed}
        return super()._facts(landed)

    def commit(self, window: WindowCommit, content: bytes = b"") -> WindowResult:
        result = super().commit(window, content)
        if window.partition in _DECIDED:
            self.history.append((_DECIDED[window.partition], window))
            return result
        entries = self._raw(window.partition)[window.before + 1 : window.after + 1]
        raw = [
            (window.before + 1 + at, index, event)
            for at, entry in enumerate(entries)
            for index, event in enumerate(entry)
        ]
        self.witness.saw(window, raw, self._judged, self._landed, self._identify)
        letters = map(_letter, window.dead)
        refused = [
            (letter.position, letter.index) for letter in letters if letter.reason == ALIAS_OF_USERS.reason
        ]
        self.history.append(("w", window.partition, window.before, window.after, refused))
        return result

    def hear_again(self, letter: str, kind: str, body: bytes, time_ms: int) -> bool:
        if taken := super().hear_again(letter, kind, body, time_ms):
            self.history.append(("h", letter, kind, body, time_ms))
        return taken

    def tick(self) -> bool:
        if ticked := super().tick():
            self.history.append(("t", self.ticked_s))
        return ticked

    def announce(self, kind: Any, sender: str, seq: int, version: int, body: bytes) -> bool:
        if taken := super().announce(kind, sender, seq, version, body):
            self.history.append((kind, sender, seq, version))
        return taken

    def not_sent(self, customer: bytes, what: NotSent) -> bool:
        if taken := super().not_sent(customer, what):
            self.history.append(("n", customer, what))
        return taken

    def forward(self, shard: int, seq: int, message: Absorb) -> bool:
        if taken := super().forward(shard, seq, message):
            self.history.append(("a", shard, seq))
        return taken


class ShardStore(MemoryShards):
    """Remembers every trigger that it was given, and how many events went with those who were erased."""

    def __init__(self, is_erased: Callable[[bytes], bool] = lambda _root: False) -> None:
        super().__init__(SHARDS)
        self.emitted: list[Trigger] = []
        self.erased_events = 0
        self._is_erased = is_erased

    def commit(self, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        gone = [
            self.profiles[commit.shard][root]
            for commit in commits
            for root, packed in commit.profiles.items()
            if packed is None and root in self.profiles[commit.shard] and self._is_erased(root)
        ]
        super().commit(commits, stamp_ms)
        self.erased_events += sum(
            fragment.events for packed in gone for fragment in _profile(packed).fragments.values()
        )
        self.emitted += [
            decode_trigger(body)
            for commit in commits
            for lane, _seq, body in commit.outbox
            if lane == Lane.TRIGGERS
        ]


class Key:
    """A data key that seals nothing, and opens what says that it is its own."""

    def __init__(self, origin: bytes) -> None:
        self._origin = origin

    def seal(self, field: str, plain: bytes) -> bytes:
        return self._mark(field) + plain

    def open(self, field: str, sealed: bytes) -> bytes | None:
        mark = self._mark(field)
        return sealed[len(mark) :] if sealed.startswith(mark) else None

    def _mark(self, field: str) -> bytes:
        return self._origin + field.encode() + b"="


class Keys:
    """One worker's data keys: those in its cache need not be stored any more. A key that was destroyed is
    never made again."""

    def __init__(self, stored: set[bytes], destroyed: set[bytes]) -> None:
        self._stored = stored
        self._destroyed = destroyed
        self._cache: dict[bytes, Key] = {}

    def of(self, origins: Iterable[bytes], *, create: bool = False) -> dict[bytes, Key]:
        for origin in origins:
            is_there = origin in self._stored or (create and origin not in self._destroyed)
            if origin not in self._cache and is_there:
                self._stored.add(origin)
                self._cache[origin] = Key(origin)
        return {origin: self._cache[origin] for origin in origins if origin in self._cache}

    def forget(self) -> None:
        self._cache.clear()

    def destroy(self, origins: Sequence[bytes]) -> None:
        self._stored.difference_update(origins)
        self._destroyed.update(origins)
        for origin in origins:
            self._cache.pop(origin, None)

    def current(self, origins: Sequence[bytes]) -> list[Key | None]:
        return [Key(origin) if origin in self._stored else None for origin in origins]


class Seal:
    """Of dead letters."""

    def seal(self, plain: bytes) -> bytes:
        return plain


class World:
    """`raw`: each partition's entries; an entry's position is its index. `received`: how often the receiver
    had each trigger.

    `told`: the ids under which it had the trigger of a rule about a message.
    """

    def __init__(self, *, log_max: int = PLENTY) -> None:
        self.now_ms = START_MS
        self.raw: dict[str, list[list[RawEvent]]] = {f"events/{number}": [] for number in range(PARTITIONS)}
        self.directory = Directory(self, log_max)
        self.shards = ShardStore(lambda root: self.directory.graph.marks.get(root) == ERASED)
        self.requests = MemoryRequests()
        self.signer = Signer(bytes(32))
        self.models = MemoryModels(self.signer)
        self.keys: set[bytes] = set()
        self.destroyed: set[bytes] = set()  # keys of who was erased
        self.received: dict[str, int] = {}
        self.told: dict[tuple[str, str], set[str]] = {}
        self.lost: set[str] = set()  # triggers of a past that is gone
        self.generation = 0  # how often the server went back: every connection breaks

    def clock(self) -> float:
        """Return seconds."""
        return self.now_ms / 1000

    def snapshot(self) -> bytes:
        """Return what the server holds."""
        return pickle.dumps([*map(self._held, self._servers), self.keys, self.destroyed])

    def go_back(self, snapshot: bytes) -> None:
        """Bring the server back as it was; all that is not the server's stays."""
        before = {trigger.id for trigger in self.shards.emitted}
        *held, keys, destroyed = pickle.loads(snapshot)  # our own, from memory
        for server, was in zip(self._servers, held, strict=True):
            vars(server).update(was)
        for ring, were in ((self.keys, keys), (self.destroyed, destroyed)):
            ring.clear()
            ring.update(were)
        self.lost |= before
        self.generation += 1

    @property
    def _servers(self) -> tuple[object, ...]:
        return self.directory, self.shards, self.models, self.requests

    @staticmethod
    def _held(server: object) -> dict[str, Any]:
        return {name: value for name, value in vars(server).items() if not callable(value)}


decode_trigger = msgspec.msgpack.Decoder(Trigger).decode


@lru_cache(maxsize=16)
def compiled(document: bytes, version: int) -> CompiledRules:
    """Return the compiled rules. They are a function of their document, so all workers may share them."""
    return compile_rules(rules_from(document), version, DEDUPE, SHARDS)
