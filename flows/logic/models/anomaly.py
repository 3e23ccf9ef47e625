"""How unusual something is, for what has no answers yet.

Unusual   half-space trees (Tan, Ting and Liu 2011, "Fast anomaly detection for streaming data"): the judge of
          `millrace eval anomaly`
Usual     how far each feature lies outside its usual range, summed: no trees, so a shard scores it like any
          other model

Until enough frauds are confirmed the `fraud` model is a `Usual` of what the last purchase alone shows:
customers differ in so many ways that one odd purchase is nothing beside all of them. Its score says how rare
such an unusual purchase is: 0.5 is more unusual than 99 of the last 100, the usual one has 0.02. Ranks
decide, so nothing is assumed about how features are distributed.
"""

from collections.abc import Sequence
from math import log

import msgspec
from river import anomaly, preprocessing

from flows.logic.models.linear import CLIP, Terms

TREES = 25
HEIGHT = 10
WINDOW = 250  # examples of which the mass is compared with

_RING = 1_000  # examples of which the ranks are taken
_RARE, _USUAL = 0.99, 0.5  # ranks that have the scores ...
_RARE_LOGIT, _USUAL_LOGIT = 0.0, log(0.02 / 0.98)  # ... of these logits


class Unusual:
    """Deterministic under its seed. `see` takes finite features, in a fixed order."""

    def __init__(self, width: int, seed: int) -> None:
        self._names = range(width)
        self._scaler = preprocessing.MinMaxScaler()
        self._trees = anomaly.HalfSpaceTrees(n_trees=TREES, height=HEIGHT, window_size=WINDOW, seed=seed)

    def see(self, features: Sequence[float]) -> float:
        """Return how unusual it is, 0 (usual) to 1; then learn it."""
        raw = dict(zip(self._names, features, strict=True))
        self._scaler.learn_one(raw)
        x = self._scaler.transform_one(raw)
        score = float(self._trees.score_one(x))
        self._trees.learn_one(x)
        return score


class Usual(msgspec.Struct, array_like=True):
    """Means and deviations of each feature (Welford 1962), and how unusual the last examples were."""

    means: list[float]
    squares: list[float]
    places: list[int]  # of the features that are judged; the others count as if they never varied
    count: int = 0
    ring: list[float] = []

    @classmethod
    def of(cls, width: int, places: Sequence[int]) -> "Usual":
        """Return one that has seen nothing; `places` are those of the features that are judged."""
        return cls([0.0] * width, [0.0] * width, list(places))

    def see(self, features: Sequence[float]) -> None:
        """Judge one example, then learn it."""
        self.ring = [*self.ring[-_RING + 1 :], self._distance(features)]
        self.count += 1
        for place in self.places:
            value = features[place]
            miss = value - self.means[place]
            self.means[place] += miss / self.count
            self.squares[place] += miss * (value - self.means[place])

    def _distance(self, features: Sequence[float]) -> float:
        """Return Σ over features of what lies beyond one deviation from the mean: in deviations, at most
        `CLIP` - 1 each."""
        total = 0.0
        for value, mean, deviation in zip(features, self.means, self._deviations(), strict=True):
            if deviation:
                total += max(min(abs(value - mean) / deviation, CLIP) - 1.0, 0.0)
        return total

    def _deviations(self) -> list[float]:
        return [(square / self.count) ** 0.5 if self.count else 0.0 for square in self.squares]

    def terms(self) -> Terms:
        """Return the same sum as an additive model (see `linear`): down to -1, level to 1, then up; scaled by
        the ranks."""
        rare, usual = self._ranked(_RARE), self._ranked(_USUAL)
        slope = (_RARE_LOGIT - _USUAL_LOGIT) / (rare - usual) if rare > usual else 1.0
        width = len(self.means)
        return Terms(
            means=tuple(self.means),
            deviations=tuple(self._deviations()),
            weights=(-slope,) * width,
            bends=((slope,) * width, (0.0,) * width, (slope,) * width),
            intercept=_USUAL_LOGIT - slope * usual,
        )

    def _ranked(self, rank: float) -> float:
        """Return the distance at this rank, 0 to 1, of the last examples."""
        ranked = sorted(self.ring) or [0.0]
        return ranked[min(int(rank * len(ranked)), len(ranked) - 1)]
