"""What became of the actions that were chosen: rewards within the attribution window, and the example that a
choice leaves as.

A reward counts for every open choice of the customer (or for the one whose id the event names); each choice
is judged by what followed it. An open choice lies in the profile, so it goes wherever its customer goes.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from flows.logic.bandit.learner import Rewarded
from flows.logic.bandit.rewards import Refusal
from flows.logic.facets.facet import Facet, TriggerCause
from flows.logic.models.best_action import NAME
from flows.logic.profile.aggregates import amount_of
from flows.logic.rules.action_catalogue import OPEN_MAX
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.state import Live, ShardState, rules_of
from schemas.config import Reward
from schemas.records.customer_profile import MICRO, Open, Profile
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Example

Refused = Refusal | Literal["unknown_action"]  # it was removed while its reward was on the way


class Outcomes(Facet):
    """The open choices, each until its attribution window closes."""

    def before_event(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Credit the open choices, if the event is a reward."""
        for rule in rules.choices.rewards.get(view.key, ()):
            _reward(state, rules, view, rule, cause.receipt.event_ms)

    def before_timer(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Close the choices whose window has passed: they leave as examples, with the context as it was."""
        if view.p.open:
            for closed in rules.choices.ledger(view.p.open).due(view.now):
                _leave(state, cause.root, closed, view.now)

    def after_event(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Have the customer looked at when the first of the windows closes."""
        profile = view.p
        if profile.open and _due(rules, profile) < profile.indexed_ms:
            cause.sooner = True

    def dues(self, rules: CompiledRules, view: EvaluationContext) -> Iterable[int]:
        """Return when the first of the windows closes."""
        return (_due(rules, view.p),) if view.p.open else ()

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Go on with the choices of both in one: what either does from now on rewards both."""
        profile = live.profile
        if not theirs.open:
            return
        both = sorted((profile.open | theirs.open).items(), key=lambda item: (item[1].decided_ms, item[0]))
        profile.open = dict(both)
        if len(both) > OPEN_MAX:
            for closed in rules_of(state).choices.ledger(profile.open).shorten():
                _leave(state, root, closed, state.head.clock_ms)

    def divide(self, united: Profile, staying: Profile, leaving: Profile) -> None:
        """Leave each part those of the choices really made that would have been made for it alone.

        Their rewards are those that the part earned by itself. What was lived once more may have chosen
        otherwise, which nobody was told.
        """
        for profile in (staying, leaving):
            lived, profile.open = profile.open, {}
            for decision, made in lived.items():
                real = united.open.get(decision)
                if real is not None:
                    profile.open[decision] = msgspec.structs.replace(
                        real, reward=made.reward, rewards=made.rewards
                    )

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return the action of each open choice."""
        return {"waiting_for_reward": {decision: made.action for decision, made in view.p.open.items()}}


def begin(state: ShardState, view: EvaluationContext, root: bytes, decision: str, made: Open) -> None:
    """Wait for the rewards of a choice. Where too many wait the oldest leaves before its time."""
    for closed in rules_of(state).choices.ledger(view.p.open).open(decision, made):
        _leave(state, root, closed, view.now)


def _reward(
    state: ShardState, rules: CompiledRules, view: EvaluationContext, rule: Reward, time_ms: int
) -> None:
    amount = rule.amount
    if rule.property:
        held = amount_of(view.property(rule.property))
        amount = float("nan") if held is None else held / MICRO
    if rule.decision:
        _refused(state, _credit(rules, view.p, view.property(rule.decision), amount, time_ms))
        return
    for decision in list(view.p.open):
        refusal = _credit(rules, view.p, decision, amount, time_ms)
        if refusal not in ("early", "late"):  # it was not about this choice
            _refused(state, refusal)


def _credit(
    rules: CompiledRules, profile: Profile, decision: object, amount: float, time_ms: int
) -> Refused | None:
    known = profile.open.get(decision) if isinstance(decision, str) else None
    if known is None or not isinstance(decision, str):
        return "unknown_decision"
    if known.action not in rules.choices.rules:
        del profile.open[decision]
        return "unknown_action"
    return rules.choices.ledger(profile.open).reward(decision, amount, time_ms)


def _refused(state: ShardState, refusal: Refused | None) -> None:
    state.count("rewards" if refusal is None else f"rewards_refused:{refusal}")
    state.changes.rewarded.append(refusal or "counted")


def _due(rules: CompiledRules, profile: Profile) -> int:
    """Return when the first of the attribution windows closes, where a choice is open."""
    return next(iter(profile.open.values())).decided_ms + rules.choices.within_ms


def _leave(state: ShardState, root: bytes, closed: Rewarded, now: int) -> None:
    if closed.action not in rules_of(state).choices.rules:
        state.count("decisions_dropped:unknown_action")
        return
    example = Example(
        model=NAME,
        customer=root,
        asked_ms=closed.decided_ms,
        answered_ms=now,
        features=closed.context,
        predicted=None,
        version=closed.version,
        label=closed.reward,
        action=closed.action,
        propensity=closed.propensity,
        decision=closed.decision,
        eligible=closed.eligible,
    )
    state.emit(Lane.EXAMPLES, example)
