"""What the models are compared with: a batch logistic regression that is fitted anew again and again, and BG/NBD."""

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Array = NDArray[np.float64]

FIT_MOST = 300_000  # answered examples; of more, so many evenly spread over time


class Refitted:
    """Scaled logistic regression (scikit-learn's defaults), from scratch on all answers known so far."""

    def __init__(self) -> None:
        self._scaler = StandardScaler()
        self._model: LogisticRegression | None = None
        self._rate = 0.5

    def fit(self, rows: Array, answers: NDArray[np.bool_]) -> None:
        if len(rows) > FIT_MOST:
            spread = np.linspace(0, len(rows) - 1, FIT_MOST).astype(np.int64)
            rows, answers = rows[spread], answers[spread]
        self._rate = float(answers.mean()) if len(answers) else 0.5
        self._model = None
        if 0.0 < self._rate < 1.0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                self._model = LogisticRegression(solver="newton-cholesky", max_iter=50).fit(self._scaler.fit_transform(rows), answers)

    def predict(self, rows: Array) -> Array:
        """The base rate while there was but one kind of answer."""
        if self._model is None:
            return np.full(len(rows), self._rate)
        return np.asarray(self._model.predict_proba(self._scaler.transform(rows))[:, 1])


class BgNbd:
    """Fader, Hardie and Lee 2005, "Counting your customers" the easy way: an alternative to the Pareto/NBD model.

    Purchases come with a rate that is Gamma(r, alpha) among customers; after each one a customer leaves with a probability
    that is Beta(a, b). What is predicted is no purchase in the next `t`, not P(alive), which is 1 for all who bought once:
    1 - P(alive) + P(alive) · ((alpha + T) / (alpha + T + t)) ** (r + x), for the rate of one who is alive is Gamma(r + x, alpha + T).
    """

    def __init__(self) -> None:
        self._logs = np.log([0.5, 5.0, 0.8, 2.5])  # r, alpha, a, b; each fit begins where the last one ended

    def fit(self, repeats: Array, last: Array, age: Array) -> None:
        """Maximum likelihood. Of each customer: repeat purchases x, time t_x of the last one and T of now, both since the first one."""
        unique, counts = np.unique(np.c_[repeats, last, age], axis=0, return_counts=True)
        x, t_x, total = unique.T

        def minus_log_likelihood(logs: Array) -> float:
            r, alpha, a, b = np.exp(logs)
            start = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
            stays = betaln(a, b + x) - betaln(a, b) - (r + x) * np.log(alpha + total)
            left = betaln(a + 1.0, b + np.maximum(x, 1.0) - 1.0) - betaln(a, b) - (r + x) * np.log(alpha + t_x)
            likely = start + np.where(x > 0.0, np.logaddexp(stays, left), stays)
            return float(-(counts * likely).sum() / counts.sum() + 1e-3 * (logs**2).sum() / counts.sum())

        found = minimize(minus_log_likelihood, self._logs, method="L-BFGS-B", bounds=[(-9.0, 9.0)] * 4, options={"maxiter": 100})
        if np.isfinite(found.fun):
            self._logs = found.x

    def silent(self, repeats: Array, last: Array, age: Array, ahead: float) -> Array:
        """The probability of no purchase in the next `ahead`."""
        r, alpha, a, b = np.exp(self._logs)
        left = np.where(repeats > 0.0, a / (b + np.maximum(repeats, 1.0) - 1.0) * ((alpha + age) / (alpha + last)) ** (r + repeats), 0.0)
        alive = 1.0 / (1.0 + left)
        return np.asarray(1.0 - alive + alive * ((alpha + age) / (alpha + age + ahead)) ** (r + repeats))
