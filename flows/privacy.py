"""Process `privacy`: takes the customers' requests on, step by step, from wherever they are.

There is one process of this. Nothing but the requests is remembered between two rounds, so whoever was killed
is followed by one that goes on. While nothing is asked, a round is one question to Redis.
"""

import signal
import threading
from typing import TYPE_CHECKING, Final

import structlog

from flows.runtime.ready import begun
from flows.runtime.sift import story
from flows.services.subjects.erasing import Erasing, erasing_of
from schemas.errors import LogFull
from schemas.records.privacy_requests import PrivacyRequest, Step
from state.privacy_requests import PrivacyRequests
from state.redis.client import INFRASTRUCTURE, reported

if TYPE_CHECKING:  # who runs this flow has made one; others need only its steps
    from flows.runtime.deployment import Deployment

log = structlog.get_logger()

BUSY_S: Final = 0.05  # between two rounds while something is under way ...
IDLE_S: Final = 0.5  # ... and while nothing is


def a_round(requests: PrivacyRequests, erasing: Erasing) -> bool:
    """Take each erasure as far as it can go now; return whether one waits for more. Raises `Fatal`."""
    waits = False
    for request in requests.unfinished():
        if request.right == "erase":
            waits |= _advanced(erasing, request).step != Step.DONE
    return waits


def _advanced(erasing: Erasing, request: PrivacyRequest) -> PrivacyRequest:
    """Return the request as far as it came. What fails on one must not hold up the others."""
    try:
        return erasing.advance(request)
    except LogFull as full:
        log.warning("erasure_waits", request=request.id, reason=str(full))
    except INFRASTRUCTURE:
        raise
    except Exception as error:  # noqa: BLE001  # a defect of ours on this one
        log.error("erasure_failed", request=request.id, where=story(error), then="tried again")
    return request


def run(deployment: "Deployment") -> None:
    """Work until a signal. Raises `Fatal`."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with reported():
        deployment.check_data()
        requests, erasing = deployment.privacy_requests, erasing_of(deployment)
        begun()
        log.info("privacy_starts", unfinished=len(requests.unfinished()))
        while not stop.is_set():
            waits = a_round(requests, erasing)
            stop.wait(BUSY_S if waits else IDLE_S)
