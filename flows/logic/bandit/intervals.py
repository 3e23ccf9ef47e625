"""Confidence intervals for what a policy would earn, by empirical likelihood with weights that must average
1.

Importance weights are skewed, and what decides may be missing from the log: a rare decision of large weight
that paid. So the distribution that is looked for (Owen, Empirical Likelihood, 2001) may also have some of its
mass where nothing was seen, at the corners of what is possible, and its mean weight is 1, as it is in truth
(Karampatziakis, Langford and Mineiro, Empirical Likelihood for Contextual Bandits, 2020). The interval holds
all values that such a distribution finds likely; it needs no random numbers.
"""

from math import inf, log

import numpy as np

from flows.logic.bandit.scale import Floats

_CHI_SQUARE_95 = 3.841458820694124  # one degree of freedom
_UNSEEN = 0.01  # decisions' worth of each corner: as good as none, and it keeps the search away from the edge
_STEPS = 60
_HALVINGS = 16  # of the place of an edge
_OUTWARD = 40
_ALIKE = 1e-9  # a weight that is not further from 1 is 1


def interval(values: Floats, weights: Floats, corners: Floats) -> tuple[float, float]:
    """Return the 95 % interval for the mean of `values` (n,), each of a decision of weight `weights` (n,).

    `corners` (m, 2): weight and value of decisions that could have been logged. Unbounded where there is too
    little to say anything.
    """
    if len(values) < 2:
        return -inf, inf
    scale = float(np.concatenate((values, corners[:, 1])).std())
    if scale == 0.0:
        return float(values[0]), float(values[0])
    counts = np.concatenate((np.ones(len(values)), np.full(len(corners), _UNSEEN)))
    y = np.concatenate((values, corners[:, 1])) / scale
    w = np.concatenate((weights, corners[:, 0])) - 1.0
    mixed = w.min() < -_ALIKE and w.max() > _ALIKE  # where no mixture averages 1 the weights say nothing
    search = _Search(w[:, None] if mixed else np.empty((len(y), 0)), y, counts)
    return search.edge(-1.0) * scale, search.edge(1.0) * scale


class _Search:
    """`w` (n, 0 or 1) whose mean must be 0, and `y` (n,) whose mean is looked for."""

    def __init__(self, w: Floats, y: Floats, counts: Floats) -> None:
        self._w, self._y, self._counts = w, y, counts
        self._free, self._best = likeliest(w, counts, np.zeros(w.shape[1]))
        shares = counts / (1.0 + w @ self._free)
        shares /= shares.sum()
        self._centre = float(shares @ y)
        self._spread = float(np.sqrt((shares * (y - self._centre) ** 2).sum() / counts.sum()))

    def edge(self, side: float) -> float:
        """Return where likely values end, below (-1) or above (+1)."""
        near, far = self._centre, self._centre + side * 2.0 * self._spread
        for _ in range(_OUTWARD):
            if not self._likely(far):
                break
            near, far = far, 2.0 * far - self._centre
        for _ in range(_HALVINGS):
            middle = (near + far) / 2.0
            near, far = (middle, far) if self._likely(middle) else (near, middle)
        return near

    def _likely(self, value: float) -> bool:
        moments = np.column_stack((self._w, self._y - value))
        held, height = likeliest(moments, self._counts, np.append(self._free, 0.0))
        return bool(np.isfinite(held).all()) and 2.0 * (height - self._best) <= _CHI_SQUARE_95


def likeliest(moments: Floats, counts: Floats, start: Floats) -> tuple[Floats, float]:
    """Return the multipliers (d,) that make Σ counts · log(1 + moments @ multipliers) largest, and how large:
    the dual of the distribution nearest to the data under which all moments are 0.

    Newton with halved steps; it has no end where no distribution is such.
    """
    at = start.copy()
    shares = 1.0 + moments @ at
    height = float(counts @ np.log(shares))
    unlikely = height + _CHI_SQUARE_95 + log(len(counts))
    for _ in range(_STEPS):
        slopes = moments / shares[:, None]
        slope = counts @ slopes
        curve = (slopes * counts[:, None]).T @ slopes
        step = np.linalg.solve(curve + 1e-12 * (1e-300 + curve.trace()) * np.eye(len(at)), slope)
        gain = float(slope @ step)
        if gain < 1e-8 or height > unlikely:
            break
        length = 1.0
        while length > 1e-10:
            further = 1.0 + moments @ (at + length * step)
            if (further > 1e-12).all():
                reached = float(counts @ np.log(further))
                if reached >= height + 1e-4 * length * gain:
                    break
            length /= 2.0
        else:
            break
        at, shares, height = at + length * step, further, reached
    return at, height
