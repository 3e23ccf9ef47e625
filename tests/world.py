"""A world of twins for the tests of what follows from a fact: rules are announced, facts go in, profiles and
outbox come out.

Its time stands still until a test moves it (`at`, `later`). The log is kept whole, so that it can be
replayed.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from flows.logic.facets.vocabulary import compile_rules
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.machine import ShardMachine
from flows.profile import Worker
from schemas.config.toml import read, rules_document, rules_from
from schemas.records.customer_profile import Profile, Sensitive
from schemas.records.identity_graph import ID_BYTES, Group, Identifier, Routed, WindowCommit, shard_of
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogEntry, LogKind
from schemas.wire.events import EventType, Fact
from schemas.wire.triggers import Absorb, Decision, Example, Trigger
from state.directory.layout import Layout
from state.directory.policy import Policy
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_shards import MemoryShards

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SHARDS = 2
LIMITS = (1, 3, 5, 20, 100)
_pack = msgspec.msgpack.encode
_CHURN_OFF = "\n[churn]\nenabled = false\n"


def person(name: str) -> Identifier:
    """Return a user id."""
    return _identifier(0, name)


def visitor(name: str) -> Identifier:
    """Return an anonymous id."""
    return _identifier(4, name)


def _identifier(strength: int, name: str) -> Identifier:
    return Identifier(strength, blake2b(f"{strength}:{name}".encode(), digest_size=ID_BYTES).digest())


def compiled(text: str, version: int = 1, dedupe: int = 64) -> CompiledRules:
    """Compile rules given as TOML."""
    return compile_rules(rules_from(document(text)), version, dedupe)


def document(text: str) -> bytes:
    """Return rules as they are announced; churn is off where the text does not speak of it."""
    reading = read(text if "[churn]" in text else text + _CHURN_OFF)
    assert not reading.problems, [str(problem) for problem in reading.problems]
    return rules_document(reading.config)


def fact(name: str = "Viewed", at: int = START_MS, message: str = "m", **changes: Any) -> Fact:
    """Make one track event; its properties are given as `properties={...}`."""
    made = Fact(
        type="track",
        name=name,
        time_ms=at,
        received_ms=at,
        resolved_ms=at,
        message=message,
        channel="web",
        subject=b"s" * ID_BYTES,
        properties={},
        traits={},
        sealed={},
    )
    return msgspec.structs.replace(made, **changes)


class KeptDirectory(MemoryDirectory):
    """Its logs are never trimmed."""

    def trim(self, positions: Mapping[int, int]) -> None:
        pass


class World:
    """Directory and shards (twins unless others are given), and the worker of all shards."""

    def __init__(
        self, rules: str, *, cache: int = 100_000, scorers: Mapping[int, Any] | None = None, dedupe: int = 64
    ) -> None:
        self.now_ms = START_MS
        self.directory = KeptDirectory(
            Layout("test", SHARDS, 16, LIMITS, policy=Policy(breaker_unions=1_000)), lambda: self.now_ms
        )
        self.scorers = dict(scorers or {})  # version -> model; what is absent is refused
        self.dedupe = dedupe
        self.store = MemoryShards(SHARDS)
        self.cache = cache
        self._sent = self._position = 0
        self.announce(rules)
        self.worker = self.new_worker(self.store, cache)
        self._forwarded = dict.fromkeys(range(SHARDS), 0)

    def new_worker(self, store: MemoryShards, cache: int) -> Worker:
        """Take up the work as after a restart."""
        machine = ShardMachine(self._rules_of, lambda _sender, version: self.scorers.get(version))
        return Worker(
            range(SHARDS),
            self.directory,
            store,
            machine,
            cache=cache,
            outbox_max=100_000,
            clock_ms=lambda: START_MS,
        )

    def restart(self) -> None:
        self.worker = self.new_worker(self.store, self.cache)

    def _rules_of(self, version: int) -> CompiledRules:
        body = self.directory.body(LogKind.CONFIG, "rules", version)
        assert body is not None
        return compile_rules(rules_from(body), version, self.dedupe, SHARDS)

    # --- what happens -----------------------------------------------------------------------------

    def announce(self, rules: str) -> None:
        version = self.directory.sent("rules") + 1
        self.directory.announce(LogKind.CONFIG, "rules", version, version, document(rules))

    def announce_model(self, version: int, model: str = "churn", how: str = "learn") -> None:
        self.directory.announce(LogKind.MODEL, f"{how}:{model}", version, version, b"")

    def send(self, who: Identifier | Sequence[Identifier], name: str = "Viewed", **details: Any) -> None:
        """Send an event of whoever has these identifiers (strongest first), and do all that follows from
        it."""
        self.publish(who, name, **details)
        self.settle()

    def publish(
        self,
        who: Identifier | Sequence[Identifier],
        name: str = "Viewed",
        *,
        type: EventType = "track",
        ago: int = 0,
        message: str | None = None,
        channel: str = "web",
        traits: Mapping[str, Any] | None = None,
        sealed: Mapping[str, bytes] | None = None,
        content: bytes = b"",
        backfill: bool = False,
        refused: Sequence[str] = (),
        **properties: Any,
    ) -> None:
        """Publish as `send` does, but nobody has read the log yet."""
        identifiers = [who] if isinstance(who, Identifier) else list(who)
        self._sent += 1
        happened = self.now_ms - ago
        packed = _pack(
            Fact(
                type=type,
                name=name,
                time_ms=happened,
                received_ms=self.now_ms,
                resolved_ms=self.now_ms,
                message=message or f"m{self._sent}",
                channel=channel,
                subject=identifiers[0].hash,
                properties=properties,
                traits=dict(traits or {}),
                sealed=dict(sealed or {}),
                content=content,
                backfill=backfill,
                refused=list(refused),
            )
        )
        before, self._position = self._position or -1, self._position + 1
        self.directory.commit(
            WindowCommit(
                partition="events/0",
                before=before,
                after=self._position,
                groups=[Group(identifiers, [Routed(0, packed)])],
                dead=[],
                rejected={},
            )
        )

    def at(self, now_ms: int) -> None:
        """Announce the time to all shards."""
        self.now_ms = now_ms
        self.directory.tick()
        self.settle()

    def later(self, by_ms: int) -> None:
        self.at(self.now_ms + by_ms)

    def settle(self) -> None:
        """Go on until nothing is left to apply, nor to be taken in by another customer."""
        self.forward()
        while entries := self.unread():
            self.worker.commit(self.worker.apply(entries))
            self.forward()

    def unread(self) -> list[LogEntry]:
        return self.directory.read(self.worker._read, 1_000, 0)

    def forward(self) -> None:
        """Do what `deliver` does with the internal lane."""
        for entry in self.store.read(Lane.ABSORBS, self._forwarded, 1_000, 0):
            self.directory.forward(entry.shard, entry.seq, msgspec.msgpack.decode(entry.body, type=Absorb))
            self._forwarded[entry.shard] = entry.seq

    # --- what came of it --------------------------------------------------------------------------

    def root(self, who: Identifier) -> bytes:
        root = self.directory.lookup([who.hash])[0]
        assert root is not None
        return root

    def profile(self, who: Identifier) -> Profile:
        root = self.root(who)
        return msgspec.msgpack.decode(self.store.profiles[shard_of(root, SHARDS)][root], type=Profile)

    def sensitive(self, who: Identifier) -> Sensitive:
        root = self.root(who)
        return msgspec.msgpack.decode(self.store.sensitive[shard_of(root, SHARDS)][root], type=Sensitive)

    def counters(self) -> dict[str, int]:
        """Return the counters of all shards, without those that are 0."""
        total: dict[str, int] = {}
        for counters in self.store.counters().values():
            for name, n in counters.items():
                total[name] = total.get(name, 0) + n
        return {name: n for name, n in total.items() if n}

    def triggers(self) -> list[Trigger]:
        return self._lane(Lane.TRIGGERS, Trigger)

    def rules_fired(self) -> list[str]:
        return [trigger.rule for trigger in self.triggers()]

    def decisions(self) -> list[Decision]:
        return self._lane(Lane.DECISIONS, Decision)

    def examples(self) -> list[Example]:
        return self._lane(Lane.EXAMPLES, Example)

    def _lane(self, lane: str, kind: type[Any]) -> list[Any]:
        entries = self.store.read(lane, dict.fromkeys(range(SHARDS), 0), 10_000, 0)
        return [msgspec.msgpack.decode(entry.body, type=kind) for entry in entries]


def contents(store: MemoryShards) -> dict[str, Any]:
    """Return all that a store holds, bit for bit; heads without their epochs, which count restarts."""
    heads = store.heads()
    return {
        "profiles": store.profiles,
        "sensitive": store.sensitive,
        "timers": store.timers,
        "outbox": store.outbox,
        "counters": store.counters(),
        "heads": {shard: msgspec.structs.replace(head, epoch=0) for shard, head in heads.items()},
    }


def sums_of(profiles: Iterable[Profile]) -> int:
    """Return the number of events in all fragments of all these profiles."""
    return sum(fragment.events for profile in profiles for fragment in profile.fragments.values())
