"""The process that takes requests on: what fails on one holds up no other, and a signal ends it in order."""

import signal
import time
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from structlog.testing import capture_logs

from flows.privacy import Upkeep, a_round
from flows.services.subjects import requests
from schemas import metrics
from schemas.errors import Fenced, LogFull
from schemas.records.mandates import Mandate, Phase
from schemas.records.privacy_requests import Answer, PrivacyRequest, Step
from schemas.records.retention import Sweep
from state.memory.memory_requests import MemoryMandates, MemoryRequests
from tests.lives import millrace
from tests.subjects import Erased, identify
from tests.waiting import eventually


def kept(*names: str) -> MemoryRequests:
    store = MemoryRequests()
    for at, name in enumerate(names):
        request = PrivacyRequest(
            id=name, right="erase", customer=b"c" * 12, regime="gdpr", asked_ms=at, due_ms=9, by="test"
        )
        store.add(request)
    return store


class Erasing:
    """Does the steps of all but those that it raises on."""

    def __init__(self, raises: dict[str, Exception]) -> None:
        self.done: list[str] = []
        self.resting: set[str] = set()
        self._raises = raises

    def advance(self, request: PrivacyRequest) -> PrivacyRequest:
        if request.id in self._raises:
            raise self._raises[request.id]
        self.done.append(request.id)
        return request


@pytest.mark.parametrize(
    ("error", "said"),
    [(KeyError("ana@example.org"), "erasure_failed"), (LogFull("no room"), "erasure_waits")],
)
def test_what_fails_on_one_holds_up_no_other(error: Exception, said: str) -> None:
    erasing = Erasing({"a": error})
    with capture_logs() as logs:
        assert a_round(cast(Any, kept("a", "b")), cast(Any, erasing))
    assert erasing.done == ["b"]
    assert [entry["event"] for entry in logs] == [said]
    assert "ana@example.org" not in str(logs)


def test_who_is_stale_ends() -> None:
    with pytest.raises(Fenced):
        a_round(cast(Any, kept("a")), cast(Any, Erasing({"a": Fenced("another one")})))


def test_requests_that_people_answer_are_left_to_them() -> None:
    store = kept("a")
    [request] = store.unfinished()
    store.held["a"] = msgspec.structs.replace(request, right="correct")
    erasing = Erasing({})
    assert not a_round(cast(Any, store), cast(Any, erasing))
    assert erasing.done == []


@pytest.mark.parametrize(("due_in_s", "busy"), [(86_400, False), (0, True)])
def test_a_receiver_that_answers_in_days_keeps_nobody_busy(due_in_s: int, busy: bool) -> None:
    store, now_ms = kept("a"), int(time.time() * 1000)
    answer = Answer("waiting", again_ms=now_ms + due_in_s * 1000)
    store.held["a"] = msgspec.structs.replace(store.held["a"], step=Step.SWEPT, answers={"crm": answer})
    assert a_round(cast(Any, store), cast(Any, Erasing({}))) == busy


class Moving(Erasing):
    """Takes a step of each that receivers are still to answer."""

    def advance(self, request: PrivacyRequest) -> PrivacyRequest:
        return msgspec.structs.replace(request, note="one has answered")


@pytest.mark.parametrize(
    ("age_s", "erasing", "busy"),
    [(3_600, Erasing({}), False), (3_600, Moving({}), True), (1, Erasing({}), True)],
)
def test_a_mandate_keeps_busy_while_it_is_young_or_its_requests_move(
    age_s: int, erasing: Erasing, busy: bool
) -> None:
    store, mandates, now_ms = kept("a"), MemoryMandates(), int(time.time() * 1000)
    answer = Answer("waiting", again_ms=now_ms + 86_400_000)
    store.held["a"] = msgspec.structs.replace(store.held["a"], step=Step.SWEPT, answers={"crm": answer})
    mandates.add(
        Mandate(
            id="m",
            dialect="segment",
            kind="DELETE_ONLY",
            subject="USER_ID",
            identifiers=[],
            by="test",
            asked_ms=1,
            begins_ms=0,
            due_ms=9,
            state="in_progress",
            times={Phase.FOUND: now_ms - age_s * 1000},
            requests=["a"],
        )
    )
    carried = mandates, Waiting(), Waiting()
    assert a_round(cast(Any, store), cast(Any, erasing), cast(Any, carried)) == busy


class Waiting:
    """What takes mandates on, and tells of them: nothing is to be done."""

    def advance(self, mandate: Mandate) -> Mandate:
        return mandate

    def a_round(self, unfinished: list[Mandate]) -> None: ...


class Sweeping:
    """Does as it is told."""

    def __init__(self, *ends: Exception | bool) -> None:
        self.so_far = Sweep(rule_ms=1, waits_until_ms=1 << 60, ended_ms=5_000)
        self._ends = list(ends)

    def step(self) -> bool:
        end = self._ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end


def test_a_sweep_that_fails_rests_and_holds_up_no_request() -> None:
    now = [100.0]
    sweeping = Sweeping(True, KeyError("ana@example.org"), True, LogFull("no room"), False)
    upkeep = Upkeep(cast(Any, kept("a")), cast(Any, sweeping), lambda: now[0])
    with capture_logs() as logs:
        assert upkeep.step()
        assert not upkeep.step(), "it failed"
        assert not upkeep.step(), "and rests"
        now[0] += 61
        assert upkeep.step()
        assert not upkeep.step()
    assert [entry["event"] for entry in logs] == ["retention_failed", "retention_rests"]
    assert "ana@example.org" not in str(logs)


def test_the_figures_say_what_is_overdue_and_that_retention_waits() -> None:
    store = kept("a", "b")
    Upkeep(cast(Any, store), cast(Any, Sweeping(False)), lambda: 0.0).step()
    body = metrics.exposition()[0].decode()
    assert 'millrace_requests_open{due="overdue"} 2.0' in body
    assert 'millrace_requests_open{due="in_time"} 0.0' in body
    assert "millrace_retention_waits 1.0" in body
    assert "millrace_retention_swept_timestamp_seconds 5.0" in body


def test_what_somebody_waits_for_comes_before_what_nobody_asked_for() -> None:
    store = kept("a", "b")
    store.held["a"] = msgspec.structs.replace(store.held["a"], by="retention")

    class Noting(Erasing):
        def sweep_together(self, requests: list[PrivacyRequest]) -> None:
            self.done.append("together")

    erasing = Noting({})
    a_round(cast(Any, store), cast(Any, erasing))
    assert erasing.done == ["b", "together", "a"]


@pytest.mark.long
def test_the_process_takes_a_request_on_and_ends_at_a_signal(tmp_path: Path, redis_url: str) -> None:
    site = Erased(tmp_path, redis_url, archive=False)
    site.start()
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    request = requests.erase(site.deployment, "user_id:ana", by="test").request
    process = millrace(site, "run", "privacy", "--worker", "0/1")
    try:

        def is_done() -> bool:
            site.settle()
            found = site.deployment.privacy_requests.get(request.id)
            return found is not None and found.step == Step.DONE

        eventually(is_done)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
