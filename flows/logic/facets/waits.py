"""Rules that wait: "A, then no B within a time"."""

from collections.abc import Iterable
from typing import Final

from flows.logic.facets.decisions import fire
from flows.logic.facets.facet import Facet, TriggerCause, timer_cause
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.state import Live, ShardState
from schemas.records.customer_profile import Profile, Wait

WAITS_MAX: Final = 16


class Waits(Facet):
    """The timer rules that saw their first event, and when the events that end them happened.

    What counts is when both happened, for they may come in any order.
    """

    def after_event(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """End waits and begin some; history only ends them."""
        starts = () if cause.muted else rules.starts.get(view.key, ())
        ended = rules.ends.get(view.key, ())
        if not (starts or ended):
            return
        profile, time_ms = view.p, cause.receipt.event_ms
        begun = [trigger.rule for trigger in starts if time_ms >= profile.ended.get(trigger.rule.name, 0)]
        if ended:
            profile.ended |= {rule: max(time_ms, profile.ended.get(rule, 0)) for rule in ended}
            profile.waits = [
                wait for wait in profile.waits if wait.rule not in ended or wait.since_ms > time_ms
            ]
        for rule in begun:
            others = [wait for wait in profile.waits if wait.rule != rule.name]
            due = view.now + int(rule.on.within or 0)
            wait = Wait(
                rule=rule.name, due_ms=due, cause=cause.cause, subject=cause.subject, since_ms=time_ms
            )
            profile.waits = [*others[-WAITS_MAX + 1 :], wait]
            cause.sooner = True

    def after_timer(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Fire where the other event did not come in time."""
        profile, now = view.p, view.now
        for waited in [waited for waited in profile.waits if waited.due_ms <= now]:
            profile.waits.remove(waited)
            trigger = rules.waits.get(waited.rule)
            if trigger is not None:
                named = cause_of(waited)
                fire(state, trigger, view, timer_cause(named, waited.subject, cause.root, waited.due_ms, now))

    def dues(self, rules: CompiledRules, view: EvaluationContext) -> Iterable[int]:
        """Return when waits are over."""
        return [wait.due_ms for wait in view.p.waits]

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Keep of each rule the last wait of both that is not ended."""
        profile = live.profile
        for rule, time_ms in theirs.ended.items():
            profile.ended[rule] = max(time_ms, profile.ended.get(rule, 0))
        waits: dict[str, Wait] = {}
        for wait in sorted(profile.waits + theirs.waits, key=_order):
            if wait.since_ms >= profile.ended.get(wait.rule, 0):
                waits[wait.rule] = wait
        profile.waits = [*waits.values()][-WAITS_MAX:]


def _order(wait: Wait) -> tuple[int, int, str]:
    return (wait.since_ms, wait.due_ms, wait.cause)


def cause_of(waited: Wait) -> str:
    """Return the cause of what a wait fires.

    It does not hold the time it was due: that is counted from the shard's clock, which a server that lost its
    tail reads at another time.
    """
    return f"timer:{waited.rule}:{waited.cause}"
