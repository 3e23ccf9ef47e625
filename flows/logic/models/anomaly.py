"""How unusual is it? Half-space trees (Tan, Ting and Liu 2011, "Fast anomaly detection for streaming data"), which need no answers.

Until the first frauds are confirmed this is all there is; after that it is one feature among those that the supervised model learns from.
"""

from collections.abc import Sequence

from river import anomaly, preprocessing

TREES = 25
HEIGHT = 10
WINDOW = 250  # examples of which the mass is compared with


class Unusual:
    """Deterministic under its seed. `see` takes finite features, in a fixed order."""

    def __init__(self, width: int, seed: int) -> None:
        self._names = range(width)
        self._scaler = preprocessing.MinMaxScaler()
        self._trees = anomaly.HalfSpaceTrees(n_trees=TREES, height=HEIGHT, window_size=WINDOW, seed=seed)

    def see(self, features: Sequence[float]) -> float:
        """0 (usual) to 1, judged before it is learnt."""
        raw = dict(zip(self._names, features, strict=True))
        self._scaler.learn_one(raw)
        x = self._scaler.transform_one(raw)
        score = float(self._trees.score_one(x))
        self._trees.learn_one(x)
        return score
