"""What the models say about a customer, and the thresholds that are crossed by it."""

from math import inf
from typing import Any, Final

from flows.logic.facets.facet import Facet, TriggerCause
from flows.logic.rules.evaluation_context import EXPECTED, EvaluationContext
from flows.logic.rules.ruleset import CompiledModel, CompiledRules
from flows.logic.shard.state import Live, ShardState
from schemas.records.customer_profile import Profile

_NONE: Final = (-inf, 0)  # a score that nobody has given yet


class Scores(Facet):
    """Score and version of each model."""

    def derive(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Score the customer, and note the triggers whose threshold is crossed.

        A first score may be above one; only one that was higher falls below.
        """
        profile = view.p
        if not profile.scores.keys() <= rules.scored:  # models that are gone
            profile.scores = {model: held for model, held in profile.scores.items() if model in rules.scored}
        models = rules.models_at(view.key)
        if not view.key:  # time moves all figures
            models = tuple(model for model in rules.models if model in models or model.name in profile.scores)
        if profile.refused:
            models = _allowed(profile, rules, models)
        scorers = state.scorers.scorer_set(models)
        if not scorers.models:
            return
        held, said = profile.scores, scorers.say(view.features(scorers.reach))
        for model, threshold, above, trigger in rules.watching(scorers.models):
            if _crosses(held.get(model, _NONE)[0], threshold, said[model][0], above):
                cause.crossed += (trigger,)
        held |= said
        cause.explain = scorers.explain

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Keep the later version of each score until it is given again; whoever retires into whom."""
        scores = live.profile.scores
        for model, scored in theirs.scores.items():
            scores[model] = max(scored, scores.get(model, scored), key=lambda one: one[::-1])

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return the scores."""
        return {"scores": said_of(view.p)}


def said_of(profile: Profile) -> dict[str, Any]:
    """Return each score with the version of its model, as readers and triggers have it."""
    return {model: {"score": score, "version": version} for model, (score, version) in profile.scores.items()}


def _allowed(
    profile: Profile, rules: CompiledRules, models: tuple[CompiledModel, ...]
) -> tuple[CompiledModel, ...]:
    """Return the models whose purpose the customer allows; what the others have said is forgotten."""
    refused = {model.name for model in rules.models if model.purpose in profile.refused}
    if refused:
        gone = refused | ({EXPECTED} if "purchase" in refused else set())
        profile.scores = {name: held for name, held in profile.scores.items() if name not in gone}
    return tuple(model for model in models if model.name not in refused)


def _crosses(before: float, threshold: float, score: float, above: bool) -> bool:
    return before < threshold <= score if above else score < threshold <= before
