"""Backoff, breaker and cursors, against a clock that is a number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.delivery import Backoff, Breaker, BreakerPolicy, Progress, Waiting

POLICY = BreakerPolicy(failures=3, rest_ms=1_000)


def opened(at_ms: float = 0.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(POLICY.failures):
        breaker.failed(at_ms)
    return breaker


class TestBackoff:
    def test_doubles_up_to_the_maximum(self) -> None:
        backoff = Backoff(base_ms=500, max_ms=3_000)
        assert [backoff.delay_ms(attempt, 1.0) for attempt in (1, 2, 3, 4, 5)] == [
            500,
            1_000,
            2_000,
            3_000,
            3_000,
        ]

    def test_jitter_is_full(self) -> None:
        backoff = Backoff(base_ms=500, max_ms=3_000)
        assert backoff.delay_ms(3, 0.0) == 0
        assert backoff.delay_ms(3, 0.25) == 500

    def test_no_attempt_is_too_many(self) -> None:
        assert Backoff(base_ms=500, max_ms=300_000).delay_ms(1_000_000, 1.0) == 300_000


class TestBreaker:
    def test_closed_lets_all_go(self) -> None:
        breaker = Breaker(POLICY)
        assert breaker.admit(0, 50) == 50
        assert breaker.wait_ms(0) == 0

    def test_opens_after_failures_in_a_row(self) -> None:
        breaker = Breaker(POLICY)
        for _ in range(2):
            breaker.failed(0)
        assert not breaker.is_open
        breaker.failed(0)
        assert breaker.is_open
        assert breaker.admit(999, 50) == 0
        assert breaker.wait_ms(400) == 600

    def test_a_success_in_between_starts_the_count_again(self) -> None:
        breaker = Breaker(POLICY)
        for _ in range(10):
            breaker.failed(0)
            breaker.failed(0)
            breaker.succeeded()
        assert not breaker.is_open

    def test_one_probe_after_the_rest(self) -> None:
        breaker = opened()
        assert breaker.admit(1_000, 50) == 1
        assert breaker.admit(1_000, 50) == 0
        assert breaker.wait_ms(5_000) is None, "only the probe can tell"

    def test_asking_for_nothing_is_no_probe(self) -> None:
        breaker = opened()
        assert breaker.admit(1_000, 0) == 0
        assert breaker.admit(1_000, 50) == 1

    def test_a_probe_that_succeeds_closes_it(self) -> None:
        breaker = opened()
        breaker.admit(1_000, 1)
        breaker.succeeded()
        assert not breaker.is_open
        assert breaker.admit(1_000, 50) == 50

    def test_a_probe_that_fails_gives_another_rest(self) -> None:
        breaker = opened()
        breaker.admit(1_500, 1)
        breaker.failed(1_500)
        assert breaker.wait_ms(1_500) == 1_000
        assert breaker.admit(2_500, 50) == 1

    def test_calls_that_began_earlier_do_not_prolong_the_rest(self) -> None:
        breaker = opened()
        breaker.failed(900)
        assert breaker.wait_ms(900) == 100

    def test_a_pause_that_the_receiver_asks_for_counts_at_once(self) -> None:
        breaker = Breaker(POLICY)
        breaker.failed(0, pause_ms=7_000)
        assert breaker.wait_ms(0) == 7_000
        assert breaker.admit(7_000, 50) == 1

    def test_a_shorter_pause_does_not_cut_a_longer_one(self) -> None:
        breaker = Breaker(POLICY)
        breaker.failed(0, pause_ms=7_000)
        breaker.failed(10, pause_ms=1_000)
        assert breaker.wait_ms(10) == 6_990

    @pytest.mark.parametrize("pause_ms", [0, -5])
    def test_a_pause_of_nothing_does_not_switch_it_off(self, pause_ms: float) -> None:
        breaker = Breaker(POLICY)
        breaker.failed(0, pause_ms)
        assert not breaker.is_open, "one failure is not three"
        breaker.failed(0, pause_ms)
        breaker.failed(0, pause_ms)
        assert breaker.wait_ms(0) == POLICY.rest_ms
        assert breaker.admit(1_000, 50) == 1
        breaker.failed(1_000, pause_ms)
        assert breaker.wait_ms(1_000) == POLICY.rest_ms, "the probe failed"


class TestProgress:
    def test_the_cursor_waits_for_the_lowest(self) -> None:
        progress = Progress(cursor=10)
        for seq in (11, 12, 13):
            progress.take(seq)
        progress.finish(13)
        progress.finish(12)
        assert progress.cursor == 10
        assert progress.span == 3
        progress.finish(11)
        assert progress.cursor == 13
        assert progress.span == 0

    def test_sequences_that_were_trimmed_away_are_passed(self) -> None:
        progress = Progress(cursor=0)
        for seq in (500, 502):
            progress.take(seq)
        progress.finish(502)
        assert progress.cursor == 0
        progress.finish(500)
        assert progress.cursor == 502

    @given(
        seqs=st.lists(st.integers(1, 300), unique=True, min_size=1), order=st.randoms(use_true_random=False)
    )
    def test_equals_the_naive_definition(self, seqs: list[int], order) -> None:
        """The highest taken one below which nothing is unfinished, after each step of any order."""
        seqs.sort()
        progress = Progress(cursor=0)
        for seq in seqs:
            progress.take(seq)
        unfinished = list(seqs)
        for seq in order.sample(seqs, len(seqs)):
            progress.finish(seq)
            unfinished.remove(seq)
            assert progress.cursor == max((s for s in seqs if all(s < u for u in unfinished)), default=0)


class TestWaiting:
    def test_earliest_first_and_only_what_is_due(self) -> None:
        waiting: Waiting[str] = Waiting()
        waiting.push(30, 1, "later")
        waiting.push(10, 2, "soon")
        waiting.push(0, 3, "now")
        assert waiting.pop(10, 5) == ["now", "soon"]
        assert waiting.wait_ms(10) == 20
        assert len(waiting) == 1

    def test_rank_orders_what_is_due_together(self) -> None:
        waiting: Waiting[str] = Waiting()
        for rank in (3, 1, 2):
            waiting.push(0, rank, f"n{rank}")
        assert waiting.pop(0, 2) == ["n1", "n2"]

    def test_clear_gives_all(self) -> None:
        waiting: Waiting[str] = Waiting()
        waiting.push(99, 2, "b")
        waiting.push(0, 1, "a")
        assert waiting.clear() == ["a", "b"]
        assert waiting.wait_ms(0) is None

    @pytest.mark.parametrize("count", [0, 1])
    def test_never_more_than_asked_for(self, count: int) -> None:
        waiting: Waiting[str] = Waiting()
        waiting.push(0, 1, "a")
        waiting.push(0, 2, "b")
        assert len(waiting.pop(0, count)) == count
