"""Whatever is sent: a stable code, never a 500, nothing in the log that the answer does not tell of."""

import gzip
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.config import Gateway
from schemas.errors import LogFull, Unreachable
from schemas.units import Size
from tests.connectors.gateway_kit import KEYS, Client, gateway

TRACK = {"type": "track", "event": "Paid", "userId": "u1", "messageId": "m1"}
EVENT_BYTES = 32 * 1024
BATCH_BYTES = 500 * 1024


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    with gateway() as client:
        yield client


@pytest.fixture
def client(shared: Client) -> Client:
    shared.writer.stored.clear()
    shared.writer.error = None
    return shared


def nested(depth: int) -> bytes:
    return (
        b'{"type":"track","userId":"u","event":"x","properties":'
        + b'{"a":' * depth
        + b"1"
        + b"}" * depth
        + b"}"
    )


zipped = partial(gzip.compress, mtime=0)  # the same bytes in every process: tests are named by them
BOMB = zipped(b'{"batch":[' + b" " * 50_000_000 + b"]}")


# --- the whole request ---


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty"),
        (zipped(b""), 400, "empty"),
        (b"{", 400, "not_json"),
        (b"not json", 400, "not_json"),
        (b"\xff\xfe\x00", 400, "not_json"),
        (b"[]", 400, "batch_invalid"),
        (b"3", 400, "batch_invalid"),
        (b"{}", 400, "batch_invalid"),
        (b'{"batch":{}}', 400, "batch_invalid"),
        (b'{"batch":null}', 400, "batch_invalid"),
        (b'{"batch":[],"writeKey":3}', 400, "batch_invalid"),
        (b'{"batch":NaN}', 400, "not_json"),
        (b"[NaN]", 400, "batch_invalid"),
        (b'{"batch":' + b"[" * 100_000 + b"]" * 99_000 + b"}", 400, "not_json"),
        (b'{"batch":[NaN', 400, "not_json"),
        (b'{"batch":[NaN,]}', 400, "not_json"),
        (b'{"batch":[NaN]} x', 400, "not_json"),
        (b'{"batch":[NaN "x"]}', 400, "not_json"),
        (b'{"batch":["NaN]}', 400, "not_json"),
        (zipped(json.dumps({"batch": [TRACK]}).encode())[:-12], 400, "gzip_invalid"),
        (b"\x1f\x8bgarbage", 400, "gzip_invalid"),
        (zipped(b"{}") + b"garbage", 400, "gzip_invalid"),
        (zipped(b"{}") + bytes(512) + b"garbage", 400, "gzip_invalid"),
        (bytes(512) + zipped(b"{}"), 400, "not_json"),
        (zipped(b" ") * 257, 400, "gzip_invalid"),
        (BOMB, 413, "batch_too_large"),
        (b'{"batch":[' + b" " * BATCH_BYTES + b"]}", 413, "batch_too_large"),
        (json.dumps({"batch": [{}] * 2_501}).encode(), 413, "batch_too_long"),
        (b'{"batch":[%s]}' % b",".join([b"1"] * 200_000), 413, "batch_too_long"),
        (b'{"batch":[NaN%s]}' % (b",{}" * 2_500), 413, "batch_too_long"),
        (json.dumps({"batch": [TRACK], "context": {"x": "y" * 33_000}}).encode(), 400, "too_large"),
        (
            json.dumps({"batch": [TRACK] * 1_000, "context": {"x": "y" * 9_000}}).encode(),
            413,
            "batch_too_large",
        ),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, bytes) else str(value),
)
def test_a_request_that_is_refused_leaves_no_trace(
    client: Client, body: bytes, status: int, code: str
) -> None:
    answer = client.post("/v1/batch", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]
    assert client.writer.stored == []


def test_what_calls_itself_gzip_and_is_not(client: Client) -> None:
    assert (
        client.post("/v1/track", TRACK, headers={"content-encoding": "gzip"}).json()["code"] == "gzip_invalid"
    )
    answer = client.post("/v1/track", TRACK, headers={"content-encoding": "br"})
    assert (answer.status_code, answer.json()["code"]) == (415, "encoding_unsupported")


@pytest.mark.parametrize(
    "body", [b"{", b'{"a":NaN}', b'{"userId":"\\ud800"}', b'{"userId":"\xff"}', b'{"userId":"u"} x']
)
def test_a_single_event_that_is_not_json(client: Client, body: bytes) -> None:
    answer = client.post("/v1/track", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "not_json")
    assert client.writer.stored == []


def test_a_full_batch_passes(client: Client) -> None:
    assert client.post("/v1/batch", {"batch": [TRACK] * 2_500}).json() == {"success": True}
    body = json.dumps({"batch": [TRACK]}).encode()
    assert client.post("/v1/batch", body + b" " * (BATCH_BYTES - len(body))).status_code == 200


def test_limits_are_configurable() -> None:
    big = {"batch": [TRACK | {"properties": {"x": "y" * 700_000}}]}
    with gateway(
        Gateway(write_keys=KEYS, batch_bytes=Size.parse("4MB"), event_bytes=Size.parse("1MB"))
    ) as client:
        assert client.post("/v1/batch", big).json() == {"success": True}


# --- one event of a batch ---


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (b'{"type":"track","userId":"u","x":"' + b"y" * 33 * 1024 + b'"}', "too_large"),
        (b'{"type":"banana","userId":"u"}', "type_unknown"),
        (b'{"type":["track"],"userId":"u"}', "type_unknown"),
        (b'{"type":{"a":1},"userId":"u"}', "type_unknown"),
        (b"3", "not_an_object"),
        (b"[[]]", "not_an_object"),
        (b'{"type":"track","userId":1e999}', "number_out_of_range"),
        (b'{"type":"track","userId":"u","properties":{"a":NaN}}', "not_json"),
        (b'{"type":"track","userId":"u","properties":{"a":-Infinity}}', "not_json"),
        (b'{"type":"track","userId":"\\ud800"}', "not_json"),
        (b'{"type":"track","userId":"u","properties":{"a":"\\udc00x"}}', "not_json"),
        (b'{"type":"track","userId":"\xff"}', "not_json"),
        (b'{"type":"track","messageId":null,"\xff":1}', "not_json"),
        (b'{"type":"track","sentAt":null,"\xff":NaN}', "not_json"),
        (b'{"type":"track","userId":}', "not_json"),
        (b'{"type":"track" "userId":"u"}', "not_json"),
        (b"banana", "not_an_object"),
        (b"[" * 50_000 + b"]" * 50_000, "too_large"),
        (b'{"type":"track","properties":' + b"[" * 9_000 + b"]" * 9_000 + b"}", "too_deep"),
    ],
    ids=lambda value: repr(value)[:50] if isinstance(value, bytes) else value,
)
def test_a_bad_item_is_told_and_kept_for_the_dead_letters(client: Client, item: bytes, code: str) -> None:
    good = json.dumps(TRACK).encode()
    answer = client.post(
        "/v1/batch", b'{"batch":[%s,%s,%s],"sentAt":"2026-01-01T00:00:00Z"}' % (good, item, good)
    )
    assert answer.status_code == 200
    assert [(error["index"], error["code"]) for error in answer.json()["errors"]] == [(1, code)]
    assert [message["userId"] for message in client.messages] == ["u1", "u1"]
    (fault,) = client.faults
    assert (fault.fault, fault.source) == (code, "web")
    assert fault.value == item[:EVENT_BYTES]


PASSED_ON = {
    "depth 100": nested(100),
    "2^70": b'{"type":"track","userId":"u","event":"x","properties":{"a":%d}}' % 2**70,
    "userId of 10 KB": b'{"type":"track","event":"x","userId":"%s"}' % (b"u" * 10_240),
    "userId empty": b'{"type":"track","event":"x","userId":""}',
    "userId an object": b'{"type":"track","event":"x","userId":{"a":1}}',
    "userId 2^70": b'{"type":"track","event":"x","userId":%d}' % 2**70,
    "timestamp missing": b'{"type":"track","event":"x","userId":"u"}',
    "timestamp 1970": b'{"type":"track","event":"x","userId":"u","timestamp":"1970-01-01T00:00:00Z"}',
    "timestamp 2090": b'{"type":"track","event":"x","userId":"u","timestamp":"2090-01-01T00:00:00Z"}',
    "timestamp no date": b'{"type":"track","event":"x","userId":"u","timestamp":"tomorrow"}',
    "messageId a list": b'{"type":"track","event":"x","userId":"u","messageId":["m"]}',
    "invalid UTF-8": b'{"type":"track","event":"x","userId":"u","properties":{"a":"\xff"}}',
    "3,000 properties": b'{"type":"track","event":"x","userId":"u","properties":{%s}}'
    % b",".join(b'"%x":1' % number for number in range(3_000)),
}


@pytest.mark.parametrize("name", PASSED_ON)
@pytest.mark.parametrize("way", ["batch", "single"])
def test_what_is_for_validation_to_judge_passes_as_it_is(client: Client, name: str, way: str) -> None:
    item = PASSED_ON[name]
    answer = (
        client.post("/v1/track", item)
        if way == "single"
        else client.post("/v1/batch", b'{"batch":[' + item + b"]}")
    )
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    ((_, event),) = client.writer.stored
    assert event.fault is None
    assert event.value.endswith(item[1:])


def test_ten_thousand_properties_are_too_large(client: Client) -> None:
    event = TRACK | {"properties": {f"property_{number}": number for number in range(10_000)}}
    answer = client.post("/v1/track", event)
    assert (answer.status_code, answer.json()["code"]) == (400, "too_large")
    assert client.post("/v1/batch", {"batch": [event]}).json()["errors"][0]["code"] == "too_large"
    assert [(fault.fault, len(fault.value)) for fault in client.faults] == [("too_large", EVENT_BYTES)] * 2


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"[1]", "not_an_object"), (nested(2_000), "too_deep"), (b'{"userId":1e999}', "number_out_of_range")],
)
def test_a_single_bad_event_is_400_and_kept_for_the_dead_letters(
    client: Client, body: bytes, code: str
) -> None:
    answer = client.post("/v1/track", body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert [(fault.fault, fault.value) for fault in client.faults] == [(code, body)]


# --- back-pressure ---


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
@pytest.mark.parametrize(
    ("error", "status", "code", "wait"),
    [
        (LogFull("full", 2.3), 429, "log_full", "3"),
        (LogFull("full", 0), 429, "log_full", "1"),
        (Unreachable("gone"), 503, "log_unreachable", "1"),
    ],
)
def test_a_log_that_takes_nothing(
    client: Client, path: str, error: Exception, status: int, code: str, wait: str
) -> None:
    client.writer.error = error
    answer = client.post(path, TRACK | {"batch": [TRACK]})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (answer.headers["retry-after"], answer.headers["x-ratelimit-reset"]) == (wait, wait)


def test_a_write_key_has_its_rate() -> None:
    with gateway() as client:
        assert (
            client.post("/v1/batch", {"batch": [TRACK] * 40}, key="till").status_code == 200
        )  # in debt for three seconds
        answer = client.post("/v1/track", TRACK, key="till")
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 3
        assert client.post("/v1/track", TRACK).status_code == 200  # the others are not concerned
        assert len(client.writer.stored) == 41


# --- anything at all ---

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
FIELD = st.sampled_from(
    [
        "type",
        "userId",
        "anonymousId",
        "messageId",
        "event",
        "sentAt",
        "timestamp",
        "context",
        "integrations",
        "properties",
        "writeKey",
    ]
)
MESSAGE = st.dictionaries(
    FIELD, JSON | st.sampled_from(["track", "identify", "demo", "", "2026-01-01T00:00:00Z"]), max_size=6
)
BODY = (
    st.binary()
    | st.binary().map(zipped)
    | JSON.map(lambda value: json.dumps(value).encode())
    | MESSAGE.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {"batch": st.lists(MESSAGE | JSON, max_size=5)},
        optional={"context": JSON, "integrations": JSON, "sentAt": JSON},
    ).map(lambda value: json.dumps(value).encode())
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "authorization": st.sampled_from(
            ["Bearer demo", "Basic ZGVtbzo=", "Basic \x7f", "Bearer ", "Digest x", "demo"]
        ),
        "content-type": st.sampled_from(
            [
                "application/json",
                "application/cloudevents+json",
                "application/cloudevents-batch+json",
                ";",
                "\u00e9",
            ]
        ),
        "content-encoding": st.sampled_from(["gzip", "identity", "br", ""]),
        "ce-id": st.sampled_from(["1", "%ff", '"q"', ""]),
        "ce-type": st.sampled_from(["paid", "identify"]),
        "ce-source": st.just("/x"),
        "ce-specversion": st.sampled_from(["1.0", "0.3"]),
    },
)
PATH = st.sampled_from(
    [
        "/v1/track",
        "/v1/b",
        "/v1/batch",
        "/v1/events",
        "/v1/m",
        "/v1/identify",
        "/subjects/millrace.trigger-value",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATH, BODY, HEADERS)
def test_never_a_500(client: Client, path: str, body: bytes, headers: dict[str, str]) -> None:
    """An exception inside would reach this test as itself."""
    client.writer.stored.clear()
    answer = client.post(
        path, body, key=None, headers={name: value.encode() for name, value in headers.items()}
    )
    assert answer.status_code in (200, 400, 401, 404, 413, 415, 422)
    if answer.status_code == 200 and path != "/subjects/millrace.trigger-value":
        assert answer.json()["success"] is True
        faults = [error["code"] for error in answer.json().get("errors", [])]
        assert [fault.fault for fault in client.faults] == faults
    elif not path.startswith("/subjects"):
        assert set(answer.json()) == {"code", "message"}
        assert client.messages == []
