"""CloudEvents become Segment messages: what goes where."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.wire import formats
from schemas.wire.events import Reject

EVENT = {"specversion": "1.0", "id": "1", "source": "/till/7", "type": "com.shop.paid", "data": {"total": 5}}


def structured(**changes: Any) -> Any:
    result = formats.structured(json.dumps(EVENT | changes).encode())
    return result if isinstance(result, Reject) else json.loads(result)


def test_an_event_of_ones_own_is_a_track() -> None:
    assert structured(subject="u1", time="2026-01-01T00:00:00Z") == {
        "type": "track",
        "messageId": "1",
        "event": "com.shop.paid",
        "userId": "u1",
        "timestamp": "2026-01-01T00:00:00Z",
        "properties": {"total": 5},
        "context": {"source": "/till/7"},
    }


def test_binary_and_structured_mean_the_same() -> None:
    attributes = {name: str(EVENT[name]) for name in ("specversion", "id", "source", "type")}
    binary = formats.binary(
        attributes | {"subject": "é", "unknown": "x"}, "application/json; charset=utf-8", b'{"total": 5}'
    )
    assert isinstance(binary, bytes)
    assert json.loads(binary) == structured(subject="é")


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        ({"userId": "own"}, {"userId": "own"}),
        ({"anonymousId": "own"}, {"anonymousId": "own"}),
        ({"userId": None}, {"userId": "subject"}),
        ({"userId": " \t"}, {"userId": "subject"}),
        ({"anonymousId": "  "}, {"userId": "subject"}),
        ({}, {"userId": "subject"}),
    ],
)
def test_the_subject_is_the_user_unless_the_data_names_one(data: dict[str, Any], ids: dict[str, str]) -> None:
    message = structured(subject="subject", data=data | {"x": 1})
    assert {name: message[name] for name in message if name.endswith("Id") and name != "messageId"} == ids
    assert message["properties"] == {"x": 1}


@pytest.mark.parametrize("prefix", ["", "com.segment."])
@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("identify", {"email": "a@b.c"}, {"traits": {"email": "a@b.c"}}),
        ("identify", {"userId": "u", "name": "Ann"}, {"userId": "u", "traits": {"name": "Ann"}}),
        (
            "identify",
            {"traits": {"email": "a@b.c"}, "anonymousId": "a"},
            {"traits": {"email": "a@b.c"}, "anonymousId": "a"},
        ),
        ("page", {"name": "Home", "url": "/"}, {"name": "Home", "properties": {"url": "/"}}),
        ("track", {"event": "Paid", "total": 5}, {"event": "Paid", "properties": {"total": 5}}),
        (
            "track",
            {"event": "Paid", "properties": {"total": 5}},
            {"event": "Paid", "properties": {"total": 5}},
        ),
        ("group", {"groupId": "g", "name": "Acme"}, {"groupId": "g", "traits": {"name": "Acme"}}),
        ("alias", {"previousId": "p", "userId": "u"}, {"previousId": "p", "userId": "u", "properties": {}}),
    ],
)
def test_a_type_of_the_spec_is_that_message(
    prefix: str, kind: str, data: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert (
        structured(type=prefix + kind, data=data)
        == {"type": kind, "messageId": "1", "context": {"source": "/till/7"}} | expected
    )


def test_the_messages_own_context_wins() -> None:
    assert structured(type="track", data={"event": "x", "context": {"source": "own", "ip": "1"}})[
        "context"
    ] == {"source": "own", "ip": "1"}
    assert structured(type="track", data={"event": "x", "context": 3})["context"] == 3


def test_values_are_not_touched() -> None:
    body = (
        b'{"specversion":"1.0","id":"1","source":"s","type":"t",'
        b'"data":{"big":1180591620717411303424,"f":1.10}}'
    )
    assert b'"properties":{"big":1180591620717411303424,"f":1.10}' in formats.structured(body)  # type: ignore[operator]


def test_data_in_base64_and_no_data() -> None:
    assert structured(data=None, data_base64=base64.b64encode(b'{"total": 5}').decode())["properties"] == {
        "total": 5
    }
    assert structured(data=None)["properties"] == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"specversion": "0.3"},
        {"specversion": None},
        {"id": ""},
        {"id": None},
        {"id": 7},
        {"source": ""},
        {"type": None},
        {"data": [1]},
        {"data": "text"},
        {"datacontenttype": "application/xml"},
        {"data_base64": "???"},
        {"time": 5},
    ],
    ids=str,
)
def test_what_is_no_cloudevent(changes: dict[str, Any]) -> None:
    reject = structured(**changes)
    assert isinstance(reject, Reject)
    assert reject.reason == "cloudevent_invalid"
    assert reject.detail


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'{"data":NaN}', "not_json"),
        (b'{"id":"\\ud800"}', "not_json"),
        (b'{"id":"\xff"}', "not_json"),
        (b'{"data":' + b"[" * 100_000, "too_deep"),
        (b"[]", "cloudevent_invalid"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_json_object(body: bytes, reason: str) -> None:
    result = formats.structured(body)
    assert isinstance(result, Reject)
    assert result.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"{", "not_json"), (b'{"a":' + b"[" * 100_000, "too_deep"), (b"[]", "cloudevent_invalid")],
)
def test_binary_data_that_is_no_json_object(data: bytes, reason: str) -> None:
    attributes = {name: str(EVENT[name]) for name in ("specversion", "id", "source", "type")}
    result = formats.binary(attributes, "", data)
    assert isinstance(result, Reject)
    assert result.reason == reason


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from([*EVENT, "subject", "time", "data_base64"]), st.text() | st.integers() | st.none()
    )
)
def test_anything_is_a_message_or_a_reject(value: bytes | dict[str, Any]) -> None:
    body = value if isinstance(value, bytes) else json.dumps(EVENT | value).encode()
    result = formats.structured(body)
    assert isinstance(result, Reject) or json.loads(result)["type"] in (
        "track",
        "identify",
        "page",
        "screen",
        "group",
        "alias",
    )
