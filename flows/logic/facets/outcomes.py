"""What became of the actions that were chosen: rewards within the attribution window, and the example that a
choice leaves as.

A reward counts for every open choice of the customer (or for the one whose id the event names); each choice
is judged by what followed it. An open choice lies in the profile, so it goes wherever its customer goes.
"""

from typing import Literal

from flows.logic.bandit.learner import Rewarded
from flows.logic.bandit.rewards import Refusal
from flows.logic.models.best_action import NAME
from flows.logic.profile.aggregates import amount_of
from flows.logic.rules.action_catalogue import OPEN_MAX
from flows.logic.rules.ruleset import CompiledRules, EvaluationContext
from flows.logic.shard.state import ShardState, rules_of
from schemas.records.customer_profile import MICRO, Open, Profile
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Example

Refused = Refusal | Literal["unknown_action"]  # it was removed while its reward was on the way


def begin(state: ShardState, view: EvaluationContext, root: bytes, decision: str, made: Open) -> None:
    """Wait for the rewards of a choice. Where too many wait the oldest leaves before its time."""
    for closed in rules_of(state).choices.ledger(view.p.open).open(decision, made):
        _leave(state, root, closed, view.now)


def reward(state: ShardState, rules: CompiledRules, view: EvaluationContext, key: str, time_ms: int) -> None:
    """An event that happened at `time_ms` may be a reward."""
    for rule in rules.choices.rewards.get(key, ()):
        amount = rule.amount
        if rule.property:
            held = amount_of(view.property(rule.property))
            amount = float("nan") if held is None else held / MICRO
        if rule.decision:
            _refused(state, _credit(rules, view.p, view.property(rule.decision), amount, time_ms))
            continue
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
    state.rewarded.append(refusal or "counted")


def due(rules: CompiledRules, profile: Profile) -> int:
    """When the first of the attribution windows closes; 0 if nothing waits."""
    return next(iter(profile.open.values())).decided_ms + rules.choices.within_ms if profile.open else 0


def close(state: ShardState, rules: CompiledRules, view: EvaluationContext, root: bytes) -> None:
    """The choices whose window has passed leave as examples, with the context as it was."""
    if view.p.open:
        for closed in rules.choices.ledger(view.p.open).due(view.now):
            _leave(state, root, closed, view.now)


def _leave(state: ShardState, root: bytes, closed: Rewarded, now: int) -> None:
    if closed.action not in rules_of(state).choices.rules:
        state.count("decisions_dropped:unknown_action")
        return
    state.emit(
        Lane.EXAMPLES,
        Example(
            NAME,
            root,
            closed.decided_ms,
            now,
            closed.context,
            None,
            closed.version,
            closed.reward,
            action=closed.action,
            propensity=closed.propensity,
            decision=closed.decision,
            eligible=closed.eligible,
        ),
    )


def join(state: ShardState, root: bytes, profile: Profile, theirs: Profile) -> None:
    """What was chosen for either of two customers goes on in one; what either does from now on rewards
    both."""
    if theirs.open:
        both = sorted((profile.open | theirs.open).items(), key=lambda item: (item[1].decided_ms, item[0]))
        profile.open = dict(both)
        if len(both) > OPEN_MAX:
            ledger = rules_of(state).choices.ledger(profile.open)
            for closed in ledger.shorten():
                _leave(state, root, closed, state.head.clock_ms)


def part(united: Profile, *parts: Profile) -> None:
    """After a union was undone: each part keeps of what was really chosen that which it would have been
    chosen for alone.

    Its rewards are those that the part earned by itself. What was lived once more may have chosen otherwise,
    which nobody was told.
    """
    for profile in parts:
        lived, profile.open = profile.open, {}
        for decision, made in lived.items():
            real = united.open.get(decision)
            if real is not None:
                profile.open[decision] = Open(
                    *(
                        real.decided_ms,
                        real.context,
                        real.action,
                        real.propensity,
                        real.version,
                        made.reward,
                        made.rewards,
                    ),
                    real.eligible,
                )
