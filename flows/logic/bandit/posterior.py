"""Gaussian beliefs on the weights of linear scores: N(mean, covariance) for each row, a row being an action
or all of them.

The precision of a row is always prior + data. A reward is a rank-one update of the covariance (Sherman and
Morrison, 1950), which costs d^2; `apart` takes the data from the prior exactly, forgets and changes the
coordinates, and `join` gives them a prior again, at d^3 each, a few times in thousands of rewards.
"""

from math import exp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.logic.bandit.scale import Floats

_NEWTON_STEPS = 8
# a certain prediction that is right still teaches a little, so that no row is ever frozen
_CURVATURE_LEAST = 1e-3
_LOG_ODDS_MAX = 30.0


class Data(NamedTuple):
    """What was learnt, without the prior."""

    precisions: Floats  # (rows, d, d)
    pulls: Floats  # (rows, d): precisions @ the weights that fit best


class Posterior:
    """`means` (rows, d) and `covariances` (rows, d, d) under one prior N(`prior_mean` (d,), diag(1 /
    `prior_precision` (d,)))."""

    def __init__(self, rows: int, prior_mean: Floats, prior_precision: Floats) -> None:
        self.prior_mean = prior_mean
        self.prior_precision = prior_precision
        self.means = np.tile(prior_mean, (rows, 1))
        self.covariances = np.tile(np.diag(1.0 / prior_precision), (rows, 1, 1))

    def grow(self) -> None:
        """Add one more row, which knows no more than the prior."""
        self.means = np.concatenate((self.means, self.prior_mean[None]))
        self.covariances = np.concatenate((self.covariances, np.diag(1.0 / self.prior_precision)[None]))

    def predict(self, row: int, x: Floats) -> tuple[float, float]:
        """Return mean and variance of the score, the variance in units of the noise for a linear model."""
        return float(self.means[row] @ x), max(float(x @ self.covariances[row] @ x), 0.0)

    def update_linear(self, row: int, x: Floats, reward: float) -> float:
        """Learn a reward by ridge regression, exactly; return the squared surprise, whose expectation is the
        variance of the noise."""
        gain = self.covariances[row] @ x
        variance = max(float(gain @ x), 0.0)
        error = reward - float(self.means[row] @ x)
        self.means[row] += gain * (error / (1.0 + variance))
        self.covariances[row] -= np.outer(gain, gain) / (1.0 + variance)
        return error * error / (1.0 + variance)

    def update_logistic(self, row: int, x: Floats, reward: float) -> None:
        """Learn a reward by Laplace's approximation: the exact mode given this reward, and the curvature
        there.

        Given Gaussian beliefs the mode moves along covariance @ x only, so it is one equation in the score:
        score = mean + variance * (reward - sigmoid(score)). `reward` may be anything from 0 to 1.
        """
        gain = self.covariances[row] @ x
        variance = float(gain @ x)
        if variance <= 0.0:
            return
        mean = score = float(self.means[row] @ x)
        for _ in range(_NEWTON_STEPS):
            chance = sigmoid(score)
            step = (score - mean - variance * (reward - chance)) / (1.0 + variance * chance * (1.0 - chance))
            score -= step
            if abs(step) < 1e-9:
                break
        chance = sigmoid(score)
        curvature = max(chance * (1.0 - chance), _CURVATURE_LEAST)
        self.means[row] += gain * (reward - chance)
        self.covariances[row] -= np.outer(gain, gain) * (curvature / (1.0 + curvature * variance))

    def apart(self, keep: float, change: NDArray[np.floating]) -> Data:
        """Return what the data say without the prior, their weight multiplied by `keep`, in the coordinates
        `change` @ x."""
        precisions = np.linalg.inv(self.covariances)
        pulls = np.einsum("kij,kj->ki", precisions, self.means) - self.prior_precision * self.prior_mean
        data = (precisions - np.diag(self.prior_precision)) * keep
        return Data(change @ data @ change.T, (pulls * keep) @ change.T)

    def join(self, data: Data, prior_mean: Floats, prior_precision: Floats) -> None:
        """Become what these data and this prior say together."""
        joined = np.linalg.inv(data.precisions + np.diag(prior_precision))
        self.covariances = (joined + joined.transpose(0, 2, 1)) / 2.0
        self.prior_mean, self.prior_precision = prior_mean, prior_precision
        self.means = np.einsum("kij,kj->ki", self.covariances, data.pulls + prior_precision * prior_mean)


def sigmoid(score: float) -> float:
    """Return the probability of these log-odds, without overflow."""
    return 1.0 / (1.0 + exp(-max(-_LOG_ODDS_MAX, min(_LOG_ODDS_MAX, score))))
