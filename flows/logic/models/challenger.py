"""River's matrix factorisation as the challenger of `recommend`."""

from collections.abc import Iterable
from math import log2

from river import reco

from flows.logic.models.recommend import ITEMS_MAX, Recommender, Touch


class Challenger:
    """River's matrix factorisation with biases on the same touches: compared by hit rate, never served by itself.

    River grows with customers and items; so beyond `limit` of either it starts afresh, which is counted.
    """

    def __init__(self, seed: int, limit: int = ITEMS_MAX) -> None:
        self._seed, self._limit = seed, limit
        self.restarts = -1
        self._fresh()

    def _fresh(self) -> None:
        self._model = reco.BiasedMF(n_factors=8, seed=self._seed)
        self._customers: dict[str, None] = {}
        self._items: dict[str, None] = {}
        self.restarts += 1

    def learn(self, customer: str, touch: Touch) -> None:
        if not Recommender.fit(touch):
            return
        if max(len(self._customers), len(self._items)) >= self._limit:
            self._fresh()
        self._customers[customer] = self._items[touch.item] = None
        self._model.learn_one(user=customer, item=touch.item, y=log2(1.0 + touch.weight))

    def recommend(self, customer: str, k: int, exclude: Iterable[str] = ()) -> list[tuple[str, float]]:
        """At most `k` (item, score), the best first. A customer that it does not know gets what all like."""
        out = set(exclude)
        scored: list[tuple[str, float]] = []
        for item in self._items:
            if item not in out:
                score = self._model.predict_one(user=customer, item=item)
                scored.append((item, float(score)))
        return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]
