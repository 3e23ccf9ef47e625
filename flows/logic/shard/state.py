"""One shard in memory, between two commits: its head, its customers, and what a batch has changed so far."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from flows.logic.bandit.snapshot import Decider
from flows.logic.fields.stated import in_order
from flows.logic.models.cluster_assigner import Assigner
from flows.logic.models.recommendation_index import RecommendationIndex
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.changes import Changes
from flows.logic.shard.scoring import ActiveModels, Scorer
from schemas.records.customer_profile import Fragment, Head, Profile, Sensitive
from schemas.records.identity_graph import ID_BYTES
from schemas.records.shard_log import (
    Erase,
    Expect,
    Lend,
    LogEntry,
    LogKind,
    NotSent,
    Retire,
    Split,
    Tick,
    unpack_facts,
)
from schemas.wire.triggers import Absorb

FRAGMENTS_MAX: Final = 32
SEALED_MAX: Final = 64  # sensitive traits of one origin, first by name

encode = msgspec.msgpack.Encoder().encode
decode_profile = msgspec.msgpack.Decoder(Profile).decode
decode_sensitive = msgspec.msgpack.Decoder(Sensitive).decode
decode_expect = msgspec.msgpack.Decoder(Expect).decode
decode_lend = msgspec.msgpack.Decoder(Lend).decode
decode_retire = msgspec.msgpack.Decoder(Retire).decode
decode_split = msgspec.msgpack.Decoder(Split).decode
decode_erase = msgspec.msgpack.Decoder(Erase).decode
decode_absorb = msgspec.msgpack.Decoder(Absorb).decode
decode_not_sent = msgspec.msgpack.Decoder(NotSent).decode
decode_tick = msgspec.msgpack.Decoder(Tick).decode


class Learnt:
    """What was learnt besides probabilities; None until there is a model."""

    __slots__ = ("assigner", "decider", "recommendations")

    def __init__(self) -> None:
        self.decider: Decider | None = None
        self.recommendations: RecommendationIndex | None = None
        self.assigner: Assigner | None = None

    def take(self, model: Decider | RecommendationIndex | Assigner) -> None:
        """Use this one from now on."""
        match model:
            case Decider():
                self.decider = model
            case RecommendationIndex():
                self.recommendations = model
            case Assigner():
                self.assigner = model


LEARNT = (Decider, RecommendationIndex, Assigner)
Loaded = Scorer | Decider | RecommendationIndex | Assigner


class Live:
    """A profile in memory with the sum of its fragments (the fragment itself while there is only one)."""

    __slots__ = ("profile", "total")

    def __init__(self, profile: Profile, rules: CompiledRules) -> None:
        self.profile = profile
        self.total = sum_of(profile, rules)


def sum_of(profile: Profile, rules: CompiledRules) -> Fragment:
    """Return the sum of a profile's fragments: the fragment itself, where there is only one."""
    fragments = list(profile.fragments.values())
    if len(fragments) == 1:
        return fragments[0]
    total = Fragment()
    for fragment in fragments:
        total = rules.fragments.merge(total, fragment)
    return total


class ShardState:
    """One shard: what lasts (its head, counters, rules, models and customers), and what this batch has
    changed."""

    __slots__ = ("changes", "counters", "head", "learnt", "live", "number", "rules", "scorers")

    def __init__(self, number: int, head: Head, counters: dict[str, int]) -> None:
        self.number = number
        self.head = head
        self.counters = counters
        self.rules: CompiledRules | None = None
        self.scorers = ActiveModels()
        self.learnt = Learnt()
        self.live: dict[bytes, Live | None] = {}  # cache; None = known to be absent
        self.changes = Changes()

    @property
    def changed(self) -> bool:
        """Return whether there is more to commit than the time."""
        changes = self.changes
        return not changes.settled or bool(
            changes.dirty or changes.deleted or changes.outbox or changes.timers
        )

    def scratch(self, head: Head) -> "ShardState":
        """Return an empty shard with the same rules and models, of which nothing is ever committed."""
        made = ShardState(self.number, head, {})
        made.rules, made.scorers, made.learnt = self.rules, self.scorers, self.learnt
        return made

    def customer(self, root: bytes) -> "Live":
        """Return the customer, made where it is new. It will be written."""
        live, changes = self.live.get(root), self.changes
        if live is None:
            live = self.live[root] = Live(Profile(), rules_of(self))
            self.count("profiles")
            if root in changes.deleted:
                # it comes back in the batch in which it went: what is stored of it must still go
                changes.deleted.discard(root)
                changes.sensitive.setdefault(root, Sensitive())
                changes.sensitive_dirty.add(root)
        changes.dirty.add(root)
        return live

    def remove(self, root: bytes) -> None:
        """Delete a customer's profile and sensitive record."""
        self.live[root] = None
        self.changes.dirty.discard(root)
        self.changes.deleted.add(root)

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the shard's counters."""
        self.counters[name] = self.counters.get(name, 0) + by

    def append_history(self, root: bytes, packed: bytes) -> None:
        """Append to the record from which this customer's unions can be undone."""
        changes = self.changes
        if root in changes.histories:
            changes.histories[root] = (changes.histories[root] or b"") + packed
            changes.histories_set.add(root)
        else:
            changes.histories_more[root] = changes.histories_more.get(root, b"") + packed

    def set_history(self, root: bytes, packed: bytes | None) -> None:
        """Replace that record; None deletes it."""
        self.changes.histories_more.pop(root, None)
        self.changes.histories[root] = packed
        self.changes.histories_set.add(root)

    def emit(self, lane: str, message: Any) -> None:
        """Put a message into a lane of the outbox."""
        seq = self.head.outbox.get(lane, 0) + 1
        self.head.outbox[lane] = seq
        self.changes.outbox.append((lane, seq, encode(message)))


class Needs:
    """What a batch has to have in memory before it can be applied."""

    __slots__ = ("histories", "profiles", "sensitive", "tick_ms", "ticks")

    def __init__(self) -> None:
        self.profiles: set[bytes] = set()
        self.sensitive: set[bytes] = set()
        self.histories: set[bytes] = set()
        self.tick_ms = 0  # the last tick in the batch
        self.ticks = 0

    def whole(self, root: bytes) -> None:
        """Need all three records of a customer."""
        self.profiles.add(root)
        self.sensitive.add(root)
        self.histories.add(root)


def needs_of(entries: Iterable[LogEntry]) -> Needs:
    """Return which customers the entries of one shard touch."""
    needs = Needs()
    for entry in entries:
        match entry.kind:
            case LogKind.EVENTS:
                for root, _origin, _payload in unpack_facts(entry.body):
                    needs.profiles.add(root)
            case LogKind.EXPECT:
                needs.profiles.add(decode_expect(entry.body).root)
            case LogKind.LEND:
                needs.profiles.add(decode_lend(entry.body).root)
            case LogKind.RETIRE:
                retired = decode_retire(entry.body).retired
                needs.whole(retired)
            case LogKind.SPLIT:
                needs.whole(decode_split(entry.body).root)
            case LogKind.NOT_SENT:
                needs.profiles.add(entry.body[:ID_BYTES])
            case LogKind.ERASE:
                needs.profiles.add(decode_erase(entry.body).root)
            case LogKind.ABSORB:
                needs.whole(entry.body[:ID_BYTES])
            case LogKind.TICK:
                needs.tick_ms = decode_tick(entry.body).now_ms
                needs.ticks += 1
    return needs


def new_fragment(live: Live, origin: bytes, rules: CompiledRules) -> Fragment:
    """Return the new fragment of an origin, for which others may have to fold."""
    fragments = live.profile.fragments
    fold(fragments, FRAGMENTS_MAX - 1, rules)
    fragment = fragments[origin] = Fragment()
    if len(fragments) == 1:
        live.total = fragment
    elif len(fragments) == 2:  # the sum was the fragment itself until now
        live.total = sum_of(live.profile, rules)
    return fragment


def fold(fragments: dict[bytes, Fragment], most: int, rules: CompiledRules) -> None:
    """Fold the two that were quiet for longest together, until there are at most `most`."""
    while len(fragments) > most:
        older, old = sorted(fragments, key=lambda key: (fragments[key].last_ms, key))[:2]
        rules.fragments.merge(fragments[old], fragments.pop(older))


def add_sensitive(record: Sensitive, newer: Sensitive) -> None:
    """Add fields: the last writer of a field wins (see `flows.logic.fields.stated`). At most `SEALED_MAX` for
    each origin, first by name."""
    for origin, theirs in newer.origins.items():
        fields = record.origins.setdefault(origin, {})
        for name, sealed in theirs.items():
            held = fields.get(name)
            if held is None or (in_order(sealed.moment), sealed.value) > (in_order(held.moment), held.value):
                fields[name] = sealed
        while len(fields) > SEALED_MAX:
            del fields[max(fields)]


def rules_of(state: ShardState) -> CompiledRules:
    """Return the rules in force."""
    assert state.rules is not None, (
        f"shard {state.number} has a fact before its first rules: `prepare` announces them first"
    )
    return state.rules


def sums(state: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the counters of several shards, added up."""
    total: dict[str, int] = {}
    for counters in state:
        for name, n in counters.items():
            total[name] = total.get(name, 0) + n
    return total
