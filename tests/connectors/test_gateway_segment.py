"""The Segment HTTP API as its clients use it: routes, keys, merging, gzip, and what lies in the log
afterwards."""

import base64
import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.connectors.gateway_kit import Client, gateway

TRACK = {"type": "track", "event": "Paid", "userId": "u1", "messageId": "m1", "properties": {"total": 5}}


@pytest.fixture
def client() -> Iterator[Client]:
    with gateway() as client:
        yield client


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("path", "kind"),
    [(f"/v1/{kind}", kind) for kind in ("identify", "track", "page", "screen", "group", "alias")]
    + [
        ("/v1/i", "identify"),
        ("/v1/t", "track"),
        ("/v1/p", "page"),
        ("/v1/s", "screen"),
        ("/v1/g", "group"),
        ("/v1/a", "alias"),
    ],
)
def test_the_route_says_the_type(client: Client, path: str, kind: str) -> None:
    for body in (
        {"userId": "u"},
        {"userId": "u", "type": "banana"},
        {"userId": "u", "type": None},
        {"userId": "u", "type": kind},
    ):
        answer = client.post(path, body)
        assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [message["type"] for message in client.messages] == [kind] * 4


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/v1/import"])
def test_a_batch_enters_the_log_in_its_order(client: Client, path: str) -> None:
    answer = client.post(path, {"batch": [TRACK | {"messageId": str(n)} for n in range(5)]})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [message["messageId"] for message in client.messages] == ["0", "1", "2", "3", "4"]


def test_a_slash_at_the_end_is_no_redirect(client: Client) -> None:
    for path in ("/v1/import/", "/v1/batch/", "/v1/b/"):
        assert client.post(path, {"batch": [TRACK]}).json() == {"success": True}
    for path in ("/v1/track/", "/v1/t/"):
        assert client.post(path, TRACK).json() == {"success": True}
    event = {"specversion": "1.0", "id": "m1", "source": "s", "type": "Paid", "subject": "u1"}
    assert client.post(
        "/v1/events/", event, headers={"content-type": "application/cloudevents+json"}
    ).json() == {"success": True}
    assert [message["userId"] for message in client.messages] == ["u1"] * 6
    for path in ("/v1/projects/demo/settings/", "/healthz/", "/subjects/"):
        assert client.get(path).status_code == 200
    assert client.get("/v1/track/").status_code == 405
    assert client.post("/v1/nope/", {}).json()["code"] == "not_found"


def test_an_event_keeps_its_bytes(client: Client) -> None:
    """Big numbers, key order and spacing are not the gateway's to change."""
    body = (
        b'{"type": "track","userId":"u", "messageId":"m", "properties": {"b":1180591620717411303424,'
        b' "a":1.10, "s":"\\u00e9"}}'
    )
    client.post("/v1/track", body)
    assert client.writer.stored[0][1].value == body


def test_the_log_knows_source_and_time(client: Client) -> None:
    before = time.time() * 1000
    client.post("/v1/track", TRACK, key="till")
    key, event = client.writer.stored[0]
    assert (key, event.source, event.fault) == ("u1", "store", None)
    assert before - 1 <= event.received_ms <= time.time() * 1000


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({"userId": "u", "anonymousId": "a"}, "u"),
        ({"userId": None, "anonymousId": "a"}, "a"),
        ({"userId": "", "anonymousId": "a"}, "a"),
        ({"userId": {"x": 1}, "anonymousId": "a"}, "a"),
        ({}, "m1"),
    ],
)
def test_what_orders_an_event(client: Client, ids: dict[str, object], expected: str) -> None:
    client.post("/v1/track", {"event": "x", "messageId": "m1"} | ids)
    assert client.writer.stored[0][0] == expected


# --- the key ---


@pytest.mark.parametrize(
    "headers",
    [
        basic("demo:"),
        basic("demo"),
        basic("demo:x"),
        {"authorization": "Bearer demo"},
        {"authorization": "bearer demo"},
    ],
)
def test_the_key_in_a_header(client: Client, headers: dict[str, str]) -> None:
    assert client.post("/v1/track", TRACK, key=None, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer some-oauth-token"}, basic(""), basic(":"), {"authorization": "Digest x"}],
)
@pytest.mark.parametrize(("path", "body"), [("/v1/track", TRACK), ("/v1/batch", {"batch": [TRACK]})])
def test_the_key_in_the_body(
    client: Client, headers: dict[str, str], path: str, body: dict[str, object]
) -> None:
    """Older clients send it nowhere else; newer ones may send an OAuth token in the header besides."""
    assert client.post(path, body | {"writeKey": "demo"}, key=None, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [basic("wrong:"), basic("demo2"), basic("é\x00"), {"authorization": "Basic demo"}]
)
@pytest.mark.parametrize(("path", "body"), [("/v1/track", TRACK), ("/v1/batch", {"batch": [TRACK]})])
def test_a_wrong_key_in_the_header_is_not_mended_by_the_body(
    client: Client, headers: dict[str, str], path: str, body: dict[str, object]
) -> None:
    answer = client.post(path, body | {"writeKey": "demo"}, key=None, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "write_key_invalid")
    assert client.writer.stored == []


@pytest.mark.parametrize(("path", "body"), [("/v1/track", TRACK), ("/v1/batch", {"batch": [TRACK]})])
def test_the_key_in_the_query(client: Client, path: str, body: dict[str, object]) -> None:
    assert client.post(path + "?writeKey=demo", body, key=None).status_code == 200
    assert client.post(path + "?writeKey=wrong", body | {"writeKey": "demo"}, key=None).status_code == 401
    assert client.post(path + "?other=x", body | {"writeKey": "demo"}, key=None).status_code == 200


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [(None, 401, "write_key_invalid"), ("wrong", 401, "write_key_invalid"), ("off", 404, "source_disabled")],
)
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/track", TRACK), ("/v1/batch", {"batch": [TRACK]}), ("/v1/events", {})]
)
def test_a_wrong_key_leaves_no_trace(
    client: Client, key: str | None, status: int, code: str, path: str, body: object
) -> None:
    answer = client.post(path, body, key=key)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]
    assert client.writer.stored == []


# --- what the request gives to its items ---


def test_batch_level_fields_enter_the_items_and_the_item_wins(client: Client) -> None:
    client.post(
        "/v1/batch",
        {
            "sentAt": "2026-01-01T00:00:00Z",
            "context": {"ip": "1.2.3.4", "locale": "de"},
            "integrations": {"All": False},
            "batch": [
                {"type": "track", "userId": "u"},
                {
                    "type": "track",
                    "userId": "u",
                    "context": {"locale": "fr", "x": 1},
                    "sentAt": "2025-01-01T00:00:00Z",
                },
                {
                    "type": "track",
                    "userId": "u",
                    "context": None,
                    "sentAt": None,
                    "integrations": {"All": True},
                },
                {"type": "track", "userId": "u", "context": "no object"},
            ],
        },
    )
    first, second, third, fourth = client.messages
    assert first["context"] == {"ip": "1.2.3.4", "locale": "de"}
    assert first["integrations"] == {"All": False}
    assert first["sentAt"] == "2026-01-01T00:00:00Z"
    assert second["context"] == {"ip": "1.2.3.4", "locale": "fr", "x": 1}
    assert second["sentAt"] == "2025-01-01T00:00:00Z"
    assert third["context"] == {"ip": "1.2.3.4", "locale": "de"}
    assert third["sentAt"] == "2026-01-01T00:00:00Z"
    assert third["integrations"] == {"All": True}
    assert fourth["context"] == "no object"


@pytest.mark.parametrize(
    "shared",
    [{"context": []}, {"context": 3}, {"integrations": "all"}, {"sentAt": ""}, {"sentAt": "Invalid Date"}],
)
def test_a_bad_field_of_the_batch_refuses_no_item(client: Client, shared: dict[str, Any]) -> None:
    item = {"type": "track", "userId": "u", "context": {"locale": "fr"}}
    assert client.post("/v1/batch", {"batch": [item], **shared}).status_code == 200
    [message] = client.messages
    assert message["context"] == {"locale": "fr"}


def test_no_key_ever_stands_twice(client: Client) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"context": {"a": 1}, "sentAt": "s", "integrations": None},
        {"sentAt": None, "messageId": None},
        {"messageId": "", "context": None},
    ]
    client.post(
        "/v1/batch",
        {
            "sentAt": "x",
            "context": {"b": 2},
            "integrations": {"c": 3},
            "batch": [{"type": "page", "userId": "u"} | way for way in ways],
        },
    )
    client.post("/v1/page", b"{}")
    client.post("/v1/page", b" { } ")
    assert len(client.writer.stored) == 6
    for _, event in client.writer.stored:
        names = [name for name, _ in json.loads(event.value, object_pairs_hook=lambda pairs: pairs)]
        assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("missing", [{}, {"messageId": None}, {"messageId": ""}])
def test_a_message_without_id_gets_one_of_its_own(client: Client, missing: dict[str, object]) -> None:
    client.post("/v1/batch", {"batch": [{"type": "track", "userId": "u"} | missing] * 3})
    assert len({message["messageId"] for message in client.messages}) == 3
    assert all(len(message["messageId"]) == 36 for message in client.messages)


def test_an_invalid_event_does_not_fail_the_others(client: Client) -> None:
    answer = client.post(
        "/v1/batch",
        {"batch": [TRACK, 3, {"type": "banana", "userId": "u"}, {"userId": "u"}, TRACK, None, [], "x"]},
    )
    assert answer.status_code == 200
    assert answer.json()["success"] is True
    assert [(error["index"], error["code"]) for error in answer.json()["errors"]] == [
        (1, "not_an_object"),
        (2, "type_unknown"),
        (3, "type_unknown"),
        (5, "not_an_object"),
        (6, "not_an_object"),
        (7, "not_an_object"),
    ]
    assert all(error["message"] for error in answer.json()["errors"])
    assert len(client.messages) == 2
    assert [event.value for event in client.faults] == [
        b"3",
        b'{"type": "banana", "userId": "u"}',
        b'{"userId": "u"}',
        b"null",
        b"[]",
        b'"x"',
    ]


def test_an_empty_batch_is_a_success(client: Client) -> None:
    assert client.post("/v1/batch", {"batch": []}).json() == {"success": True}
    assert client.writer.stored == []


# --- the form of the body ---


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", None],
)
@pytest.mark.parametrize(("packed", "header"), [(False, None), (True, "gzip"), (True, "GZIP"), (True, None)])
def test_json_whatever_the_content_type_and_gzip_with_or_without_its_header(
    client: Client, content_type: str | None, packed: bool, header: str | None
) -> None:
    body = json.dumps({"batch": [TRACK]}).encode()
    headers = {
        name: value for name, value in (("content-type", content_type), ("content-encoding", header)) if value
    }
    assert (
        client.post("/v1/batch", gzip.compress(body) if packed else body, headers=headers).status_code == 200
    )
    assert client.messages == [TRACK]


def test_gzip_in_several_members(client: Client) -> None:
    body = json.dumps({"batch": [TRACK]}).encode()
    assert client.post("/v1/batch", gzip.compress(body[:20]) + gzip.compress(body[20:])).status_code == 200
    assert client.messages == [TRACK]


@pytest.mark.parametrize("zeros", [1, 511, 300_000])
def test_gzip_that_is_filled_up_with_zeros(client: Client, zeros: int) -> None:
    """As gzip(1) takes it: tools that write in blocks fill up the last one, and Python's reader skips zeros
    between members as well."""
    body = json.dumps({"batch": [TRACK]}).encode()
    padded = gzip.compress(body[:20]) + bytes(zeros) + gzip.compress(body[20:]) + bytes(17)
    assert gzip.decompress(padded) == body
    assert client.post("/v1/batch", padded).status_code == 200
    assert client.messages == [TRACK]


# --- the browser client ---


def test_settings_for_the_browser_client(client: Client) -> None:
    settings = client.get("/v1/projects/demo/settings").json()
    assert settings["integrations"]["Segment.io"] == {
        "apiKey": "demo",
        "apiHost": "gateway/v1",
        "protocol": "http",
    }
    assert client.get("/v1/projects/wrong/settings").json()["code"] == "write_key_invalid"


def test_the_clients_own_metrics_are_taken_and_not_kept(client: Client) -> None:
    assert client.post(
        "/v1/m", {"series": [{"type": "Counter", "metric": "x", "value": 1}]}, key=None
    ).json() == {"success": True}
    assert client.writer.stored == []


def test_preflight(client: Client) -> None:
    wanted = "authorization, content-type, x-retry-count"
    answer = client.request(
        "OPTIONS",
        "/v1/t",
        headers={
            "origin": "https://shop.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": wanted,
        },
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-allow-headers"] == wanted
    assert "POST" in answer.headers["access-control-allow-methods"]


@pytest.mark.parametrize("key", ["demo", "wrong"])
def test_a_browser_may_read_the_answer_even_of_a_refusal(client: Client, key: str) -> None:
    answer = client.post("/v1/t", TRACK, key=key, headers={"origin": "https://shop.example"})
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


def test_paths_and_methods_that_are_not_there(client: Client) -> None:
    assert (client.post("/v1/nope", {}).status_code, client.post("/v1/nope", {}).json()["code"]) == (
        404,
        "not_found",
    )
    assert (client.get("/v1/track").status_code, client.get("/v1/track").json()["code"]) == (
        405,
        "method_not_allowed",
    )
