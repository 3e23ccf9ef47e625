"""Judges a world that has come to rest: against an undisturbed one that was fed with the same raw log in the
same order, and against what is known of every message without looking at the engine at all."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from connectors.raw.log import START
from flows.lab.simulate.drawn_traffic import Traffic
from flows.lab.simulate.workers import learnings, machine, resolver
from flows.lab.simulate.world import CONFIG, HASH_KEY, PLENTY, SHARDS, Keys, Past, World
from flows.logic.facets.decisions import trigger_id
from flows.logic.fields.identifiers import Identifiers
from flows.logic.message import Message
from flows.profile import Worker
from flows.runtime.engine import Stop
from flows.runtime.windows import Window
from flows.services.subjects.sweeping import queued, sweep_lanes
from schemas.records.customer_profile import InFlightMerge, Profile, Sensitive
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind
from schemas.wire.events import DeadLetter, Fact, Quarantined
from schemas.wire.triggers import Absorb, Receipt, Trigger
from state import state_digest
from state.directory.graph import ERASED

_profile = msgspec.msgpack.Decoder(Profile).decode
_sensitive = msgspec.msgpack.Decoder(Sensitive).decode
_quarantined = msgspec.msgpack.Decoder(Quarantined).decode
_fact = msgspec.msgpack.Decoder(Fact).decode
_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_absorb = msgspec.msgpack.Decoder(Absorb).decode


class Diverged(Exception):
    """The same order of the same records leads somewhere else."""


class Undisturbed:
    """One worker of everything, and nothing goes wrong."""

    def __init__(self, world: World) -> None:
        self._told = world
        self.world = World()
        self.world.raw = world.raw
        self._resolver = resolver(
            self.world, self.world.directory, Keys(self.world.keys, self.world.destroyed), Stop()
        )
        self._turns = 0.0
        untimed: Any = _Untimed(self.world.directory)
        rules = machine(self.world.directory, self.world)
        shards = range(SHARDS)
        self._worker = Worker(
            shards,
            untimed,
            self.world.shards,
            rules,
            cache=PLENTY,
            outbox_max=PLENTY,
            clock_ms=lambda: self.world.now_ms,
            clock=self._later,
        )
        self._said: dict[tuple[str, int], bytes] = {}
        saying: Any = _Saying(self._said)
        self._learnings = learnings(self.world, self.world.shards, saying, self.world.models)

    def _later(self) -> float:
        """Every commit is due."""
        self._turns += 10
        return self._turns

    def live(self) -> World:
        """Live through the whole history. Raises `Diverged`."""
        for past in self._told.directory.history:
            self._again(past)
        self._work()
        shards = self.world.shards
        erased = [origin for origin, mark in self.world.directory.graph.marks.items() if mark == ERASED]
        sweep_lanes(shards, range(SHARDS), SHARDS, {"": frozenset(erased)})
        if left := {entry.seq for lane in range(SHARDS) for entry in shards.outbox[lane, Lane.ABSORBS]}:
            raise Diverged(f"{len(left)} messages between shards were never handed over")
        for shard in range(SHARDS):
            shards.advance(Lane.TRIGGERS, "crm", {shard: PLENTY})
        shards.trim(Lane.TRIGGERS, ["crm"])
        if silent := self._said.keys() - {
            (past[1], past[3]) for past in self._told.directory.history if past[0] == "m"
        }:
            raise Diverged(f"model versions were never announced: {sorted(silent)}")
        return self.world

    def _again(self, past: Past) -> None:
        directory = self.world.directory
        match past:
            case "w", partition, before, after, refused:
                self._window(partition, before, after, refused)
            case "d", decided:  # as a rebuild does: it depends on what a matcher remembers
                directory.commit(decided)
            case "p", decided:
                directory.commit(decided)
            case "h", letter, kind, body, time_ms:
                directory.hear_again(letter, kind, body, time_ms)
            case "t", second:
                self.world.now_ms = second * 1000
                directory.tick()
            case "a", shard, seq:
                self._work()
                lane = self.world.shards.outbox[shard, Lane.ABSORBS]
                if not lane or lane[0].seq != seq:
                    raise Diverged(
                        f"message {seq} of shard {shard} was handed over, but "
                        f"{'none' if not lane else lane[0].seq} is due"
                    )
                directory.forward(shard, seq, _absorb(lane[0].body))
                self.world.shards.advance(Lane.ABSORBS, "internal", {shard: seq})
                self.world.shards.trim(Lane.ABSORBS, ["internal"])
            case "n", customer, what:
                directory.not_sent(customer, what)
            case "c", name, seq, version:
                body = self._told.directory.body(LogKind.CONFIG, name, version)
                assert body is not None, f"rules {version} have no body"
                directory.announce(LogKind.CONFIG, name, seq, version, body)
            case "m", name, seq, version:
                self._work()
                if (name, version) not in self._said:
                    raise Diverged(f"{name} announced version {version}, which the examples do not give")
                directory.announce(LogKind.MODEL, name, seq, version, self._said[name, version])

    def _window(self, partition: str, before: int, after: int, refused: list[tuple[int, int]]) -> None:
        entries = self.world.raw[partition][before + 1 : after + 1]
        places = [(before + 1 + at, index) for at, entry in enumerate(entries) for index in range(len(entry))]
        positions = [position for position, _ in places]
        window = Window(
            partition=partition,
            before=before,
            after=after,
            events=[event for entry in entries for event in entry],
            positions=positions,
            opened=0.0,
        )
        self._resolver.commit(self._resolver.judge(window, [places.index(place) for place in refused]))

    def _work(self) -> None:
        while entries := self._worker.read():
            self._worker.commit(self._worker.apply(entries))
        for learning in self._learnings:
            while (batch := learning.poll()) is not None:
                learning.commit(learning.learn(batch))


class _Untimed:
    """A directory that ticks only when it is told to."""

    def __init__(self, directory: Any) -> None:
        self._directory = directory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._directory, name)

    def tick(self) -> bool:
        return False


class _Saying:
    """Where the undisturbed trainer announces: the history says when it is heard."""

    def __init__(self, said: dict[tuple[str, int], bytes]) -> None:
        self._said = said

    # a directory's signature
    def announce(self, kind: str, name: str, seq: int, version: int, body: bytes) -> bool:  # noqa: ARG002
        self._said[name, version] = body
        return True

    def drop(self, kind: str, name: str, before: int) -> None:
        """Drop nothing: all are kept here."""


# --- judgement ------------------------------------------------------------------------------------


def problems(world: World, traffic: Traffic) -> list[str]:
    """Return what is wrong; nothing if the engine keeps its promise. Raises `Diverged`."""
    ideal = Undisturbed(world).live()
    return [
        *_state(world, ideal),
        *_put_aside(world, ideal),
        *_poison(world, traffic),
        *_triggers(world, ideal),
        *_messages(world, traffic),
        *_sealed(world),
        *_consent(world),
        *_erased(world),
        *_order(world),
    ]


class Counts(msgspec.Struct):
    """Of the messages of a run, and of its triggers."""

    lost: int = 0
    doubled: int = 0
    stored_without_consent: int = 0
    sent_without_consent: int = 0


def counts(world: World, traffic: Traffic) -> Counts:
    """Return how many messages were lost or doubled, and how often consent was not respected."""
    missing = _missing(world, traffic)
    witness = world.directory.witness
    return Counts(
        lost=max(0, missing),
        doubled=max(0, -missing),
        stored_without_consent=len(witness.stored),
        sent_without_consent=len(witness.sent),
    )


def _balance(world: World, traffic: Traffic) -> tuple[int, int, int, int]:
    """Return how many messages were acknowledged, count, were refused, and were withheld for want of
    consent. What is poison counts for nobody."""
    counted = sum(fragment.events for profile in _profiles(world) for fragment in profile.fragments.values())
    refused = world.directory.stats().get("rejected:alias_of_users", 0)
    withheld = len(traffic.good.keys() - world.directory.witness.first.keys())
    return len(traffic.good) + traffic.aliases, counted, refused, withheld


def _missing(world: World, traffic: Traffic) -> int:
    """Return how many messages count too few, or, below 0, too many: beyond those that were sent again after
    their customer was erased, and count for somebody new."""
    acknowledged, counted, refused, withheld = _balance(world, traffic)
    erased = world.shards.erased_events
    missing = acknowledged - counted - refused - withheld - erased
    return missing if missing > 0 else min(0, missing + erased)


def _profiles(world: World) -> list[Profile]:
    return [_profile(packed) for table in world.shards.profiles.values() for packed in table.values()]


def _state(world: World, ideal: World) -> Iterator[str]:
    ours, theirs = (state_digest.of_memory(w.directory, w.shards) for w in (world, ideal))
    if ours.directory.digest != theirs.directory.digest:
        yield "the directory differs from the undisturbed one"
    for shard, (our, their) in enumerate(zip(ours.shards, theirs.shards, strict=True)):
        if our != their:
            yield f"shard {shard} differs from the undisturbed one"


def _put_aside(world: World, ideal: World) -> Iterator[str]:
    """What trainers raise on is kept, each once, whoever died meanwhile."""
    ours, theirs = (Counter(found.unlearnt.body for found in w.models.unlearnt) for w in (world, ideal))
    if ours != theirs:
        yield f"{ours.total()} examples were put aside, {theirs.total()} in the undisturbed world"


def _poison(world: World, traffic: Traffic) -> Iterator[str]:
    """What the shards' logic and matching raise on is kept, whoever died meanwhile, and whatever came with
    it."""
    quarantined = [
        _quarantined(entry.body)
        for shard in range(SHARDS)
        for entry in world.shards.outbox[shard, Lane.QUARANTINE]
    ]
    kept = {_fact(found.payload).message for found in quarantined}
    if kept != traffic.poison:
        yield (
            f"{len(traffic.poison)} events hit a defect of the shards' logic, "
            f"{len(kept)} of them are in quarantine"
        )
    places = Counter(
        (letter.position, letter.index)
        for letter in map(_letter, world.directory.dead)
        if letter.source == "match"
    )
    if twice := [place for place, n in places.items() if n > 1]:
        yield f"{len(twice)} records were put aside twice by matching"
    if traffic.unmatchable and not places:
        yield f"{traffic.unmatchable} records hit a defect of matching, none is put aside"


def _triggers(world: World, ideal: World) -> Iterator[str]:
    ours, theirs = (
        {(trigger.id, trigger.customer): _content(trigger) for trigger in w.shards.emitted}
        for w in (world, ideal)
    )
    if ours != theirs:
        more, fewer = len(ours.keys() - theirs.keys()), len(theirs.keys() - ours.keys())
        yield f"triggers differ from the undisturbed ones: {more} more, {fewer} fewer"
    # who was erased and comes back is somebody else: what is sent again fires for them, too
    erases = world.shards.erased_events > 0
    fired = Counter((trigger.id, trigger.customer if erases else "") for trigger in world.shards.emitted)
    if twice := [name for name, n in fired.items() if n > 1]:
        yield f"{len(twice)} triggers were emitted twice"
    refused = {past[2].id for past in world.directory.history if past[0] == "n"}
    ids = {name for name, _ in ours}
    due = {name for name, customer in ours if not _is_gone(world, customer)}
    if missing := due - world.received.keys() - refused:
        yield f"{len(missing)} triggers were never delivered"
    if several := [key for key, ids in world.told.items() if len(ids) > 1]:
        yield f"{len(several)} triggers of a message were delivered under several ids"
    if made_up := world.received.keys() - ids - world.lost:
        yield f"{len(made_up)} triggers were delivered that nobody emitted"


def _is_gone(world: World, customer: str) -> bool:
    return world.directory.graph.marks.get(bytes.fromhex(customer)) == ERASED


def _content(trigger: Trigger) -> Trigger:
    """All but when it was handled."""
    return msgspec.structs.replace(
        trigger, receipt=Receipt(trigger.receipt.event_ms, trigger.receipt.received_ms, 0, 0)
    )


def _messages(world: World, traffic: Traffic) -> Iterator[str]:
    acknowledged, counted, refused, withheld = _balance(world, traffic)
    first = world.directory.witness.first
    if _missing(world, traffic):
        yield (
            f"{acknowledged} messages were acknowledged, {counted} count, {refused} were refused, "
            f"{withheld} withheld, {world.shards.erased_events} went with who was erased"
        )
    if waiting := sum(
        profile.in_flight is not None and _waits(profile.in_flight) for profile in _profiles(world)
    ):
        yield f"{waiting} customers wait for what will never come"
    rejected = sum(n for name, n in world.directory.stats().items() if name.startswith("rejected:"))
    if rejected - refused != traffic.bad:
        yield f"{traffic.bad} bad events came, {rejected - refused} are counted as rejected"
    hashes = Identifiers(CONFIG.identity, HASH_KEY)
    due = set()
    for made in traffic.good.values():
        if made.get("event") == "Viewed" and first.get(made["messageId"]):
            found = hashes.of(
                msgspec.convert({name: value for name, value in made.items() if name != "sentAt"}, Message), 0
            )
            assert isinstance(found, list), "only what has an identifier is good"
            due.add(trigger_id(made["messageId"], found[0].hash, "each"))
    ours = {trigger.id for trigger in world.shards.emitted if trigger.rule == "each"}
    again = ours - due if world.shards.erased_events else set()  # withheld first, and not of somebody new
    if due != ours - again:
        yield (
            f"of {len(due)} triggers that must fire, {len(due - ours)} did not, {len(ours - due)} others did"
        )


def _waits(merge: InFlightMerge) -> bool:
    return bool(
        merge.customers or merge.arrived or merge.identifiers or merge.early or merge.held or merge.owed
    )


def _sealed(world: World) -> Iterator[str]:
    """Personal data lies under the key of the origin that it lies with, and that key is stored."""
    for table in world.shards.sensitive.values():
        for packed in table.values():
            for origin, fields in _sensitive(packed).origins.items():
                for name, sealed in fields.items():
                    if not sealed.value.startswith(origin + name.encode() + b"="):
                        yield f"{name} was sealed for another customer"
                    if origin not in world.keys:
                        yield f"{name} was sealed under a key that is not stored"


def _consent(world: World) -> Iterator[str]:
    """What customers do not allow is not stored and not sent, and all that they allow is."""
    witness = world.directory.witness
    if witness.stored:
        yield f"{len(witness.stored)} stored against consent or withheld without: {witness.stored[0]}"
    if witness.sent:
        yield f"{len(witness.sent)} sent without consent: {witness.sent[0]}"


def _erased(world: World) -> Iterator[str]:
    """Nothing is left of who was erased: in the directory, in the shards, in their lanes."""
    graph, shards = world.directory.graph, world.shards
    gone = frozenset(origin for origin, mark in graph.marks.items() if mark == ERASED)
    if waiting := len(graph.marks) - len(gone):
        yield f"{waiting} origins are detached and were never erased"
    names = {
        "a member of a customer": {member for record in graph.records.values() for member in record.members},
        "in the merge tree": {name for edges in graph.unions.values() for edge in edges for name in edge[1:]},
        "kept apart": {*graph.cannot_link, *(one for others in graph.cannot_link.values() for one in others)},
        "before a steward": {name for pair in graph.reviews.values() for name in (pair.a, pair.b)},
        "in the ledger": {
            name
            for entry in graph.ledger.values()
            for name in (entry.retired, entry.survivor, entry.one, entry.other)
        },
        "an origin of an identifier": {*graph.origins.values()},
        "a record of matching": {field for table, field in world.directory.kept if table == "mr"},
        "a profile": {root for table in shards.profiles.values() for root in table},
        "a timer": {root for table in shards.timers.values() for root in table},
        "a merge history": {root for table in shards.past.values() for root in table},
        "a sealed record": {root for table in shards.sensitive.values() for root in table},
        "a fragment": set(_fragments(world)),
    }
    for where, found in names.items():
        if left := gone & found:
            yield f"{len(left)} erased origins are still {where}"
    for lane in (Lane.TRIGGERS, Lane.ABSORBS, Lane.EXAMPLES, Lane.DECISIONS):
        if left_there := [*queued(shards, lane, range(SHARDS), gone)]:
            yield f"{len(left_there)} entries of lane {lane} are about who was erased"
    if keys := gone & world.keys:
        yield f"{len(keys)} data keys of who was erased are there"


def _fragments(world: World) -> Iterator[bytes]:
    for table in world.shards.profiles.values():
        for packed in table.values():
            profile = _profile(packed)
            yield from profile.fragments
            if profile.in_flight is not None:
                yield from (held.origin for held in profile.in_flight.held)
                yield from (parting.part for parting in profile.in_flight.partings)
    for table in world.shards.sensitive.values():
        for packed in table.values():
            yield from _sensitive(packed).origins


def _order(world: World) -> Iterator[str]:
    """Seconds and the numbers of a sender rise; each window begins where the one before it ended."""
    said: dict[str, list[int]] = {}
    ends = dict.fromkeys(world.raw, START)
    matched = 0
    for past in world.directory.history:
        match past:
            case "w", partition, before, after, _refused:
                if before != ends[partition]:
                    yield (
                        f"a window of {partition} begins at {before}, the one before it "
                        f"ended at {ends[partition]}"
                    )
                ends[partition] = after
            case "d", decided:
                if decided.before != max(matched, 0) and (matched, decided.before) != (0, -1):
                    yield (
                        f"matching of entry {decided.after} begins at {decided.before}, "
                        f"the one before it ended at {matched}"
                    )
                matched = decided.after
            case "p" | "h" | "n", *_:
                pass
            case "t", second:
                said.setdefault("the clock", []).append(second)
            case "a", shard, seq:
                said.setdefault(f"shard {shard}", []).append(seq)
            case _, sender, seq, _:
                said.setdefault(sender, []).append(seq)
    for sender, numbers in said.items():
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            yield f"{sender} was heard twice"
