"""The tags that are on."""

from collections.abc import Iterable
from typing import Any

from flows.logic.facets.facet import Facet, TriggerCause
from flows.logic.facets.refusals import are_refused
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.state import Live, ShardState
from schemas.records.customer_profile import Profile


class Tags(Facet):
    """Each `[[tag]]` whose `when` holds, or held less than its `ttl` ago."""

    def derive(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Put tags on and take them off."""
        profile, now = view.p, view.now
        if not profile.tags.keys() <= rules.weights.keys():  # rules that are gone
            for name in profile.tags.keys() - rules.weights.keys():
                del profile.tags[name]
                state.count(f"tag:{name}", -1)
        for name, when, ttl, purposes in rules.tags:
            held = profile.tags.get(name)
            if purposes and are_refused(profile, purposes):
                if held is not None:  # nothing is sent because of it
                    del profile.tags[name]
                    state.count(f"tag:{name}", -1)
            elif when(view):
                profile.tags[name] = (held[0] if held else now, now + ttl if ttl else 0)
                if ttl and now + ttl < profile.indexed_ms:
                    cause.sooner = True
                if held is None:
                    state.count(f"tag:{name}")
                    cause.changed += rules.on_tag.get((name, True), ())
            elif held is not None and held[1] <= now:
                del profile.tags[name]
                state.count(f"tag:{name}", -1)
                cause.changed += rules.on_tag.get((name, False), ())

    def dues(self, rules: CompiledRules, view: EvaluationContext) -> Iterable[int]:
        """Return when tags end."""
        return [until for _since, until in view.p.tags.values() if until]

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Have the tags of both, each from its earlier beginning to its later end."""
        tags = live.profile.tags
        for name, (since, until) in theirs.tags.items():
            held = tags.get(name)
            if held is None:
                state.count(f"tag:{name}")
                tags[name] = (since, until)
            else:
                tags[name] = (min(since, held[0]), max(until, held[1]))

    def count(self, state: ShardState, profile: Profile, by: int) -> None:
        """Count the tags."""
        for name in profile.tags:
            state.count(f"tag:{name}", by)

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return the tags, the heaviest first."""
        tags = [(rules.weights.get(name, 1.0), name, since) for name, (since, _) in view.p.tags.items()]
        tags.sort(key=lambda tag: (-tag[0], tag[1]))
        return {"tags": {name: {"since_ms": since, "weight": weight} for weight, name, since in tags}}
