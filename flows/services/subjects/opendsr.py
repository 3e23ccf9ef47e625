"""OpenDSR (formerly OpenGDPR, OpenCompliance): a controller asks this deployment, its processor, about one
person.

A request is a `Mandate`, which the process `privacy` carries out; its id is the controller's. It keeps keyed
hashes of who is meant, and callbacks sealed. Whom nobody knows is no failure: nothing is held, and the
request completes.
"""

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from connectors.callbacks import check_url
from flows.runtime.deployment import Deployment
from flows.services.subjects import exporting, mandates
from flows.services.subjects.clocks import due_ms
from schemas.config import IDENTITIES, Config
from schemas.errors import Unusable
from schemas.records.identity_graph import ID_MAX, text_id
from schemas.records.mandates import Mandate, Phase, State
from schemas.records.privacy_requests import Step
from state.redis.client import reported

VERSION: Final = "2.0"
TYPES: Final = ("access", "portability", "erasure")
FORMATS: Final = ("raw", "md5", "sha1", "sha256")
IDENTITIES_MAX: Final = 100
CALLBACKS_MAX: Final = 5
CERTIFICATE: Final = "/opendsr/certificate.pem"
NAMES: Final = ("OpenDSR", "OpenGDPR", "OpenCompliance")  # that headers have had over time
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_REGULATION: Final = re.compile(r"[a-z0-9_-]{1,32}")
_OTHER: Final = "other"  # a type of identity that the specification does not name
_HASHED: Final = (
    "the directory keeps keyed hashes of plain values: a value that came as another hash cannot be looked up"
)


class _Identity(msgspec.Struct):
    identity_type: str
    identity_value: str
    identity_format: str


class _Request(msgspec.Struct):
    subject_request_id: str
    subject_request_type: str
    submitted_time: datetime
    subject_identities: list[_Identity] = []
    regulation: str | None = None
    api_version: str | None = None
    status_callback_urls: list[str] | None = None
    extensions: dict[str, Any] | None = None


def discovery(deployment: Deployment) -> dict[str, Any]:
    """Return what can be asked here."""
    config = deployment.config
    return {
        "api_version": VERSION,
        "supported_identities": [
            {"identity_type": kind, "identity_format": "raw"} for kind in _namespaces(config)
        ],
        "supported_subject_request_types": list(TYPES),
        "processor_certificate": config.opendsr.url + CERTIFICATE,
    }


def receive(deployment: Deployment, body: bytes, *, by: str) -> dict[str, Any]:
    """Take a request on, and return what was taken; the same once more changes nothing. Raises `Unusable` for
    what cannot be carried out, with no value of the request in its words, `Unreachable`."""
    asked, now_ms = _read(body), time.time_ns() // 1_000_000
    hashes, unresolved = _identities(deployment, asked.subject_identities)
    callbacks = _callbacks(deployment.config, asked)
    rights = deployment.config.rights
    mandate = Mandate(
        id=asked.subject_request_id,
        dialect="opendsr",
        kind=asked.subject_request_type,
        subject="",
        identifiers=hashes,
        by=by,
        asked_ms=now_ms,
        begins_ms=now_ms + (rights.grace or 0) if asked.subject_request_type == "erasure" else now_ms,
        due_ms=due_ms(rights, datetime.now(UTC)),
        times={Phase.PENDING: now_ms},
        unresolved=unresolved,
        callbacks=deployment.log_seal.seal(msgspec.json.encode(callbacks)) if callbacks else b"",
        details={"regulation": asked.regulation or "", "api_version": VERSION},
    )
    with reported():
        if not deployment.mandates.add(mandate):
            mandate = _same(_get(deployment, mandate.id), mandate)
    return _about(deployment.config, mandate) | {"received_time": _moment(mandate.asked_ms)}


def show(deployment: Deployment, name: str) -> dict[str, Any]:
    """Return how far a request has come. Raises `Unusable` where there is none, `Unreachable`."""
    with reported():
        return status_of(deployment, _get(deployment, name))


def status_of(deployment: Deployment, mandate: Mandate, state: State | None = None) -> dict[str, Any]:
    """Return how far it has come; `state`: as it was then."""
    state = state or mandate.state
    found: dict[str, Any] = {"request_status": state, "results_url": None}
    if state == "completed":
        found["results_count"] = len(mandate.requests)
        if mandate.kind != "erasure" and mandate.requests:
            found["results_url"] = f"{deployment.config.opendsr.url}/requests/{mandate.id}/results"
    return _about(deployment.config, mandate) | found


def cancel(deployment: Deployment, name: str) -> dict[str, Any]:
    """Cancel a request that is pending. Raises `Unusable` for one that is not, or is not there,
    `Unreachable`."""
    now_ms = time.time_ns() // 1_000_000
    with reported():
        found = _get(deployment, name)
        if found.state != "pending":
            raise Unusable(f"the request is {found.state}: only one that is pending can be cancelled")
        after = mandates.cancelled(found, now_ms, len(mandates.callbacks_of(deployment, found)))
        if not deployment.mandates.save(found, after, finished=not after.notices):
            raise Unusable("the request has begun just now: it cannot be cancelled any more")
    return _about(deployment.config, after) | {"received_time": _moment(now_ms)}


def exists(deployment: Deployment, name: str) -> bool:
    """Return whether there is such a request. Raises `Unreachable`."""
    with reported():
        found = deployment.mandates.get(name)
    return found is not None and found.dialect == "opendsr"


def results(deployment: Deployment, name: str) -> dict[str, Any]:
    """Return all that is held of whom a request for access or portability is about. Raises `Unusable` where
    there is nothing, `Unreachable`."""
    with reported():
        found = _get(deployment, name)
        asked = [one for one in deployment.privacy_requests.get_all(found.requests) if one is not None]
    if found.kind == "erasure" or found.state != "completed":
        raise Unusable(f"there are no results of this request: it is of type {found.kind}, and {found.state}")
    held = [_held(deployment, text_id(one.customer)) for one in asked if one.step == Step.DONE]
    return {"subject_request_id": found.id, "results": [one for one in held if one is not None]}


def headers(deployment: Deployment, body: bytes) -> dict[str, str]:
    """Return the signature of a body, under each name that the protocol has had."""
    signer = deployment.dsr_signer
    signature = signer.sign(body)
    return {
        header: value
        for name in NAMES
        for header, value in (
            (f"X-{name}-Processor-Domain", signer.domain),
            (f"X-{name}-Signature", signature),
        )
    }


def _held(deployment: Deployment, customer: str) -> Any:
    try:
        return exporting.export(deployment, customer)
    except Unusable:  # was erased since
        return None


def _read(body: bytes) -> _Request:
    try:
        asked = msgspec.json.decode(body, type=_Request)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, msgspec.ValidationError) else "it is no JSON"
        raise Unusable(f"expected an OpenDSR request: {told}") from None
    if not _UUID.fullmatch(asked.subject_request_id):
        raise Unusable("subject_request_id: expected a UUID of version 4, in small letters")
    if asked.subject_request_type not in TYPES:
        raise Unusable(f"subject_request_type: expected one of {', '.join(TYPES)}")
    if asked.regulation and not _REGULATION.fullmatch(asked.regulation):  # it is kept, and repeated
        raise Unusable("regulation: expected a word such as gdpr, of at most 32 small letters and digits")
    return asked


def _identities(
    deployment: Deployment, identities: Sequence[_Identity]
) -> tuple[list[bytes], list[tuple[str, str]]]:
    """Return the hashes of whom they name, and what nobody can be looked up by."""
    if not 0 < len(identities) <= IDENTITIES_MAX:
        raise Unusable(f"subject_identities: expected 1 to {IDENTITIES_MAX}, got {len(identities)}")
    namespaces = _namespaces(deployment.config)
    hashes: dict[bytes, None] = {}
    unresolved: dict[tuple[str, str], None] = {}
    for index, identity in enumerate(identities):
        where, kind = f"subject_identities[{index}]", identity.identity_type
        if identity.identity_format not in FORMATS:
            raise Unusable(f"{where}.identity_format: expected one of {', '.join(FORMATS)}")
        if kind not in namespaces or identity.identity_format != "raw":
            known = kind if kind in IDENTITIES else _OTHER  # whatever else stands there may be personal
            unresolved[(known, identity.identity_format)] = None
            continue
        hashed = deployment.identifiers.hash(namespaces[kind], identity.identity_value)
        if hashed is None or len(identity.identity_value) > ID_MAX:
            raise Unusable(f"{where}.identity_value: it is no {namespaces[kind]}, or one that names nobody")
        hashes[hashed] = None
    if not hashes:
        raise Unusable(
            "subject_identities: none of these can be looked up; expected at least one in the format raw of"
            f" {', '.join(namespaces)}: {_HASHED}"
        )
    return [*hashes], [*unresolved]


def _namespaces(config: Config) -> dict[str, str]:
    """Return the types of identities that lead to somebody here, each with its namespace."""
    names = [namespace.name for namespace in config.identity.namespace]
    return {kind: name for kind, name in (IDENTITIES | config.opendsr.identities).items() if name in names}


def _callbacks(config: Config, asked: _Request) -> list[str]:
    urls = [*dict.fromkeys(asked.status_callback_urls or ())]
    if len(urls) > CALLBACKS_MAX:
        raise Unusable(f"status_callback_urls: expected at most {CALLBACKS_MAX}, got {len(urls)}")
    for index, url in enumerate(urls):
        try:
            check_url(url, allow_private=config.opendsr.allow_private)
        except Unusable as error:
            raise Unusable(f"status_callback_urls[{index}]: {error}") from None
    return urls


def _same(held: Mandate, asked: Mandate) -> Mandate:
    """Return the request that is there, if this is the same."""
    if (held.kind, sorted(held.identifiers)) != (asked.kind, sorted(asked.identifiers)):
        raise Unusable("subject_request_id: there is another request with this id: give each one of its own")
    return held


def _get(deployment: Deployment, name: str) -> Mandate:
    found = deployment.mandates.get(name)
    if found is None or found.dialect != "opendsr":
        raise Unusable("there is no request with this subject_request_id")
    return found


def _about(config: Config, mandate: Mandate) -> dict[str, Any]:
    """Return what every answer says of a request."""
    found: dict[str, Any] = {
        "controller_id": config.name,
        "subject_request_id": mandate.id,
        "subject_request_type": mandate.kind,
        "expected_completion_time": _moment(mandate.due_ms),
        **{name: value for name, value in mandate.details.items() if value},
    }
    return found | _unresolved(config, mandate.unresolved)


def _unresolved(config: Config, unresolved: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what this deployment adds to an answer: which identities led nowhere, and why."""
    if not unresolved:
        return {}
    told = [
        {
            "identity_type": kind,
            "identity_format": form,
            "reason": _HASHED if form != "raw" else "no identifiers of this type are kept here",
        }
        for kind, form in unresolved
    ]
    return {"extensions": {_domain(config): {"unresolved_identities": told}}}


def _domain(config: Config) -> str:
    return config.opendsr.url.partition("://")[2].partition("/")[0].partition(":")[0]


def _moment(time_ms: int) -> str:
    """Return a time as RFC 3339 has it."""
    return (
        datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
