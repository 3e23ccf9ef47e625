"""How many days in a row a customer has been active, in UTC days: `streak` in expressions.

Each fragment keeps the set of days with events, as runs [first, last, first, last ...] of day numbers. A
union of sets does not depend on the order of events or fragments, so a streak is exact for events that come
late, for customers that are united, and for those that are taken apart again.
"""

from collections.abc import Iterable
from typing import Any, Final

from flows.logic.facets.facet import Facet
from flows.logic.profile.facet_figures import FacetFigure
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules

DAY_MS: Final = 86_400_000
DAYS_MAX: Final = 366  # back from the last day: a longer streak counts as this many


class Streaks(Facet):
    """Days in a row up to today; up to yesterday while there was nothing today."""

    def figures(self) -> tuple[FacetFigure, ...]:
        """Return `streak`."""
        return (STREAK,)

    def dues(self, rules: CompiledRules, view: EvaluationContext) -> Iterable[int]:
        """Return the midnight at which the streak ends, if nothing happens before it."""
        if STREAK.name not in rules.of_facets:
            return ()
        run = _current(view.f.aggregates.get(STREAK.slot), view.now)
        return ((run[1] + 2) * DAY_MS,) if run else ()

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return the streak, where rules name it."""
        if STREAK.name not in rules.of_facets:
            return {}
        return {STREAK.name: _length(view.f.aggregates.get(STREAK.slot), view.now)}


def _add(state: Any, time_ms: int, properties: dict[str, Any]) -> list[int]:
    day = time_ms // DAY_MS
    days: list[int] = state or [day, day]
    if days[-2] <= day <= days[-1]:  # as nearly always
        return days
    return _union(days, [day, day])


def _union(a: list[int], b: list[int]) -> list[int]:
    """Return the days of both, as runs that do not touch."""
    runs = sorted([*zip(a[::2], a[1::2], strict=True), *zip(b[::2], b[1::2], strict=True)])
    found: list[int] = []
    for first, last in runs:
        if found and first <= found[-1] + 1:
            found[-1] = max(found[-1], last)
        else:
            found += (first, last)
    oldest = found[-1] - DAYS_MAX + 1
    while found[1] < oldest:
        del found[:2]
    found[0] = max(found[0], oldest)
    return found


def _current(state: Any, now_ms: int) -> tuple[int, int] | None:
    """Return the run that today or yesterday belongs to, if there is one."""
    days: list[int] = state or []
    today = now_ms // DAY_MS
    for first, last in reversed(list(zip(days[::2], days[1::2], strict=True))):
        if first <= today:
            return (first, last) if last >= today - 1 else None
    return None


def _length(state: Any, now_ms: int) -> int:
    run = _current(state, now_ms)
    return min(run[1], now_ms // DAY_MS) - run[0] + 1 if run else 0


STREAK: Final = FacetFigure(
    "streak", "number", update=_add, merge=_union, read=_length, doc="days in a row with activity, UTC"
)
