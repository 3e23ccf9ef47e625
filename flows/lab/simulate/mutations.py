"""The commit protocol broken on purpose, in one place at a time: the simulation must notice each, or it is
too weak.

A mutation patches the real code for as long as its context lasts. It says what it takes away, and why that
would be missed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import msgspec

import flows.learn
import flows.logic.shard.in_flight
import flows.logic.shard.machine
import flows.logic.shard.quarantine
import flows.match
from flows.deliver import Steady
from flows.dispatch.consent_gate import ConsentGate
from flows.lab.simulate import workers
from flows.lab.simulate.failures import Crash
from flows.lab.simulate.scheduler import Broken
from flows.lab.simulate.world import World
from flows.learn import Learning
from flows.logic.delivery import Progress
from flows.logic.facets import decisions, waits
from flows.logic.fields import identifiers
from flows.logic.fields.placeholders import Placeholders
from flows.logic.permissions import statements
from flows.logic.permissions.statements import Words
from flows.logic.resolution import consents, validation
from flows.logic.resolution.consents import Speaker
from flows.logic.shard import profile_merge
from flows.logic.shard.changes import Changes
from flows.logic.shard.machine import ShardMachine
from flows.logic.shard.quarantine import Careful
from flows.logic.shard.state import ShardState
from flows.profile import Worker
from flows.resolve import Resolver
from flows.runtime.drafting import Drafting
from flows.services.subjects import erasing
from flows.services.subjects.erasing import Erasing
from schemas.errors import Fatal
from schemas.records.consents import Consents, Standing
from schemas.records.identity_graph import WindowCommit, WindowResult
from schemas.records.outbox_lanes import Lane
from state.directory.graph import Graph
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_models import MemoryModels
from state.memory.memory_shards import MemoryShards
from state.model_store import Beside, Checkpoint
from state.shards.shard_protocols import ShardCommit


def _replace(where: object, name: str, make: Callable[[Any], Any]) -> Broken:
    """Return a mutation. `make` gets what stands there, and gives what is to stand there."""

    @contextmanager
    def mutated() -> Iterator[None]:
        with patch.object(where, name, make(getattr(where, name))):
            yield

    return mutated


# --- the shard's commit ---------------------------------------------------------------------------


def _unfenced(commit: Any) -> Any:
    def mutant(self: MemoryShards, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        heads = self.heads()
        commit(self, [msgspec.structs.replace(each, before=heads[each.shard]) for each in commits], stamp_ms)

    return mutant


def _in_halves(first: Callable[[ShardCommit], ShardCommit]) -> Callable[[Any], Any]:
    """What `first` leaves of a commit is stored at once, the rest a moment later; now and then the worker
    dies in between."""

    def make(commit: Any) -> Any:
        turns = [0]

        def mutant(self: MemoryShards, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
            turns[0] += 1
            if turns[0] % 9:
                commit(self, commits, stamp_ms)
            else:
                commit(self, [first(each) for each in commits], stamp_ms)
                raise Crash("between two halves of a commit")

        return mutant

    return make


def _without_head(commit: ShardCommit) -> ShardCommit:
    before = deepcopy(commit.before)
    return msgspec.structs.replace(commit, head=msgspec.structs.replace(commit.head, offset=before.offset))


def _without(**nothing: Any) -> Callable[[ShardCommit], ShardCommit]:
    return lambda commit: msgspec.structs.replace(commit, **nothing)


# --- the directory --------------------------------------------------------------------------------


def _any_offset(commit: Any) -> Any:
    def mutant(self: MemoryDirectory, window: WindowCommit, content: bytes = b"") -> WindowResult:
        before = self.offsets().get(window.partition, -1)
        return commit(self, msgspec.structs.replace(window, before=before), content)  # type: ignore[no-any-return]

    return mutant


def _offset_later(commit: Any) -> Any:
    turns = [0]

    def mutant(self: MemoryDirectory, window: WindowCommit, content: bytes = b"") -> WindowResult:
        turns[0] += 1
        if turns[0] % 9:
            return commit(self, window, content)  # type: ignore[no-any-return]
        commit(self, msgspec.structs.replace(window, after=window.before), content)
        raise Crash("between a window and its offset")

    return mutant


def _never_stale(commit: Any) -> Any:
    def mutant(self: MemoryDirectory, window: WindowCommit, content: bytes = b"") -> WindowResult:
        for group in window.groups:
            for fact in group.facts:
                fact.expected = None
        return commit(self, window, content)  # type: ignore[no-any-return]

    return mutant


def _taken_again(of: str) -> Callable[[Any], Any]:
    return lambda taken: lambda self, sender, seq: taken(self, sender, seq) and not sender.startswith(of)


def _ticks_twice(tick: Any) -> Any:
    def mutant(self: MemoryDirectory) -> bool:
        self.ticked_s = 0
        return bool(tick(self))

    return mutant


def _trims_too_much(trim: Any) -> Any:
    return lambda self, positions: trim(self, {shard: seq + 2 for shard, seq in positions.items()})


# --- the flows ------------------------------------------------------------------------------------


def _id_from(place: Callable[[], int]) -> Callable[[Any], Any]:
    return lambda named: lambda cause, subject, rule: named(f"{cause}{place()}", subject, rule)


def _due_in_id(cause_of: Any) -> Any:
    return lambda waited: f"timer:{waited.due_ms}:{cause_of(waited)}"


def _counter() -> Callable[[], int]:
    turns = [0]

    def count() -> int:
        turns[0] += 1
        return turns[0]

    return count


def _advances_first(_accept: Any) -> Any:
    def mutant(self: Steady, items: list[Any]) -> None:
        self._outbox.advance(self.lane, self._consumer, {entry.shard: entry.seq for entry in items})
        for entry in items:
            self._handle(entry)

    return mutant


def _takes_and_forgets(delivering: Any) -> Any:
    """The dispatcher's cursor passes what it has only read."""

    def mutant(site: workers.Site) -> workers.Life:
        taken = Progress.take

        def at_once(self: Any, seq: int) -> None:
            taken(self, seq)
            self.cursor = seq

        life = delivering(site)
        while True:
            with patch.object(Progress, "take", at_once):
                next(life)
            yield

    return mutant


def _clocked(tick: Any) -> Any:
    """Time is asked for, not told."""
    asked = _counter()
    return lambda self, state, now, turns: tick(self, state, now + 1_000 * (asked() % 7), turns)


def _survives_fence(commit: Any) -> Any:
    """The worker goes on with what it has in memory after a commit of which it had no answer."""

    def mutant(self: Worker, shards: Sequence[int]) -> None:
        try:
            commit(self, shards)
        except Crash:
            for shard in shards:
                self._states[shard].changes = Changes()
                self._committed[shard] = self._store.heads()[shard]

    return mutant


def _keeps_the_outbox_short(emit: Any) -> Any:
    """Triggers get their sequence, and are lost when their shard is loaded again."""
    turns = _counter()

    def mutant(self: ShardState, lane: str, message: Any) -> None:
        emit(self, lane, message)
        if lane == Lane.TRIGGERS and turns() % 50 == 0:
            self.changes.outbox.pop()

    return mutant


def _waits_for_all(owe: Any) -> Any:
    return lambda transit, identifier, origin, to, _later: owe(transit, identifier, origin, to, 0)


def _known_too_early(groups: Any) -> Any:
    def mutant(self: Drafting, *args: Any, **options: Any) -> Any:
        found = groups(self, *args, **options)
        self.remember(found[1])
        return found

    return mutant


def _positions_later(save: Any) -> Any:
    """The model is stored with the positions of the batch before."""

    def mutant(self: MemoryModels, model: str, revision: int, checkpoint: Checkpoint, *beside: Beside) -> int:
        positions = getattr(self, "late", {})
        self.late = checkpoint.positions  # type: ignore[attr-defined]
        return int(
            save(
                self,
                model,
                revision,
                msgspec.structs.replace(checkpoint, positions=positions or checkpoint.positions),
                *beside,
            )
        )

    return mutant


def _nothing_beside(save: Any) -> Any:
    def mutant(
        self: MemoryModels, model: str, revision: int, checkpoint: Checkpoint, *_beside: Beside
    ) -> int:
        return int(save(self, model, revision, checkpoint))

    return mutant


def _any_revision(save: Any) -> Any:
    def mutant(
        self: MemoryModels, model: str, _revision: int, checkpoint: Checkpoint, *beside: Beside
    ) -> int:
        return int(save(self, model, self._revisions.get(model, 0), checkpoint, *beside))

    return mutant


def _acknowledges_first(learn: Any) -> Any:
    def mutant(self: Learning, batch: Any) -> Checkpoint:
        self._outbox.advance(flows.learn.LANE, self.sender, batch.positions)
        self._outbox.trim(flows.learn.LANE, self._consumers)
        return learn(self, batch)  # type: ignore[no-any-return]

    return mutant


def _half_learnt(carefully: Any) -> Any:
    """A batch that a trainer raised on is learnt once more on top of what it took."""

    def mutant(self: Learning, *args: Any) -> Any:
        self._untaught, self._taught = self._trainer, None
        return carefully(self, *args)

    return mutant


def _half_back(go_back: Any) -> Any:
    """The shards are on a server of their own, which did not go back."""

    def mutant(self: World, snapshot: bytes) -> None:
        shards = dict(vars(self.shards))
        go_back(self, snapshot)
        vars(self.shards).update(shards)

    return mutant


def _groups_are_people(decode: Any) -> Any:
    """What is known of a company is taken for what is known of the customer."""

    def mutant(value: bytes) -> Any:
        message = decode(value)
        if message.type == "group":
            message.type = "identify"
        return message

    return mutant


def _without_net(_turn: Any) -> Any:
    """What logic raises on ends the worker, and the next one, for ever."""

    def mutant(
        _self: Careful, _state: ShardState, _root: bytes, step: Callable[[], None], *_kept: bytes
    ) -> bool:
        step()
        return True

    return mutant


def _thrown_away(emit: Any) -> Any:
    return lambda self, lane, message: None if lane == Lane.QUARANTINE else emit(self, lane, message)


def _retried(_sifted: Any) -> Any:
    """A window that holds what cannot be matched is tried again, and again."""

    def mutant(_items: Any, _attempt: Callable[[Any], Any], what: str) -> Any:
        raise Fatal(what)

    return mutant


def _passed_over(sifted: Any) -> Any:
    return lambda items, attempt, what: (sifted(items, attempt, what)[0], [])


# --- consent --------------------------------------------------------------------------------------


def _yes_wins(real: Callable[..., Words]) -> Callable[..., Words]:
    def together(records: Mapping[bytes, Consents]) -> Words:
        said = real(records).said
        granted = {
            thing for record in records.values() for thing, word in record.words.items() if word.granted
        }
        return Words({thing: word or thing in granted for thing, word in said.items()})

    return together


def _root_alone(real: Callable[..., Standing]) -> Callable[..., Standing]:
    def standing(self: MemoryDirectory, graph: Graph, origin: bytes) -> Standing:
        found = real(self, graph, origin)
        return Standing(
            found.root, found.members, {m: r for m, r in found.records.items() if m == found.root}
        )

    return standing


def _leaves_the_lanes(sweep: Any) -> Any:
    """Looks, and removes nothing."""
    return lambda outbox, shards, every, wanted: (
        {name: Counter() for name in wanted} if shards else sweep(outbox, shards, every, wanted)
    )


def _names_again(found: Any) -> Any:
    def mutant(self: Graph, origin: bytes) -> bytes:
        marks, self.marks = self.marks, {}
        try:
            named: bytes = found(self, origin)
        finally:
            self.marks = marks
        return named

    return mutant


def _knows_for_ever(catch_up: Any) -> Any:
    def mutant(self: Resolver, judged: Any) -> None:
        known = set(self._drafting.known)
        catch_up(self, judged)
        self._drafting.known |= known

    return mutant


PRIVACY_MUTATIONS: Mapping[str, Broken] = {
    "what customers have said is not looked at again at the commit": _replace(
        MemoryDirectory, "_check_words", lambda _: lambda *_args: None
    ),
    "the door does not ask": _replace(
        ConsentGate, "__call__", lambda _: lambda _self, triggers: [None] * len(triggers)
    ),
    "between origins a yes wins": _replace(consents, "together", _yes_wins),
    "only the words of the first origin count": _replace(MemoryDirectory, "_standing", _root_alone),
    "a word that comes late counts": _replace(statements, "_is_news", lambda _: lambda *_args: True),
    "a word speaks for no other origin": _replace(statements, "_overruled", lambda _: lambda *_args: False),
    "a word does not hold for what follows it in its window": _replace(
        Speaker, "hear", lambda _: lambda *_args: False
    ),
}
MUTATIONS: Mapping[str, Broken] = {
    # shard commit
    "a shard commit is not fenced": _replace(MemoryShards, "commit", _unfenced),
    "a shard's offset is stored after its state": _replace(MemoryShards, "commit", _in_halves(_without_head)),
    "a shard's outbox is stored after its state": _replace(
        MemoryShards, "commit", _in_halves(_without(outbox=[]))
    ),
    "a shard's timers are stored after its state": _replace(
        MemoryShards, "commit", _in_halves(_without(timers={}))
    ),
    "a shard's counters are stored after its state": _replace(
        MemoryShards, "commit", _in_halves(_without(counters={}))
    ),
    "a shard's sensitive records are stored after its state": _replace(
        MemoryShards, "commit", _in_halves(_without(sensitive={}))
    ),
    "a worker goes on after a commit without an answer": _replace(Worker, "commit", _survives_fence),
    # directory commit
    "a window may follow any offset": _replace(MemoryDirectory, "commit", _any_offset),
    "a window's offset is stored after it": _replace(MemoryDirectory, "commit", _offset_later),
    "a window is committed though its plan is stale": _replace(MemoryDirectory, "commit", _never_stale),
    "an absorb is not deduplicated": _replace(MemoryDirectory, "_taken", _taken_again("shard:")),
    "an announcement is not deduplicated": _replace(MemoryDirectory, "_taken", _taken_again("learn:")),
    "a second is announced by every worker": _replace(MemoryDirectory, "tick", _ticks_twice),
    "a log is trimmed beyond what is committed": _replace(MemoryDirectory, "trim", _trims_too_much),
    "a directory that went back is not noticed": _replace(Resolver, "confirm", lambda _: lambda _self: None),
    "the shards do not go back with the directory": _replace(World, "go_back", _half_back),
    # what follows from an event
    "a trigger's id holds a count of this process": _replace(decisions, "trigger_id", _id_from(_counter())),
    "a timer's trigger id holds the time it was due": _replace(waits, "cause_of", _due_in_id),
    "time is asked for by the shard": _replace(ShardMachine, "_tick", _clocked),
    "a trigger is now and then not stored": _replace(ShardState, "emit", _keeps_the_outbox_short),
    "the ring of messages is not asked": _replace(
        flows.logic.shard.machine, "seen", lambda _: lambda *_: False
    ),
    "facts of united customers do not wait": _replace(
        flows.logic.shard.machine, "must_wait", lambda _: lambda *_: False
    ),
    "a borrowed ring is forgotten": _replace(
        flows.logic.shard.in_flight, "_remember", lambda _: lambda *_: None
    ),
    "a debt also waits for what is younger": _replace(flows.logic.shard.in_flight, "owe", _waits_for_all),
    "a user id counts as sent before it is committed": _replace(Drafting, "groups", _known_too_early),
    # what our own logic raises on
    "a shard has no net": _replace(Careful, "_turn", _without_net),
    "what a shard raises on leaves half of itself behind": _replace(
        flows.logic.shard.quarantine, "savepoint", lambda _: lambda *_: lambda: None
    ),
    "what a shard raises on is not kept": _replace(ShardState, "emit", _thrown_away),
    "a window that matching raises on is retried": _replace(flows.match, "sift", _retried),
    "what matching raises on is not kept": _replace(flows.match, "sift", _passed_over),
    # who is who
    "what a group states is its members' own": _replace(validation, "decode", _groups_are_people),
    "a placeholder identifies": _replace(Placeholders, "says_nothing", lambda _: lambda *_: False),
    "a spelling of an address is another address": _replace(
        identifiers, "_normalise", lambda _: lambda *_: lambda value, _: value
    ),
    # erasure
    "an erasure does not wait for what is on its way": _replace(
        Erasing, "_is_awaited", lambda _: lambda *_: False
    ),
    "what was erased stays in the lanes": _replace(erasing, "sweep_lanes", _leaves_the_lanes),
    "who comes back is given the name of the erased": _replace(Graph, "found", _names_again),
    "the user id of who comes back passes for known": _replace(Resolver, "_catch_up", _knows_for_ever),
    "a shard keeps what was erased": _replace(profile_merge, "erase", lambda _: lambda *_: None),
    # delivery and learning
    "a cursor passes a message between shards before it is forwarded": _replace(
        Steady, "accept", _advances_first
    ),
    "a cursor passes a trigger before it is delivered": _replace(workers, "delivering", _takes_and_forgets),
    "a model is stored without its positions": _replace(MemoryModels, "save", _positions_later),
    "what a trainer raised on leaves half of itself behind": _replace(Learning, "_carefully", _half_learnt),
    "what a trainer raised on is not kept": _replace(MemoryModels, "save", _nothing_beside),
    "a stale trainer may store its model": _replace(MemoryModels, "save", _any_revision),
    "examples are acknowledged before the model is stored": _replace(Learning, "learn", _acknowledges_first),
}
