"""How good predictions were: the figures of the `eval` commands, as a whole and by period."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from flows.lab.evaluate.tops import Top, tops
from schemas.bilingual import Words

Array = NDArray[np.float64]
Figures = dict[str, float]
Kind = Literal["churn", "propensity", "anomaly"]

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

    kind: Kind
    title: Words
    subject: Words  # what a true answer says, such as `not bought again within 30 days`
    data: Words  # what it was judged on
    count: int  # predictions that were judged
    units: int  # whose they are: customers, or rows
    units_true: int  # of them those with a true answer
    units_false: int
    base_rate: float
    figures: Figures
    baselines: dict[str, Figures]
    learners: dict[str, Figures]  # those who learnt side by side
    periods: list[Period]
    reliability: list[tuple[float, float, int]]  # mean prediction, share of true answers, count
    tops: dict[str, Top]  # of the model, and of each baseline: what acting on those ranked first brings
    notes: list[Words]  # what was guessed, what was left out

    def flat(self) -> dict[str, object]:
        """Return it for `--json`."""
        plain: dict[str, object] = dict(self.figures)
        plain |= {
            "count": self.count,
            "base_rate": self.base_rate,
            "baselines": self.baselines,
            "learners": self.learners,
        }
        plain |= {"periods": msgspec.to_builtins(self.periods), "notes": [note.en for note in self.notes]}
        plain |= {"top_tenth": {name: _top(top) for name, top in self.tops.items()}}
        return plain


def _top(top: Top) -> dict[str, object]:
    edges = {"over_chance": top.over_chance, "millrace_over_it": top.behind}
    found: dict[str, object] = {"rate": top.rate, "found": top.found}
    return found | {
        name: [edge.value, edge.low, edge.high] for name, edge in edges.items() if edge is not None
    }


def losses(answers: NDArray[np.bool_], said: Array) -> Array:
    """Return the log-loss of each."""
    held = np.clip(said, _LEAST, 1.0 - _LEAST)
    return -np.log(np.where(answers, held, 1.0 - held))


def figures(answers: NDArray[np.bool_], said: Array) -> Figures:
    """Return `auc` (absent while all answers are the same), `log_loss`, `brier`, `ece`."""
    found = {
        "log_loss": float(losses(answers, said).mean()),
        "brier": float(((said - answers) ** 2).mean()),
        "ece": _calibration_error(answers, said),
    }
    if answers.any() and not answers.all():
        found["auc"] = auc(answers, said)
    return found


def auc(answers: NDArray[np.bool_], said: Array) -> float:
    """Return how often a true answer was said to be likelier than a false one, ties counting half. Needs both
    answers."""
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
    means = np.bincount(_bins(said), said, _BINS)
    shares = np.bincount(_bins(said), answers.astype(float), _BINS)
    return [
        (float(means[b] / counts[b]), float(shares[b] / counts[b]), int(counts[b]))
        for b in range(_BINS)
        if counts[b]
    ]


class Case(msgspec.Struct, frozen=True):
    """What was asked, in words, and of whom."""

    kind: Kind
    title: Words
    subject: Words
    data: Words
    at_ms: NDArray[np.int64]  # of each prediction
    units: NDArray[np.int64]  # whose it is
    moments: bool  # whether many are asked about at one moment, so that a list is drawn up at each
    day: Callable[[int], str]  # how a time is written


def judge(
    case: Case,
    answers: NDArray[np.bool_],
    said: Array,
    baselines: dict[str, Array],
    learners: dict[str, Array],
    notes: Sequence[Words],
) -> Verdict:
    """Judge all predictions in order of time. Periods are of equal numbers of predictions, cut between two
    moments."""
    at_ms = case.at_ms
    cuts = [
        *sorted(
            {int(np.searchsorted(at_ms, at_ms[len(at_ms) * part // PERIODS])) for part in range(PERIODS)}
        ),
        len(at_ms),
    ]
    everyone = {"model": said, **baselines}
    periods = [
        Period(
            since=case.day(int(at_ms[a])),
            count=b - a,
            base_rate=float(answers[a:b].mean()),
            figures={
                name: figures(answers[a:b], probabilities[a:b]) for name, probabilities in everyone.items()
            },
        )
        for a, b in pairwise(cuts)
    ]
    lists = at_ms if case.moments else np.repeat(np.arange(len(periods)), np.diff(cuts))
    return Verdict(
        kind=case.kind,
        title=case.title,
        subject=case.subject,
        data=case.data,
        count=len(said),
        units=len(np.unique(case.units)),
        units_true=len(np.unique(case.units[answers])),
        units_false=len(np.unique(case.units[~answers])),
        base_rate=float(answers.mean()),
        figures=figures(answers, said),
        baselines={name: figures(answers, probabilities) for name, probabilities in baselines.items()},
        learners={name: figures(answers, probabilities) for name, probabilities in learners.items()},
        periods=periods,
        reliability=reliability(answers, said),
        tops=tops(
            lists,
            case.units,
            answers,
            everyone,
            {name: losses(answers, values) for name, values in everyone.items()},
        ),
        notes=list(notes),
    )


def day(at_ms: int) -> str:
    """Name a day; for times that count from the file's own beginning (before 1980), hours."""
    if 0 <= at_ms < _CALENDAR_MS:
        return f"{at_ms / 3_600_000:.1f}h"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
