"""Running mean and deviation of each feature of the context, and the coordinates that they make.

A context becomes (1, z1 ... zd): each feature minus its mean, over its deviation, within `FAR`. A missing
(NaN) value is the mean; an infinite one is far.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FAR = 5.0  # deviations: one wild value must not turn all weights
_VALUE_MAX = 1e12  # so that squares stay finite
_RELATIVE_DEVIATION_LEAST = 1e-9  # below this a feature is constant, and what varies is its rounding


class Frame:
    """Frozen coordinates. `inverse` is 1 / deviation, and 0 for a feature that never varied."""

    __slots__ = ("inverse", "means")

    def __init__(self, means: Floats, inverse: Floats) -> None:
        self.means = means
        self.inverse = inverse

    @classmethod
    def blank(cls, features: int) -> "Frame":
        """Return the frame in which no feature has varied yet: all that is learnt is the intercept."""
        return cls(np.zeros(features), np.zeros(features))

    def place(self, context: Floats) -> Floats:
        """Return the coordinates of a context, shape (d,) to (1 + d,), always finite."""
        # infinity times the 0 of a constant feature; what is far is cut off below
        with np.errstate(invalid="ignore", over="ignore"):
            placed = (context - self.means) * self.inverse
        placed[placed != placed] = 0.0  # NaN
        return np.concatenate((_ONE, np.minimum(np.maximum(placed, -FAR), FAR)))

    def change_to(self, other: "Frame") -> Floats:
        """Return the matrix, shape (1 + d, 1 + d), that takes coordinates of this frame to the other's (where
        none was cut off at `FAR`)."""
        kept = (self.inverse > 0.0) & (other.inverse > 0.0)
        deviations = np.where(kept, 1.0 / np.where(kept, self.inverse, 1.0), 0.0)
        matrix = np.diag(np.concatenate((_ONE, deviations * other.inverse)))
        matrix[1:, 0] = np.where(kept, (self.means - other.means) * other.inverse, 0.0)
        return matrix


class Scale:
    """Mutable moments (Welford), with forgetting. Values that are missing or infinite do not count."""

    def __init__(self, features: int) -> None:
        self.counts = np.zeros(features)
        self.means = np.zeros(features)
        self.squares = np.zeros(features)  # sums of squared distances from the mean

    def add(self, context: Floats) -> None:
        """Count one context."""
        known = np.abs(context) <= _VALUE_MAX  # false for NaN
        self.counts += known
        delta = np.where(known, context - self.means, 0.0) if not known.all() else context - self.means
        self.means += delta / np.maximum(self.counts, 1.0)
        after = np.where(known, context - self.means, 0.0) if not known.all() else context - self.means
        self.squares += delta * after

    def forget(self, keep: float) -> None:
        """Keep this share of what was counted."""
        self.counts *= keep
        self.squares *= keep

    def frame(self) -> Frame:
        """Return the coordinates that follow from what was counted."""
        deviations = np.sqrt(self.squares / np.maximum(self.counts, 1.0))
        varies = deviations > _RELATIVE_DEVIATION_LEAST * np.abs(self.means)
        return Frame(self.means.copy(), np.where(varies, 1.0 / np.where(varies, deviations, 1.0), 0.0))


_ONE = np.ones(1)
