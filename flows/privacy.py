"""Process `privacy`: takes what customers and other systems ask for on, step by step, from wherever it is.

There is one process of this. Nothing but the requests is remembered between two rounds, so whoever was killed
is followed by one that goes on. While nothing is asked, a round is one question to Redis.
"""

import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from flows.runtime.ready import begun
from flows.runtime.sift import story
from flows.services.subjects.erasing import Erasing, erasing_of
from flows.services.subjects.mandates import Carrying, carrying_of
from flows.services.subjects.notifying import Notifying
from schemas.errors import LogFull
from schemas.records.mandates import Mandate
from schemas.records.privacy_requests import ENDS, PrivacyRequest
from state.privacy_requests import Mandates, PrivacyRequests
from state.redis.client import INFRASTRUCTURE, reported

if TYPE_CHECKING:  # who runs this flow has made one; others need only its steps
    from flows.runtime.deployment import Deployment

log = structlog.get_logger()

Asked = TypeVar("Asked", PrivacyRequest, Mandate)

BUSY_S: Final = 0.05  # between two rounds while something is under way ...
IDLE_S: Final = 0.5  # ... and while nothing is
Carried = tuple[Mandates, Carrying, Notifying]


def a_round(requests: PrivacyRequests, erasing: Erasing, carried: Carried | None = None) -> bool:
    """Take each mandate and each erasure as far as it can go now; return whether one waits for more. Mandates
    first: what they led to before somebody died has not gone on then. Raises `Fatal`."""
    waits, now_ms = False, time.time_ns() // 1_000_000
    if carried is not None:
        mandates, carrying, notifying = carried
        under_way = [
            _advanced(carrying.advance, mandate) if mandate.begins_ms <= now_ms else mandate
            for mandate in mandates.unfinished()
        ]
        waits = any(mandate.state == "in_progress" for mandate in under_way)
        notifying.a_round(under_way)
    for request in requests.unfinished():
        if request.right == "erase" and request.begins_ms <= now_ms:
            waits |= _advanced(erasing.advance, request).step not in ENDS
    return waits


def _advanced(advance: Callable[[Asked], Asked], asked: Asked) -> Asked:
    """Return it as far as it came. What fails on one must not hold up the others."""
    try:
        return advance(asked)
    except LogFull as full:
        log.warning("erasure_waits", request=asked.id, reason=str(full))
    except INFRASTRUCTURE:
        raise
    except Exception as error:  # noqa: BLE001  # a defect of ours on this one
        log.error("erasure_failed", request=asked.id, where=story(error), then="tried again")
    return asked


def run(deployment: "Deployment") -> None:
    """Work until a signal. Raises `Fatal`."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with reported():
        deployment.check_data()
        requests, erasing = deployment.privacy_requests, erasing_of(deployment)
        carried = deployment.mandates, carrying_of(deployment, erasing), Notifying(deployment)
        begun()
        log.info("privacy_starts", unfinished=len(requests.unfinished()))
        while not stop.is_set():
            waits = a_round(requests, erasing, carried)
            stop.wait(BUSY_S if waits else IDLE_S)
