"""What a batch changes is one object: a copy of it goes on by itself, whatever it comes to hold."""

from typing import Any

import msgspec
import pytest

from flows.logic.shard.changes import Changes, Poisoned
from flows.logic.shard.quarantine import savepoint
from flows.logic.shard.state import ShardState
from schemas.records.customer_profile import Head, Sensitive
from schemas.records.outbox_lanes import Lane
from tests.world import compiled

ROOT = b"r" * 12
CHANGED: dict[str, Any] = {
    "dirty": {ROOT},
    "deleted": {ROOT},
    "sensitive": {ROOT: Sensitive()},
    "sensitive_dirty": {ROOT},
    "histories": {ROOT: b"x"},
    "histories_set": {ROOT},
    "histories_more": {ROOT: b"x"},
    "due": [(1, ROOT)],
    "timers": {ROOT: 1},
    "outbox": [("t", 1, b"x")],
    "poisoned": [Poisoned("KeyError at a")],
    "applied": 1,
    "duplicates": 1,
    "repeats": 1,
    "came": {"web": 1},
    "stated": [("web", "city", "ok")],
    "fired": [("each", 1)],
    "chosen": [("call", "best")],
    "rewarded": ["counted"],
    "settled": False,
}


@pytest.mark.parametrize("name", Changes.__struct_fields__)
def test_a_copy_shares_no_container(name: str) -> None:
    changes = msgspec.structs.replace(Changes(), **{name: CHANGED[name]})
    made = changes.copy()
    assert made == changes
    if hasattr(CHANGED[name], "clear"):
        getattr(made, name).clear()
    else:
        setattr(made, name, None)
    assert getattr(changes, name) == CHANGED[name]
    assert made != changes


def test_the_way_back_takes_all_of_a_turn_back() -> None:
    state = ShardState(0, Head(), {})
    state.rules = compiled("")
    take_back = savepoint(state, ROOT)
    for name, value in CHANGED.items():
        setattr(state.changes, name, value)
    state.customer(ROOT)
    state.emit(Lane.TRIGGERS, {})
    take_back()
    assert state.changes == Changes()
    assert (state.counters, state.head, state.live) == ({}, Head(), {ROOT: None})
