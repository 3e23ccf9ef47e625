"""The shard as a state machine: log entries in, changed profiles, timers and outbox out. The same log gives
the same state.

`ShardMachine` serves all shards of one worker. It is handed what a batch needs (profiles, timers that are
due) and leaves in each `ShardState` what a commit has to write; it reads no clock (`now` is the last tick of
the shard's log) and no server.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from flows.logic.facets import item_interactions, outcomes
from flows.logic.facets.decisions import TriggerCause, derive, fire, timer_moment
from flows.logic.facets.questions import answer, ask, hear
from flows.logic.facets.timers import REFRESH_MS, expire, schedule, wait
from flows.logic.fields import quality, repeats
from flows.logic.fields.stated import stated_at
from flows.logic.profile.fragments import ring_id, seen
from flows.logic.rules.ruleset import CompiledRules, EvaluationContext, still
from flows.logic.shard import in_flight, merge_history, profile_merge
from flows.logic.shard.in_flight import HELD_MAX, must_wait
from flows.logic.shard.state import (
    LEARNT,
    Live,
    Loaded,
    ShardState,
    add_sensitive,
    decode_absorb,
    decode_expect,
    decode_lend,
    decode_profile,
    decode_retire,
    decode_split,
    decode_tick,
    encode,
    new_fragment,
    rules_of,
    sum_of,
)
from schemas.records.customer_profile import Sealed, Sensitive
from schemas.records.identity_graph import ID_BYTES
from schemas.records.shard_log import Announced, LogEntry, LogKind, mark_of, unpack_facts
from schemas.wire.events import Fact
from schemas.wire.triggers import Absorb, Receipt

# customers woken by one tick of one shard, the others by the next ones: those of all shards come before
# events
DUE_MAX: Final = 50

# What each kind of a model's record ends.
_ENDS: Final = {
    "learn": ("rollback",),
    "pin": ("rollback",),
    "rollback": ("pin",),
    "unpin": ("pin", "rollback"),
}

_decode_fact = msgspec.msgpack.Decoder(Fact).decode
_decode_announced = msgspec.msgpack.Decoder(Announced).decode


class ShardMachine:
    """Applies log entries. `rules_of` and `scorer_of` load what was announced; both depend on their arguments
    only."""

    def __init__(
        self, rules_of: Callable[[int], CompiledRules], scorer_of: Callable[[str, int], Loaded | None]
    ) -> None:
        self._rules_of = rules_of
        self._scorer_of = scorer_of

    def open(self, state: ShardState) -> None:
        """Bring a shard's rules and models back to what its head says."""
        if state.head.rules:
            state.rules = self._rules_of(state.head.rules)
        for model in {sender.partition(":")[2]: None for sender in state.head.models}:
            self._load_model(state, model)

    def put(self, state: ShardState, root: bytes, packed: bytes | None) -> None:
        """Hand in a profile that was loaded."""
        state.live[root] = None if packed is None else Live(decode_profile(packed), rules_of(state))

    def apply(self, state: ShardState, entries: Iterable[LogEntry]) -> None:
        """Apply the entries of one shard, in order."""
        entry = None
        for entry in entries:
            state.settled &= entry.kind == LogKind.TICK
            match entry.kind:
                case LogKind.EVENTS:
                    for root, origin, payload in unpack_facts(entry.body):
                        self._fact(state, root, origin, payload)
                case LogKind.EXPECT:
                    profile_merge.expect(state, decode_expect(entry.body))
                case LogKind.LEND:
                    profile_merge.lend(state, decode_lend(entry.body), self)
                case LogKind.RETIRE:
                    profile_merge.retire(state, decode_retire(entry.body))
                case LogKind.SPLIT:
                    profile_merge.split(state, decode_split(entry.body), self)
                case LogKind.ABSORB:
                    profile_merge.absorb(
                        state, entry.body[:ID_BYTES], decode_absorb(entry.body[ID_BYTES:]), self
                    )
                case LogKind.TICK:
                    self._tick(state, decode_tick(entry.body).now_ms)
                case LogKind.CONFIG:
                    announced = _decode_announced(entry.body)
                    state.head.rules = announced.version
                    state.rules = self._rules_of(announced.version)
                    for live in state.live.values():  # as if they were loaded just now
                        if live is not None:
                            live.total = sum_of(live.profile, state.rules)
                case LogKind.MODEL:
                    announced = _decode_announced(entry.body)
                    self._take_model(state, announced.sender, announced.version)
            state.head.offset = entry.seq
        if entry is not None:
            state.head.mark = mark_of(entry)

    def _take_model(self, state: ShardState, sender: str, version: int) -> None:
        """`learn:NAME` brings a version that was learnt; an operator's `pin:NAME` stays in force until
        `unpin:NAME`, and his `rollback:NAME` until the next version is learnt."""
        how, _, model = sender.partition(":")
        if (
            how != "unpin" and self._scorer_of(sender, version) is None
        ):  # its signature is broken: the last good one stays
            state.count("models_refused")
            return
        for ended in _ENDS.get(how, ()):
            state.head.models.pop(f"{ended}:{model}", None)
        if how != "unpin":
            state.head.models[sender] = version
        self._load_model(state, model)

    def _load_model(self, state: ShardState, model: str) -> None:
        for how in ("pin", "rollback", "learn"):
            sender = f"{how}:{model}"
            version = state.head.models.get(sender, 0)
            scorer = self._scorer_of(sender, version) if version else None
            if isinstance(scorer, LEARNT):
                state.learnt.take(scorer)
                return
            if scorer is not None:
                state.scorers.put(model, scorer, version)
                return
        state.scorers.drop(model)

    def _fact(self, state: ShardState, root: bytes, origin: bytes, payload: bytes) -> None:
        fact, live = _decode_fact(payload), state.customer(root)
        coming = live.profile.transit
        if coming is not None and must_wait(coming, origin, fact.subject):
            if len(coming.held) < HELD_MAX:
                in_flight.hold(coming, origin, fact.subject, payload)
                return
            state.count(
                "held_too_many"
            )  # counted at once: better than lost, and only a repetition of it could count twice
        self._take(state, root, origin, fact, live)

    def add(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        """Count a packed fact, and remember it where unions may have to be undone."""
        self._take(state, root, origin, _decode_fact(payload), live)

    def _take(self, state: ShardState, root: bytes, origin: bytes, fact: Fact, live: Live) -> None:
        applied, sent = state.applied, len(state.outbox)
        self._add(state, root, origin, fact, live)
        if live.profile.past and state.applied > applied:
            now = state.head.clock_ms
            fact.sealed, fact.resolved_ms = (
                {},
                fact.received_ms,
            )  # these need no undoing, and each handling would make them others
            merge_history.remember(
                state,
                root,
                live,
                merge_history.Counted(now, root, origin, encode(fact)),
                *merge_history.sent_of(now, state.outbox[sent:]),
            )

    def count(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        """Count a packed fact."""
        self._add(state, root, origin, _decode_fact(payload), live)

    def unite(self, state: ShardState, root: bytes, live: Live, message: Absorb, muted: bool) -> None:
        """Add up two customers. `muted`: history brought them together."""
        muted = muted or profile_merge.of_history(live.profile, message)
        profile_merge.take_in(state, root, live, message)
        self.look_again(state, root, message.retired, live, muted)

    def look_again(self, state: ShardState, root: bytes, retired: bytes, live: Live, muted: bool) -> None:
        """What follows from figures that another customer brought."""
        profile_merge.look_again(state, root, retired, live, muted)

    def _add(self, state: ShardState, root: bytes, origin: bytes, fact: Fact, live: Live) -> None:
        rules, profile = rules_of(state), live.profile
        now = state.head.clock_ms or fact.received_ms
        message = ring_id(fact.message)
        state.came[fact.channel] = state.came.get(fact.channel, 0) + 1
        if fact.content:
            marks = repeats.split(fact.content)
            rings = [fragment.ring for fragment in profile.fragments.values()] + [
                profile.transit.ring if profile.transit else b""
            ]
            if any(seen(ring, mark) for ring in rings for mark in marks) and not any(
                seen(ring, message) for ring in rings
            ):
                state.count("repeats")
                state.repeats += 1
                return
        if profile.transit is not None and seen(profile.transit.ring, message):
            state.count("duplicates")
            state.duplicates += 1
            return
        for fragment in profile.fragments.values():
            if seen(fragment.ring, message):
                state.count("duplicates")
                state.duplicates += 1
                return
        state.count("applied")
        state.applied += 1
        quiet_ms = fact.time_ms - live.total.last_ms if profile.fragments else 0
        home = profile.fragments.get(origin)
        if home is None:
            home = new_fragment(live, origin, rules)
        if fact.traits or fact.type == "identify":
            state.stated += quality.stated(fact, live.total, state.count)
        if fact.properties and (fields := rules.fragments.unread(fact)):
            state.stated += quality.unread(fact.channel, fields, state.count)
        if fact.content:
            message += repeats.split(fact.content)[0]
        rules.fragments.add(home, fact, message)
        if live.total is not home:
            rules.fragments.add(live.total, fact, message)
        if fact.sealed:
            self._seal(state, root, origin, fact, message)

        view = EvaluationContext(rules.reads, state.learnt.recommendations, rules.rules.recommendation.k)
        view.p, view.f, view.now = profile, live.total, now
        view.event, view.type, view.channel, view.properties = (
            fact.name,
            fact.type,
            fact.channel,
            fact.properties,
        )
        key = view.key = fact.name if fact.type == "track" else fact.type
        receipt = Receipt(fact.time_ms, fact.received_ms, fact.resolved_ms, max(now, fact.resolved_ms))
        moment = TriggerCause(root, fact.message, fact.subject, fact.properties, receipt, fact.backfill)
        profile.backfilled = fact.backfill
        if quiet_ms >= rules.rules.lifecycle.lost:
            profile.returned_ms = fact.time_ms
        outcomes.reward(
            state, rules, view, key, fact.time_ms
        )  # first: what an event leads to, it is no outcome of
        item_interactions.touch(state, rules, view, root, key, fact.time_ms)
        sooner = derive(state, rules, view, moment)
        for trigger in rules.on_event.get(key, ()):
            fire(state, trigger, view, moment)
        sooner |= 0 < outcomes.due(rules, profile) < profile.indexed_ms
        sooner |= wait(rules, view, moment, key)
        hear(state, rules, view, root, fact.time_ms)  # first: no event answers what is asked because of it
        sooner |= ask(state, rules, view, root)
        if (
            sooner or profile.indexed_ms == 0 or profile.indexed_ms > now + REFRESH_MS
        ):  # who was asleep has boundaries again
            schedule(state, rules, view, root)

    def _seal(self, state: ShardState, root: bytes, origin: bytes, fact: Fact, message: bytes) -> None:
        # The user id is always the same, and each worker of `resolve` sends it along the first time that it
        # sees it: no time makes it newer
        moment = stated_at(fact.time_ms, message)
        fields = {
            name: Sealed(0 if name == "user_id" else moment, value) for name, value in fact.sealed.items()
        }
        add_sensitive(state.sensitive.setdefault(root, Sensitive()), Sensitive({origin: fields}))
        state.sensitive_dirty.add(root)

    def _tick(self, state: ShardState, now: int) -> None:
        state.head.clock_ms = max(state.head.clock_ms, now)
        touched = state.timers
        due = [(at, root) for at, root in state.due if at <= now and root not in touched]
        due += [(at, root) for root, at in touched.items() if 0 < at <= now]
        if due:
            for at, root in sorted(due)[:DUE_MAX]:
                self.wake(state, root, at)

    def wake(self, state: ShardState, root: bytes, due: int) -> None:
        rules, now = rules_of(state), state.head.clock_ms
        state.timers[root] = 0
        live = state.live.get(root)
        if live is None:  # retired meanwhile
            return
        profile = live.profile
        state.dirty.add(root)
        profile.indexed_ms = 0
        sent = len(state.outbox)
        view = still(rules, profile, live.total, now, state.learnt.recommendations)
        answer(state, rules, view, root)
        outcomes.close(state, rules, view, root)
        derive(state, rules, view, timer_moment(f"timer:wake:{due}", root, root, due, now))
        expire(state, rules, view, root)
        if (
            profile.stage != "lost"
        ):  # asked in quiet times too, or the model would know nobody who has been away for a while
            ask(state, rules, view, root)
        schedule(state, rules, view, root)
        if profile.past:
            merge_history.remember(
                state, root, live, *merge_history.sent_of(now, state.outbox[sent:])
            )  # also gives up what is too old
