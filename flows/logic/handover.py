"""Customers that become one, and identifiers that move: what their shards hand over to one another, by way of the directory."""

from collections.abc import Callable

from flows.logic import transit
from flows.logic.decide import derive, timer_moment
from flows.logic.rules import still
from flows.logic.shard import (
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
from flows.logic.timers import WAITS_MAX, schedule
from schemas.identity import text_id
from schemas.log import Expect, Lend, Retire
from schemas.profile import Profile, Sensitive, Transit, Wait
from schemas.triggers import Absorb

Add = Callable[[ShardState, bytes, bytes, bytes, Live], None]  # count a packed fact: (state, root, origin, payload, customer)
Look = Callable[[ShardState, bytes, bytes, Live], None]  # see what follows from what was taken in: (state, root, retired, customer)


def expect(state: ShardState, expect: Expect) -> None:
    """Facts that depend on what is announced here are held from now on."""
    profile = state.customer(expect.root).profile
    profile.transit = profile.transit or Transit()
    transit.expect(profile.transit, expect.origins, [expect.identifier] if expect.identifier else [])


def lend(state: ShardState, lend: Lend, add: Add) -> None:
    """Tell the customer that an identifier moved to which messages were seen under it; later, if they are on their way here themselves."""
    live = state.live.get(lend.root)
    if live is None:  # nothing was seen
        state.emit("i", Absorb(lend.to, lend.root, b"", b"", identifier=lend.identifier))
        return
    profile = live.profile
    profile.transit = profile.transit or Transit()
    transit.owe(profile.transit, lend.identifier, lend.origin, lend.to, lend.later)
    state.dirty.add(lend.root)
    _release(state, lend.root, live, add)


def _release(state: ShardState, root: bytes, live: Live, add: Add) -> None:
    """Count the facts and pay the debts that nothing holds up any longer."""
    profile = live.profile
    assert profile.transit is not None, "only called with one"
    facts, debts = transit.release(profile.transit)
    for held in facts:
        add(state, root, held.origin, held.payload, live)
    for debt in debts:
        fragment = profile.fragments.get(debt.origin)
        ring = (fragment.ring if fragment else b"") + profile.transit.ring
        state.emit("i", Absorb(debt.to, root, b"", b"", identifier=debt.identifier, ring=ring))
    if transit.over(profile.transit):
        profile.transit = None


def retire(state: ShardState, retire: Retire) -> None:
    """Hand the whole customer over to the survivor."""
    live = state.live.get(retire.retired)
    if live is None:  # nothing to hand over, but it is waited for
        state.emit("i", Absorb(retire.survivor, retire.retired, b"", b""))
        return
    sensitive = state.sensitive.pop(retire.retired, None)
    state.emit(
        "i",
        Absorb(
            retire.survivor,
            retire.retired,
            encode(live.profile),
            encode(sensitive) if sensitive and sensitive.origins else b"",
        ),
    )
    _uncount(state, live.profile)
    state.live[retire.retired] = None
    state.dirty.discard(retire.retired)
    state.sensitive_dirty.discard(retire.retired)
    state.deleted.add(retire.retired)
    state.timers[retire.retired] = 0


def _uncount(state: ShardState, profile: Profile) -> None:
    state.count("profiles", -1)
    for name in profile.tags:
        state.count(f"tag:{name}", -1)
    if profile.segment:
        state.count(f"segment:{profile.segment}", -1)
    if profile.stage:
        state.count(f"stage:{profile.stage}", -1)


def absorb(state: ShardState, root: bytes, message: Absorb, add: Add, look: Look) -> None:
    """Take in what was handed over, then count what waited for it."""
    live = state.customer(root)
    profile = live.profile
    profile.transit = profile.transit or Transit()
    if message.identifier:
        transit.lent(profile.transit, message.identifier, message.ring)
    else:
        transit.settle(profile.transit, message.retired)
    if message.general:
        _take_in(state, root, live, message)
        look(state, root, message.retired, live)
    _release(state, root, live, add)


def _take_in(state: ShardState, root: bytes, live: Live, message: Absorb) -> None:
    rules, profile, theirs = rules_of(state), live.profile, decode_profile(message.general)
    if profile.transit is not None and theirs.transit is not None:
        transit.join(profile.transit, theirs.transit)
    for origin, fragment in theirs.fragments.items():
        mine = profile.fragments.get(origin)
        profile.fragments[origin] = fragment if mine is None else rules.fragments.merge(mine, fragment)
    fold(profile.fragments, FRAGMENTS_MAX, rules)
    for name, (since, until) in theirs.tags.items():
        held = profile.tags.get(name)
        if held is None:
            state.count(f"tag:{name}")
        profile.tags[name] = (min(since, held[0]), max(until, held[1])) if held else (since, until)
    for rule, until in theirs.cooldowns.items():
        profile.cooldowns[rule] = max(until, profile.cooldowns.get(rule, 0))
    for rule, time_ms in theirs.ended.items():
        profile.ended[rule] = max(time_ms, profile.ended.get(rule, 0))
    waits: dict[str, Wait] = {}
    for wait in sorted(profile.waits + theirs.waits, key=lambda wait: (wait.since_ms, wait.due_ms, wait.cause)):
        if wait.since_ms >= profile.ended.get(wait.rule, 0):
            waits[wait.rule] = wait
    profile.waits = [*waits.values()][-WAITS_MAX:]
    profile.returned_ms = max(profile.returned_ms, theirs.returned_ms)
    live.total = sum_of(profile, rules)
    if message.sensitive:
        add_sensitive(state.sensitive.setdefault(root, Sensitive()), decode_sensitive(message.sensitive))
        state.sensitive_dirty.add(root)
    state.count("absorbed")


def look_again(state: ShardState, root: bytes, retired: bytes, live: Live) -> None:
    """What follows from figures that another customer brought."""
    rules, now = rules_of(state), state.head.clock_ms
    view = still(rules, live.profile, live.total, now)
    derive(state, rules, view, timer_moment(f"absorb:{text_id(retired)}", retired, root, now, now))
    schedule(state, rules, view, root)
