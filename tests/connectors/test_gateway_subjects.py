"""Customers' rights over HTTP: who gets in, what is answered, and what the log tells."""

from collections.abc import Iterator

import msgspec
import pytest
from structlog.testing import capture_logs

from connectors.gateway import Receipt
from connectors.gateway.subject_routes import BY_HAND, Ask, Close, Erase, Say
from schemas.bilingual import Lang
from schemas.config import Secret
from schemas.errors import Unreachable, Unusable
from tests.connectors.gateway_kit import CONFIG, Client, gateway

TOKEN = {"authorization": "Bearer privacy"}
WITH = msgspec.structs.replace(CONFIG, privacy_tokens=(Secret("privacy"),))


class Rights:
    """A `Rights` that knows ana."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[object] = []

    def _known(self, who: str) -> None:
        if who == "user_id:away":
            raise Unreachable("no state")
        if "ana" not in who:
            raise Unusable(f"nobody is known as {who}")

    def known(self, who: str) -> None:
        self._known(who)

    def request(self, name: str) -> object:
        self._known(name)
        return {"id": name}

    def erase(self, who: str, asked: Erase, token: str) -> tuple[object, bool]:
        self._known(who)
        if who.endswith("-held"):
            raise Unusable(f"{who} is on hold")
        self.asked.append((who, token))
        self.bodies.append(asked)
        return {"id": "erase-1"}, len(self.asked) > 1

    def ask(self, who: str, right: str, asked: Ask, token: str) -> object:
        self._known(who)
        self.bodies.append(asked)
        return {"right": right}

    def cancel(self, name: str) -> object:
        if name == "ana-begun":
            raise Unusable("it has begun")
        return {"id": name}

    def close(self, name: str, answer: Close) -> object:
        self.bodies.append(answer)
        return {"id": name}

    def unsuppress(self, named: str) -> bool:
        self._known(named)
        return True

    def consent(self, who: str) -> object:
        self._known(who)
        return {"mode": "basic"}

    def say(self, who: str, said: Say, token: str) -> str:
        self._known(who)
        self.bodies.append(said)
        return "proof"

    def listing(self, unfinished: bool) -> list[object]:
        return [{"open": unfinished}]

    def requests(self, named: str) -> list[object]:
        self._known(named)
        return [{"id": "erase-1"}]

    def receipt(self, named: str) -> Receipt:
        self._known(named)
        return Receipt(b'{"key":"k"}', "k")

    def export(self, who: str) -> object:
        self._known(who)
        return {"customer": who}

    def link(self, who: str, days: int, lang: Lang) -> str:
        self._known(who)
        return f"https://data.example.com/privacy/link/{days}-{lang}"


@pytest.fixture
def rights() -> Rights:
    return Rights()


@pytest.fixture
def client(rights: Rights) -> Iterator[Client]:
    with gateway(WITH, rights=rights) as client:
        yield client


PATHS = [
    ("POST", "/v1/subjects/user_id:ana/erase"),
    ("GET", "/v1/subjects/user_id:ana/requests"),
    ("GET", "/v1/subjects/user_id:ana/receipt"),
    ("GET", "/v1/subjects/user_id:ana/export"),
    *(("POST", f"/v1/subjects/user_id:ana/{right}") for right in BY_HAND),
    ("POST", "/v1/subjects/object-ana-1/cancel"),
    ("POST", "/v1/subjects/object-ana-1/close"),
    ("POST", "/v1/subjects/user_id:ana/unsuppress"),
    ("GET", "/v1/subjects/user_id:ana/consent"),
    ("POST", "/v1/subjects/user_id:ana/consent"),
    ("GET", "/v1/subjects"),
    ("POST", "/v1/subjects/user_id:ana/link"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_only_a_privacy_token_gets_in(client: Client, rights: Rights, method: str, path: str) -> None:
    for token in ("reader", "steward", "demo", "", "wrong"):
        answer = client.request(method, path, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    with gateway(CONFIG, rights=rights) as closed:
        answer = closed.request(method, path, headers=TOKEN)
        assert (answer.status_code, answer.json()["code"]) == (403, "privacy_none")
        assert "gateway.privacy_tokens" in answer.json()["message"]
    assert rights.asked == []


def test_an_erasure_is_begun_once_and_the_second_is_told_so(client: Client) -> None:
    first = client.post("/v1/subjects/email:ana%2Fx@y.z/erase", b"", key="privacy")
    assert (first.status_code, first.json()) == (202, {"request": {"id": "erase-1"}, "already": False})
    second = client.post("/v1/subjects/email:ana%2Fx@y.z/erase", b"", key="privacy")
    assert (second.status_code, second.json()["already"]) == (200, True)


def test_what_can_be_read(client: Client) -> None:
    about = "/v1/subjects/user_id:ana"
    assert client.get(f"{about}/requests", headers=TOKEN).json() == {"requests": [{"id": "erase-1"}]}
    assert client.get(f"{about}/export", headers=TOKEN).json() == {"customer": "user_id:ana"}
    receipt = client.get(f"{about}/receipt", headers=TOKEN)
    assert (receipt.content, receipt.headers["x-receipt-key"]) == (b'{"key":"k"}', "k")


def test_an_app_gets_a_link_for_its_customer(client: Client) -> None:
    path = "/v1/subjects/user_id:ana/link"
    made = client.post(path, b"", key="privacy")
    assert (made.status_code, made.json()["link"][-4:]) == (201, "7-en")
    assert client.post(f"{path}?days=30&lang=zh", b"", key="privacy").json()["link"].endswith("/30-zh")
    for query in ("days=x", "days=-1", "days=0", "days=91", "days=9999", "lang=fr", "days="):
        answer = client.post(f"{path}?{query}", b"", key="privacy")
        assert (answer.status_code, answer.json()["code"]) == (400, "link_invalid")
    with capture_logs() as logs:
        client.post(path, b"", key="privacy")
    assert [entry["event"] for entry in logs] == ["subject_link"]
    assert "/privacy/link/" not in str(logs)


@pytest.mark.parametrize(
    ("who", "what", "status", "code"),
    [
        ("user_id:bob", "requests", 404, "profile_unknown"),
        ("user_id:bob", "export", 404, "profile_unknown"),
        ("user_id:bob", "receipt", 404, "request_unknown"),
        ("user_id:away", "export", 503, "state_unreachable"),
    ],
)
def test_what_is_not_there(client: Client, who: str, what: str, status: int, code: str) -> None:
    answer = client.get(f"/v1/subjects/{who}/{what}", headers=TOKEN)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("token", ["privacy", "wrong"])
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_nobody_on_the_way_keeps_an_answer(client: Client, method: str, path: str, token: str) -> None:
    for target in (path, path.replace("ana", "bob")):
        answer = client.request(method, target, headers={"authorization": f"Bearer {token}"})
        assert answer.headers["cache-control"] == "no-store"


def test_nobody_may_try_all_names() -> None:
    with gateway(msgspec.structs.replace(WITH, misses_per_minute=2), rights=Rights()) as client:
        path = "/v1/subjects/user_id:bob/export"
        assert [client.get(path, headers=TOKEN).status_code for _ in range(4)] == [404, 404, 404, 429]


def test_who_is_on_hold_is_known_and_not_erased() -> None:
    with gateway(msgspec.structs.replace(WITH, misses_per_minute=2), rights=Rights()) as client:
        path = "/v1/subjects/user_id:ana-held/erase"
        answers = [client.post(path, b"", key="privacy") for _ in range(4)]
        assert {(one.status_code, one.json()["code"]) for one in answers} == {(409, "request_refused")}
        unknown = client.post("/v1/subjects/user_id:bob/erase", b"", key="privacy")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "profile_unknown")


def test_the_log_says_who_did_what_and_about_nobody(client: Client) -> None:
    with capture_logs() as logs:
        client.post("/v1/subjects/email:ana@example.org/erase", b"", key="privacy")
        client.get("/v1/subjects/email:ana@example.org/export", headers=TOKEN)
    said = [entry for entry in logs if entry["event"].startswith("subject_")]
    assert [entry["event"] for entry in said] == ["subject_erase", "subject_read"]
    assert "ana@example.org" not in str(said)


def test_what_people_have_to_answer_is_asked_with_a_reason(client: Client, rights: Rights) -> None:
    for right in BY_HAND:
        body = {"reason": "as told", "purposes": ["marketing"]}
        answer = client.post(f"/v1/subjects/user_id:ana/{right}", body, key="privacy")
        assert (answer.status_code, answer.json()) == (202, {"request": {"right": right}})
    assert rights.bodies == [Ask("as told", ["marketing"])] * len(BY_HAND)


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("object", b""),
        ("object", b"{}"),
        ("complain", b'{"reason": 7, "who": "ana@example.org"}'),
        ("erase", b'{"suppres": true}'),
        ("erase", b"ana@example.org"),
        ("consent", b'{"words": {"marketing": ["ana@example.org"]}}'),
        ("close", b"[" * 5_000),
    ],
)
def test_a_body_that_is_none_says_what_was_expected_and_shows_nothing(
    client: Client, rights: Rights, what: str, body: bytes
) -> None:
    answer = client.post(f"/v1/subjects/user_id:ana/{what}", body, key="privacy")
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert "expected a JSON object of" in answer.json()["message"]
    assert "ana@example.org" not in answer.text
    assert rights.bodies == []


def test_an_erasure_may_say_who_is_to_stay_unknown(client: Client, rights: Rights) -> None:
    client.post("/v1/subjects/user_id:ana/erase", {"suppress": True, "reason": "told"}, key="privacy")
    client.post("/v1/subjects/user_id:ana/erase", b"", key="privacy")
    assert rights.bodies == [Erase("told", True), Erase()]


def test_requests_are_taken_back_closed_and_listed(client: Client, rights: Rights) -> None:
    assert client.post("/v1/subjects/ana-1/cancel", b"", key="privacy").json() == {"request": {"id": "ana-1"}}
    late = client.post("/v1/subjects/ana-begun/cancel", b"", key="privacy")
    assert (late.status_code, late.json()["code"]) == (409, "request_refused")
    assert client.post("/v1/subjects/bob-1/cancel", b"", key="privacy").status_code == 404
    client.post("/v1/subjects/ana-1/close", {"refused": True, "reason": "no"}, key="privacy")
    assert rights.bodies == [Close("no", True)]
    assert client.get("/v1/subjects?open=true", headers=TOKEN).json() == {"requests": [{"open": True}]}
    assert client.get("/v1/subjects", headers=TOKEN).json() == {"requests": [{"open": False}]}


def test_consent_is_read_and_said(client: Client, rights: Rights) -> None:
    about = "/v1/subjects/user_id:ana/consent"
    assert client.get(about, headers=TOKEN).json() == {"consent": {"mode": "basic"}}
    said = client.post(about, {"words": {"marketing.sms": False}, "version": "7"}, key="privacy")
    assert (said.status_code, said.json()) == (202, {"proof": "proof"})
    assert rights.bodies == [Say({"marketing.sms": False}, "7")]
    assert client.post("/v1/subjects/user_id:ana/unsuppress", b"", key="privacy").json() == {
        "suppressed": True
    }
