"""Confidence intervals for a mean or a ratio of means of skewed numbers, by empirical likelihood.

Importance weights are skewed, and the usual mean +- 1.96 errors then lies to one side. Empirical likelihood (Owen, Empirical
Likelihood, 2001) takes its shape from the data and needs no random numbers; Bartlett's correction (DiCiccio, Hall and
Romano, 1991) brings its coverage closer to what it says.
"""

from collections.abc import Callable
from math import inf, sqrt

import numpy as np

from flows.logic.bandit.scale import Floats

_CHI_SQUARE_95 = 3.841458820694124  # one degree of freedom
_STEPS = 50
_HALVINGS = 40
_CORRECTION_MOST = 0.5  # of the threshold: beyond it the moments that it is made of are themselves noise


def interval(numerators: Floats, denominators: Floats) -> tuple[float, float]:
    """95 % interval for mean(numerators) / mean(denominators), denominators >= 0 and not all 0; unbounded where it cannot be closed."""
    total = float(denominators.sum())
    if len(numerators) < 2 or total <= 0.0:
        return -inf, inf
    centre = float(numerators.sum()) / total
    errors = numerators - centre * denominators
    spread = float(np.sqrt((errors * errors).sum())) / total
    if spread == 0.0:
        return centre, centre
    threshold = _CHI_SQUARE_95 * (1.0 + _correction(errors))
    low = _edge(numerators, denominators, centre, -spread, threshold)
    return low, _edge(numerators, denominators, centre, spread, threshold)


def _edge(numerators: Floats, denominators: Floats, centre: float, step: float, threshold: float) -> float:
    """Where the likelihood ratio reaches the threshold, going from the centre by `step`."""

    def inside(place: float) -> bool:
        return log_ratio(numerators - place * denominators) <= threshold

    near, far = centre, centre + 2.0 * step
    for _ in range(_HALVINGS):
        if not inside(far):
            break
        near, far = far, far + (far - centre)
    else:
        return far
    return _halve(inside, near, far)


def _halve(inside: Callable[[float], bool], near: float, far: float) -> float:
    for _ in range(_HALVINGS):
        middle = (near + far) / 2.0
        if inside(middle):
            near = middle
        else:
            far = middle
        if abs(far - near) <= 1e-6 * (abs(far) + abs(near)):
            break
    return near


def log_ratio(errors: Floats) -> float:
    """-2 log of the empirical likelihood ratio of "the mean of `errors` is 0"; infinite if 0 is beyond all of them."""
    most, least = float(errors.max()), float(errors.min())
    if most <= 0.0 or least >= 0.0:
        return 0.0 if most == least == 0.0 else inf
    count = len(errors)
    low, high = (1.0 / count - 1.0) / most, (1.0 / count - 1.0) / least  # weights stay within 0 and 1 between these
    multiplier = 0.0
    for _ in range(_STEPS):  # Newton, kept within the bracket; the slope is negative everywhere
        shares = errors / (1.0 + multiplier * errors)
        slope = float(shares.sum())
        if slope > 0.0:
            low = multiplier
        else:
            high = multiplier
        step = slope / float((shares * shares).sum())
        after = multiplier + step
        if not low < after < high:
            after = (low + high) / 2.0
        if abs(after - multiplier) <= 1e-10 * (abs(high) + abs(low)):
            break
        multiplier = after
    return 2.0 * float(np.log1p(multiplier * errors).sum())


def _correction(errors: Floats) -> float:
    """Bartlett's, over n: kurtosis / 2 - skewness^2 / 3."""
    second = float((errors * errors).mean())
    if second <= 0.0:
        return 0.0
    scaled = errors / sqrt(second)
    skewness, kurtosis = float((scaled**3).mean()), float((scaled**4).mean())
    return min(max((kurtosis / 2.0 - skewness**2 / 3.0) / len(errors), 0.0), _CORRECTION_MOST)
