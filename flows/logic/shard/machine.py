"""The shard as a state machine: log entries in, changed profiles, timers and outbox out. The same log gives
the same state.

`ShardMachine` serves all shards of one worker. It is handed what a batch needs (profiles, timers that are
due) and leaves in each `ShardState` what a commit has to write; it reads no clock (`now` is the last tick of
the shard's log) and no server.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from flows.logic.fields import quality, repeats
from flows.logic.fields.stated import stated_at
from flows.logic.profile.fragments import dedupe_id, seen
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard import follow_up, in_flight, merge_history, profile_merge
from flows.logic.shard.in_flight import HELD_MAX, must_wait
from flows.logic.shard.profile_merge import Turns
from flows.logic.shard.state import (
    LEARNT,
    Live,
    Loaded,
    ShardState,
    add_sensitive,
    decode_absorb,
    decode_erase,
    decode_expect,
    decode_lend,
    decode_not_sent,
    decode_profile,
    decode_retire,
    decode_split,
    decode_tick,
    encode,
    new_fragment,
    rules_of,
    sum_of,
)
from schemas.records.customer_profile import Profile, Sealed, Sensitive
from schemas.records.identity_graph import ID_BYTES
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import Announced, LogEntry, LogKind, mark_of, unpack_facts
from schemas.wire.events import Fact
from schemas.wire.triggers import Absorb, Decision

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
    """Applies log entries, a customer's turn at a time. `rules_of` and `scorer_of` load what was announced;
    both depend on their arguments only."""

    def __init__(
        self, rules_of: Callable[[int], CompiledRules], scorer_of: Callable[[str, int], Loaded | None]
    ) -> None:
        self._rules_of = rules_of
        self._scorer_of = scorer_of
        self._handlers: dict[str, Callable[[ShardState, bytes, Turns], None]] = {
            LogKind.EVENTS: _take_facts,
            LogKind.EXPECT: _take_expect,
            LogKind.LEND: _take_lend,
            LogKind.RETIRE: _take_retire,
            LogKind.SPLIT: _take_split,
            LogKind.ERASE: _take_erase,
            LogKind.ABSORB: _take_absorb,
            LogKind.NOT_SENT: _take_not_sent,
            LogKind.TICK: self._take_tick,
            LogKind.CONFIG: self._take_rules,
            LogKind.MODEL: self._take_model,
        }

    def open(self, state: ShardState) -> None:
        """Bring a shard's rules and models back to what its head says."""
        if state.head.rules:
            state.rules = self._rules_of(state.head.rules)
        for model in {sender.partition(":")[2]: None for sender in state.head.models}:
            self._load_model(state, model)

    def put(self, state: ShardState, root: bytes, packed: bytes | None) -> None:
        """Hand in a profile that was loaded."""
        state.live[root] = None if packed is None else Live(decode_profile(packed), rules_of(state))

    def apply(self, state: ShardState, entries: Iterable[LogEntry], turns: Turns | None = None) -> None:
        """Apply the entries of one shard, in order.

        `turns` takes the customers' turns in place of this machine.
        """
        turns, entry = turns or self, None
        for entry in entries:
            state.changes.settled &= entry.kind == LogKind.TICK
            self._handlers[entry.kind](state, entry.body, turns)
            state.head.offset = entry.seq
        if entry is not None:
            state.head.mark = mark_of(entry)

    # --- the shard's own entries

    def _take_tick(self, state: ShardState, body: bytes, turns: Turns) -> None:
        self._tick(state, decode_tick(body).now_ms, turns)

    def _tick(self, state: ShardState, now: int, turns: Turns) -> None:
        state.head.clock_ms = max(state.head.clock_ms, now)
        moved = state.changes.timers
        due = [(at, root) for at, root in state.changes.due if at <= now and root not in moved]
        due += [(at, root) for root, at in moved.items() if 0 < at <= now]
        if due:
            for at, root in sorted(due)[:DUE_MAX]:
                turns.wake(state, root, at)

    def _take_rules(self, state: ShardState, body: bytes, _turns: Turns) -> None:
        version = _decode_announced(body).version
        state.head.rules = version
        state.rules = self._rules_of(version)
        for live in state.live.values():  # as if they were loaded just now
            if live is not None:
                live.total = sum_of(live.profile, state.rules)

    def _take_model(self, state: ShardState, body: bytes, _turns: Turns) -> None:
        """Take a model that was announced.

        `learn:NAME` brings a version that was learnt; an operator's `pin:NAME` stays in force until
        `unpin:NAME`, and a `rollback:NAME` until the next version is learnt.
        """
        announced = _decode_announced(body)
        sender, version = announced.sender, announced.version
        how, _, model = sender.partition(":")
        if how != "unpin" and self._scorer_of(sender, version) is None:
            state.count("models_refused")  # its signature is broken: the last good one stays
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

    # --- a customer's turn

    def fact(self, state: ShardState, root: bytes, origin: bytes, payload: bytes) -> None:
        """Count a packed fact, or hold it until what it depends on is here."""
        fact, live = _decode_fact(payload), state.customer(root)
        coming = live.profile.in_flight
        if coming is not None and must_wait(coming, origin, fact.subject):
            if len(coming.held) < HELD_MAX:
                in_flight.hold(coming, origin, fact.subject, payload)
                return
            # counted at once: better than lost, and only a repetition of it could count twice
            state.count("held_too_many")
        _remembered(state, root, origin, fact, live)

    def add(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        """Count a packed fact, and remember it where unions may have to be undone."""
        _remembered(state, root, origin, _decode_fact(payload), live)

    def count(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        """Count a packed fact."""
        _add(state, root, origin, _decode_fact(payload), live)

    def unite(self, state: ShardState, root: bytes, live: Live, message: Absorb, muted: bool) -> None:
        """Add up two customers. `muted`: history brought them together."""
        profile_merge.sum_up(state, root, live, message, muted, self)

    def look_again(self, state: ShardState, root: bytes, retired: bytes, live: Live, muted: bool) -> None:
        """Derive what follows from figures that another customer brought."""
        follow_up.at_union(state, root, retired, live, muted)

    def wake(self, state: ShardState, root: bytes, due: int) -> None:
        """Look at a customer whose timer is due."""
        state.changes.timers[root] = 0
        live = state.live.get(root)
        if live is None:  # retired meanwhile
            return
        state.changes.dirty.add(root)
        live.profile.indexed_ms = 0
        sent = len(state.changes.outbox)
        follow_up.at_timer(state, root, live, due)
        if live.profile.history_bytes:  # this also gives up what is too old
            triggers = merge_history.sent_of(state.head.clock_ms, state.changes.outbox[sent:])
            merge_history.remember(state, root, live, *triggers)


# --- entries about customers


def _take_facts(state: ShardState, body: bytes, turns: Turns) -> None:
    for root, origin, payload in unpack_facts(body):
        turns.fact(state, root, origin, payload)


def _take_expect(state: ShardState, body: bytes, _turns: Turns) -> None:
    profile_merge.expect(state, decode_expect(body))


def _take_lend(state: ShardState, body: bytes, turns: Turns) -> None:
    profile_merge.lend(state, decode_lend(body), turns)


def _take_retire(state: ShardState, body: bytes, _turns: Turns) -> None:
    profile_merge.retire(state, decode_retire(body))


def _take_split(state: ShardState, body: bytes, turns: Turns) -> None:
    profile_merge.split(state, decode_split(body), turns)


def _take_erase(state: ShardState, body: bytes, _turns: Turns) -> None:
    profile_merge.erase(state, decode_erase(body).root)


def _take_absorb(state: ShardState, body: bytes, turns: Turns) -> None:
    profile_merge.absorb(state, body[:ID_BYTES], decode_absorb(body[ID_BYTES:]), turns)


def _take_not_sent(state: ShardState, body: bytes, _turns: Turns) -> None:
    """Record why a trigger was not sent. If it was a choice among actions, nothing is to be learnt of it."""
    root, what = body[:ID_BYTES], decode_not_sent(body[ID_BYTES:])
    refused = Decision(
        customer=root,
        rule=what.rule,
        cause=what.cause,
        at_ms=what.at_ms,
        reason=what.reason,
        id=what.id,
        action=what.action,
        withheld={what.connector: what.detail},
    )
    state.emit(Lane.DECISIONS, refused)
    state.count(f"decisions:{what.reason}")
    live = state.live.get(root)
    if live is not None and live.profile.open.pop(what.id, None) is not None:
        state.changes.dirty.add(root)


# --- a fact


def _remembered(state: ShardState, root: bytes, origin: bytes, fact: Fact, live: Live) -> None:
    """Count a fact, and remember it where unions may have to be undone."""
    applied, sent = state.changes.applied, len(state.changes.outbox)
    _add(state, root, origin, fact, live)
    if live.profile.history_bytes and state.changes.applied > applied:
        now = state.head.clock_ms
        # these need no undoing, and each handling would make them others
        fact.sealed, fact.resolved_ms = {}, fact.received_ms
        counted = merge_history.Counted(now, root, origin, encode(fact))
        triggers = merge_history.sent_of(now, state.changes.outbox[sent:])
        merge_history.remember(state, root, live, counted, *triggers)


def _add(state: ShardState, root: bytes, origin: bytes, fact: Fact, live: Live) -> None:
    """Count a fact, and do all that follows from it."""
    rules, profile, changes = rules_of(state), live.profile, state.changes
    message = dedupe_id(fact.message)
    changes.came[fact.channel] = changes.came.get(fact.channel, 0) + 1
    if fact.content and _is_repeated(profile, fact.content, message):
        state.count("repeats")
        changes.repeats += 1
        return
    if _is_duplicate(profile, message):
        state.count("duplicates")
        changes.duplicates += 1
        return
    state.count("applied")
    changes.applied += 1
    quiet_ms = fact.time_ms - live.total.last_ms if profile.fragments else 0
    home = profile.fragments.get(origin)
    if home is None:
        home = new_fragment(live, origin, rules)
    if fact.traits or fact.type == "identify":
        changes.stated += quality.stated(fact, live.total, state.count)
    if fact.properties and (fields := rules.fragments.unread(fact)):
        changes.stated += quality.unread(fact.channel, fields, state.count)
    if fact.content:
        message += repeats.split(fact.content)[0]
    rules.fragments.add(home, fact, message)
    if live.total is not home:
        rules.fragments.add(live.total, fact, message)
    if fact.sealed:
        seal(state, root, origin, fact, message)
    profile.backfilled = fact.backfill
    if fact.refused != profile.refused:
        profile.refused = fact.refused
    if quiet_ms >= rules.rules.lifecycle.lost:
        profile.returned_ms = fact.time_ms
    follow_up.at_event(state, rules, root, fact, live)


def _is_repeated(profile: Profile, content: bytes, message: bytes) -> bool:
    """Whether another message that says the same was counted."""
    marks = repeats.split(content)
    rings = [fragment.dedupe_ring for fragment in profile.fragments.values()]
    rings.append(profile.in_flight.dedupe_ring if profile.in_flight else b"")
    said = any(seen(ring, mark) for ring in rings for mark in marks)
    return said and not any(seen(ring, message) for ring in rings)


def _is_duplicate(profile: Profile, message: bytes) -> bool:
    """Whether this very message was counted."""
    if profile.in_flight is not None and seen(profile.in_flight.dedupe_ring, message):
        return True
    for fragment in profile.fragments.values():  # noqa: SIM110  # a generator would cost each event as much again
        if seen(fragment.dedupe_ring, message):
            return True
    return False


def seal(state: ShardState, root: bytes, origin: bytes, fact: Fact, message: bytes) -> None:
    """Add a fact's sealed fields to the customer's sensitive record."""
    # The user id is always the same, and each worker of `resolve` sends it along the first time that it
    # sees it: no time makes it newer
    moment = stated_at(fact.time_ms, message)
    fields = {name: Sealed(0 if name == "user_id" else moment, value) for name, value in fact.sealed.items()}
    record = state.changes.sensitive.setdefault(root, Sensitive())
    add_sensitive(record, Sensitive({origin: fields}))
    state.changes.sensitive_dirty.add(root)
