"""The segment that a customer is in: the first whose `when` holds."""

from typing import Any

from flows.logic.facets.facet import Facet, TriggerCause
from flows.logic.facets.refusals import are_refused
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.state import ShardState
from schemas.records.customer_profile import Profile


class Segments(Facet):
    """One of the `[[segment]]`s."""

    def derive(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Move the customer to the segment of now."""
        profile, segment = view.p, ""
        for name, when, purposes in rules.segments:
            if not (purposes and are_refused(profile, purposes)) and when(view):
                segment = name
                break
        if segment != profile.segment:
            left, profile.segment = profile.segment, segment
            if left:
                state.count(f"segment:{left}", -1)
                cause.changed += rules.on_segment.get((left, False), ())
            if segment:
                state.count(f"segment:{segment}")
                cause.changed += rules.on_segment.get((segment, True), ())

    def count(self, state: ShardState, profile: Profile, by: int) -> None:
        """Count the segment."""
        if profile.segment:
            state.count(f"segment:{profile.segment}", by)

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return the segment."""
        return {"segment": view.p.segment}
