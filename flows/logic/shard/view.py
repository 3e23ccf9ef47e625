"""A customer as people and systems read it: figures by name, personal data masked."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from flows.logic.facets.all_facets import SHOW
from flows.logic.fields import group_traits
from flows.logic.fields.check import NOTES, OK, QUALITY
from flows.logic.fields.completion import completed
from flows.logic.fields.stated import in_order
from flows.logic.models.recommendation_index import RecommendationIndex
from flows.logic.rules.evaluation_context import EvaluationContext
from flows.logic.rules.ruleset import CompiledRules
from schemas.records.customer_profile import MICRO, Fragment, Profile
from schemas.records.identity_graph import text_id

# What facets show that stands among the figures; what others show stands behind all.
_FIRST: Final = ("stage", "segment", "tags", "cluster", "recommended", "waiting_for_reward", "scores")


def present(
    root: bytes,
    profile: Profile,
    total: Fragment,
    rules: CompiledRules,
    now_ms: int,
    contact: Mapping[str, str],
    recommendations: RecommendationIndex | None = None,
) -> dict[str, Any]:
    """Return the answer to `GET /v1/profiles/...`; `contact` holds opened sensitive fields, which are masked
    here."""
    view = EvaluationContext(rules.reads, recommendations, rules.rules.recommendation.k)
    view.p, view.f, view.now = profile, total, now_ms
    recency = view.purchase_recency()
    shown = {name: value for show in SHOW for name, value in show(rules, view).items()}
    return {
        "customer": text_id(root),
        "events": total.events,
        "first_seen_ms": total.first_ms,
        "last_seen_ms": total.last_ms,
        **{name: shown.pop(name) for name in _FIRST},
        "value": {
            "recency_days": None if recency is None else round(recency, 3),
            "frequency": total.orders,
            "monetary": total.spent / MICRO,
        },
        "aggregates": {
            name: figure.read(total.aggregates.get(figure.slot), now_ms)
            for name, figure in rules.figures.items()
        },
        "sessions": len(total.sessions) // 2,
        "channels": dict(sorted(total.channels.items())),
        "hours": {str(hour): n for hour, n in sorted(total.hours.items())},
        "traits": {
            name: value
            for name, (_moment, value) in sorted(total.traits.items())
            if not name.startswith(NOTES)
        },
        "groups": group_traits.shown(total.traits),
        "quality": _quality(total),
        "completed": completed(total.traits),
        "identifiers": {name: mask(value) for name, value in sorted(own(contact).items())},
        "fragments": len(profile.fragments),
        "rules": rules.version,
        **shown,
    }


def newest(stated: Iterable[tuple[str, int, str]]) -> dict[str, str]:
    """Return what was last stated of each field, of (field, moment, value), as with other traits (see
    `flows.logic.fields.stated`)."""
    last: dict[str, tuple[int, str]] = {}
    for field, moment, value in stated:
        last[field] = max(last.get(field, (-1, "")), (in_order(moment), value))
    return {field: value for field, (_, value) in sorted(last.items())}


def own(stated: Mapping[str, str]) -> dict[str, str]:
    """Return the customer's fields, without what entry noted about them."""
    return {field: value for field, value in stated.items() if not field.startswith(NOTES)}


def _quality(total: Fragment) -> dict[str, str]:
    """Of each checked field, whether the last value stated was `ok`, or why it was bad."""
    found = {}
    for name, (_moment, said) in sorted(total.traits.items()):
        if name.startswith(QUALITY):
            found[name.removeprefix(QUALITY)] = OK if str(said).startswith(f"{OK} ") else str(said)
    return found


def mask(value: str) -> str:
    """Return `maria@example.com` as `m***@example.com`, `+8613800138000` as `+86***00`; short values wholly
    masked."""
    name, at, domain = value.partition("@")
    # a domain and nothing behind it: or what stands there would be shown
    if at and name and "." in domain and domain.replace(".", "").replace("-", "").isalnum():
        return f"{name[0]}***@{domain}"
    return f"{value[:3]}***{value[-2:]}" if len(value) >= 8 else "***"
