"""How good predictions were, over the last `WINDOW` answers. Each was made before its answer was learnt."""

from collections import deque
from collections.abc import Iterable
from itertools import groupby
from math import log

WINDOW = 1_000  # answers; bounds memory, and forgets what the model was like long ago
_BINS = 10
_PROBABILITY_LEAST = 1e-15  # a prediction of exactly 0 or 1 that was wrong costs 34.5, not infinity


class Progress:
    """A ring of (answer, predicted probability). The figures are computed when asked for, so nothing can
    drift."""

    def __init__(self, answers: Iterable[tuple[bool, float]] = (), window: int = WINDOW) -> None:
        self._ring: deque[tuple[bool, float]] = deque(answers, maxlen=window)

    def add(self, answer: bool, predicted: float) -> None:
        """Count one answer with the prediction before it."""
        self._ring.append((answer, predicted))

    def answers(self) -> list[tuple[bool, float]]:
        """Return all that is remembered, oldest first: `Progress(answers)` is this one again."""
        return list(self._ring)

    def figures(self) -> dict[str, float]:
        """Return `log_loss`, `brier` and `ece` (lower is better), `auc` (0.5 is chance), `base_rate`.

        Empty before the first answer; `auc` is absent while all answers are the same.
        """
        if not self._ring:
            return {}
        count = len(self._ring)
        likely = sum(log(max(p if answer else 1.0 - p, _PROBABILITY_LEAST)) for answer, p in self._ring)
        figures = {
            "log_loss": -likely / count,
            "brier": sum((p - answer) ** 2 for answer, p in self._ring) / count,
            "ece": _calibration_error(self._ring),
            "base_rate": sum(answer for answer, _ in self._ring) / count,
        }
        if 0.0 < figures["base_rate"] < 1.0:
            figures["auc"] = _area_under_curve(self._ring)
        return figures

    def reliability(self) -> list[tuple[float, float, int]]:
        """Return the reliability diagram: of each of ten bins that is not empty (mean prediction, share of
        true answers, count)."""
        members: list[list[tuple[bool, float]]] = [[] for _ in range(_BINS)]
        for answer, predicted in self._ring:
            members[min(int(predicted * _BINS), _BINS - 1)].append((answer, predicted))
        diagram = []
        for found in filter(None, members):
            mean = sum(p for _, p in found) / len(found)
            share = sum(y for y, _ in found) / len(found)
            diagram.append((mean, share, len(found)))
        return diagram


def _calibration_error(answers: Iterable[tuple[bool, float]]) -> float:
    """Return the expected calibration error over ten bins of equal width (Guo et al., On Calibration of
    Modern Neural Networks, 2017)."""
    surplus = [0.0] * _BINS
    count = 0
    for answer, predicted in answers:
        surplus[min(int(predicted * _BINS), _BINS - 1)] += predicted - answer
        count += 1
    return sum(map(abs, surplus)) / count


def _area_under_curve(answers: Iterable[tuple[bool, float]]) -> float:
    """Return how often a true answer was predicted higher than a false one, ties counting half (the
    Mann-Whitney statistic).

    River's `RollingROCAUC` gives 0 for some ties, so it is not used. Needs both answers.
    """
    trues = falses = 0
    won = 0.0
    for _, tied in groupby(sorted(answers, key=_predicted), key=_predicted):
        among = [answer for answer, _ in tied]
        hits = sum(among)
        misses = len(among) - hits
        won += hits * (falses + misses / 2)
        trues, falses = trues + hits, falses + misses
    return won / (trues * falses)


def _predicted(answer: tuple[bool, float]) -> float:
    return answer[1]
