"""The models that one shard scores with, and how they are asked together.

Linear models are scored as one `LinearScorerSet`, so that five cost little more than one; anything else is
asked alone.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final, Protocol

from flows.logic.models.features import NAMES
from flows.logic.models.linear import Scorer as Linear
from flows.logic.models.scorer_set import LinearScorerSet
from flows.logic.rules.ruleset import EXPECTED, CompiledModel

TOGETHER_LEAST: Final = 2  # models; one is as quick alone


class Scorer(Protocol):
    def score(self, features: list[float]) -> float:
        """Return what the model says of these features."""

    def explain(self, features: list[float]) -> list[tuple[str, float]]:
        """Return what each feature adds, the largest effect first."""


class ActiveModels:
    """Which version of each model a shard scores with."""

    def __init__(self) -> None:
        self._scorers: dict[str, tuple[Scorer, int]] = {}
        self._sets: dict[tuple[CompiledModel, ...], ScorerSet] = {}

    def put(self, model: str, scorer: Scorer, version: int) -> None:
        """Score with this from now on. `version` is that of the announcement; a snapshot that is announced
        again has its own."""
        self._scorers[model] = (scorer, scorer.version if isinstance(scorer, Linear) else version)
        self._sets.clear()

    def drop(self, model: str) -> None:
        """Score without this model from now on."""
        self._scorers.pop(model, None)
        self._sets.clear()

    def version(self, model: str) -> int:
        """Return the version of a model; 0 if there is none."""
        return self._scorers[model][1] if model in self._scorers else 0

    def scorer_set(self, models: tuple[CompiledModel, ...]) -> "ScorerSet":
        """Return those of `models` that there is a version of."""
        found = self._sets.get(models)
        if found is None:
            known = [(model, *self._scorers[model.name]) for model in models if model.name in self._scorers]
            found = self._sets[models] = ScorerSet(known)
        return found


class ScorerSet:
    """Some models that are asked together. Features are those of `features.features`: the first `reach` of
    them, or more."""

    __slots__ = ("_alone", "_linear", "_purchase", "_versions", "models", "reach")

    def __init__(self, known: Sequence[tuple[CompiledModel, Scorer, int]]) -> None:
        self.models = tuple(model.name for model, _, _ in known)
        self.reach = max((model.reach for model, _, _ in known), default=0)
        self._versions = tuple(version for _, _, version in known)
        self._alone: dict[str, tuple[itemgetter[Any], Scorer]] = {
            model.name: (model.features, scorer) for model, scorer, _ in known
        }
        linear = [scorer for _, scorer, _ in known if isinstance(scorer, Linear)]
        self._linear = LinearScorerSet(linear, NAMES) if len(linear) == len(known) >= TOGETHER_LEAST else None
        purchase = self._alone.get("purchase")
        self._purchase = (
            purchase[1].snapshot.order_value
            if purchase is not None and isinstance(purchase[1], Linear)
            else None
        )

    def say(self, x: list[float]) -> dict[str, tuple[float, int]]:
        """Return what each model gives, with its version; and what a purchase is expected to bring, times how
        likely it is."""
        if self._linear is not None:
            scores = self._linear.scores(x)
        else:
            scores = [scorer.score(list(pick(x))) for pick, scorer in self._alone.values()]
        said = dict(zip(self.models, zip(scores, self._versions, strict=True), strict=True))
        if self._purchase is not None:
            probability, version = said["purchase"]
            said[EXPECTED] = (probability * self._purchase.of(x[_ORDER_SIZE]), version)
        return said

    def explain(self, model: str, x: list[float]) -> list[tuple[str, float]]:
        """Return what each feature adds to a model's logit, the largest effect first; nothing where the model
        was not asked."""
        if model not in self._alone:
            return []
        pick, scorer = self._alone[model]
        return scorer.explain(list(pick(x)))


_ORDER_SIZE = NAMES.index("order_size")
