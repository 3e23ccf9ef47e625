"""What customers care for: items that events name (for recommendations), and the group of those who behave
alike."""

from collections.abc import Iterator
from typing import Any, Final

from flows.logic.facets.actions import context_of
from flows.logic.models import cluster_assigner, recommendation_index
from flows.logic.rules.ruleset import CompiledRules, EvaluationContext
from flows.logic.shard.state import ShardState
from schemas.records.customer_profile import Profile
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Example

ITEM_MAX: Final = 64  # characters of an item's id; longer ones are none
ITEMS_MAX: Final = 16  # of one event


def touch(
    state: ShardState, rules: CompiledRules, view: EvaluationContext, root: bytes, key: str, time_ms: int
) -> None:
    """An event may be about items: each is learnt together with those that this customer touched before."""
    for rule in rules.touches.get(key, ()):
        recent = view.p.recent
        for item in items_of(view.properties, rule.item.split(".")):
            state.emit(
                Lane.EXAMPLES,
                Example(
                    recommendation_index.NAME,
                    root,
                    time_ms,
                    view.now,
                    [],
                    None,
                    0,
                    rule.weight,
                    action=item,
                    recent=recent,
                    segment=view.p.segment,
                ),
            )
            recent = [item, *(other for other in recent if other != item)][: recommendation_index.RECENT_MAX]
        view.p.recent = recent


def items_of(properties: dict[str, Any], path: list[str]) -> list[str]:
    """The ids at this path, through lists as well; at most `ITEMS_MAX`, each once."""
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


def join(profile: Profile, theirs: Profile) -> None:
    """What either of two customers touched, in turns, and the group of the one who was looked at last;
    whoever retires into whom."""
    if theirs.recent:
        both = sorted(
            (place, item) for items in (profile.recent, theirs.recent) for place, item in enumerate(items)
        )
        profile.recent = list(dict.fromkeys(item for _, item in both))[: recommendation_index.RECENT_MAX]
    profile.clustered_ms, profile.cluster = max(
        (profile.clustered_ms, profile.cluster), (theirs.clustered_ms, theirs.cluster)
    )


def group(state: ShardState, rules: CompiledRules, view: EvaluationContext, root: bytes) -> None:
    """The group that the customer belongs to by now, looked for at most every so often; and an example to
    form groups from."""
    settings, profile = rules.rules.clusters, view.p
    if not settings.enabled:
        if profile.cluster:
            _move(state, profile, "")
        return
    if profile.clustered_ms and view.now - profile.clustered_ms < settings.every:
        return
    profile.clustered_ms = view.now
    context = context_of(view)
    assigner = state.learnt.assigner
    if assigner is not None:
        _move(state, profile, assigner.assign(context)[0])
    version = assigner.version if assigner else 0
    state.emit(
        Lane.EXAMPLES, Example(cluster_assigner.NAME, root, view.now, view.now, context, None, version, 0.0)
    )


def _move(state: ShardState, profile: Profile, cluster: str) -> None:
    if cluster != profile.cluster:
        if profile.cluster:
            state.count(f"cluster:{profile.cluster}", -1)
        if cluster:
            state.count(f"cluster:{cluster}")
        profile.cluster = cluster
