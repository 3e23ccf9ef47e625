"""Process `privacy`: takes what customers and other systems ask for on, step by step, from wherever it is;
and ends what is too old (`flows.services.retention`), a small step between two rounds.

There is one process of this. Nothing but the requests, and how far the sweep is, is remembered between two
rounds, so whoever was killed is followed by one that goes on. While nothing is asked, a round is one question
to Redis.
"""

import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from flows.runtime.ready import begun
from flows.runtime.sift import story
from flows.services.retention.sweep import BY as RETENTION
from flows.services.retention.sweep import PAUSE_S, Sweeping, sweeping_of
from flows.services.subjects.erasing import Erasing, erasing_of
from flows.services.subjects.mandates import Carrying, carrying_of
from flows.services.subjects.notifying import Notifying
from schemas import metrics
from schemas.errors import LogFull
from schemas.records.mandates import Mandate
from schemas.records.privacy_requests import ENDS, PrivacyRequest, Step
from state.privacy_requests import Mandates, PrivacyRequests
from state.redis.client import INFRASTRUCTURE, reported

if TYPE_CHECKING:  # who runs this flow has made one; others need only its steps
    from flows.runtime.deployment import Deployment

log = structlog.get_logger()

Asked = TypeVar("Asked", PrivacyRequest, Mandate)

BUSY_S: Final = 0.05  # between two rounds while something is under way ...
IDLE_S: Final = 0.5  # ... and while nothing is
OTHERS_S: Final = 1.0  # between two looks at erasures that nobody waits for: there are up to a hundred
NOTED_S: Final = 60.0  # between two looks at what is overdue; and the sweep rests so long when it has failed
SOON_MS: Final = 1_000  # an answer that is due by then is waited for ...
FRESH_MS: Final = 60_000  # ... and a mandate that came so far in this time; others may wait for days
Carried = tuple[Mandates, Carrying, Notifying]


def a_round(
    requests: PrivacyRequests, erasing: Erasing, carried: Carried | None = None, *, all_of_them: bool = True
) -> bool:
    """Take each mandate and each erasure as far as it can go now, those that somebody waits for first; return
    whether more may come of one of these soon. Mandates first: what they led to before somebody died has not
    gone on then. `all_of_them`: those as well that retention began. Raises `Fatal`."""
    now_ms = time.time_ns() // 1_000_000
    under_way = _carried_on(carried, now_ms) if carried is not None else []
    erasures = [
        request
        for request in requests.unfinished()
        if request.right == "erase" and request.begins_ms <= now_ms
    ]
    awaited = [request for request in erasures if request.by != RETENTION]
    others = [request for request in erasures if request.by == RETENTION and all_of_them]
    after = [_advanced(erasing.advance, request) for request in awaited]
    if others:
        _together(erasing, others)
    for request in others:
        _advanced(erasing.advance, request)
    moved = {one.id for one, before in zip(after, awaited, strict=True) if one != before}
    awaits = [one for one in after if one.id not in erasing.resting]
    return any(_is_awaited(one, now_ms) for one in awaits) or any(
        not moved.isdisjoint(mandate.requests) or max(mandate.times.values()) > now_ms - FRESH_MS
        for mandate in under_way
    )


def _is_awaited(erasure: PrivacyRequest, now_ms: int) -> bool:
    """Return whether something may come of it soon: receivers may take days to answer."""
    if erasure.step != Step.SWEPT:
        return erasure.step not in ENDS
    again_ms = [answer.again_ms for answer in erasure.answers.values() if answer.said == "waiting"]
    return min(again_ms, default=0) <= now_ms + SOON_MS


def _carried_on(carried: Carried, now_ms: int) -> list[Mandate]:
    """Return those that have begun, and are not ended."""
    mandates, carrying, notifying = carried
    under_way = [
        _advanced(carrying.advance, mandate) if mandate.begins_ms <= now_ms else mandate
        for mandate in mandates.unfinished()
    ]
    notifying.a_round(under_way)
    return [mandate for mandate in under_way if mandate.state == "in_progress"]


def _together(erasing: Erasing, requests: list[PrivacyRequest]) -> None:
    """Spare them to read the same one after the other; where that fails, each reads for itself."""
    try:
        erasing.sweep_together(requests)
    except INFRASTRUCTURE:
        raise
    except Exception as error:  # noqa: BLE001  # a defect of ours
        log.error("erasure_failed", where=story(error), then="each is tried alone")


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


class Upkeep:
    """What is done beside the requests."""

    def __init__(self, requests: PrivacyRequests, sweeping: Sweeping, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._sweeping = sweeping
        self._clock = clock
        self._rests_until = 0.0
        self._noted = -NOTED_S

    def step(self) -> bool:
        """Take a step of the sweep, and return whether the next one may follow soon. What fails in it must
        hold up no request. Raises `Fatal`."""
        now = self._clock()
        if now >= self._noted + NOTED_S:
            self._noted = now
            self._note()
        if now < self._rests_until:
            return False
        try:
            return self._sweeping.step()
        except LogFull as full:
            log.warning("retention_rests", reason=str(full))
        except INFRASTRUCTURE:
            raise
        except Exception as error:  # noqa: BLE001  # a defect of ours
            log.error("retention_failed", where=story(error), then="tried again in a minute")
        self._rests_until = now + NOTED_S
        return False

    def _note(self) -> None:
        """Bring the figures up to now."""
        now_ms = int(time.time() * 1000)
        overdue = [request.due_ms < now_ms for request in self._requests.unfinished()]
        metrics.REQUESTS_OPEN.labels("overdue").set(sum(overdue))
        metrics.REQUESTS_OPEN.labels("in_time").set(len(overdue) - sum(overdue))
        sweep = self._sweeping.so_far
        metrics.RETENTION_SWEPT.set((sweep.ended_ms or sweep.began_ms) / 1000)
        metrics.RETENTION_WAITS.set(bool(sweep.rule_ms) and now_ms < sweep.waits_until_ms)


def run(deployment: "Deployment") -> None:
    """Work until a signal. Raises `Fatal`."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with reported():
        deployment.check_data()
        requests, erasing = deployment.privacy_requests, erasing_of(deployment)
        upkeep = Upkeep(requests, sweeping_of(deployment, erasing), time.monotonic)
        carried = deployment.mandates, carrying_of(deployment, erasing), Notifying(deployment)
        begun()
        log.info("privacy_starts", unfinished=len(requests.unfinished()))
        others_at = 0.0
        while not stop.is_set():
            all_of_them = time.monotonic() >= others_at
            waits = a_round(requests, erasing, carried, all_of_them=all_of_them)
            if all_of_them:
                others_at = time.monotonic() + OTHERS_S
            goes_on = upkeep.step()
            stop.wait(BUSY_S if waits else PAUSE_S if goes_on else IDLE_S)
