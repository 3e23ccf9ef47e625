"""What follows from a customer's figures: stage, scores, tags, segment, and the triggers that fire on their
changes."""

from collections.abc import Callable
from hashlib import blake2b
from math import inf
from typing import Any, Final

from flows.logic.facets import actions, item_interactions
from flows.logic.rules.ruleset import CompiledRules, CompiledTrigger, EvaluationContext
from flows.logic.shard.state import ShardState
from schemas.records.customer_profile import Fragment, Profile
from schemas.records.identity_graph import text_id
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Decision, Receipt, Trigger

_NONE: Final = (-inf, 0)  # a score that nobody has given yet


class TriggerCause:
    """Why rules are looked at now: the cause of what fires. `muted`: of history, which fires nothing."""

    __slots__ = ("cause", "explain", "muted", "properties", "receipt", "root", "subject")

    def __init__(
        self,
        root: bytes,
        cause: str,
        subject: bytes,
        properties: dict[str, Any],
        receipt: Receipt,
        muted: bool = False,
    ) -> None:
        self.root = root
        self.cause = cause
        self.subject = subject
        self.properties = properties
        self.receipt = receipt
        self.muted = muted
        self.explain: Callable[[str, list[float]], list[tuple[str, float]]] | None = None


def timer_moment(
    cause: str, subject: bytes, root: bytes, due: int, now: int, muted: bool = False
) -> TriggerCause:
    return TriggerCause(root, cause, subject, {}, Receipt(due, due, due, now), muted)


def derive(state: ShardState, rules: CompiledRules, view: EvaluationContext, moment: TriggerCause) -> bool:
    """Stage, scores, tags and segment (each may look at those before it), then the triggers on their changes.

    True if a timer may be due sooner.
    """
    profile, now, sooner = view.p, view.now, False
    stage = stage_of(rules, view.f, profile, now)
    if stage != profile.stage:
        if profile.stage:
            state.count(f"stage:{profile.stage}", -1)
        state.count(f"stage:{stage}")
        profile.stage = stage
    crossed = _score(state, rules, view, moment)
    item_interactions.group(state, rules, view, moment.root)
    changes: list[CompiledTrigger] = []
    if not profile.tags.keys() <= rules.weights.keys():  # rules that are gone
        for name in profile.tags.keys() - rules.weights.keys():
            del profile.tags[name]
            state.count(f"tag:{name}", -1)
    for name, when, ttl in rules.tags:
        held = profile.tags.get(name)
        if when(view):
            profile.tags[name] = (held[0] if held else now, now + ttl if ttl else 0)
            sooner |= ttl > 0 and now + ttl < profile.indexed_ms
            if held is None:
                state.count(f"tag:{name}")
                changes += rules.on_tag.get((name, True), ())
        elif held is not None and held[1] <= now:
            del profile.tags[name]
            state.count(f"tag:{name}", -1)
            changes += rules.on_tag.get((name, False), ())
    segment = next((name for name, when in rules.segments if when(view)), "")
    if segment != profile.segment:
        left, profile.segment = profile.segment, segment
        if left:
            state.count(f"segment:{left}", -1)
            changes += rules.on_segment.get((left, False), ())
        if segment:
            state.count(f"segment:{segment}")
            changes += rules.on_segment.get((segment, True), ())
    for trigger in changes + crossed:
        fire(state, trigger, view, moment)
    return sooner


def _score(
    state: ShardState, rules: CompiledRules, view: EvaluationContext, moment: TriggerCause
) -> list[CompiledTrigger]:
    """The triggers whose threshold is crossed. A first score may be above one; only one that was higher falls
    below."""
    profile = view.p
    if not profile.scores.keys() <= rules.scored:  # models that are gone
        profile.scores = {model: held for model, held in profile.scores.items() if model in rules.scored}
    models = rules.models_at(view.key)
    if not view.key:  # time moves all figures
        models = tuple(model for model in rules.models if model in models or model.name in profile.scores)
    scorers = state.scorers.scorer_set(models)
    if not scorers.models:
        return []
    held, said = profile.scores, scorers.say(view.features(scorers.reach))
    crossed = [
        trigger
        for model, threshold, above, trigger in rules.watching(scorers.models)
        if _crosses(held.get(model, _NONE)[0], threshold, said[model][0], above)
    ]
    held |= said
    moment.explain = scorers.explain
    return crossed


def _crosses(before: float, threshold: float, score: float, above: bool) -> bool:
    return before < threshold <= score if above else score < threshold <= before


def fire(state: ShardState, trigger: CompiledTrigger, view: EvaluationContext, moment: TriggerCause) -> None:
    if not trigger.when(view):
        return
    if (
        moment.muted
    ):  # no cooldown, no choice among actions: as far as the customer knows nothing has happened
        state.count("decisions:backfill")
        return
    rule, profile = trigger.rule, view.p
    if trigger.cooldown and view.now < profile.cooldowns.get(rule.name, 0):
        state.emit(Lane.DECISIONS, Decision(moment.root, rule.name, moment.cause, view.now, "cooldown"))
        state.count("decisions:cooldown")
        return
    named = trigger_id(moment.cause, moment.subject, rule.name)
    chosen = None
    if trigger.best:
        chosen = actions.choose(state, view, moment.root, rule.name, moment.cause, named)
        if chosen is None:
            return
    if trigger.cooldown:
        profile.cooldowns[rule.name] = view.now + trigger.cooldown
    if chosen is not None and chosen.rule.silent:
        return
    reasons: dict[str, Any] = {name: _plain(read(view)) for name, read in trigger.reasons.items()}
    if chosen is not None:
        reasons |= chosen.reasons
    if moment.explain is not None and trigger.models:
        x = view.features()
        for model in trigger.models:
            reasons |= {
                f"score.{model} because of {name}": round(part, 4)
                for name, part in moment.explain(model, x)[:3]
            }
    scores = {
        model: {"score": score, "version": version} for model, (score, version) in profile.scores.items()
    }
    state.emit(
        Lane.TRIGGERS,
        Trigger(
            named,
            text_id(moment.root),
            rule.name,
            chosen.rule.name if chosen else trigger.action,
            (chosen.rule.channel if chosen else "") or rule.channel,
            (chosen.rule.purpose if chosen else "") or rule.purpose,
            list((chosen.rule.to if chosen else ()) or rule.to),
            moment.cause,
            reasons,
            scores,
            moment.properties,
            moment.receipt,
        ),
    )
    state.count(f"triggers:{rule.name}")
    state.fired.append((rule.name, moment.receipt.received_ms))


def trigger_id(cause: str, subject: bytes, rule: str) -> str:
    """Stable for ever: from what caused it, whom the cause was about, and the rule; never from a position or
    a clock."""
    hashed = blake2b(cause.encode("utf-8", "surrogatepass"), digest_size=16, key=subject)
    hashed.update(b"\0" + rule.encode())
    return "trg_" + hashed.hexdigest()


def stage_of(rules: CompiledRules, total: Fragment, profile: Profile, now: int) -> str:
    """The life-cycle stage by inactivity."""
    lifecycle, quiet = rules.rules.lifecycle, now - total.last_ms
    if quiet >= lifecycle.lost:
        return "lost"
    if quiet >= lifecycle.slipping:
        return "slipping"
    if profile.returned_ms and now - profile.returned_ms < lifecycle.won_back:
        return "won_back"
    return "new" if now - total.first_ms < lifecycle.new else "active"


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (dict, set)) else value
