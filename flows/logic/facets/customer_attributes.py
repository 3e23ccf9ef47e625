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
        """Return when the customer comes into another band of ages, and when the birthday begins or ends,
        where rules look at these."""
        dues = []
        if rules.ages:
            dues.append(attributes.next_band_ms(view.f.traits, rules.rules.age.bands, view.now))
        if rules.birthdays:
            dues.append(attributes.next_birthday_ms(view.f.traits, view.now))
        return [due for due in dues if due is not None]

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return the attributes that are known."""
        return {"attributes": attributes.shown(view.f.traits, rules.rules.age.bands, view.now)}
