"""The group of customers that behave alike which a customer belongs to."""

from typing import Any

from flows.logic.facets.actions import context_of
from flows.logic.facets.facet import Facet, TriggerCause
from flows.logic.models import cluster_assigner
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.state import Live, ShardState
from schemas.records.customer_profile import Profile
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Example


class ClusterMembership(Facet):
    """The group, looked for at most every so often; and examples to form groups from."""

    def derive(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Move the customer to the group of now."""
        settings, profile, now = rules.rules.clusters, view.p, view.now
        if not settings.enabled:
            if profile.cluster:
                _move(state, profile, "")
            return
        if profile.clustered_ms and now - profile.clustered_ms < settings.every:
            return
        profile.clustered_ms = now
        context = context_of(view)
        assigner = state.learnt.assigner
        if assigner is not None:
            _move(state, profile, assigner.assign(context)[0])
        version = assigner.version if assigner else 0
        example = Example(
            model=cluster_assigner.NAME,
            customer=cause.root,
            asked_ms=now,
            answered_ms=now,
            features=context,
            predicted=None,
            version=version,
            label=0.0,
        )
        state.emit(Lane.EXAMPLES, example)

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Keep the group of the one who was looked at last; whoever retires into whom."""
        profile, before = live.profile, live.profile.cluster
        profile.clustered_ms, profile.cluster = max(
            (profile.clustered_ms, profile.cluster), (theirs.clustered_ms, theirs.cluster)
        )
        if profile.cluster and not before:
            state.count(f"cluster:{profile.cluster}")

    def count(self, state: ShardState, profile: Profile, by: int) -> None:
        """Count the group."""
        if profile.cluster:
            state.count(f"cluster:{profile.cluster}", by)

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return the group."""
        return {"cluster": view.p.cluster}


def _move(state: ShardState, profile: Profile, cluster: str) -> None:
    if cluster != profile.cluster:
        if profile.cluster:
            state.count(f"cluster:{profile.cluster}", -1)
        if cluster:
            state.count(f"cluster:{cluster}")
        profile.cluster = cluster
