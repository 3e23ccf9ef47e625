"""Room in the outboxes: a shard never waits for who waits for it, and who waits says for whom."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from flows.lab.simulate import scheduler
from flows.lab.simulate.scheduler import simulate
from flows.runtime.outbox_room import SAY_AFTER_S, SAY_EVERY_S, Room
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Example
from state.memory.memory_shards import MemoryShards
from state.shards.shard_protocols import ShardCommit

MOST = 3
SECOND = 1_000


def example(second: int) -> bytes:
    return msgspec.msgpack.encode(Example("churn", b"r" * 12, 0, second * SECOND, [], None, 0, 1.0))


class Outboxes:
    """Some shards with entries in their lanes, and a clock."""

    def __init__(self) -> None:
        self.store = MemoryShards(2)
        self.now = 0.0
        self.room = Room(self.store, MOST, lambda: self.now)

    def emit(self, shard: int, lane: str, *bodies: bytes) -> None:
        head = self.store.heads()[shard]
        begun = head.outbox.get(lane, 0)
        after = head.copy()
        after.outbox = head.outbox | {lane: begun + len(bodies)}
        entries = [(lane, begun + at, body) for at, body in enumerate(bodies, 1)]
        self.store.commit([ShardCommit(shard, head, after, {}, {}, {}, {}, entries)], 1)

    def full(self, clocks_s: Mapping[int, int]) -> set[int]:
        return self.room.full({shard: second * SECOND for shard, second in clocks_s.items()})


@pytest.fixture
def outboxes() -> Outboxes:
    return Outboxes()


@pytest.mark.parametrize("lane", [Lane.TRIGGERS, Lane.ABSORBS, Lane.EXAMPLES])
def test_a_shard_with_a_full_lane_waits(outboxes: Outboxes, lane: str) -> None:
    outboxes.emit(0, lane, *[example(6)] * (MOST - 1))
    assert outboxes.full({0: 7, 1: 7}) == set()
    outboxes.emit(0, lane, example(7))
    assert outboxes.full({0: 7, 1: 7}) == {0}


def test_examples_of_a_second_that_goes_on_are_no_reason_to_wait(outboxes: Outboxes) -> None:
    """Nobody can take them before its end."""
    outboxes.emit(0, Lane.EXAMPLES, *[example(7)] * (2 * MOST))
    assert outboxes.full({0: 7, 1: 9}) == set()
    assert outboxes.full({0: 8, 1: 9}) == {0}, "now learn can"
    outboxes.emit(0, Lane.TRIGGERS, *[b""] * MOST)
    assert outboxes.full({0: 7, 1: 9}) == {0}, "another lane is full as well"


def test_what_learn_passes_over_is_waited_for(outboxes: Outboxes) -> None:
    outboxes.emit(0, Lane.EXAMPLES, *[b"?"] * MOST)
    assert outboxes.full({0: 7, 1: 7}) == {0}


def test_who_waits_says_for_whom_within_ten_seconds_and_not_all_the_time(outboxes: Outboxes) -> None:
    outboxes.emit(1, Lane.TRIGGERS, *[b""] * (MOST + 1))
    outboxes.store.advance(Lane.TRIGGERS, "crm", {1: 3})
    outboxes.store.advance(Lane.TRIGGERS, "mail", {1: 1})
    outboxes.emit(0, Lane.EXAMPLES, *[example(6)] * MOST)
    said: list[Any] = []
    with capture_logs() as lines:
        for second in range(int(SAY_EVERY_S) + 20):
            outboxes.now = float(second)
            assert outboxes.full({0: 7, 1: 7}) == {0, 1}
            said += [
                (second, line["shard"], line["behind"], line["entries"])
                for line in lines
                if line["event"] == "shard_waits"
            ]
            lines.clear()
    first = int(SAY_AFTER_S)
    assert first < 10
    assert said == [
        (at, *what)
        for at in (first, first + int(SAY_EVERY_S))
        for what in ((0, "learn", 3), (1, "deliver mail", 4))
    ]


def test_a_shard_that_had_room_in_between_has_not_waited(outboxes: Outboxes) -> None:
    with capture_logs() as lines:
        for second in range(60):
            outboxes.now = float(second)
            if second % 4 == 0:
                outboxes.emit(0, Lane.TRIGGERS, *[b""] * MOST)
            if second % 4 == 3:
                outboxes.store.outbox[0, Lane.TRIGGERS].clear()
            outboxes.full({0: 7})
    assert lines == []


@pytest.mark.parametrize("most", [1, 3])
def test_however_small_the_limit_is_everything_comes_to_rest(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """`learn` waits for the end of a second, and the shard for room: with workers that die, and are
    replaced."""
    monkeypatch.setattr(scheduler, "PLENTY", most)
    monkeypatch.setattr(scheduler, "World", lambda log_max: World(log_max=10_000))
    for seed in range(3):
        outcome = simulate(seed)
        assert outcome.problems == ()
        assert outcome.triggers


World = scheduler.World
