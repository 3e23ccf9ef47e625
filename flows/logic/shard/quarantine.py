"""A net under each customer's turn: what logic raises on is put aside, and the shard goes on as if it had
never come.

A worker takes `Careful` instead of `ShardMachine` when something has raised, from the shard's last commit on;
until then nobody pays for the net. What it does to good facts is the same, so a log gives the same state
whatever its batches were.
"""

import traceback
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Final

import msgspec

from flows.logic.shard import profile_merge
from flows.logic.shard.changes import Poisoned
from flows.logic.shard.follow_up import REFRESH_MS
from flows.logic.shard.machine import ShardMachine, seal
from flows.logic.shard.state import Live, ShardState, decode_profile, encode, rules_of, sum_of
from schemas.errors import MillraceError
from schemas.records.customer_profile import Profile
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogEntry
from schemas.wire.events import Fact, Quarantined
from schemas.wire.triggers import Absorb

_decode_fact = msgspec.msgpack.Decoder(Fact).decode

LANE: Final = Lane.QUARANTINE
TRACE_MAX: Final = 20  # places, the innermost; a recursion has thousands


class Careful:
    """Takes the turns of a machine with a net under each. `build`: the version of millrace, which the
    quarantine notes."""

    def __init__(self, machine: ShardMachine, build: str) -> None:
        self._machine = machine
        self._build = build

    def apply(self, state: ShardState, entries: Iterable[LogEntry]) -> None:
        """Apply the entries of one shard, in order. Raises what is not about a single customer's turn."""
        self._machine.apply(state, entries, self)

    def fact(self, state: ShardState, root: bytes, origin: bytes, payload: bytes) -> None:
        """Count a packed fact, or hold it until what it depends on is here."""
        self._turn(state, root, lambda: self._machine.fact(state, root, origin, payload), origin, payload)

    def add(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        """Count a packed fact, and remember it where unions may have to be undone."""
        self._turn(
            state, root, lambda: self._machine.add(state, root, origin, payload, live), origin, payload
        )

    def count(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        """Count a packed fact."""
        self._turn(
            state, root, lambda: self._machine.count(state, root, origin, payload, live), origin, payload
        )

    def unite(self, state: ShardState, root: bytes, live: Live, message: Absorb, muted: bool) -> None:
        """Add up two customers. `muted`: history brought them together."""
        profile_merge.sum_up(state, root, live, message, muted, self)

    def look_again(self, state: ShardState, root: bytes, retired: bytes, live: Live, muted: bool) -> None:
        """Derive what follows from figures that another customer brought, now or in a day."""
        if not self._turn(state, root, lambda: self._machine.look_again(state, root, retired, live, muted)):
            _postpone(state, root, live)

    def wake(self, state: ShardState, root: bytes, due: int) -> None:
        """Look at a customer whose timer is due, now or in a day."""
        live = state.live.get(root)
        done = self._turn(state, root, lambda: self._machine.wake(state, root, due))
        if not done and live is not None:
            _postpone(state, root, live)

    def _turn(
        self,
        state: ShardState,
        root: bytes,
        step: Callable[[], None],
        origin: bytes = b"",
        payload: bytes = b"",
    ) -> bool:
        """Take a turn, and return whether that was done. If it raises, take all of it back, and put it
        aside."""
        rules_of(state)  # a shard without rules is nobody's poison
        take_back = savepoint(state, root)
        try:
            step()
            live = state.live.get(root)
            if live is not None:
                encode(live.profile)  # a figure that outgrew 64 bits would only show at the commit
        except (MillraceError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is: it was a defect of ours, on this event
            take_back()
            self._put_aside(state, error, root, origin, payload)
            return False
        return True

    def _put_aside(
        self, state: ShardState, error: Exception, root: bytes, origin: bytes, payload: bytes
    ) -> None:
        """Write down what was raised and on what, and tell the worker, which counts it."""
        all_of_it = places(error)
        # no place of this module; unless there is no other, for then it was the check of what is written
        trace = [place for place in all_of_it if not place.startswith(__name__)] or all_of_it[-1:]
        put_aside = Quarantined(
            error=type(error).__name__,
            trace=trace,
            position=state.head.offset + 1,
            build=self._build,
            at_ms=state.head.clock_ms,
            root=root,
            origin=origin,
            payload=payload,
        )
        state.emit(LANE, put_aside)
        state.count("poisoned")
        try:
            fact = _decode_fact(payload)
        except ValueError:  # a timer; or that is what was wrong with it
            state.changes.poisoned.append(Poisoned(put_aside.where))
            return
        state.changes.poisoned.append(Poisoned(put_aside.where, fact.channel, fact.received_ms))
        _seal_user_id(state, root, origin, fact)


def _seal_user_id(state: ShardState, root: bytes, origin: bytes, fact: Fact) -> None:
    """Keep what the customer is to be called by: `resolve` says the plain value once, with the first event of
    a user, and no later one would bring it."""
    fact.sealed = {name: value for name, value in fact.sealed.items() if name == "user_id"}
    if fact.sealed:
        state.customer(root)
        seal(state, root, origin, fact, b"")


def savepoint(state: ShardState, root: bytes) -> Callable[[], None]:
    """Return the way back from all that one customer's turn may change. The customer stays the same object,
    which others hold."""
    live, sensitive = state.live.get(root), deepcopy(state.changes.sensitive.get(root))
    packed = None if live is None else encode(live.profile)
    changes, counters, head = state.changes.copy(), state.counters.copy(), deepcopy(state.head)

    def take_back() -> None:
        state.changes, state.counters, state.head = changes, counters, head
        if sensitive is None:
            changes.sensitive.pop(root, None)
        else:
            changes.sensitive[root] = sensitive
        if live is None or packed is None:
            state.live[root] = None
            return
        state.live[root] = live
        before = decode_profile(packed)
        for name in Profile.__struct_fields__:
            setattr(live.profile, name, getattr(before, name))
        live.total = sum_of(live.profile, rules_of(state))

    return take_back


def _postpone(state: ShardState, root: bytes, live: Live) -> None:
    """Look at the customer again in a day, not at every tick."""
    live.profile.indexed_ms = state.changes.timers[root] = state.head.clock_ms + REFRESH_MS
    state.changes.dirty.add(root)


def places(error: BaseException) -> list[str]:
    """Return where it was raised, the outermost first: `flows.logic.profile.fragments:31 add`. No messages
    and no values: they may be personal data."""
    found = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        found.append(f"{frame.f_globals.get('__name__', code.co_filename)}:{line} {code.co_name}")
    return found[-TRACE_MAX:]
