"""What processors tell us of requests that we have sent: their callbacks become their answers on the receipt.

A callback counts where its body is signed by the certificate that is configured for the domain that it names.
One that comes again, or late, changes nothing.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

from connectors.sinks.opendsr_sink import request_id
from flows.runtime.deployment import Deployment
from flows.services.subjects.telling import AWAITED
from schemas.config import OpenDsrConnector
from schemas.errors import Foreign, Unusable
from schemas.records.privacy_requests import Answer, PrivacyRequest
from state.dsr_signing import check_signature
from state.redis.client import reported

log = structlog.get_logger()

ENDED: Final = ("completed", "cancelled")


class _Callback(msgspec.Struct):
    subject_request_id: str
    request_status: str
    status_callback_url: str = ""


def heard(deployment: Deployment, domain: str, signature: str, body: bytes) -> bool:
    """Note what a processor says, and return whether that was news. Raises `Foreign` where it does not count,
    `Unusable` for what is no callback, `ConfigError` where its certificate cannot be read, `Unreachable`."""
    connector = _processor(deployment, domain)
    check_signature(Path(connector.certificate), domain, body, signature, datetime.now(UTC))
    try:  # nothing is looked into before it is known whose it is
        said = msgspec.json.decode(body, type=_Callback)
    except (ValueError, RecursionError):
        raise Unusable("expected a callback of OpenDSR: subject_request_id, request_status") from None
    if said.status_callback_url not in ("", connector.callback):
        raise Foreign("the callback is for another receiver: status_callback_url is not ours")
    log.info("processor_says", connector=connector.name, status=said.request_status[:32])
    if said.request_status not in ENDED:
        return False
    with reported():
        return _noted(deployment, connector, said)


def _processor(deployment: Deployment, domain: str) -> OpenDsrConnector:
    for connector in deployment.config.connector:
        if isinstance(connector, OpenDsrConnector) and connector.domain.lower() == domain.lower() != "":
            return connector
    raise Foreign("no processor of ours has the domain that this callback names")


def _noted(deployment: Deployment, connector: OpenDsrConnector, said: _Callback) -> bool:
    store = deployment.privacy_requests
    for request in store.unfinished():
        if request.right == "erase" and request_id(request.id, connector.name) == said.subject_request_id:
            found: PrivacyRequest | None = request
            while found is not None and (after := _with(found, connector.name, said.request_status)):
                if store.save(found, after):
                    return True
                found = store.get(request.id)  # its erasure has gone on meanwhile
    return False


def _with(request: PrivacyRequest, connector: str, status: str) -> PrivacyRequest | None:
    """Return the request with this answer; None where another one is there already."""
    held = request.answers.get(connector)
    if held is not None and held.detail != AWAITED:
        return None
    now_ms = time.time_ns() // 1_000_000
    attempts = held.attempts if held else 1
    answer = Answer(
        "taken" if status == "completed" else "refused", f"says that it is {status}", now_ms, attempts
    )
    return msgspec.structs.replace(request, answers=request.answers | {connector: answer})
