"""All linear models at once, as one array expression.

Sums run in a fixed order, so that every machine gets the same bits.
"""

from collections.abc import Sequence

import numpy as np

from flows.logic.models.linear import KNOTS, Scorer, probability


class LinearScorerSet:
    """Linear models that are asked together, each with a snapshot of its own, over one vector of features."""

    def __init__(self, scorers: Sequence[Scorer], names: Sequence[str]) -> None:
        """Take the `names` of the vector's places; a model that does not look at a place ignores it."""
        self.models = tuple(scorer.snapshot.model for scorer in scorers)
        self.versions = tuple(scorer.version for scorer in scorers)
        self._offset = [scorer.snapshot.intercept for scorer in scorers]
        looked_at = {name for scorer in scorers for name in scorer.snapshot.features}
        # what lies behind costs nothing
        self._reach = 1 + max(place for place, name in enumerate(names) if name in looked_at)
        knots = np.zeros((len(scorers), len(KNOTS) + 2, self._reach))
        rises = np.zeros_like(knots)
        for model, scorer in enumerate(scorers):
            for name, (starts, heights, slopes) in zip(scorer.snapshot.features, scorer.lines, strict=True):
                place = names.index(name)
                self._offset[model] += heights[0]
                for knot, start in enumerate(starts):
                    knots[model, knot, place] = start
                    rises[model, knot, place] = slopes[knot + 1] - slopes[knot]
        self._knots, self._rises = knots, rises.reshape(len(scorers), -1)

    def scores(self, features: Sequence[float]) -> list[float]:
        """Return the probability that each model gives, in the order of `models`."""
        above = np.maximum(np.array(features[: self._reach]) - self._knots, 0.0).reshape(self._rises.shape)
        above *= self._rises
        # no matrix product: its order of adding depends on the machine
        risen: list[float] = np.add.reduce(above, axis=1).tolist()
        return [probability(offset + rise) for offset, rise in zip(self._offset, risen, strict=True)]
