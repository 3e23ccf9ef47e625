"""Which triggers fire: on an event, and on what has changed by it."""

from hashlib import blake2b
from typing import Any

from flows.logic.facets import actions
from flows.logic.facets.actions import Chosen
from flows.logic.facets.facet import Facet, TriggerCause
from flows.logic.facets.scores import said_of
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules, CompiledTrigger
from flows.logic.shard.state import Live, ShardState
from schemas.records.customer_profile import Profile
from schemas.records.identity_graph import text_id
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Decision, Trigger


class Decisions(Facet):
    """The triggers that do not wait for anything, and the cool-downs of all."""

    def derive(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Fire on the changes that the facets before this one have noted."""
        for trigger in cause.changed:
            fire(state, trigger, view, cause)
        for trigger in cause.crossed:
            fire(state, trigger, view, cause)

    def after_event(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Fire on the event itself."""
        for trigger in rules.on_event.get(view.key, ()):
            fire(state, trigger, view, cause)

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Keep the longer of two cool-downs."""
        cooldowns = live.profile.cooldowns
        for rule, until in theirs.cooldowns.items():
            cooldowns[rule] = max(until, cooldowns.get(rule, 0))


def fire(state: ShardState, trigger: CompiledTrigger, view: EvaluationContext, cause: TriggerCause) -> None:
    """Send a trigger if its `when` holds and nothing is against it; else say why not."""
    if not trigger.when(view):
        return
    if cause.muted:
        # no cooldown, no choice among actions: as far as the customer knows nothing has happened
        state.count("decisions:backfill")
        return
    rule, profile = trigger.rule, view.p
    if trigger.cooldown and view.now < profile.cooldowns.get(rule.name, 0):
        withheld = Decision(
            customer=cause.root, rule=rule.name, cause=cause.cause, at_ms=view.now, reason="cooldown"
        )
        state.emit(Lane.DECISIONS, withheld)
        state.count("decisions:cooldown")
        return
    named = trigger_id(cause.cause, cause.subject, rule.name)
    chosen = None
    if trigger.best:
        chosen = actions.choose(state, view, cause.root, rule.name, cause.cause, named)
        if chosen is None:
            return
    if trigger.cooldown:
        profile.cooldowns[rule.name] = view.now + trigger.cooldown
    if chosen is not None and chosen.rule.silent:
        return
    state.emit(Lane.TRIGGERS, _message(named, trigger, chosen, view, cause))
    state.count(f"triggers:{rule.name}")
    state.changes.fired.append((rule.name, cause.receipt.received_ms))


def _message(
    named: str,
    trigger: CompiledTrigger,
    chosen: Chosen | None,
    view: EvaluationContext,
    cause: TriggerCause,
) -> Trigger:
    rule = trigger.rule
    action, channel, purpose, to = trigger.action, rule.channel, rule.purpose, rule.to
    if chosen is not None:
        action = chosen.rule.name
        channel = chosen.rule.channel or channel
        purpose = chosen.rule.purpose or purpose
        to = chosen.rule.to or to
    return Trigger(
        id=named,
        customer=text_id(cause.root),
        rule=rule.name,
        action=action,
        channel=channel,
        purpose=purpose,
        to=list(to),
        cause=cause.cause,
        reasons=_reasons(trigger, chosen, view, cause),
        scores=said_of(view.p),
        properties=cause.properties,
        receipt=cause.receipt,
    )


def _reasons(
    trigger: CompiledTrigger, chosen: Chosen | None, view: EvaluationContext, cause: TriggerCause
) -> dict[str, Any]:
    """Return the values that the rule looked at, and what moved the scores among them."""
    reasons: dict[str, Any] = {name: _plain(read(view)) for name, read in trigger.reasons.items()}
    if chosen is not None:
        reasons |= chosen.reasons
    if cause.explain is not None and trigger.models:
        x = view.features()
        for model in trigger.models:
            parts = cause.explain(model, x)[:3]
            reasons |= {f"score.{model} because of {name}": round(part, 4) for name, part in parts}
    return reasons


def trigger_id(cause: str, subject: bytes, rule: str) -> str:
    """Return an id that is stable for ever: from what caused it, whom the cause was about, and the rule;
    never from a position or a clock."""
    hashed = blake2b(cause.encode("utf-8", "surrogatepass"), digest_size=16, key=subject)
    hashed.update(b"\0" + rule.encode())
    return "trg_" + hashed.hexdigest()


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (dict, set)) else value
