"""Customers that become one, and identifiers that move: what their shards hand over to one another, by way of
the directory."""

from typing import Any, Protocol

import msgspec

from flows.logic.facets import item_interactions, outcomes
from flows.logic.facets.decisions import derive, timer_moment
from flows.logic.facets.timers import WAITS_MAX, schedule
from flows.logic.rules.ruleset import still
from flows.logic.shard import in_flight, merge_history
from flows.logic.shard.state import (
    FRAGMENTS_MAX,
    Live,
    ShardState,
    add_sensitive,
    decode_profile,
    decode_sensitive,
    encode,
    fold,
    rules_of,
    sum_of,
)
from schemas.records.customer_profile import Head, Parting, Profile, Sensitive, Transit, Wait
from schemas.records.identity_graph import text_id
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import Expect, Lend, Retire, Split
from schemas.wire.events import Fact
from schemas.wire.triggers import Absorb, Decision

_decode_fact = msgspec.msgpack.Decoder(Fact).decode


class Machine(merge_history.Machine, Protocol):
    """What counts facts and sees what follows from them."""

    def add(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        """Count a fact, and remember it where unions may have to be undone."""

    def look_again(self, state: ShardState, root: bytes, retired: bytes, live: Live, muted: bool) -> None:
        """What follows from figures that another customer brought."""


def expect(state: ShardState, expect: Expect) -> None:
    """Facts that depend on what is announced here are held from now on."""
    profile = state.customer(expect.root).profile
    profile.transit = profile.transit or Transit()
    customer = expect.origins
    if customer and customer[0] == expect.root:
        customer = [in_flight.coming_back(expect.root), *customer]
    in_flight.expect(profile.transit, customer, expect.identifier, expect.home or expect.root)


def lend(state: ShardState, lend: Lend, machine: Machine) -> None:
    """Tell the customer that an identifier moved to which messages were seen under it; later, if they are on
    their way here themselves."""
    live = state.live.get(lend.root)
    if live is None:  # nothing was seen
        state.emit(
            Lane.ABSORBS, Absorb(lend.home or lend.to, lend.root, b"", b"", identifier=lend.identifier)
        )
        return
    profile = live.profile
    profile.transit = profile.transit or Transit()
    in_flight.owe(profile.transit, lend.identifier, lend.origin, lend.home or lend.to, lend.later)
    state.dirty.add(lend.root)
    _release(state, lend.root, live, machine)


def _release(state: ShardState, root: bytes, live: Live, machine: Machine) -> None:
    """Give back the parts, count the facts and pay the debts that nothing holds up any longer."""
    profile = live.profile
    assert profile.transit is not None, "only called with one"
    for parting in in_flight.partings(profile.transit):
        _give_back(state, root, live, parting, machine)
    facts, debts = in_flight.release(profile.transit)
    for held in facts:
        machine.add(state, root, held.origin, held.payload, live)
    for debt in debts:
        fragment = profile.fragments.get(debt.origin)
        ring = (fragment.ring if fragment else b"") + profile.transit.ring
        state.emit(Lane.ABSORBS, Absorb(debt.to, root, b"", b"", identifier=debt.identifier, ring=ring))
    if in_flight.over(profile.transit):
        profile.transit = None


def retire(state: ShardState, retire: Retire) -> None:
    """Hand the whole customer over to the survivor."""
    live = state.live.get(retire.retired)
    if live is None:  # nothing to hand over, but it is waited for
        state.emit(Lane.ABSORBS, Absorb(retire.survivor, retire.retired, b"", b"", **_evidence(retire)))
        return
    sensitive = state.sensitive.pop(retire.retired, None)
    state.emit(
        Lane.ABSORBS,
        Absorb(
            retire.survivor,
            retire.retired,
            encode(live.profile),
            encode(sensitive) if sensitive and sensitive.origins else b"",
            **_evidence(retire),
            past=(live.profile.past and state.past.get(retire.retired)) or b"",
        ),
    )
    _count(state, live.profile, -1)
    if live.profile.past:
        state.set_past(retire.retired, None)
    state.live[retire.retired] = None
    state.dirty.discard(retire.retired)
    state.sensitive_dirty.discard(retire.retired)
    state.deleted.add(retire.retired)
    state.timers[retire.retired] = 0


def _evidence(retire: Retire) -> dict[str, Any]:
    return {"origins": retire.origins, "union": retire.union, "one": retire.one, "other": retire.other}


def _count(state: ShardState, profile: Profile, by: int) -> None:
    state.count("profiles", by)
    for name in profile.tags:
        state.count(f"tag:{name}", by)
    if profile.segment:
        state.count(f"segment:{profile.segment}", by)
    if profile.stage:
        state.count(f"stage:{profile.stage}", by)
    if profile.cluster:
        state.count(f"cluster:{profile.cluster}", by)


def absorb(state: ShardState, root: bytes, message: Absorb, machine: Machine) -> None:
    """Take in what was handed over, then count what waited for it."""
    live = state.customer(root)
    profile = live.profile
    profile.transit = profile.transit or Transit()
    if message.identifier:
        in_flight.lent(profile.transit, message.identifier, message.survivor, message.ring)
    else:
        in_flight.settle(
            profile.transit, in_flight.coming_back(message.retired) if message.restored else message.retired
        )
    if message.restored and message.survivor == root and not profile.fragments:
        _come_back(state, root, live, message)
    elif not message.identifier:
        unite(state, root, live, message, machine)
    _release(state, root, live, machine)
    if (
        message.restored and live.profile.transit is None and not live.profile.fragments
    ):  # nothing was ever seen of it
        _count(state, live.profile, -1)
        state.live[root] = None
        state.dirty.discard(root)
        state.deleted.add(root)


def unite(state: ShardState, root: bytes, live: Live, message: Absorb, machine: Machine) -> None:
    """Add up two customers, and note what they were."""
    held = live.profile.transit.held if live.profile.transit is not None else ()
    muted = any(
        _decode_fact(fact.payload).backfill for fact in held
    )  # what brings them together waits for the other one
    merge_history.join(state, root, live, message, muted)
    if message.general:
        muted = muted or of_history(live.profile, message)
        take_in(state, root, live, message)
        machine.look_again(state, root, message.retired, live, muted)


def of_history(profile: Profile, message: Absorb) -> bool:
    """Whether history is the last that is known of either: what they sum up to is no news then."""
    return profile.backfilled or decode_profile(message.general).backfilled


def split(state: ShardState, split: Split, machine: Machine) -> None:
    """Give a part back; later, if it is on its way here itself."""
    live = state.live.get(split.root)
    if live is None:  # nothing was seen
        state.emit(
            Lane.ABSORBS, Absorb(split.part, split.part, b"", b"", origins=split.origins, restored=True)
        )
        return
    profile = live.profile
    profile.transit = profile.transit or Transit()
    in_flight.part(profile.transit, split.part, split.origins, split.union)
    state.dirty.add(split.root)
    _release(state, split.root, live, machine)


def _give_back(state: ShardState, root: bytes, live: Live, parting: Parting, machine: Machine) -> None:
    """Take a part out again: by living the days since the union once more without it, else by its
    fragments."""
    united, waiting = live.profile, live.profile.transit
    assert waiting is not None, "a parting waits in it"
    now, packed = state.head.clock_ms, state.past.get(root)
    replay = merge_history.Replay(machine, state, parting.union)
    if (
        united.past
        and packed
        and replay.live(packed, now)
        and replay.separate(root, parting.part, parting.origins)
    ):
        staying, packed = replay.part(root).finish()
        leaving, theirs = replay.part(parting.part).finish()
    else:
        staying, leaving = merge_history.by_fragments(united, [parting.part, *parting.origins])
        packed, theirs = None, b""
        staying.past = staying.joined_ms = 0
        state.count("split_by_fragments")
        for what, customer in ((staying, root), (leaving, parting.part)):
            _derive_anew(state, what, customer)
    outcomes.part(united, staying, leaving)
    for sent in replay.sent:  # what cannot be called back can at least be found
        state.emit(
            Lane.DECISIONS, Decision(parting.part, sent.rule, sent.cause, sent.clock_ms, "sent_while_united")
        )
    leaving.transit = in_flight.leave(waiting, [parting.part, *parting.origins])
    sensitive = state.sensitive.get(root)
    sealed = (
        Sensitive(
            {o: sensitive.origins.pop(o) for o in (parting.part, *parting.origins) if o in sensitive.origins}
        )
        if sensitive
        else None
    )
    if sealed and sealed.origins:
        state.sensitive_dirty.add(root)
    state.emit(
        Lane.ABSORBS,
        Absorb(
            parting.part,
            parting.part,
            encode(leaving) if leaving.fragments or leaving.transit else b"",
            encode(sealed) if sealed and sealed.origins else b"",
            origins=parting.origins,
            past=theirs,
            restored=True,
        ),
    )
    _count(state, united, -1)
    staying.transit = waiting
    _become(state, root, live, staying, packed or None)
    state.count("split")


def _become(state: ShardState, root: bytes, live: Live, profile: Profile, packed: bytes | None) -> None:
    """From now on the customer is this. Others hold the object, so it stays the same one."""
    for name in Profile.__struct_fields__:
        setattr(live.profile, name, getattr(profile, name))
    live.total = sum_of(live.profile, rules_of(state))
    _count(state, profile, 1)
    state.timers[root] = profile.indexed_ms
    state.set_past(root, packed)
    state.dirty.add(root)


def _come_back(state: ShardState, root: bytes, live: Live, message: Absorb) -> None:
    """What was given back, as it is."""
    _unseal(state, root, message)
    if not message.general:
        return
    profile, waiting = decode_profile(message.general), live.profile.transit
    assert waiting is not None, "it expected itself"
    if profile.transit is not None:
        in_flight.join(waiting, profile.transit, {message.retired, *message.origins})
    profile.transit = waiting
    _count(state, live.profile, -1)
    _become(state, root, live, profile, message.past or None)


def _derive_anew(state: ShardState, profile: Profile, root: bytes) -> None:
    """Stage, tags, segment and scores from the figures as they are now, in silence."""
    scratch = ShardState(state.number, Head(clock_ms=state.head.clock_ms), {})
    scratch.rules, scratch.scorers, scratch.learnt = state.rules, state.scorers, state.learnt
    look_again(scratch, root, root, Live(profile, rules_of(state)), muted=True)


def take_in(state: ShardState, root: bytes, live: Live, message: Absorb) -> None:
    """The sum of both."""
    rules, profile, theirs = rules_of(state), live.profile, decode_profile(message.general)
    _ask_of_both(
        profile, live.total.events, theirs, sum(fragment.events for fragment in theirs.fragments.values())
    )
    if profile.transit is not None and theirs.transit is not None:
        in_flight.join(profile.transit, theirs.transit, {message.retired, *message.origins})
    for origin, fragment in theirs.fragments.items():
        mine = profile.fragments.get(origin)
        profile.fragments[origin] = fragment if mine is None else rules.fragments.merge(mine, fragment)
    fold(profile.fragments, FRAGMENTS_MAX, rules)
    for name, (since, until) in theirs.tags.items():
        held = profile.tags.get(name)
        if held is None:
            state.count(f"tag:{name}")
        profile.tags[name] = (min(since, held[0]), max(until, held[1])) if held else (since, until)
    outcomes.join(state, root, profile, theirs)
    before = profile.cluster
    item_interactions.join(profile, theirs)
    if profile.cluster and not before:
        state.count(f"cluster:{profile.cluster}")
    for rule, until in theirs.cooldowns.items():
        profile.cooldowns[rule] = max(until, profile.cooldowns.get(rule, 0))
    for rule, time_ms in theirs.ended.items():
        profile.ended[rule] = max(time_ms, profile.ended.get(rule, 0))
    waits: dict[str, Wait] = {}
    for wait in sorted(
        profile.waits + theirs.waits, key=lambda wait: (wait.since_ms, wait.due_ms, wait.cause)
    ):
        if wait.since_ms >= profile.ended.get(wait.rule, 0):
            waits[wait.rule] = wait
    profile.waits = [*waits.values()][-WAITS_MAX:]
    for model, scored in theirs.scores.items():  # until each is scored anew; whoever retires into whom
        profile.scores[model] = max(scored, profile.scores.get(model, scored), key=lambda one: one[::-1])
    profile.returned_ms = max(profile.returned_ms, theirs.returned_ms)
    profile.backfilled |= theirs.backfilled
    due = max(
        theirs.indexed_ms, state.head.clock_ms + 1
    )  # what fell due on the way is looked at next, as a moment of its own
    if theirs.indexed_ms and (profile.indexed_ms == 0 or due < profile.indexed_ms):
        profile.indexed_ms = state.timers[root] = due
    live.total = sum_of(profile, rules)
    _unseal(state, root, message)
    state.count("absorbed")


def _ask_of_both(profile: Profile, events: int, theirs: Profile, their_events: int) -> None:
    """Of what was asked of each, the later question of each model goes on, and what the other did so far
    answers nothing."""
    asked = [
        msgspec.structs.replace(question, events=question.events + their_events)
        for question in profile.questions
    ]
    asked += [
        msgspec.structs.replace(question, events=question.events + events) for question in theirs.questions
    ]
    latest = {
        question.model: question
        for question in sorted(asked, key=lambda question: (question.asked_ms, question.features))
    }
    profile.questions = [latest[model] for model in sorted(latest)]
    for model, asked_ms in theirs.asked.items():
        profile.asked[model] = max(asked_ms, profile.asked.get(model, 0))


def _unseal(state: ShardState, root: bytes, message: Absorb) -> None:
    """The sensitive record that came along."""
    if message.sensitive:
        add_sensitive(state.sensitive.setdefault(root, Sensitive()), decode_sensitive(message.sensitive))
        state.sensitive_dirty.add(root)


def look_again(state: ShardState, root: bytes, retired: bytes, live: Live, muted: bool) -> None:
    """What follows from figures that another customer brought."""
    rules, now = rules_of(state), state.head.clock_ms
    view = still(rules, live.profile, live.total, now, state.learnt.recommendations)
    derive(
        state, rules, view, timer_moment(f"absorb:{text_id(retired)}", retired + root, root, now, now, muted)
    )
    schedule(state, rules, view, root)
