"""Everything that is held of one customer, as plain data: for the customer, and for another system.

In the clear: this is what a customer is entitled to. Who asks must be allowed to, and must hand it to nobody
else.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from flows.logic.consent import is_one
from flows.logic.message import Checked
from flows.runtime.archived_windows import events_of, unpacked
from flows.runtime.deployment import Deployment
from flows.runtime.sift import story
from flows.services.steward.access import steward
from flows.services.subjects import requests
from flows.services.subjects.sweeping import entries
from schemas.errors import Unusable
from schemas.records.identity_graph import shard_of, text_id
from schemas.records.journal import JournalKind
from schemas.records.outbox_lanes import Lane
from schemas.wire.events import RawEvent
from schemas.wire.triggers import Decision, Trigger
from state.redis.client import INFRASTRUCTURE, reported

log = structlog.get_logger()

_decision = msgspec.msgpack.Decoder(Decision).decode
_trigger = msgspec.msgpack.Decoder(Trigger).decode
ABOUT: Final = "everything that this deployment holds of one customer"


def export(deployment: Deployment, who: str) -> dict[str, Any]:
    """Return all that is held of `NAMESPACE:VALUE`, or of a customer's id. Raises `Unusable` where nobody is
    known so, `Unreachable`."""
    with reported():
        root = requests.customer(deployment, who)
        [erased] = deployment.directory.erased([root])
        desk = steward(deployment)
        found = None if erased else desk.show(f"customer:{text_id(root)}")
        if found is None:
            raise Unusable(f"nothing is held of {who} any more: the customer was erased, or is being erased")
        profile = deployment.profile_reader("customer", found.customer) or {}
        origins = [bytes.fromhex(origin) for origin in found.origins]
        hashes = frozenset(bytes.fromhex(one.identifier) for one in found.identifiers)
        stated = desk.people.newest(root)
        history = desk.history(f"customer:{found.customer}")
        return {
            "about": ABOUT,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "deployment": deployment.config.name,
            "customer": found.customer,
            "identifiers": found.identifiers,
            "stated": stated,
            "profile": {name: value for name, value in profile.items() if name != "identifiers"},
            "scores_because_of": deployment.profile_reader.reasons(root),
            "consents": {name: value for name, value in profile.get("traits", {}).items() if is_one(name)},
            "identity": {"unions": found.unions, "apart": found.apart, "reviews": found.reviews},
            "identity_history": history.entries if history is not None else [],
            "decisions": [msgspec.structs.asdict(one) for one in _decisions(deployment, origins)],
            "waiting_to_be_sent": [msgspec.structs.asdict(one) for one in _waiting(deployment, origins)],
            "recipients": _recipients(deployment),
            "requests": [requests.opened(deployment, one) for one in requests.of(deployment, found.customer)],
            "events": list(_events(deployment, hashes)),
        }


def _decisions(deployment: Deployment, origins: Sequence[bytes]) -> Iterator[Decision]:
    """Yield why something was sent, or was not."""
    return (_decision(body) for body in _lane(deployment, Lane.DECISIONS, origins))


def _waiting(deployment: Deployment, origins: Sequence[bytes]) -> Iterator[Trigger]:
    return (_trigger(body) for body in _lane(deployment, Lane.TRIGGERS, origins))


def _lane(deployment: Deployment, lane: str, origins: Sequence[bytes]) -> Iterator[bytes]:
    shards = {shard_of(origin, deployment.config.shards.count) for origin in origins}
    found = entries(deployment.outbox, lane, shards, frozenset(origins))
    return (entry.body for entry in found)


def _recipients(deployment: Deployment) -> list[dict[str, Any]]:
    """Return who may have been told of a customer, and by which names they know one."""
    return [
        {"name": one.name, "type": one.type, "place": one.place, "knows": list(one.identify)}
        for one in deployment.config.connector
        if one.enabled
    ]


def _events(deployment: Deployment, hashes: frozenset[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events in the archive that name one of these identifiers, the oldest first."""
    if not deployment.archive.newest():
        return
    check, keys = deployment.validator(planned=False).check, deployment.data_keys
    for found in deployment.archive.entries(0):
        if found.entry.kind != JournalKind.WINDOW or found.entry.bare:
            continue
        for event in events_of(unpacked(found.entry.content), keys):
            if event is not None and _is_of(check, event, hashes):
                yield _event(event)


def _is_of(check: Callable[[RawEvent], object], event: RawEvent, hashes: frozenset[bytes]) -> bool:
    """Return whether it names one of these. One that our own code raises on is nobody's, as for `resolve`."""
    try:
        checked = check(event)
    except INFRASTRUCTURE:
        raise
    except Exception as error:  # noqa: BLE001  # a defect of ours must not keep a customer from what is held
        log.error("event_unreadable", where=story(error), then="it is not in the export")
        return False
    return isinstance(checked, Checked) and any(one.hash in hashes for one in checked.identifiers)


def _event(event: RawEvent) -> dict[str, Any]:
    return {
        "received_ms": event.received_ms,
        "source": event.source,
        "event": msgspec.json.decode(event.value),
    }
