"""Customers that become one, and identifiers that move: what their shards hand over to one another, by way of
the directory."""

from typing import Any, Protocol

import msgspec

from flows.logic.facets.all_facets import COUNT, DIVIDE, UNITE
from flows.logic.shard import follow_up, in_flight, merge_history
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
from schemas.records.customer_profile import Head, InFlightMerge, Parting, Profile, Sensitive
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import Expect, Lend, Retire, Split
from schemas.wire.events import Fact
from schemas.wire.triggers import Absorb, Decision

_decode_fact = msgspec.msgpack.Decoder(Fact).decode


class Turns(merge_history.Lives, Protocol):
    """What takes the customers' turns: counts facts, and sees what follows from them."""

    def fact(self, state: ShardState, root: bytes, origin: bytes, payload: bytes) -> None:
        """Count a packed fact, or hold it until what it depends on is here."""

    def add(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        """Count a packed fact, and remember it where unions may have to be undone."""

    def look_again(self, state: ShardState, root: bytes, retired: bytes, live: Live, muted: bool) -> None:
        """Derive what follows from figures that another customer brought."""


def expect(state: ShardState, expect: Expect) -> None:
    """Hold facts that depend on what is announced here, from now on."""
    profile = state.customer(expect.root).profile
    profile.in_flight = profile.in_flight or InFlightMerge()
    customer = expect.origins
    if customer and customer[0] == expect.root:
        customer = [in_flight.coming_back(expect.root), *customer]
    in_flight.expect(profile.in_flight, customer, expect.identifier, expect.home or expect.root)


def lend(state: ShardState, lend: Lend, turns: Turns) -> None:
    """Tell the customer that an identifier moved to which messages were seen under it; later, if they are on
    their way here themselves."""
    live = state.live.get(lend.root)
    if live is None:  # nothing was seen
        state.emit(
            Lane.ABSORBS, Absorb(lend.home or lend.to, lend.root, b"", b"", identifier=lend.identifier)
        )
        return
    profile = live.profile
    profile.in_flight = profile.in_flight or InFlightMerge()
    in_flight.owe(profile.in_flight, lend.identifier, lend.origin, lend.home or lend.to, lend.later)
    state.changes.dirty.add(lend.root)
    _release(state, lend.root, live, turns)


def _release(state: ShardState, root: bytes, live: Live, turns: Turns) -> None:
    """Give back the parts, count the facts and pay the debts that nothing holds up any longer."""
    profile = live.profile
    assert profile.in_flight is not None, "only called with one"
    for parting in in_flight.partings(profile.in_flight):
        _give_back(state, root, live, parting, turns)
    facts, debts = in_flight.release(profile.in_flight)
    for held in facts:
        turns.add(state, root, held.origin, held.payload, live)
    for debt in debts:
        fragment = profile.fragments.get(debt.origin)
        ring = (fragment.dedupe_ring if fragment else b"") + profile.in_flight.dedupe_ring
        state.emit(
            Lane.ABSORBS, Absorb(debt.to, root, b"", b"", identifier=debt.identifier, dedupe_ring=ring)
        )
    if in_flight.over(profile.in_flight):
        profile.in_flight = None


def retire(state: ShardState, retire: Retire) -> None:
    """Hand the whole customer over to the survivor."""
    live = state.live.get(retire.retired)
    if live is None:  # nothing to hand over, but it is waited for
        state.emit(Lane.ABSORBS, Absorb(retire.survivor, retire.retired, b"", b"", **_evidence(retire)))
        return
    sensitive = state.changes.sensitive.pop(retire.retired, None)
    state.emit(
        Lane.ABSORBS,
        Absorb(
            retire.survivor,
            retire.retired,
            encode(live.profile),
            encode(sensitive) if sensitive and sensitive.origins else b"",
            **_evidence(retire),
            history=(live.profile.history_bytes and state.changes.histories.get(retire.retired)) or b"",
        ),
    )
    _count(state, live.profile, -1)
    if live.profile.history_bytes:
        state.set_history(retire.retired, None)
    state.remove(retire.retired)
    state.changes.sensitive_dirty.discard(retire.retired)
    state.changes.timers[retire.retired] = 0


def erase(state: ShardState, root: bytes) -> None:
    """Remove the whole customer: nothing is on its way to it any more, and it owes nothing."""
    live = state.live.get(root)
    if live is not None:
        _count(state, live.profile, -1)
        state.count("erased")
    state.set_history(root, None)
    state.changes.sensitive.pop(root, None)
    state.changes.sensitive_dirty.discard(root)
    state.remove(root)
    state.changes.timers[root] = 0


def _evidence(retire: Retire) -> dict[str, Any]:
    return {"origins": retire.origins, "union": retire.union, "one": retire.one, "other": retire.other}


def _count(state: ShardState, profile: Profile, by: int) -> None:
    state.count("profiles", by)
    for count in COUNT:
        count(state, profile, by)


def absorb(state: ShardState, root: bytes, message: Absorb, turns: Turns) -> None:
    """Take in what was handed over, then count what waited for it."""
    live = state.customer(root)
    profile = live.profile
    profile.in_flight = profile.in_flight or InFlightMerge()
    if message.identifier:
        in_flight.lent(profile.in_flight, message.identifier, message.survivor, message.dedupe_ring)
    else:
        in_flight.settle(
            profile.in_flight, in_flight.coming_back(message.retired) if message.restored else message.retired
        )
    if message.restored and message.survivor == root and not profile.fragments:
        _come_back(state, root, live, message)
    elif not message.identifier:
        unite(state, root, live, message, turns)
    _release(state, root, live, turns)
    if (
        message.restored and live.profile.in_flight is None and not live.profile.fragments
    ):  # nothing was ever seen of it
        _count(state, live.profile, -1)
        state.remove(root)


def unite(state: ShardState, root: bytes, live: Live, message: Absorb, turns: Turns) -> None:
    """Add up two customers, and note what they were."""
    held = live.profile.in_flight.held if live.profile.in_flight is not None else ()
    # what brings them together waits for the other one
    muted = any(_decode_fact(fact.payload).backfill for fact in held)
    merge_history.join(state, root, live, message, muted)
    if message.general:
        sum_up(state, root, live, message, muted, turns)


def sum_up(state: ShardState, root: bytes, live: Live, message: Absorb, muted: bool, turns: Turns) -> None:
    """Add up two customers. `muted`: history brought them together."""
    muted = muted or of_history(live.profile, message)
    take_in(state, root, live, message)
    turns.look_again(state, root, message.retired, live, muted)


def of_history(profile: Profile, message: Absorb) -> bool:
    """Return whether history is the last that is known of either: what they sum up to is no news then."""
    return profile.backfilled or decode_profile(message.general).backfilled


def split(state: ShardState, split: Split, turns: Turns) -> None:
    """Give a part back; later, if it is on its way here itself."""
    live = state.live.get(split.root)
    if live is None:  # nothing was seen
        state.emit(
            Lane.ABSORBS, Absorb(split.part, split.part, b"", b"", origins=split.origins, restored=True)
        )
        return
    profile = live.profile
    profile.in_flight = profile.in_flight or InFlightMerge()
    in_flight.part(profile.in_flight, split.part, split.origins, split.union)
    state.changes.dirty.add(split.root)
    _release(state, split.root, live, turns)


def _give_back(state: ShardState, root: bytes, live: Live, parting: Parting, turns: Turns) -> None:
    """Take a part out again: by living the days since the union once more without it, else by its
    fragments."""
    united, waiting = live.profile, live.profile.in_flight
    assert waiting is not None, "a parting waits in it"
    now, packed = state.head.clock_ms, state.changes.histories.get(root)
    replay = merge_history.Replay(turns, state, parting.union)
    if (
        united.history_bytes
        and packed
        and replay.live(packed, now)
        and replay.separate(root, parting.part, parting.origins)
    ):
        staying, packed = replay.part(root).finish()
        leaving, theirs = replay.part(parting.part).finish()
    else:
        staying, leaving = merge_history.by_fragments(united, [parting.part, *parting.origins])
        packed, theirs = None, b""
        staying.history_bytes = staying.joined_ms = 0
        state.count("split_by_fragments")
        for what, customer in ((staying, root), (leaving, parting.part)):
            _derive_again(state, what, customer)
    for divide in DIVIDE:
        divide(united, staying, leaving)
    for sent in replay.sent:  # what cannot be called back can at least be found
        told = Decision(
            customer=parting.part,
            rule=sent.rule,
            cause=sent.cause,
            at_ms=sent.clock_ms,
            reason="sent_while_united",
        )
        state.emit(Lane.DECISIONS, told)
    leaving.in_flight = in_flight.leave(waiting, [parting.part, *parting.origins])
    sensitive = state.changes.sensitive.get(root)
    sealed = (
        Sensitive(
            {o: sensitive.origins.pop(o) for o in (parting.part, *parting.origins) if o in sensitive.origins}
        )
        if sensitive
        else None
    )
    if sealed and sealed.origins:
        state.changes.sensitive_dirty.add(root)
    state.emit(
        Lane.ABSORBS,
        Absorb(
            parting.part,
            parting.part,
            encode(leaving) if leaving.fragments or leaving.in_flight else b"",
            encode(sealed) if sealed and sealed.origins else b"",
            origins=parting.origins,
            history=theirs,
            restored=True,
        ),
    )
    _count(state, united, -1)
    staying.in_flight = waiting
    _become(state, root, live, staying, packed or None)
    state.count("split")


def _become(state: ShardState, root: bytes, live: Live, profile: Profile, packed: bytes | None) -> None:
    """From now on the customer is this. Others hold the object, so it stays the same one."""
    for name in Profile.__struct_fields__:
        setattr(live.profile, name, getattr(profile, name))
    live.total = sum_of(live.profile, rules_of(state))
    _count(state, profile, 1)
    state.changes.timers[root] = profile.indexed_ms
    state.set_history(root, packed)
    state.changes.dirty.add(root)


def _come_back(state: ShardState, root: bytes, live: Live, message: Absorb) -> None:
    """What was given back, as it is."""
    _unseal(state, root, message)
    if not message.general:
        return
    profile, waiting = decode_profile(message.general), live.profile.in_flight
    assert waiting is not None, "it expected itself"
    if profile.in_flight is not None:
        in_flight.join(waiting, profile.in_flight, {message.retired, *message.origins})
    profile.in_flight = waiting
    _count(state, live.profile, -1)
    _become(state, root, live, profile, message.history or None)


def _derive_again(state: ShardState, profile: Profile, root: bytes) -> None:
    """Stage, tags, segment and scores from the figures as they are now, in silence."""
    scratch = state.scratch(Head(clock_ms=state.head.clock_ms))
    follow_up.at_union(scratch, root, root, Live(profile, rules_of(state)), muted=True)


def take_in(state: ShardState, root: bytes, live: Live, message: Absorb) -> None:
    """Become the sum of both."""
    rules, profile, theirs = rules_of(state), live.profile, decode_profile(message.general)
    for unite_with in UNITE:
        unite_with(state, root, live, theirs)
    if profile.in_flight is not None and theirs.in_flight is not None:
        in_flight.join(profile.in_flight, theirs.in_flight, {message.retired, *message.origins})
    for origin, fragment in theirs.fragments.items():
        mine = profile.fragments.get(origin)
        profile.fragments[origin] = fragment if mine is None else rules.fragments.merge(mine, fragment)
    fold(profile.fragments, FRAGMENTS_MAX, rules)
    profile.backfilled |= theirs.backfilled
    # what fell due on the way is looked at next, as a moment of its own
    due = max(theirs.indexed_ms, state.head.clock_ms + 1)
    if theirs.indexed_ms and (profile.indexed_ms == 0 or due < profile.indexed_ms):
        profile.indexed_ms = state.changes.timers[root] = due
    live.total = sum_of(profile, rules)
    _unseal(state, root, message)
    state.count("absorbed")


def _unseal(state: ShardState, root: bytes, message: Absorb) -> None:
    """The sensitive record that came along."""
    if message.sensitive:
        add_sensitive(
            state.changes.sensitive.setdefault(root, Sensitive()), decode_sensitive(message.sensitive)
        )
        state.changes.sensitive_dirty.add(root)
