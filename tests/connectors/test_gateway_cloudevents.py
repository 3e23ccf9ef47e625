"""CloudEvents over HTTP, in the three content modes."""

import json
from collections.abc import Iterator

import pytest

from tests.connectors.gateway_kit import Client, gateway

EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/till",
    "type": "paid",
    "subject": "u1",
    "data": {"total": 5},
}
MESSAGE = {
    "type": "track",
    "messageId": "1",
    "event": "paid",
    "userId": "u1",
    "properties": {"total": 5},
    "context": {"source": "/till"},
}
STRUCTURED = {"content-type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
BINARY = {
    "content-type": "application/json",
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/till",
    "ce-type": "paid",
    "ce-subject": "u1",
}


@pytest.fixture
def client() -> Iterator[Client]:
    with gateway() as client:
        yield client


def test_binary(client: Client) -> None:
    assert client.post("/v1/events", {"total": 5}, headers=BINARY).json() == {"success": True}
    assert client.messages == [MESSAGE]
    assert client.writer.stored[0][0] == "u1"


def test_binary_headers_are_percent_encoded(client: Client) -> None:
    client.post(
        "/v1/events",
        b"",
        headers=BINARY | {"ce-subject": "J%C3%BCrgen%20%25", "ce-type": '"Euro%20%E2%82%AC"'},
    )
    assert (client.messages[0]["userId"], client.messages[0]["event"]) == ("Jürgen %", "Euro €")


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"J%C3%BCrgen%20%25", "Jürgen %"),
        ("Jürgen €".encode(), "Jürgen €"),  # not encoded, as curl sends it
        (b"J%C3%BCrgen " + "€".encode(), "Jürgen €"),
        (b"J\xfcrgen", "Jürgen"),  # Latin-1
        (b"J\xfcrgen%20%25", "Jürgen %"),
        (b'"Euro%20%E2%82%AC"', "Euro €"),
        (b'"a \\"b\\" \\\\"', 'a "b" \\'),
        (b'say "yes"', 'say "yes"'),
        (b'"yes" or "no', '"yes" or "no'),
        (b'"', '"'),
        (b"100%", "100%"),
    ],
)
def test_what_a_header_says(client: Client, header: bytes, text: str) -> None:
    headers = [(name.encode(), value.encode()) for name, value in BINARY.items() if name != "ce-subject"]
    answer = client.request(
        "POST", "/v1/events", headers=[*headers, (b"authorization", b"Bearer demo"), (b"ce-subject", header)]
    )
    assert answer.json() == {"success": True}
    assert client.messages[0]["userId"] == text


@pytest.mark.parametrize(
    "data", [{"userId": ""}, {"userId": None}, {"userId": "", "anonymousId": ""}, {"anonymousId": ""}]
)
@pytest.mark.parametrize("kind", ["Paid", "identify", "com.segment.page"])
def test_an_empty_id_in_the_data_does_not_hide_the_subject(
    client: Client, kind: str, data: dict[str, object]
) -> None:
    client.post("/v1/events", data, headers=BINARY | {"ce-type": kind})
    client.post("/v1/events", EVENT | {"type": kind, "data": data}, headers=STRUCTURED)
    assert [(message["userId"], "anonymousId" in message) for message in client.messages] == [
        ("u1", False)
    ] * 2


def test_structured(client: Client) -> None:
    assert client.post("/v1/events", EVENT, headers=STRUCTURED).json() == {"success": True}
    assert client.messages == [MESSAGE]


def test_batch(client: Client) -> None:
    answer = client.post(
        "/v1/events", [EVENT, EVENT | {"id": "2", "type": "com.segment.identify"}], headers=BATCH
    )
    assert answer.json() == {"success": True}
    assert [(message["type"], message["messageId"]) for message in client.messages] == [
        ("track", "1"),
        ("identify", "2"),
    ]
    assert client.post("/v1/events", [], headers=BATCH).json() == {"success": True}


def test_a_bad_one_in_a_batch(client: Client) -> None:
    bad = EVENT | {"specversion": "0.3"}
    large = EVENT | {"data": {"x": "y" * 40_000}}
    answer = client.post("/v1/events", [EVENT, bad, 3, large], headers=BATCH)
    assert answer.status_code == 200
    assert [(error["index"], error["code"]) for error in answer.json()["errors"]] == [
        (1, "cloudevent_invalid"),
        (2, "cloudevent_invalid"),
        (3, "too_large"),
    ]
    assert len(client.messages) == 1
    assert json.loads(client.faults[0].value) == bad


@pytest.mark.parametrize(
    "bad", [b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"\xff":1}', b"[" * 9_000 + b"]" * 9_000, b"{]"]
)
def test_one_that_is_no_json_does_not_hold_back_the_others(client: Client, bad: bytes) -> None:
    good = json.dumps(EVENT).encode()
    answer = client.post("/v1/events", b"[%s,%s,%s]" % (good, bad, good), headers=BATCH)
    assert (answer.status_code, [error["index"] for error in answer.json()["errors"]]) == (200, [1])
    assert client.messages == [MESSAGE, MESSAGE]


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        (STRUCTURED, {}, "cloudevent_invalid"),
        ({"content-type": "application/json"}, EVENT, "cloudevent_invalid"),
        (BINARY | {"ce-subject": "%ff"}, {}, "cloudevent_invalid"),
        (BINARY | {"content-type": "text/xml"}, b"<a/>", "cloudevent_invalid"),
        (BINARY, b"[]", "cloudevent_invalid"),
    ],
)
def test_a_bad_single_one_is_400_and_kept_for_the_dead_letters(
    client: Client, headers: dict[str, str], body: object, code: str
) -> None:
    answer = client.post("/v1/events", body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert [fault.fault for fault in client.faults] == [code]


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        (STRUCTURED, b"", 400, "empty"),
        (BATCH, b"", 400, "empty"),
        (STRUCTURED, b"{", 400, "not_json"),
        (BINARY, b"{", 400, "not_json"),
        (BATCH, b"[{", 400, "not_json"),
        (BATCH, EVENT, 400, "batch_invalid"),
        (BATCH, [{}] * 2_501, 413, "batch_too_long"),
    ],
)
def test_a_request_that_is_refused_leaves_no_trace(
    client: Client, headers: dict[str, str], body: object, status: int, code: str
) -> None:
    answer = client.post("/v1/events", body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.writer.stored == []
