"""The stage of the life cycle that a customer is in, by inactivity."""

from collections.abc import Iterable
from typing import Any

from flows.logic.facets.facet import Facet, TriggerCause
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.state import Live, ShardState
from schemas.records.customer_profile import Profile


class LifecycleStage(Facet):
    """new, active, slipping, lost or won_back."""

    def derive(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Move the customer to the stage of now."""
        profile, total, now, lifecycle = view.p, view.f, view.now, rules.rules.lifecycle
        quiet = now - total.last_ms
        if quiet >= lifecycle.lost:
            stage = "lost"
        elif quiet >= lifecycle.slipping:
            stage = "slipping"
        elif profile.returned_ms and now - profile.returned_ms < lifecycle.won_back:
            stage = "won_back"
        else:
            stage = "new" if now - total.first_ms < lifecycle.new else "active"
        if stage != profile.stage:
            if profile.stage:
                state.count(f"stage:{profile.stage}", -1)
            state.count(f"stage:{stage}")
            profile.stage = stage

    def dues(self, rules: CompiledRules, view: EvaluationContext) -> Iterable[int]:
        """Return the moments that may bring another stage."""
        lifecycle, now = rules.rules.lifecycle, view.now
        last_ms = view.f.last_ms
        boundaries = (
            last_ms + lifecycle.slipping,
            last_ms + lifecycle.lost,
            view.f.first_ms + lifecycle.new,
            view.p.returned_ms + lifecycle.won_back,
        )
        return [boundary for boundary in boundaries if boundary > now]

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Keep the later return of both."""
        live.profile.returned_ms = max(live.profile.returned_ms, theirs.returned_ms)

    def count(self, state: ShardState, profile: Profile, by: int) -> None:
        """Count the stage."""
        if profile.stage:
            state.count(f"stage:{profile.stage}", by)

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return the stage."""
        return {"stage": view.p.stage}
