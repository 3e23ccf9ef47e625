"""Regulations, as Segment's public API has them: lists of people who are to be erased, or to stay unknown.

A regulation is a `Mandate`, which the process `privacy` carries out. It keeps keyed hashes, so what names its
subjects afterwards is `identifier:HASH`, which `millrace subject unsuppress` takes as well.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from flows.runtime.deployment import Deployment
from flows.services.subjects import mandates
from flows.services.subjects.clocks import due_ms
from flows.services.subjects.receipts import moment
from schemas.errors import Unusable
from schemas.records.identity_graph import ID_MAX, text_id
from schemas.records.mandates import Mandate, Phase
from schemas.records.privacy_requests import ENDS, PrivacyRequest
from state.redis.client import reported

SUBJECTS_MAX: Final = 5_000
PAGE_MAX: Final = 200
TYPES: Final = (
    "SUPPRESS_ONLY",
    "UNSUPPRESS",
    "SUPPRESS_WITH_DELETE",
    "SUPPRESS_WITH_DELETE_INTERNAL",
    "DELETE_ONLY",
    "DELETE_INTERNAL",
)
_FIELDS: Final = {"USER_ID": "userId", "ANONYMOUS_ID": "anonymousId"}
_STATUS: Final = {"pending": "INITIALIZED", "in_progress": "RUNNING", "completed": "FINISHED"}
_DESTINATION: Final = {"taken": "FINISHED", "refused": "FAILED", "off": "NOT_SUPPORTED", "waiting": "RUNNING"}
_STREAM: Final = "workspace"


class Asked(msgspec.Struct):
    """The body of a request."""

    regulationType: str
    subjectType: str
    subjectIds: Sequence[str]


class Page(msgspec.Struct, frozen=True):
    """A part of a list; `after` begins the next one, empty: there is none."""

    entries: Sequence[Any]
    total: int
    after: str


def create(deployment: Deployment, asked: Asked, *, source: str = "", by: str) -> str:
    """Take a regulation on, and return its id. `source`: of a regulation that is for one source alone. Raises
    `Unusable` where it says what cannot be done, `Unreachable`."""
    if asked.regulationType not in TYPES:
        raise Unusable(f"regulationType: expected one of {', '.join(TYPES)}")
    if not 0 < len(asked.subjectIds) <= SUBJECTS_MAX:
        raise Unusable(
            f"subjectIds: expected 1 to {SUBJECTS_MAX} ids in a request, got {len(asked.subjectIds)}: send"
            " the rest in further requests"
        )
    _check_source(deployment, source)
    namespace = _namespace(deployment, asked.subjectType)
    hashes = []
    for index, subject in enumerate(asked.subjectIds):
        hashed = deployment.identifiers.hash(namespace, subject)
        if hashed is None or len(subject) > ID_MAX:
            raise Unusable(
                f"subjectIds[{index}]: this value identifies nobody: it is empty, too long, blocked, or no"
                f" {namespace}"
            )
        hashes.append(hashed)
    now_ms = time.time_ns() // 1_000_000
    regulation = Mandate(
        id=uuid.uuid4().hex,
        dialect="segment",
        kind=asked.regulationType,
        subject=asked.subjectType,
        identifiers=[*dict.fromkeys(hashes)],
        by=by,
        asked_ms=now_ms,
        begins_ms=now_ms + (deployment.config.rights.grace or 0)
        if asked.regulationType in mandates.ERASES
        else 0,
        due_ms=due_ms(deployment.config.rights, datetime.now(UTC)),
        times={Phase.PENDING: now_ms},
    )
    with reported():
        deployment.mandates.add(regulation)
    return regulation.id


def show(deployment: Deployment, name: str) -> dict[str, Any]:
    """Return a regulation, with a status for each destination. Raises `Unusable` where there is none,
    `Unreachable`."""
    found = _get(deployment, name)
    with reported():
        requests = [one for one in deployment.privacy_requests.get_all(found.requests) if one is not None]
    destinations = _destinations(deployment, requests)
    return {
        "id": found.id,
        "workspaceId": deployment.config.name,
        "overallStatus": _overall(found, destinations),
        "createdAt": moment(found.asked_ms),
        "finishedAt": _finished(found),
        "streamStatus": [{"id": _STREAM, "destinationStatus": destinations}],
    }


def listing(deployment: Deployment, *, status: str, types: Sequence[str], after: str, count: int) -> Page:
    """Return regulations, the newest first, without those that were deleted. Raises `Unusable`,
    `Unreachable`."""
    with reported():
        found = [one for one in deployment.mandates.everything() if one.dialect == "segment"]
    wanted = [
        one
        for one in reversed(found)
        if one.state != "cancelled"
        and (not types or one.kind in types)
        and (not status or _state(one) == status)
    ]
    ids = [one.id for one in wanted]
    if after and after not in ids:
        raise Unusable("pagination.cursor: expected one that was given as `next`")
    page = _page(wanted, ids.index(after) if after else 0, count, lambda one: str(one.id))
    return msgspec.structs.replace(page, entries=[_entry(one) for one in page.entries])


def cancel(deployment: Deployment, name: str) -> None:
    """Delete a regulation that has not begun. Raises `Unusable` for any other, `Unreachable`."""
    found = _get(deployment, name)
    if found.state != "pending":
        raise Unusable(
            f"the regulation {name} is {_state(found)}: only one that is INITIALIZED can be deleted"
        )
    with reported():
        after = mandates.cancelled(found, time.time_ns() // 1_000_000, 0)
        if not deployment.mandates.save(found, after, finished=True):
            raise Unusable(f"the regulation {name} has begun just now: it cannot be deleted any more")


def suppressed(deployment: Deployment, *, after: str, count: int) -> Page:
    """Return who is to stay unknown, as `identifier:HASH`. Raises `Unusable`, `Unreachable`."""
    with reported():
        names = sorted(map(text_id, deployment.directory.suppressed()))
    begin = next((at for at, name in enumerate(names) if name >= after), len(names)) if after else 0
    return _page(names, begin, count, str)


def _page(entries: Sequence[Any], begin: int, count: int, name: Callable[[Any], str]) -> Page:
    end = begin + max(1, min(count, PAGE_MAX))
    return Page(entries[begin:end], len(entries), name(entries[end]) if end < len(entries) else "")


def _get(deployment: Deployment, name: str) -> Mandate:
    with reported():
        found = deployment.mandates.get(name)
    if found is None or found.dialect != "segment" or found.state == "cancelled":
        raise Unusable("there is no such regulation")
    return found


def _namespace(deployment: Deployment, subject: str) -> str:
    """Return the kind of identifier that is meant."""
    field = _FIELDS.get(subject)
    for namespace in deployment.config.identity.namespace:
        if field in namespace.paths:
            return namespace.name
    raise Unusable(
        f"subjectType: expected {' or '.join(_FIELDS)}"
        + (": objects of cloud sources are not kept here" if subject == "OBJECT_ID" else "")
    )


def _check_source(deployment: Deployment, source: str) -> None:
    """Refuse what would reach further than it says: a customer is one over all sources."""
    known = {key.source for key in deployment.config.gateway.write_keys}
    if source and source not in known:
        raise Unusable("there is no such source: expected that of a write key")
    if source and len(known) > 1:
        raise Unusable(
            "a regulation for one source alone is not supported where there are several, for a customer is"
            " one over all of them: send it to /regulations"
        )


def _destinations(deployment: Deployment, requests: Sequence[PrivacyRequest]) -> list[dict[str, Any]]:
    """Return what each receiver has said about all of these together: what is worst."""
    found = []
    for connector in deployment.config.connector:
        answers = [one.answers.get(connector.name) for one in requests if not one.joined]
        said = Counter(_DESTINATION[answer.said] if answer else "RUNNING" for answer in answers)
        ended = [one.step in ENDS for one in requests]
        status = _worst(said) if requests else "FINISHED"
        if status == "RUNNING" and all(ended):
            status = "FINISHED"  # nobody had to be asked
        why = [answer.detail for answer in answers if answer and answer.said in ("refused", "off")]
        at_ms = max((answer.at_ms for answer in answers if answer), default=0)
        found.append(
            {
                "id": connector.name,
                "name": connector.type,
                "status": status,
                "errString": why[0] if why else "",
                "finishedAt": moment(at_ms) if at_ms and status != "RUNNING" else "",
            }
        )
    return found


def _worst(said: Mapping[str, int]) -> str:
    if said.get("RUNNING"):
        return "RUNNING"
    if said.get("FAILED"):
        return "PARTIAL_SUCCESS" if said.get("FINISHED") else "FAILED"
    return "NOT_SUPPORTED" if set(said) == {"NOT_SUPPORTED"} else "FINISHED"


def _state(regulation: Mandate) -> str:
    return _STATUS.get(regulation.state, "INVALID")


def _overall(regulation: Mandate, destinations: Sequence[Mapping[str, Any]]) -> str:
    """Return `PARTIAL_SUCCESS` where all is done here, and a receiver has refused."""
    status = _state(regulation)
    if status == "FINISHED" and any(one["status"] in ("FAILED", "PARTIAL_SUCCESS") for one in destinations):
        return "PARTIAL_SUCCESS"
    return status


def _finished(regulation: Mandate) -> str:
    at_ms = regulation.times.get(Phase.COMPLETED, 0)
    return moment(at_ms) if at_ms else ""


def _entry(regulation: Mandate) -> dict[str, Any]:
    return {
        "id": regulation.id,
        "subjectType": regulation.subject,
        "subjects": [f"identifier:{text_id(one)}" for one in regulation.identifiers],
        "status": _state(regulation),
        "createdAt": moment(regulation.asked_ms),
        "regulationType": regulation.kind,
        "finishedAt": _finished(regulation),
    }
