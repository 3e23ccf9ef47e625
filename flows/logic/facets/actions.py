"""Next best action in a shard: of the actions that this customer may be offered now, the one that the learnt
policy draws.

All that is needed to judge the choice later goes into a decision record: the context as it was, the
probability of each action, why the others were withheld. Before there is a model all eligible actions are
equally probable.
"""

from operator import itemgetter
from typing import NamedTuple

from flows.logic.bandit.allowances import Allowances
from flows.logic.bandit.choose import ActionSet, Choice, screen, uniform
from flows.logic.bandit.rewards import packed
from flows.logic.facets import outcomes
from flows.logic.models.best_action import FEATURES
from flows.logic.models.features import NAMES
from flows.logic.rules.action_catalogue import Choices
from flows.logic.rules.ruleset import EvaluationContext
from flows.logic.shard.state import ShardState, rules_of
from schemas.config import Action as ActionRule
from schemas.records.customer_profile import Open
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Decision

_REACH = 1 + max(NAMES.index(name) for name in FEATURES)
_PLACES = itemgetter(*(NAMES.index(name) for name in FEATURES))


class Chosen(NamedTuple):
    """What is to be done, and what is said about it in the trigger."""

    rule: ActionRule
    reasons: dict[str, object]


def choose(
    state: ShardState, view: EvaluationContext, root: bytes, rule: str, cause: str, decision: str
) -> Chosen | None:
    """Choose for the trigger with the id `decision`; return None where no action may be offered. It is noted
    either way."""
    choices, profile, now = rules_of(state).choices, view.p, view.now
    allowances = Allowances(choices.period_ms, state.head.used, state.number, choices.shards)
    room = [
        "cooldown" if now < profile.cooldowns.get(_cooldown(action.name), 0) else lack
        for action, lack in zip(choices.actions, allowances.room(choices.actions, now), strict=True)
    ]
    eligible, withheld = screen(choices.actions, _allowed(choices, view), room)
    for name, why in withheld.items():
        state.changes.chosen.append((name, why))
    said = dict[str, str](withheld)
    if not eligible:
        record = Decision(
            customer=root, rule=rule, cause=cause, at_ms=now, reason="no_action", id=decision, withheld=said
        )
        state.emit(Lane.DECISIONS, record)
        state.count("decisions:no_action")
        return None
    context = context_of(view)
    choice, version = _draw(state, context, choices.action_set(eligible), decision)
    action, chosen = eligible[choice.chosen], choices.rules[choice.action]
    allowances.keep(choices.actions)
    allowances.take(action, now)
    if chosen.cooldown is not None:
        profile.cooldowns[_cooldown(action.name)] = now + int(chosen.cooldown)
    expected = choice.expected[choice.chosen] if version else 0.0
    record = Decision(
        customer=root,
        rule=rule,
        cause=cause,
        at_ms=now,
        reason="silent" if chosen.silent else "chosen",
        id=decision,
        action=action.name,
        propensity=choice.propensity,
        expected=expected,
        propensities=dict(zip(choice.actions, choice.propensities, strict=True)),
        withheld=said,
        context=context,
        version=version,
    )
    state.emit(Lane.DECISIONS, record)
    state.count(f"actions:{action.name}")
    state.changes.chosen.append((action.name, _how(choice, version)))
    made = Open(
        decided_ms=now,
        context=packed(context),
        action=action.name,
        propensity=choice.propensity,
        version=version,
        eligible=list(choice.actions),
    )
    outcomes.begin(state, view, root, decision, made)
    return Chosen(chosen, _reasons(choice, version, expected, said))


def context_of(view: EvaluationContext) -> list[float]:
    """Return what the policy looks at."""
    return list(_PLACES(view.features(_REACH)))


def _allowed(choices: Choices, view: EvaluationContext) -> list[bool | None]:
    return [_holds(condition, view) for condition in choices.conditions]


def _holds(condition: object, view: EvaluationContext) -> bool | None:
    """None where the expression raises. It should not; but then the action is withheld, and the customer's
    turn goes on."""
    assert callable(condition)
    try:
        return bool(condition(view))
    except Exception:  # noqa: BLE001  # whatever it is: it is told in the decision record and in the metrics, as `eligibility_failed`
        return None


def _draw(
    state: ShardState, context: list[float], action_set: ActionSet, decision: str
) -> tuple[Choice, int]:
    """By the hash of the decision's id, so that the same log gives the same choice. With the version of the
    model, or 0."""
    draw, decider, count = uniform(decision.encode()), state.learnt.decider, len(action_set.names)
    if decider is not None:
        return decider.decide(context, action_set, draw), decider.version
    return Choice(int(draw * count), action_set.names, (1.0 / count,) * count, (0.0,) * count), 0


def _how(choice: Choice, version: int) -> str:
    """`best` is what is expected to earn most by now."""
    if not version:
        return "uniform"
    return "best" if choice.expected[choice.chosen] >= max(choice.expected) else "explored"


def _reasons(choice: Choice, version: int, expected: float, withheld: dict[str, str]) -> dict[str, object]:
    reasons: dict[str, object] = {"action.propensity": round(choice.propensity, 6), "action.version": version}
    if version:
        reasons["action.expected"] = round(expected, 6)
    return reasons | {f"action.withheld.{name}": why for name, why in withheld.items()}


def _cooldown(action: str) -> str:
    """Among the cool-downs of a customer; no rule has a colon in its name."""
    return f"action:{action}"
