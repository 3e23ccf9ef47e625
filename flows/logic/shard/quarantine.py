"""A net under each customer's turn: what logic raises on is put aside, and the shard goes on as if it had
never come.

A worker takes `Careful` instead of `ShardMachine` when something has raised, from the shard's last commit on;
until then nobody pays for the net. What it does to good facts is the same, so a log gives the same state
whatever its batches were.
"""

import traceback
from collections.abc import Callable
from copy import copy, deepcopy
from typing import Final

import msgspec

from flows.logic.facets.timers import REFRESH_MS
from flows.logic.shard.machine import ShardMachine
from flows.logic.shard.state import Live, Poisoned, ShardState, decode_profile, encode, rules_of, sum_of
from schemas.errors import MillraceError
from schemas.records.customer_profile import Profile
from schemas.records.outbox_lanes import Lane
from schemas.wire.events import Fact, Quarantined

_decode_fact = msgspec.msgpack.Decoder(Fact).decode

LANE: Final = Lane.QUARANTINE
TRACE_MAX: Final = 20  # places, the innermost; a recursion has thousands
_CHANGED: Final = (
    *(
        "applied",
        "came",
        "chosen",
        "counters",
        "deleted",
        "dirty",
        "duplicates",
        "fired",
        "outbox",
        "past",
        "past_changed",
        "past_more",
    ),
    *("repeats", "rewarded", "sensitive_dirty", "stated", "timers"),
)


class Careful(ShardMachine):
    """`build`: the version of millrace, which the quarantine notes."""

    def __init__(self, machine: ShardMachine, build: str) -> None:
        super().__init__(machine._rules_of, machine._scorer_of)
        self._build = build

    def _fact(self, state: ShardState, root: bytes, origin: bytes, payload: bytes) -> None:
        self._turn(
            state, root, lambda: ShardMachine._fact(self, state, root, origin, payload), origin, payload
        )

    def add(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        self._turn(
            state, root, lambda: ShardMachine.add(self, state, root, origin, payload, live), origin, payload
        )

    def count(self, state: ShardState, root: bytes, origin: bytes, payload: bytes, live: Live) -> None:
        self._turn(
            state, root, lambda: ShardMachine.count(self, state, root, origin, payload, live), origin, payload
        )

    def look_again(self, state: ShardState, root: bytes, retired: bytes, live: Live, muted: bool) -> None:
        if not self._turn(
            state, root, lambda: ShardMachine.look_again(self, state, root, retired, live, muted)
        ):
            _postpone(state, root, live)

    def wake(self, state: ShardState, root: bytes, due: int) -> None:
        live = state.live.get(root)
        if (
            not self._turn(state, root, lambda: ShardMachine.wake(self, state, root, due))
            and live is not None
        ):
            _postpone(state, root, live)

    def _keep(self, state: ShardState, found: Quarantined) -> None:
        """For the worker, which counts it; and of the event what the customer is to be called by."""
        try:
            fact = _decode_fact(found.payload)
        except ValueError:  # a timer; or that is what was wrong with it
            state.poisoned.append(Poisoned(found.where))
            return
        state.poisoned.append(Poisoned(found.where, fact.channel, fact.received_ms))
        self._seal_user_id(state, found, fact)

    def _seal_user_id(self, state: ShardState, found: Quarantined, fact: Fact) -> None:
        """`resolve` says the plain value once, with the first event of a user: no later one would bring
        it."""
        fact.sealed = {name: value for name, value in fact.sealed.items() if name == "user_id"}
        if fact.sealed:
            state.customer(found.root)
            self._seal(state, found.root, found.origin, fact, b"")

    def _turn(
        self,
        state: ShardState,
        root: bytes,
        step: Callable[[], None],
        origin: bytes = b"",
        payload: bytes = b"",
    ) -> bool:
        """Do it; if it raises, take all of it back, and put it aside. Whether it was done."""
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
            all_of_it = places(error)
            trace = [place for place in all_of_it if not place.startswith(__name__)] or all_of_it[
                -1:
            ]  # none of its own: written below
            position, now = state.head.offset + 1, state.head.clock_ms
            put_aside = Quarantined(
                type(error).__name__, trace, position, self._build, now, root, origin, payload
            )
            state.emit(LANE, put_aside)
            state.count("poisoned")
            self._keep(state, put_aside)
            return False
        return True


def savepoint(state: ShardState, root: bytes) -> Callable[[], None]:
    """Gives the way back for all that one customer's turn may change. The customer stays the same object,
    which others hold."""
    live, sensitive = state.live.get(root), deepcopy(state.sensitive.get(root))
    packed = None if live is None else encode(live.profile)
    changed = {name: copy(getattr(state, name)) for name in _CHANGED}
    head = deepcopy(state.head)

    def take_back() -> None:
        for name, value in changed.items():
            setattr(state, name, value)
        state.head = head
        if sensitive is None:
            state.sensitive.pop(root, None)
        else:
            state.sensitive[root] = sensitive
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
    live.profile.indexed_ms = state.timers[root] = state.head.clock_ms + REFRESH_MS
    state.dirty.add(root)


def places(error: BaseException) -> list[str]:
    """Where it was raised, the outermost first: `flows.logic.profile.fragments:31 add`. No messages and no
    values: they may be personal data."""
    found = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        found.append(f"{frame.f_globals.get('__name__', code.co_filename)}:{line} {code.co_name}")
    return found[-TRACE_MAX:]
