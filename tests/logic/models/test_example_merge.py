"""The order of examples, against a naive form of itself."""

import random

from hypothesis import given
from hypothesis import strategies as st

from flows.logic.models.example_merge import Merge


class TestMerge:
    lanes = st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=4)

    @staticmethod
    def naive(lanes: list[list[int]], before: int) -> list[tuple[int, int, int]]:
        """All items at once, sorted by (tick, shard, seq), with ticks made non-decreasing within a shard."""
        items = []
        for shard, ticks in enumerate(lanes):
            items += [(max(ticks[: seq + 1]), shard, seq + 1) for seq in range(len(ticks))]
        return [item for item in sorted(items) if item[0] < before]

    @given(lanes, st.integers(0, 2**32))
    def test_any_reading_and_any_restart_give_the_one_order(self, lanes: list[list[int]], seed: int) -> None:
        luck, clock, taken = random.Random(seed), 0, []
        merge: Merge[tuple[int, int]] = Merge(range(len(lanes)), {})
        for _ in range(500):
            clock = luck.randint(clock, 10)
            count = luck.randint(1, 5)
            if luck.random() < 0.3:  # killed: only positions and tick are left
                merge = Merge(range(len(lanes)), merge.positions, merge.tick)
            drained = set()
            for shard, after in merge.reading(count).items():
                # a lane shows what was emitted up to now: all of complete ticks, perhaps some of later ones
                complete = max((seq for seq, tick in enumerate(lanes[shard], 1) if tick < clock), default=0)
                shown = list(enumerate(lanes[shard], 1))[: luck.randint(complete, len(lanes[shard]))]
                found = shown[after : after + count]
                for seq, tick in found:
                    assert merge.add(shard, seq, tick, (shard, seq)) == 0
                if len(found) < count:
                    drained.add(shard)
            taken += merge.take(clock, frozenset(drained), luck.randint(1, 8))
            if len(taken) == sum(map(len, lanes)):
                break
        expected = self.naive(lanes, 10)
        assert taken == [(shard, seq) for _, shard, seq in expected]
        assert merge.tick == (expected[-1][0] if expected else 0)

    def test_nothing_is_taken_while_a_lane_may_hold_earlier_ones(self) -> None:
        merge: Merge[str] = Merge([0, 1], {})
        merge.add(0, 1, 5, "a")
        assert merge.take(9, frozenset({0}), 10) == []
        merge.add(1, 1, 4, "b")
        assert merge.take(9, frozenset({0}), 10) == ["b"]  # shard 1 may hold more of tick 4 or 5
        assert merge.take(9, frozenset({0, 1}), 10) == ["a"]

    def test_a_tick_that_is_not_complete_waits(self) -> None:
        merge: Merge[str] = Merge([0], {})
        merge.add(0, 1, 5, "a")
        assert merge.take(5, frozenset({0}), 10) == []
        assert merge.take(6, frozenset({0}), 10) == ["a"]

    def test_missing_sequences_are_told_and_repeats_are_ignored(self) -> None:
        merge: Merge[str] = Merge([0], {0: 3})
        assert merge.add(0, 3, 1, "seen") == 0
        assert merge.add(0, 7, 1, "a") == 3
        assert merge.take(2, frozenset({0}), 10) == ["a"]
        assert merge.positions == {0: 7}
