"""The items that a customer cares for: those that events name, for recommendations."""

from collections.abc import Iterator
from typing import Any, Final

from flows.logic.facets.facet import Facet, TriggerCause
from flows.logic.models import recommendation_index
from flows.logic.rules.ruleset import CompiledRules, EvaluationContext
from flows.logic.shard.state import Live, ShardState
from schemas.config import Touch
from schemas.records.customer_profile import Profile
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Example

ITEM_MAX: Final = 64  # characters of an item's id; what is longer is not taken for an item
ITEMS_MAX: Final = 16  # of one event


class ItemInteractions(Facet):
    """The last items, the latest first."""

    def before_event(
        self, state: ShardState, rules: CompiledRules, view: EvaluationContext, cause: TriggerCause
    ) -> None:
        """Learn each item of the event together with those that this customer touched before."""
        for rule in rules.touches.get(view.key, ()):
            _touch(state, rule, view, cause)

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Keep what either of two customers touched, in turns; whoever retires into whom."""
        if not theirs.recent:
            return
        lists = (live.profile.recent, theirs.recent)
        both = sorted((place, item) for items in lists for place, item in enumerate(items))
        distinct = list(dict.fromkeys(item for _, item in both))
        live.profile.recent = distinct[: recommendation_index.RECENT_MAX]

    def show(self, rules: CompiledRules, view: EvaluationContext) -> dict[str, Any]:
        """Return what to recommend."""
        return {"recommended": view.recommended()}


def _touch(state: ShardState, rule: Touch, view: EvaluationContext, cause: TriggerCause) -> None:
    recent = view.p.recent
    for item in items_of(view.properties, rule.item.split(".")):
        example = Example(
            model=recommendation_index.NAME,
            customer=cause.root,
            asked_ms=cause.receipt.event_ms,
            answered_ms=view.now,
            features=[],
            predicted=None,
            version=0,
            label=rule.weight,
            action=item,
            recent=recent,
            segment=view.p.segment,
        )
        state.emit(Lane.EXAMPLES, example)
        recent = [item, *(other for other in recent if other != item)][: recommendation_index.RECENT_MAX]
    view.p.recent = recent


def items_of(properties: dict[str, Any], path: list[str]) -> list[str]:
    """Return the ids at this path, through lists as well: at most `ITEMS_MAX`, each once."""
    found: dict[str, None] = {}
    for value in _walk(properties, path):
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            text = str(value) if isinstance(value, str) or abs(value) < 1 << 63 else ""
            if 0 < len(text) <= ITEM_MAX:
                found[text] = None
        if len(found) >= ITEMS_MAX:
            break
    return list(found)


def _walk(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value[: ITEMS_MAX * 4]:
            yield from _walk(each, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        yield from _walk(value.get(path[0]), path[1:])
