"""Identities over HTTP: who gets in, what is answered, what goes into the log, and what the audit log
tells."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from schemas.config import Gateway, Secret, WriteKey
from schemas.errors import Unreachable, Unusable
from schemas.records.identity_graph import Order, undo
from schemas.wire.events import RawEvent, Reject
from tests.connectors.gateway_kit import CONFIG, KEYS, Client, gateway

TOKEN = {"authorization": "Bearer steward"}
WITH = msgspec.structs.replace(CONFIG, steward_tokens=(Secret("steward"),))
PAIR = "aa" * 12 + "-" + "bb" * 12


class Desk:
    """A `Stewardship` that knows ana, and one pair."""

    def show(self, named: str) -> object | None:
        if ":" not in named:
            raise Unusable("expected NAMESPACE:VALUE")
        if named == "user_id:away":
            raise Unreachable("no state")
        return {"customer": "aa" * 12, "named": named} if "ana" in named else None

    def history(self, named: str) -> object | None:
        return {"history": named} if "ana" in named else None

    def reviews(self, after: str) -> object:
        if after == "x":
            raise Unusable("expected `next` of the page before, got 'x'")
        return {"reviews": [] if after else [PAIR], "next": None if after else f"1.{PAIR}"}

    def review(self, ident: str) -> object | None:
        return {"id": ident} if ident == PAIR else None

    def decision(self, ident: str, said: str) -> bytes | None:
        if said == "maybe":
            raise Unusable("expected accept, reject, unsure, got 'maybe'")
        return b"apart" if ident == PAIR else None

    def judge(self, document: bytes) -> tuple[Order, RawEvent, str] | Reject:
        event = RawEvent(document, 1, "$steward")
        match document:
            case b"apart":
                return Order("apart", b"a" * 12, b"b" * 12, "review"), event, ""
            case b"undo":
                return undo(7, "steward"), event, ""
            case b"again":
                return undo(7, "steward"), event, "union 7 was undone before"
        return Reject("field_invalid", "expected an order")


@pytest.fixture
def client() -> Iterator[Client]:
    with gateway(WITH, stewardship=Desk()) as client:
        yield client


PATHS = [
    ("GET", "/v1/identity/user_id:ana"),
    ("GET", "/v1/identity/user_id:ana/history"),
    ("POST", "/v1/identity/orders"),
]
PATHS += [("GET", "/v1/reviews"), ("GET", f"/v1/reviews/{PAIR}"), ("POST", f"/v1/reviews/{PAIR}")]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_only_a_steward_gets_in(client: Client, method: str, path: str) -> None:
    for token in ("reader", "demo", "", "wrong"):
        answer = client.request(method, path, headers={"authorization": f"Bearer {token}"}, content=b"undo")
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    with gateway(CONFIG, stewardship=Desk()) as closed:
        answer = closed.request(method, path, headers=TOKEN, content=b"undo")
        assert (answer.status_code, answer.json()["code"]) == (403, "stewards_none")
        assert "gateway.steward_tokens" in answer.json()["message"]
    assert client.writer.stored == []


def test_a_customer_and_its_history(client: Client) -> None:
    assert client.get("/v1/identity/email:ana%2Fx@y.z", headers=TOKEN).json()["named"] == "email:ana/x@y.z"
    assert client.get("/v1/identity/user_id:ana/history", headers=TOKEN).json() == {"history": "user_id:ana"}
    for path, status, code in (
        ("user_id:bob", 404, "profile_unknown"),
        ("user_id:bob/history", 404, "profile_unknown"),
        ("bob", 400, "identifier_invalid"),
        ("user_id:away", 503, "state_unreachable"),
    ):
        answer = client.get(f"/v1/identity/{path}", headers=TOKEN)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("token", ["steward", "wrong"])
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_nobody_on_the_way_keeps_an_answer(client: Client, method: str, path: str, token: str) -> None:
    for target in (path, path.replace("ana", "bob")):
        answer = client.request(method, target, headers={"authorization": f"Bearer {token}"}, content=b"undo")
        assert answer.headers["cache-control"] == "no-store"


def test_a_steward_may_not_try_all_names() -> None:
    with gateway(msgspec.structs.replace(WITH, misses_per_minute=2), stewardship=Desk()) as client:
        statuses = [client.get("/v1/identity/user_id:bob", headers=TOKEN).status_code for _ in range(4)]
        assert statuses == [404, 404, 404, 429]
        assert (
            client.get("/v1/identity/user_id:ana/history", headers=TOKEN).json()["code"] == "guesses_limited"
        )
        assert client.get("/v1/reviews", headers=TOKEN).status_code == 200


def test_an_order_goes_into_the_log(client: Client) -> None:
    answer = client.post("/v1/identity/orders", b"undo", key="steward")
    assert (answer.status_code, answer.json()) == (202, {"accepted": True, "order": "undo"})
    assert [(key, event.source, event.value) for key, event in client.writer.stored] == [
        ("$steward", "$steward", b"undo")
    ]
    for body, status, code in (
        (b"again", 409, "order_refused"),
        (b"{}", 400, "field_invalid"),
        (b"x" * 5_000, 413, "batch_too_large"),
    ):
        refused = client.post("/v1/identity/orders", body, key="steward")
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert len(client.writer.stored) == 1
    client.writer.error = Unreachable("gone")
    assert client.post("/v1/identity/orders", b"undo", key="steward").status_code == 503


def test_the_queue(client: Client) -> None:
    assert client.get("/v1/reviews", headers=TOKEN).json() == {"reviews": [PAIR], "next": f"1.{PAIR}"}
    assert client.get(f"/v1/reviews?after=1.{PAIR}", headers=TOKEN).json() == {"reviews": [], "next": None}
    refused = client.get("/v1/reviews?after=x", headers=TOKEN)
    assert (refused.status_code, refused.json()["code"]) == (400, "cursor_invalid")
    assert client.get(f"/v1/reviews/{PAIR}", headers=TOKEN).json() == {"id": PAIR}
    assert client.get("/v1/reviews/ff", headers=TOKEN).status_code == 404
    assert client.post(f"/v1/reviews/{PAIR}", {"decision": "reject"}, key="steward").status_code == 202
    assert [event.value for _, event in client.writer.stored] == [b"apart"]
    for ident, body, status in (
        (PAIR, {"decision": "maybe"}, 400),
        (PAIR, {}, 400),
        (PAIR, b"x", 400),
        ("ff", {"decision": "accept"}, 404),
    ):
        assert client.post(f"/v1/reviews/{ident}", body, key="steward").status_code == status


def test_the_audit_log_tells_who_did_what_and_no_personal_data(client: Client) -> None:
    with capture_logs() as lines:
        client.get("/v1/identity/email:ana@x.de", headers=TOKEN)
        client.get("/v1/identity/email:bob@x.de", headers=TOKEN)
        client.post("/v1/identity/orders", b"undo", key="steward")
        client.post(f"/v1/reviews/{PAIR}", {"decision": "reject"}, key="steward")
    assert [line["event"] for line in lines] == [
        "identity_read",
        "identity_read",
        "identity_order",
        "identity_order",
    ]
    assert len({line["token"] for line in lines}) == 1
    assert [line["about"] for line in lines[2:]] == [[7], ["61" * 12, "62" * 12]]
    for secret in ("steward'", "@x.de", "ana", "bob"):
        assert secret not in str([{**line, "by": ""} for line in lines])


# --- RudderStack's merge


MERGE: dict[str, Any] = {
    "mergeProperties": [{"type": "user_id", "value": "a"}, {"type": "email", "value": "a@x.de"}]
}
MERGES = Gateway(
    write_keys=(*KEYS, WriteKey(key=Secret("crm"), source="crm", merges=True)),
    read_tokens=(Secret("reader"),),
)


def test_an_app_that_may_unites_two_customers() -> None:
    with gateway(MERGES) as client:
        assert client.post("/v1/merge", MERGE, key="crm").status_code == 200
        assert client.post("/v1/unmerge", MERGE, key="crm").status_code == 200
        assert client.post(
            "/v1/batch", {"batch": [{"type": "merge"} | MERGE, {"type": "track", "userId": "a"}]}, key="crm"
        ).json() == {"success": True}
        assert [message["type"] for message in client.messages] == ["merge", "unmerge", "merge", "track"]
        assert client.messages[0]["mergeProperties"] == MERGE["mergeProperties"]


def test_an_app_that_may_not_is_told() -> None:
    with gateway(MERGES) as client:
        answer = client.post("/v1/merge", MERGE)
        assert (answer.status_code, answer.json()["code"]) == (403, "order_forbidden")
        batch = client.post(
            "/v1/batch", {"batch": [{"type": "merge"} | MERGE, {"type": "track", "userId": "a"}]}
        ).json()
        assert [error["code"] for error in batch["errors"]] == ["order_forbidden"]
        assert [message["type"] for message in client.messages] == ["track"]
