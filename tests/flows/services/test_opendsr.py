"""OpenDSR as a controller sees it: real Redis, the gateway's routes, a receiver of callbacks on loopback, and
signatures that `openssl` verifies."""

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from connectors.callbacks import Message, check_url, send
from connectors.gateway.opendsr_routes import NAMES, PREFIXES
from flows.privacy import a_round
from flows.services.subjects.mandates import carrying_of
from flows.services.subjects.notifying import Notifying
from flows.services.subjects.over_http import OpenDsrDesk
from schemas.config import Config, Secret
from schemas.errors import ConfigError, Unusable
from tests.connectors.gateway_kit import CONFIG, Client, gateway
from tests.dsr import OPENSSL, CallbackReceiver, dsr, genuine, make_certificate
from tests.subjects import Erased, identify, viewed

TOKEN = {"authorization": "Bearer privacy"}
WITH = msgspec.structs.replace(CONFIG, privacy_tokens=(Secret("privacy"),))
DOMAIN = "opendsr.example.org"
TABLE = f"""
[opendsr]
url = "https://{DOMAIN}"
key = "dsr.key"
certificate = "dsr.pem"
allow_private = true
[gateway]
privacy_tokens = ["privacy"]
[deliver]
backoff = "1ms"
backoff_max = "2ms"
attempts = 3
"""


class Controlled(Erased):
    """With OpenDSR; `clock_ms` is what callbacks are sent by."""

    now_ms = 0
    more = ""

    def _configured(self, few: int) -> Config:
        found = super()._configured(few)
        (self.folder / "data").mkdir(exist_ok=True)
        make_certificate(self.folder / "data", DOMAIN)
        self.file.write_text(self.file.read_text() + TABLE + self.more)
        from schemas.config.toml import load

        del found
        return load(self.file)

    def privacy(self, rounds: int = 15) -> None:
        """What the process `privacy` does, until nothing waits."""
        deployment, erasing = self.deployment, self.erasing()
        notifying = Notifying(deployment, lambda: self.now_ms)
        carried = deployment.mandates, carrying_of(deployment, erasing), notifying
        for _ in range(rounds):
            self.now_ms += 1_000_000
            waits = a_round(deployment.privacy_requests, erasing, carried)
            if not waits and not any(one.notices for one in deployment.mandates.unfinished()):
                return
            self.settle()
        raise AssertionError("something still waits")


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Controlled:
    return Controlled(tmp_path, redis_url).start()  # type: ignore[return-value]


@pytest.fixture
def client(site: Controlled) -> Iterator[Client]:
    with gateway(WITH, opendsr=OpenDsrDesk(site.deployment)) as client:
        yield client


@pytest.fixture
def callbacks() -> Iterator[CallbackReceiver]:
    with CallbackReceiver() as receiver:
        yield receiver


def ask(client: Client, request: dict[str, Any], path: str = "/requests") -> httpx.Response:
    return client.post(path, request, key="privacy")


def asked(client: Client, request: dict[str, Any], path: str = "/requests") -> str:
    answer = ask(client, request, path)
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["subject_request_id"]
    return name


def status(client: Client, name: str) -> dict[str, Any]:
    answer = client.get(f"/requests/{name}", headers=TOKEN)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def known(site: Controlled, user: str) -> bool:
    return site.deployment.profile_reader("user_id", user) is not None


def test_discovery_says_what_can_be_asked_and_where_the_certificate_is(
    site: Controlled, client: Client
) -> None:
    found = client.get("/discovery").json()
    assert found["api_version"] == "2.0"
    assert found["supported_subject_request_types"] == ["access", "portability", "erasure"]
    kinds = {(one["identity_type"], one["identity_format"]) for one in found["supported_identities"]}
    assert {("email", "raw"), ("phone", "raw"), ("controller_customer_id", "raw")} <= kinds
    assert ("email", "sha256") not in kinds
    path = found["processor_certificate"].removeprefix(f"https://{DOMAIN}")
    assert client.get(path).content == (site.folder / "data" / "dsr.pem").read_bytes()


def test_an_erasure_is_taken_on_carried_out_and_told(
    site: Controlled, client: Client, callbacks: CallbackReceiver
) -> None:
    site.say(identify("ana", "ana@example.org"), viewed(userId="bea"))
    site.settle()
    request = dsr("erasure", ("email", "Ana@Example.org", "raw"), status_callback_urls=[callbacks.url])
    answer = ask(client, request)
    taken = answer.json()
    assert answer.status_code == 201
    assert taken["controller_id"] == site.config.name
    assert taken["subject_request_id"] == request["subject_request_id"]
    assert json.loads(base64.b64decode(taken["encoded_request"])) == request
    assert taken["received_time"] < taken["expected_completion_time"]
    assert status(client, taken["subject_request_id"])["request_status"] == "pending"
    site.privacy()
    found = status(client, taken["subject_request_id"])
    assert (found["request_status"], found["results_count"], found["results_url"]) == ("completed", 1, None)
    assert not known(site, "ana")
    assert known(site, "bea")
    assert callbacks.states == ["in_progress", "completed"]
    for _, body in callbacks.requests:
        assert json.loads(body)["status_callback_url"] == callbacks.url
    [mandate] = site.deployment.mandates.everything()
    assert (mandate.callbacks, mandate.notices, mandate.given_up) == (b"", [], 0)


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed here")
@pytest.mark.parametrize("name", ["OpenDSR", "OpenGDPR", "OpenCompliance"])
def test_openssl_finds_each_answer_and_callback_genuine(
    site: Controlled, client: Client, callbacks: CallbackReceiver, tmp_path: Path, name: str
) -> None:
    certificate = site.folder / "data" / "dsr.pem"
    request = dsr(status_callback_urls=[callbacks.url])
    answers = [ask(client, request), client.get("/discovery"), ask(client, {})]
    answers.append(client.get(f"/requests/{request['subject_request_id']}", headers=TOKEN))
    answers.append(client.request("DELETE", f"/requests/{request['subject_request_id']}", headers=TOKEN))
    assert [one.status_code for one in answers] == [201, 200, 400, 200, 202]
    site.privacy()
    sent = [(answer.headers, answer.content) for answer in answers]
    sent += [(httpx.Headers(headers), body) for headers, body in callbacks.requests]
    assert len(sent) == 6
    for headers, body in sent:
        assert headers[f"X-{name}-Processor-Domain"] == DOMAIN
        assert genuine(tmp_path, certificate, body, headers[f"X-{name}-Signature"])
        assert not genuine(tmp_path, certificate, body + b" ", headers[f"X-{name}-Signature"])


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", NAMES)
def test_the_routes_of_all_versions_lead_to_the_same_request(
    site: Controlled, client: Client, prefix: str, name: str
) -> None:
    request = dsr()
    path = f"{prefix}/{name}"
    ident = asked(client, request, path)
    assert client.get(f"{path}/{ident}", headers=TOKEN).json() == status(client, ident)
    assert client.request("DELETE", f"{path}/{ident}/", headers=TOKEN).status_code == 202
    assert status(client, ident)["request_status"] == "cancelled"
    assert client.get(f"{prefix}/discovery").status_code == 200


def test_an_access_request_leads_to_what_is_held(site: Controlled, client: Client) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    for kind in ("access", "portability"):
        name = asked(client, dsr(kind))
        early = client.get(f"/requests/{name}/results", headers=TOKEN)
        assert (early.status_code, "pending" in early.json()["error"]["message"]) == (400, True)
        site.privacy()
        found = status(client, name)
        assert (found["request_status"], found["results_count"]) == ("completed", 1)
        path = found["results_url"].removeprefix(f"https://{DOMAIN}")
        assert client.get(path).status_code == 401
        [held] = client.get(path, headers=TOKEN).json()["results"]
        assert held["stated"]["email"] == "ana@example.org"
    assert known(site, "ana")
    asked(client, dsr("erasure"))
    site.privacy()
    assert client.get(path, headers=TOKEN).json()["results"] == []  # is gone since


def test_whom_nobody_knows_is_no_failure(site: Controlled, client: Client) -> None:
    for kind in ("erasure", "access"):
        name = asked(client, dsr(kind, ("email", "nobody@example.org", "raw")))
        site.privacy()
        found = status(client, name)
        assert (found["request_status"], found["results_count"], found["results_url"]) == (
            "completed",
            0,
            None,
        )


def test_the_same_request_again_is_the_same_and_another_one_is_refused(
    site: Controlled, client: Client, callbacks: CallbackReceiver
) -> None:
    """A replay begins nothing anew, also when all is done."""
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    request = dsr(status_callback_urls=[callbacks.url])
    first, second = ask(client, request), ask(client, request)
    assert first.json() == second.json()
    site.privacy()
    site.say(identify("ana", "ana@example.org"))  # somebody new
    site.settle()
    third = ask(client, request)
    assert (third.status_code, third.json()["received_time"]) == (201, first.json()["received_time"])
    site.privacy()
    assert known(site, "ana")
    assert callbacks.states == ["in_progress", "completed"]
    other = ask(client, request | {"subject_request_type": "access"})
    assert (other.status_code, "another request" in other.json()["error"]["message"]) == (400, True)


def test_only_what_is_pending_can_be_cancelled(
    site: Controlled, client: Client, callbacks: CallbackReceiver
) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    name = asked(client, dsr(status_callback_urls=[callbacks.url]))
    answer = client.request("DELETE", f"/requests/{name}", headers=TOKEN)
    assert answer.status_code == 202
    assert {"controller_id", "subject_request_id", "received_time", "api_version"} <= answer.json().keys()
    site.privacy()
    assert known(site, "ana")
    assert callbacks.states == ["cancelled"]
    again = client.request("DELETE", f"/requests/{name}", headers=TOKEN)
    assert (again.status_code, "is cancelled" in again.json()["error"]["message"]) == (400, True)
    name = asked(client, dsr())
    site.privacy()
    late = client.request("DELETE", f"/requests/{name}", headers=TOKEN)
    assert (late.status_code, "is completed" in late.json()["error"]["message"]) == (400, True)
    missing = client.request("DELETE", f"/requests/{uuid.uuid4()}", headers=TOKEN)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, 404)


def test_whoever_comes_first_wins_between_a_cancellation_and_the_beginning(
    site: Controlled, client: Client
) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    deployment = site.deployment
    store, carrying = deployment.mandates, carrying_of(deployment, site.erasing())
    name = asked(client, dsr())
    [seen] = store.unfinished()
    assert client.request("DELETE", f"/requests/{name}", headers=TOKEN).status_code == 202
    assert carrying.advance(seen).state == "cancelled"  # by whoever had read it before
    assert deployment.privacy_requests.everything() == []
    name = asked(client, dsr())
    [seen] = store.unfinished()
    assert carrying.advance(seen).state == "in_progress"
    from flows.services.subjects import mandates

    assert not store.save(seen, mandates.cancelled(seen, 1, 0), finished=True)
    assert status(client, name)["request_status"] == "in_progress"


def test_an_erasure_waits_for_its_grace(tmp_path: Path, redis_url: str) -> None:
    class Graceful(Controlled):
        more = '[rights]\ngrace = "1h"\n'

    site: Controlled = Graceful(tmp_path, redis_url).start()  # type: ignore[assignment]
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    with gateway(WITH, opendsr=OpenDsrDesk(site.deployment)) as client:
        name = asked(client, dsr())
        held = asked(client, dsr("access"))
        site.privacy()
        assert status(client, name)["request_status"] == "pending"
        assert status(client, held)["request_status"] == "completed"
        assert known(site, "ana")
        assert client.request("DELETE", f"/requests/{name}", headers=TOKEN).status_code == 202


def digest(form: str, value: str) -> str:
    return hashlib.new(form, value.encode()).hexdigest()


def test_what_cannot_be_looked_up_is_said_in_each_answer(site: Controlled, client: Client) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    identities = [
        ("email", "ana@example.org", "raw"),
        ("email", digest("sha256", "ana@example.org"), "sha256"),
        ("ana@example.org", "44", "raw"),
    ]
    name = asked(client, dsr("erasure", *identities))
    told = status(client, name)["extensions"][DOMAIN]["unresolved_identities"]
    assert [(one["identity_type"], one["identity_format"]) for one in told] == [
        ("email", "sha256"),
        ("other", "raw"),
    ]
    assert "cannot be looked up" in told[0]["reason"]
    site.privacy()
    assert not known(site, "ana")


@pytest.mark.parametrize("form", ["md5", "sha1", "sha256"])
def test_a_request_of_hashes_alone_is_refused(site: Controlled, client: Client, form: str) -> None:
    answer = ask(client, dsr("erasure", ("email", digest(form, "ana@example.org"), form)))
    assert answer.status_code == 400
    assert "cannot be looked up" in answer.json()["error"]["message"]
    assert site.deployment.mandates.everything() == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"subject_request_id": "A7551968-D5D6-44B2-9831-815AC9017798"}, "a UUID of version 4"),
        ({"subject_request_id": "a7551968-d5d6-14b2-9831-815ac9017798"}, "a UUID of version 4"),
        ({"subject_request_type": "rectification"}, "access, portability, erasure"),
        ({"submitted_time": "yesterday"}, "submitted_time"),
        ({"submitted_time": None}, "submitted_time"),
        ({"subject_identities": []}, "expected 1 to 100"),
        ({"subject_identities": [{"identity_type": "email"}]}, "identity_value"),
        ({"regulation": "x" * 33}, "regulation"),
        ({"regulation": "ana@example.org"}, "regulation"),
        ({"status_callback_urls": ["ftp://ana@example.org"]}, "https://"),
        ({"status_callback_urls": [f"https://c.example.org/{n}" for n in range(6)]}, "at most 5"),
    ],
)
def test_a_request_that_is_none_is_answered_with_what_was_expected(
    site: Controlled, client: Client, change: dict[str, Any], told: str
) -> None:
    answer = ask(client, dsr("erasure", ("email", "ana@example.org", "raw")) | change)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, 400)
    assert told in error["message"]
    assert error["errors"][0]["reason"] == "dsr_invalid"
    assert "ana@example.org" not in answer.text
    assert site.deployment.mandates.everything() == []


def test_a_value_that_is_none_of_its_kind_is_refused_and_not_shown(site: Controlled, client: Client) -> None:
    answer = ask(client, dsr("erasure", ("email", "no mail at all", "raw")))
    assert (answer.status_code, "identity_value" in answer.text) == (400, True)
    assert "no mail at all" not in answer.text


def test_only_holders_of_a_token_ask(site: Controlled, client: Client) -> None:
    for key in ("reader", "", "wrong"):
        answer = client.post("/requests", dsr(), key=key)
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (401, "token_invalid")
    assert client.get(f"/requests/{uuid.uuid4()}", headers=TOKEN).status_code == 404
    assert ask(client, dsr(extensions={"x": "y" * 70_000})).status_code == 413


def test_a_callback_is_tried_again_and_given_up(
    site: Controlled, client: Client, callbacks: CallbackReceiver
) -> None:
    callbacks.script.extend([503, 302, 200])  # a redirect is not followed
    name = asked(client, dsr(status_callback_urls=[callbacks.url]))
    site.privacy()
    assert callbacks.states == ["in_progress"] * 3 + ["completed"]
    callbacks.script.extend([500] * 6)
    callbacks.requests.clear()
    with capture_logs() as logs:
        name = asked(client, dsr(status_callback_urls=[callbacks.url]))
        site.privacy()
    assert callbacks.states == ["in_progress"] * 3 + ["completed"] * 3
    assert status(client, name)["request_status"] == "completed"
    mandate = site.deployment.mandates.get(name)
    assert mandate is not None
    assert (mandate.given_up, mandate.callbacks) == (2, b"")
    given_up = [entry for entry in logs if entry["event"] == "callback_given_up"]
    assert len(given_up) == 2
    assert callbacks.url not in str(logs)


@pytest.mark.parametrize(
    "url",
    [
        "http://controller.example.org/cb",
        "https://127.0.0.1/cb",
        "https://10.1.2.3/cb",
        "https://169.254.169.254/latest",
        "https://[::1]/cb",
        "https://[::ffff:10.0.0.1]/cb",
        "https://user@controller.example.org/cb",
        "https://:80/cb",
        "https://c.example.org:99999/cb",
        "file:///etc/passwd",
        "https://c.example.org/" + "x" * 2_048,
    ],
)
def test_a_callback_that_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(Unusable) as told:
        check_url(url, allow_private=False)
    assert url not in str(told.value)


def test_a_name_that_leads_to_a_private_address_is_not_connected_to(callbacks: CallbackReceiver) -> None:
    """What is checked is the address that the socket is made for."""
    url = callbacks.url.replace("127.0.0.1", "localhost")
    assert send([Message(url, b"{}", {})], allow_private=False) == ["its address is not public"]
    assert callbacks.requests == []
    assert send([Message(url, b"{}", {})], allow_private=True) == [""]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"domain": "other.example.org"}, "issued to opendsr.example.org"),
        ({"days": -1}, "has expired"),
        ({"bits": 1_024}, "at least 2048 bits"),
    ],
)
def test_files_that_cannot_sign_are_refused_at_the_start(
    site: Controlled, made: dict[str, Any], told: str
) -> None:
    make_certificate(site.folder / "data", **({"domain": DOMAIN} | made))
    with pytest.raises(ConfigError, match=told):
        OpenDsrDesk(site.deployment)


def test_a_certificate_of_another_key_and_files_that_are_none(site: Controlled) -> None:
    folder = site.folder / "data"
    make_certificate(folder, DOMAIN, "other")
    (folder / "other.pem").rename(folder / "dsr.pem")
    with pytest.raises(ConfigError, match="of another key"):
        OpenDsrDesk(site.deployment)
    (folder / "dsr.pem").write_text("none")
    with pytest.raises(ConfigError, match="expected a PEM file"):
        OpenDsrDesk(site.deployment)
    (folder / "dsr.pem").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        OpenDsrDesk(site.deployment)


def test_without_files_that_sign_callbacks_wait_and_erasures_go_on(
    site: Controlled, client: Client, callbacks: CallbackReceiver
) -> None:
    site.say(identify("ana", "ana@example.org"))
    site.settle()
    certificate = site.folder / "data" / "dsr.pem"
    kept = certificate.read_bytes()
    asked(client, dsr(status_callback_urls=[callbacks.url]))
    certificate.unlink()
    with capture_logs() as logs, pytest.raises(AssertionError, match="still waits"):
        site.privacy()
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["opendsr_unusable"]
    assert not known(site, "ana")
    assert callbacks.states == []
    certificate.write_bytes(kept)
    site.privacy()
    assert callbacks.states == ["in_progress", "completed"]
