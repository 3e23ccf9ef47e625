"""How good predictions were: the figures of the `eval` commands, as a whole and by period."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]
Figures = dict[str, float]

_BINS = 10
_LEAST = 1e-15  # a prediction of exactly 0 or 1 that was wrong costs 34.5, not infinity
PERIODS = 12
_CALENDAR_MS = 315_532_800_000  # 1980


class Period(msgspec.Struct, frozen=True):
    """A stretch of the file, in order of time."""

    since: str
    count: int
    base_rate: float
    figures: dict[str, Figures]  # of the model and of each baseline


class Verdict(msgspec.Struct, frozen=True):
    """What a command found out."""

    title: str
    count: int  # predictions that were judged
    base_rate: float
    figures: Figures
    baselines: dict[str, Figures]
    learners: dict[str, Figures]  # those who learnt side by side
    periods: list[Period]
    reliability: list[tuple[float, float, int]]  # mean prediction, share of true answers, count
    notes: list[str]  # what was guessed, what was left out

    def flat(self) -> dict[str, object]:
        """For `--json`."""
        plain: dict[str, object] = dict(self.figures)
        plain |= {"count": self.count, "base_rate": self.base_rate, "baselines": self.baselines, "learners": self.learners}
        plain |= {"periods": msgspec.to_builtins(self.periods), "notes": self.notes}
        return plain


def figures(answers: NDArray[np.bool_], said: Array) -> Figures:
    """`auc` (absent while all answers are the same), `log_loss`, `brier`, `ece`."""
    held = np.clip(said, _LEAST, 1.0 - _LEAST)
    found = {
        "log_loss": float(-np.log(np.where(answers, held, 1.0 - held)).mean()),
        "brier": float(((said - answers) ** 2).mean()),
        "ece": _calibration_error(answers, said),
    }
    if answers.any() and not answers.all():
        found["auc"] = auc(answers, said)
    return found


def auc(answers: NDArray[np.bool_], said: Array) -> float:
    """How often a true answer was said to be likelier than a false one, ties counting half. Needs both answers."""
    trues = int(answers.sum())
    falses = len(answers) - trues
    return float((rankdata(said)[answers].sum() - trues * (trues + 1) / 2) / (trues * falses))


def _bins(said: Array) -> NDArray[np.int64]:
    return np.minimum((said * _BINS).astype(np.int64), _BINS - 1)


def _calibration_error(answers: NDArray[np.bool_], said: Array) -> float:
    """Expected calibration error over ten bins of equal width."""
    return float(np.abs(np.bincount(_bins(said), said - answers, _BINS)).sum() / len(said))


def reliability(answers: NDArray[np.bool_], said: Array) -> list[tuple[float, float, int]]:
    counts = np.bincount(_bins(said), minlength=_BINS)
    means, shares = np.bincount(_bins(said), said, _BINS), np.bincount(_bins(said), answers.astype(float), _BINS)
    return [(float(means[b] / counts[b]), float(shares[b] / counts[b]), int(counts[b])) for b in range(_BINS) if counts[b]]


def judge(
    title: str,
    at_ms: NDArray[np.int64],
    answers: NDArray[np.bool_],
    said: Array,
    baselines: dict[str, Array],
    learners: dict[str, Array],
    notes: Sequence[str],
) -> Verdict:
    """All predictions in order of time. Periods are of equal numbers of predictions, cut between two moments."""
    cuts = [*sorted({int(np.searchsorted(at_ms, at_ms[len(at_ms) * part // PERIODS])) for part in range(PERIODS)}), len(at_ms)]
    everyone = {"model": said, **baselines}
    periods = [
        Period(
            since=_day(int(at_ms[a])),
            count=b - a,
            base_rate=float(answers[a:b].mean()),
            figures={name: figures(answers[a:b], probabilities[a:b]) for name, probabilities in everyone.items()},
        )
        for a, b in pairwise(cuts)
    ]
    return Verdict(
        title=title,
        count=len(said),
        base_rate=float(answers.mean()),
        figures=figures(answers, said),
        baselines={name: figures(answers, probabilities) for name, probabilities in baselines.items()},
        learners={name: figures(answers, probabilities) for name, probabilities in learners.items()},
        periods=periods,
        reliability=reliability(answers, said),
        notes=list(notes),
    )


def _day(at_ms: int) -> str:
    """A day; for times that count from the file's own beginning (before 1980), hours."""
    if 0 <= at_ms < _CALENDAR_MS:
        return f"{at_ms / 3_600_000:.1f}h"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
