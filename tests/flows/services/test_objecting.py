"""Objections, restrictions and the rest of the rights over HTTP, on a real Redis: what counts afterwards."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from flows.services.subjects import consenting, requests
from flows.services.subjects.erasing import Erasing, parts_of
from flows.services.subjects.exporting import _is_of
from flows.services.subjects.over_http import RightsDesk
from schemas.config import Config, Secret
from schemas.config.toml import load
from schemas.records.identity_graph import text_id
from schemas.records.privacy_requests import Step
from schemas.wire.events import RawEvent
from tests.connectors.gateway_kit import CONFIG, Client, gateway
from tests.flows.services.test_consenting import allowed, resolve
from tests.subjects import Erased, ana, identify, viewed

TOKEN = {"authorization": "Bearer privacy"}
WITH = msgspec.structs.replace(CONFIG, privacy_tokens=(Secret("privacy"),))
OPTIONAL = ["marketing", "sales", "personalisation", "sharing"]


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Erased:
    made = Erased(tmp_path, redis_url, archive=False)
    made.start()
    made.say(identify("ana", "ana@example.org"), viewed(**ana()), viewed(userId="bea"))
    made.settle()
    return made


@pytest.fixture
def client(site: Erased) -> Iterator[Client]:
    with gateway(WITH, rights=RightsDesk(site.deployment)) as client:
        yield client


def ask(client: Client, what: str, who: str = "email:ana@example.org", **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/subjects/{who}/{what}", body, key="privacy")
    assert answer.status_code in (200, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_objection_refuses_the_purposes_it_names_and_is_done(site: Erased, client: Client) -> None:
    request = ask(client, "object", reason="no mail", purposes=["marketing"])["request"]
    assert (request["step"], request["right"], request["note"]) == ("done", "object", "no mail")
    [event] = map(msgspec.json.decode, resolve(site))
    assert event["messageId"] == request["proof"]
    now = allowed(site, "user_id:ana")
    assert [name for name in OPTIONAL if not now[name]] == ["marketing", "sharing"]  # as before any word
    assert {one.proof for one in consenting.said(site.deployment, "user_id:ana").words} == {request["proof"]}
    assert requests.everything(site.deployment, unfinished=True) == []
    assert allowed(site, "user_id:bea")["marketing"] is True


def test_two_requests_in_one_millisecond_are_two(site: Erased, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: site.now_s * 1_000_000_000)
    asked = [requests.ask(site.deployment, "correct", "user_id:ana", by="test", note=note) for note in "ab"]
    assert [one.already for one in asked] == [False, False]
    assert {one.note for one in requests.of(site.deployment, "user_id:ana")} == {"a", "b"}


def test_without_a_purpose_all_that_are_asked_for_are_refused(site: Erased, client: Client) -> None:
    ask(client, "object", reason="nothing at all")
    resolve(site)
    now = allowed(site, "user_id:ana")
    assert [now[name] for name in OPTIONAL] == [False] * 4
    assert now["service"]


def test_a_restriction_refuses_all_and_stays_open_until_people_close_it(site: Erased, client: Client) -> None:
    request = ask(client, "restrict", reason="the address is disputed")["request"]
    assert (request["step"], bool(request["proof"])) == ("asked", True)
    resolve(site)
    assert not any(allowed(site, "user_id:ana")[name] for name in OPTIONAL)
    [listed] = client.get("/v1/subjects?open=true", headers=TOKEN).json()["requests"]
    assert listed["id"] == request["id"]
    closed = ask(client, "close", request["id"], reason="settled")["request"]
    assert (closed["step"], closed["note"]) == ("done", "settled")
    assert not any(allowed(site, "user_id:ana")[name] for name in OPTIONAL)  # what was said stays said
    assert client.get("/v1/subjects?open=true", headers=TOKEN).json() == {"requests": []}


@pytest.mark.parametrize(
    ("what", "purposes", "told"),
    [
        ("object", ["service"], "purposes[0]: expected one that customers are asked for (marketing, sales"),
        ("object", ["marketing", "selling"], "purposes[1]"),
        ("restrict", ["marketing"], "name none"),
        ("complain", ["marketing"], "complain names none"),
    ],
)
def test_a_purpose_that_cannot_be_refused(
    site: Erased, client: Client, what: str, purposes: list[str], told: str
) -> None:
    body = {"reason": "no", "purposes": purposes}
    answer = client.post(f"/v1/subjects/user_id:ana/{what}", body, key="privacy")
    assert (answer.status_code, told in answer.json()["message"]) == (422, True)
    assert resolve(site) == []
    assert site.deployment.privacy_requests.everything() == []


def test_consent_is_said_and_read_over_http(site: Erased, client: Client) -> None:
    proof = ask(client, "consent", words={"mode": "basic"}, version="2026-11")["proof"]
    resolve(site)
    found = client.get("/v1/subjects/user_id:ana/consent", headers=TOKEN).json()["consent"]
    assert (found["mode"], {one["proof"] for one in found["words"]}) == ("basic", {proof})
    bad = client.post("/v1/subjects/user_id:ana/consent", {"words": {"marketing": "perhaps"}}, key="privacy")
    assert (bad.status_code, "expected yes or no" in bad.json()["message"]) == (422, True)


def test_an_erasure_is_asked_for_taken_back_and_asked_for_again(tmp_path: Path, redis_url: str) -> None:
    class Graceful(Erased):
        def _configured(self, few: int) -> Config:
            super()._configured(few)
            self.file.write_text(self.file.read_text() + '[rights]\ngrace = "1h"\n')
            return load(self.file)

    site = Graceful(tmp_path, redis_url, archive=False)
    site.start()
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    with gateway(WITH, rights=RightsDesk(site.deployment)) as client:
        first = ask(client, "erase", reason="as told", suppress=True)["request"]
        assert first["begins"] > first["asked"]
        assert ask(client, "erase")["already"]
        request = requests.get(site.deployment, first["id"])
        assert site.erasing().advance(request).step == Step.ASKED  # waits
        assert ask(client, "cancel", first["id"])["request"]["step"] == "cancelled"
        parts = parts_of(site.deployment, site.directory)
        late_one = Erasing(replace(parts, clock_ms=lambda: request.begins_ms + 1))
        assert late_one.advance(request).step == Step.CANCELLED  # who had read it before
        assert requests.everything(site.deployment, unfinished=True) == []
        again = ask(client, "erase")["request"]
        assert (again["id"], again["step"]) == (f"{first['id']}-2", "asked")
        held = requests.get(site.deployment, again["id"])
        begun = msgspec.structs.replace(held, begins_ms=0)
        assert site.deployment.privacy_requests.save(held, begun)
        site.carry_on(begun)
        late = client.post(f"/v1/subjects/{again['id']}/cancel", b"", key="privacy")
        assert (late.status_code, late.json()["code"]) == (409, "request_refused")
    assert site.deployment.profile_reader("user_id", "ana") is None


def test_who_is_suppressed_is_taken_again_over_http(site: Erased, client: Client) -> None:
    request = ask(client, "erase", suppress=True)["request"]
    site.carry_on(requests.get(site.deployment, request["id"]))
    assert len(site.deployment.directory.suppressed()) == 3
    assert ask(client, "unsuppress", "user_id:ana") == {"suppressed": True}
    assert ask(client, "unsuppress", "user_id:ana") == {"suppressed": False}
    assert len(site.deployment.directory.suppressed()) == 2
    bad = client.post("/v1/subjects/nobody/unsuppress", b"", key="privacy")
    assert (bad.status_code, bad.json()["code"]) == (400, "identifier_invalid")


def test_two_who_take_somebody_again_at_once_end_nobody(site: Erased) -> None:
    request = requests.erase(site.deployment, "user_id:ana", by="test", suppress=True).request
    site.carry_on(request)
    hashes = [text_id(one) for one in site.deployment.directory.suppressed()]
    made = [site.deployment for _ in range(8)]
    for one in made:
        assert one.directory.erasures() > 0  # all are connected before they begin
    with ThreadPoolExecutor(8) as pool:
        jobs = [(one, f"identifier:{name}") for one, name in zip(made, 3 * hashes, strict=False)]
        taken = list(pool.map(lambda job: requests.unsuppress(*job), jobs))
    assert sum(taken) >= len(hashes)
    assert site.deployment.directory.suppressed() == frozenset()
    assert site.deployment.directory.offsets()["privacy"] == site.directory.offsets()["privacy"]


def test_an_event_that_our_own_code_raises_on_keeps_nobody_from_an_export() -> None:
    def check(event: RawEvent) -> object:
        raise ArithmeticError("ana@example.org")

    with capture_logs() as logs:
        assert not _is_of(check, RawEvent(b"{}", 1, "web"), frozenset((b"x",)))
    assert [entry["event"] for entry in logs] == ["event_unreadable"]
    assert "ana@example.org" not in str(logs)
