"""What is derived from personal data for rules to see: `age_band`, `gender`, `region` and their like in
expressions. Which of them is derived, `resolve` decides; here they are looked at."""

from collections.abc import Iterable
from typing import Any

from flows.logic.facets.facet import Facet
from flows.logic.fields import attributes
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules


class CustomerAttributes(Facet):
    """Attributes lie among the traits, and so are added up with them."""

    def dues(self, rules: CompiledRules, view: EvaluationContext) -> Iterable[int]:
        """Return when the customer comes into another band of ages, where rules look at it."""
        if not rules.ages:
            return ()
        due = attributes.next_band_ms(view.f.traits, rules.rules.age.bands, view.now)
        return () if due is None else (due,)

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return the attributes that are known."""
        return {"attributes": attributes.shown(view.f.traits, rules.rules.age.bands, view.now)}
