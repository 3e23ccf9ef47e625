"""What is held of a customer and why, for the privacy centre: by category of data, with the purposes that may
use it. Personal values are masked; the export shows them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from connectors.centre.views import CategoryHeld, FieldHeld, Holding, Kept, Recipient, Visit
from flows.logic.consent import is_one
from flows.logic.permissions.categories import BEHAVIOUR, TRANSACTION
from flows.logic.permissions.statements import Words, words_of
from flows.logic.resolution.consents import ConsentRules
from flows.logic.shard.view import mask
from flows.runtime.deployment import Deployment
from flows.services.steward.access import steward
from schemas.config import Config
from schemas.errors import Unusable
from state.redis.client import reported

_DAY_MS: Final = 86_400_000
_VALUE_MAX: Final = 200  # characters that a page shows of one


def holding(deployment: Deployment, rules: ConsentRules, visit: Visit) -> Holding:
    """Return what is held. Raises `Unusable` where nothing is any more, `Unreachable`."""
    desk = steward(deployment)
    with reported():
        found = desk.show(f"customer:{visit.customer}")
        if found is None:
            raise Unusable(f"nothing is held of {visit.customer} any more")
        root = bytes.fromhex(found.customer)
        profile = deployment.profile_reader("customer", found.customer) or {}
        sealed = desk.people.newest(root)
        [standing] = deployment.directory.standings([root])
    words = words_of(standing)
    purposes = deployment.config.consent.purpose
    may = [purpose.name for purpose in purposes]
    required = [purpose.name for purpose in purposes if purpose.required]
    namespaces = {one.namespace for one in found.identifiers}
    fields: dict[str, list[FieldHeld]] = {BEHAVIOUR: [], TRANSACTION: [*_purchases(profile)]}
    for field in _fields(profile.get("traits", {}), sealed):
        category = rules.categories.of_field(field.name)
        if category or field.name not in namespaces:  # it stands among the identifiers
            fields.setdefault(category, []).append(field)
    return Holding(
        identifiers=[
            FieldHeld(one.namespace, mask(one.value) if one.value else "", True) for one in found.identifiers
        ],
        categories=[
            CategoryHeld(
                category,
                [one for one in (may if category else required) if _uses(rules, words, one, category)],
                held,
            )
            for category, held in sorted(fields.items())
            if held or category == BEHAVIOUR
        ],
        events=profile.get("events", 0),
        first_ms=profile.get("first_seen_ms", 0),
        last_ms=profile.get("last_seen_ms", 0),
        tags=sorted(profile.get("tags", ())),
        segment=profile.get("segment") or "",
        stage=profile.get("stage") or "",
        scores=[*_scores(profile.get("scores", {}))],
        recipients=[
            Recipient(one.name, one.type, list(one.identify))
            for one in deployment.config.connector
            if one.enabled
        ],
        kept=[*kept_for(deployment.config)],
    )


def _uses(rules: ConsentRules, words: Words, purpose: str, category: str) -> bool:
    """Return whether a purpose may use this; what has no category belongs to the service itself."""
    return not category or rules.permissions.may_use(words, purpose, category)


def _fields(traits: Mapping[str, Any], sealed: Mapping[str, str]) -> Iterator[FieldHeld]:
    """Yield what the customer stated; not consent, which has a page of its own."""
    for name, value in sealed.items():
        yield FieldHeld(name, mask(value), True)
    for name, value in traits.items():
        if not is_one(name) and name not in sealed:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            yield FieldHeld(name, text[:_VALUE_MAX], False)


def _purchases(profile: Mapping[str, Any]) -> Iterator[FieldHeld]:
    value = profile.get("value", {})
    if value.get("frequency"):
        yield FieldHeld("orders", str(value["frequency"]), False)
        yield FieldHeld("spent", f"{value['monetary']:,.2f}", False)


def _scores(scores: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for model, said in sorted(scores.items()):
        score = said.get("score") if isinstance(said, dict) else said
        if isinstance(score, int | float):
            yield model, round(100 * score)


def kept_for(config: Config) -> Iterator[Kept]:
    """Yield how long each place keeps something."""
    silent = config.retention.customers
    if silent is None:
        yield Kept("profile", "until_erased")
    else:
        yield Kept("profile", "while_heard_of", {"days": max(1, silent // _DAY_MS)})
    yield Kept("events", "by_policy" if config.raw.log == "kafka" else "until_read")
    if config.archive.enabled:
        keep = config.archive.keep
        if keep is None:
            yield Kept("archive", "until_erased")
        else:
            yield Kept("archive", "for_days", {"days": max(1, keep // _DAY_MS)})
    if config.backup.daily:
        yield Kept("backup", "for_copies", {"copies": config.backup.keep})
    else:
        yield Kept("backup", "by_policy")
    answered = config.retention.requests
    if answered is None:
        yield Kept("requests", "by_policy")
    else:
        yield Kept("requests", "for_days", {"days": max(1, answered // _DAY_MS)})
