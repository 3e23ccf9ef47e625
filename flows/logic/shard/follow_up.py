"""What follows for one customer from an event, a moment or a union, and when to look at them again: the
facets, verb by verb."""

from typing import Final

from flows.logic.facets.all_facets import (
    AFTER_EVENT,
    AFTER_TIMER,
    BEFORE_EVENT,
    BEFORE_TIMER,
    DERIVE,
    DUES,
)
from flows.logic.facets.facet import TriggerCause, timer_cause
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules, still
from flows.logic.shard.state import Live, ShardState, rules_of
from schemas.records.identity_graph import text_id
from schemas.wire.events import Fact
from schemas.wire.triggers import Receipt

REFRESH_MS: Final = 86_400_000  # figures over time windows are looked at again once a day ...
ASLEEP_MS: Final = 2 * REFRESH_MS  # ... while less than this lies behind the last boundary that can move
# of whom nothing more is expected: the index names everybody, so that a lost profile is missed
SELDOM_MS: Final = 365 * REFRESH_MS


def at_event(state: ShardState, rules: CompiledRules, root: bytes, fact: Fact, live: Live) -> None:
    """Do what follows from a fact that was counted."""
    profile, now = live.profile, state.head.clock_ms or fact.received_ms
    view = EvaluationContext(rules.reads, state.learnt.recommendations, rules.rules.recommendation.k)
    view.p, view.f, view.now = profile, live.total, now
    view.event, view.type, view.channel, view.properties = fact.name, fact.type, fact.channel, fact.properties
    view.key = fact.name if fact.type == "track" else fact.type
    receipt = Receipt(fact.time_ms, fact.received_ms, fact.resolved_ms, max(now, fact.resolved_ms))
    cause = TriggerCause(root, fact.message, fact.subject, fact.properties, receipt, fact.backfill)
    for before in BEFORE_EVENT:
        before(state, rules, view, cause)
    for derive in DERIVE:
        derive(state, rules, view, cause)
    for after in AFTER_EVENT:
        after(state, rules, view, cause)
    if cause.sooner or profile.indexed_ms == 0 or profile.indexed_ms > now + REFRESH_MS:
        _schedule(state, rules, view, root)  # also for whoever was asleep and has boundaries again


def at_timer(state: ShardState, root: bytes, live: Live, due: int) -> None:
    """Do what follows from the time that has passed."""
    rules, now = rules_of(state), state.head.clock_ms
    view = still(rules, live.profile, live.total, now, state.learnt.recommendations)
    cause = timer_cause(f"timer:wake:{due}", root, root, due, now)
    for before in BEFORE_TIMER:
        before(state, rules, view, cause)
    for derive in DERIVE:
        derive(state, rules, view, cause)
    for after in AFTER_TIMER:
        after(state, rules, view, cause)
    _schedule(state, rules, view, root)


def at_union(state: ShardState, root: bytes, retired: bytes, live: Live, muted: bool) -> None:
    """Do what follows from figures that another customer brought."""
    rules, now = rules_of(state), state.head.clock_ms
    view = still(rules, live.profile, live.total, now, state.learnt.recommendations)
    cause = timer_cause(f"absorb:{text_id(retired)}", retired + root, root, now, now, muted)
    for derive in DERIVE:
        derive(state, rules, view, cause)
    _schedule(state, rules, view, root)


def _schedule(state: ShardState, rules: CompiledRules, view: EvaluationContext, root: bytes) -> None:
    """Put the profile into the timer index at its next due time. The index may be early, never late."""
    profile, now = view.p, view.now
    dues: list[int] = []
    for dues_of in DUES:
        dues += dues_of(rules, view)
    if now < view.f.last_ms + rules.settled_ms + ASLEEP_MS:
        dues.append(now + REFRESH_MS)
    due = max(min(dues, default=now + SELDOM_MS), now + 1)
    if profile.indexed_ms == 0 or due < profile.indexed_ms:
        profile.indexed_ms = due
        state.changes.timers[root] = due
