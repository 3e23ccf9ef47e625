"""What the models are compared with: batch models that are fitted again and again as a careful analyst
would, and BG/NBD."""

import warnings
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Array = NDArray[np.float64]

FIT_MOST = 300_000  # answered examples; of more, so many evenly spread over time


_HELD_OUT = 0.2  # the newest part of the answers, by which is chosen how many rounds trees have
_GROWTH = 0.1  # so many more answers are worth a new fit, while they are few
_LEAST = 25  # new answers
_ROUNDS: Final = 60  # of boosting, at most
_SEED = 1


class Batch(Protocol):
    """A model that is fitted from scratch on all answers known so far, in order of time."""

    refits: int  # over a whole file, at least: as many as one can wait for

    def fit(self, rows: Array, answers: NDArray[np.bool_]) -> None: ...

    def predict(self, rows: Array) -> Array: ...


def next_fit(known: int, rows: int, refits: int) -> int:
    """Return at how many known answers to fit a model again that was fitted on `known`: a tenth more, or one
    of `refits` parts of the file."""
    return known + max(min(int(known * _GROWTH), rows // refits), _LEAST)


class Refitted:
    """Scaled logistic regression (scikit-learn's defaults: to choose how strongly it is held back by so few
    answers made it worse). A value outside what it has seen counts as the last one it has seen."""

    refits = 52

    def __init__(self) -> None:
        self._scaler = StandardScaler()
        self._model: LogisticRegression | None = None
        self._rate = 0.5
        self._low = self._high = np.zeros(0)

    def fit(self, rows: Array, answers: NDArray[np.bool_]) -> None:
        rows, answers = _spread(rows, answers)
        self._rate = _rate(answers)
        self._model = None
        if answers.any() and not answers.all():
            self._low, self._high = rows.min(axis=0), rows.max(axis=0)
            scaled = self._scaler.fit_transform(rows)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                self._model = LogisticRegression(solver="newton-cholesky", max_iter=50).fit(scaled, answers)

    def predict(self, rows: Array) -> Array:
        """Return probabilities: the base rate while there was but one kind of answer."""
        if self._model is None:
            return np.full(len(rows), self._rate)
        seen = self._scaler.transform(np.clip(rows, self._low, self._high))
        return np.asarray(self._model.predict_proba(seen)[:, 1])


class Boosted:
    """Gradient boosting over histograms with as many rounds as would have been best for the newest fifth of
    the answers."""

    refits = 20

    def __init__(self) -> None:
        self._model: HistGradientBoostingClassifier | None = None
        self._rate = 0.5

    def fit(self, rows: Array, answers: NDArray[np.bool_]) -> None:
        rows, answers = _spread(rows, answers)
        self._rate = _rate(answers)
        cut = _cut(answers)
        self._model = None
        if cut is None:
            return
        tried = _trees(_ROUNDS).fit(rows[:cut], answers[:cut])
        losses = [_loss(answers[cut:], said[:, 1]) for said in tried.staged_predict_proba(rows[cut:])]
        if min(losses) < _loss(answers[cut:], np.full(len(answers) - cut, _rate(answers[:cut]))):
            self._model = _trees(int(np.argmin(losses)) + 1).fit(rows, answers)

    def predict(self, rows: Array) -> Array:
        """Return probabilities: the base rate while trees know no better."""
        if self._model is None:
            return np.full(len(rows), self._rate)
        return np.asarray(self._model.predict_proba(rows)[:, 1])


def _trees(rounds: int) -> HistGradientBoostingClassifier:
    settings: dict[str, Any] = {
        "learning_rate": 0.1,
        "max_leaf_nodes": 15,
        "early_stopping": False,
        "random_state": _SEED,
    }
    return HistGradientBoostingClassifier(max_iter=rounds, **settings)


def _cut(answers: NDArray[np.bool_]) -> int | None:
    """Where the newest part of the answers begins; None unless both parts have both kinds."""
    cut = int(len(answers) * (1.0 - _HELD_OUT))
    both = all(part.any() and not part.all() for part in (answers[:cut], answers[cut:]))
    return cut if both else None


def _loss(answers: NDArray[np.bool_], said: Array) -> float:
    held = np.clip(said, 1e-6, 1.0 - 1e-6)
    return float(-np.log(np.where(answers, held, 1.0 - held)).mean())


def _rate(answers: NDArray[np.bool_]) -> float:
    """The share of true answers, never quite none nor all (Laplace): what has not been seen yet is not
    impossible."""
    return (float(answers.sum()) + 1.0) / (len(answers) + 2.0)


def _spread(rows: Array, answers: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    if len(rows) <= FIT_MOST:
        return rows, answers
    spread = np.linspace(0, len(rows) - 1, FIT_MOST).astype(np.int64)
    return rows[spread], answers[spread]


class BgNbd:
    """Fader, Hardie and Lee 2005, "Counting your customers" the easy way: an alternative to the Pareto/NBD
    model.

    Purchases come with a rate that is Gamma(r, alpha) among customers; after each one a customer leaves with
    a probability that is Beta(a, b). What is predicted is no purchase in the next `t`, not P(alive), which is
    1 for all who bought once: 1 - P(alive) + P(alive) · ((alpha + T) / (alpha + T + t)) ** (r + x), for the
    rate of one who is alive is Gamma(r + x, alpha + T).
    """

    def __init__(self) -> None:
        self._logs = np.log([0.5, 5.0, 0.8, 2.5])  # r, alpha, a, b; each fit begins where the last one ended

    def fit(self, repeats: Array, last: Array, age: Array) -> None:
        """Fit by maximum likelihood. Of each customer: repeat purchases x, time t_x of the last one and T of
        now, both since the first one."""
        unique, counts = np.unique(np.c_[repeats, last, age], axis=0, return_counts=True)
        x, t_x, total = unique.T

        def minus_log_likelihood(logs: Array) -> float:
            r, alpha, a, b = np.exp(logs)
            start = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
            stays = betaln(a, b + x) - betaln(a, b) - (r + x) * np.log(alpha + total)
            left = (
                betaln(a + 1.0, b + np.maximum(x, 1.0) - 1.0) - betaln(a, b) - (r + x) * np.log(alpha + t_x)
            )
            likely = start + np.where(x > 0.0, np.logaddexp(stays, left), stays)
            return float(-(counts * likely).sum() / counts.sum() + 1e-3 * (logs**2).sum() / counts.sum())

        found = minimize(
            minus_log_likelihood,
            self._logs,
            method="L-BFGS-B",
            bounds=[(-9.0, 9.0)] * 4,
            options={"maxiter": 100},
        )
        if np.isfinite(found.fun):
            self._logs = found.x

    def silent(self, repeats: Array, last: Array, age: Array, ahead: float) -> Array:
        """Return the probability of no purchase in the next `ahead`."""
        r, alpha, a, b = np.exp(self._logs)
        left = np.where(
            repeats > 0.0,
            a / (b + np.maximum(repeats, 1.0) - 1.0) * ((alpha + age) / (alpha + last)) ** (r + repeats),
            0.0,
        )
        alive = 1.0 / (1.0 + left)
        return np.asarray(1.0 - alive + alive * ((alpha + age) / (alpha + age + ahead)) ** (r + repeats))
