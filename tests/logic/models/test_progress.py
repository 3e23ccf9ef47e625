"""How good predictions were, against a naive form and against River."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics

from flows.logic.models.progress import Progress


class TestProgress:
    answers = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60)

    @given(answers)
    def test_figures_equal_the_naive_ones(self, answers: list[tuple[bool, float]]) -> None:
        figures = Progress(answers).figures()
        n = len(answers)
        assert figures["brier"] == pytest.approx(sum((p - y) ** 2 for y, p in answers) / n)
        assert figures["base_rate"] == pytest.approx(sum(y for y, _ in answers) / n)
        by_river = metrics.LogLoss()
        for y, p in answers:
            by_river.update(y, p)
        assert figures["log_loss"] == pytest.approx(by_river.get(), rel=1e-4, abs=1e-9)
        ece = 0.0
        for low in range(10):
            members = [(y, p) for y, p in answers if low == min(9, int(p * 10))]
            if members:
                share = sum(y for y, _ in members) / len(members)
                said = sum(p for _, p in members) / len(members)
                ece += len(members) / n * abs(share - said)
        assert figures["ece"] == pytest.approx(ece)
        pairs = [(p, q) for y, p in answers if y for z, q in answers if not z]
        if pairs:
            assert figures["auc"] == pytest.approx(
                sum((p > q) + 0.5 * (p == q) for p, q in pairs) / len(pairs)
            )
        else:
            assert "auc" not in figures

    def test_only_the_window_counts(self) -> None:
        answers = [(True, i / 100) for i in range(100)]
        assert Progress(answers, window=10).figures() == Progress(answers[-10:]).figures()

    def test_nothing_is_said_of_nothing(self) -> None:
        assert Progress().figures() == {}
