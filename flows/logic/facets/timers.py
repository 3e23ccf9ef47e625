"""What a customer waits for: the other event of a timer rule, the next boundary in time. (Its questions:
`questions`.)"""

from typing import Final

from flows.logic.facets import outcomes
from flows.logic.facets.decisions import TriggerCause, fire, timer_moment
from flows.logic.rules.ruleset import CompiledRules, EvaluationContext
from flows.logic.shard.state import ShardState
from schemas.records.customer_profile import Wait

WAITS_MAX: Final = 16
REFRESH_MS: Final = 86_400_000  # figures over time windows are looked at again once a day ...
SELDOM_MS: Final = (
    365 * REFRESH_MS
)  # of whom nothing more is expected: the index names everybody, so that a lost profile is missed
ASLEEP_MS: Final = 2 * REFRESH_MS  # ... while less than this lies behind the last boundary that can move


def wait(rules: CompiledRules, view: EvaluationContext, moment: TriggerCause, key: str) -> bool:
    """ "A, then no B": what counts is when both happened, for they may come in any order. True if a wait
    begins: history only ends them."""
    profile, time_ms = view.p, moment.receipt.event_ms
    starts = () if moment.muted else rules.starts.get(key, ())
    begun = [trigger.rule for trigger in starts if time_ms >= profile.ended.get(trigger.rule.name, 0)]
    ended = rules.ends.get(key, ())
    if ended:
        profile.ended |= {rule: max(time_ms, profile.ended.get(rule, 0)) for rule in ended}
        profile.waits = [wait for wait in profile.waits if wait.rule not in ended or wait.since_ms > time_ms]
    for rule in begun:
        others = [wait for wait in profile.waits if wait.rule != rule.name]
        wait = Wait(rule.name, view.now + int(rule.on.within or 0), moment.cause, moment.subject, time_ms)
        profile.waits = [*others[-WAITS_MAX + 1 :], wait]
    return bool(begun)


def schedule(state: ShardState, rules: CompiledRules, view: EvaluationContext, root: bytes) -> None:
    """Put the profile into the timer index at its next due time. The index may be early, never late."""
    profile, now, lifecycle = view.p, view.now, rules.rules.lifecycle
    dues = [wait.due_ms for wait in profile.waits] + [question.due_ms for question in profile.questions]
    dues += [due for due in (outcomes.due(rules, profile),) if due]
    dues += [until for _since, until in profile.tags.values() if until]
    last_ms, returned_ms = view.f.last_ms, profile.returned_ms
    boundaries = (
        last_ms + lifecycle.slipping,
        last_ms + lifecycle.lost,
        view.f.first_ms + lifecycle.new,
        returned_ms + lifecycle.won_back,
    )
    dues += [boundary for boundary in boundaries if boundary > now]
    if now < view.f.last_ms + rules.settled_ms + ASLEEP_MS:
        dues.append(now + REFRESH_MS)
    due = max(min(dues, default=now + SELDOM_MS), now + 1)
    if profile.indexed_ms == 0 or due < profile.indexed_ms:
        profile.indexed_ms = due
        state.timers[root] = due


def expire(state: ShardState, rules: CompiledRules, view: EvaluationContext, root: bytes) -> None:
    """The other event did not come in time: fire."""
    profile, now = view.p, view.now
    for waited in [waited for waited in profile.waits if waited.due_ms <= now]:
        profile.waits.remove(waited)
        trigger = rules.waits.get(waited.rule)
        if trigger is not None:
            fire(
                state, trigger, view, timer_moment(cause_of(waited), waited.subject, root, waited.due_ms, now)
            )


def cause_of(waited: Wait) -> str:
    """Without the time it was due: that is counted from the shard's clock, which a server that lost its tail
    reads at another time."""
    return f"timer:{waited.rule}:{waited.cause}"
