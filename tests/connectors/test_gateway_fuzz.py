"""Requests that nobody would write, to every route, from a fixed seed: never a 500, and a good event beside a
bad one arrives."""

import gzip
import json
import random
from collections.abc import Iterator

import msgspec
import pytest
from starlette.routing import Route

from schemas.config import Secret
from tests.connectors.gateway_kit import CONFIG, Client, gateway
from tests.connectors.test_gateway_identity import PAIR, Desk

SEED = 11
WITH = msgspec.structs.replace(CONFIG, steward_tokens=(Secret("steward"),))
GOOD = b'{"type":"track","event":"Paid","userId":"good","messageId":"good"}'
GOOD_EVENT = b'{"specversion":"1.0","id":"good","source":"s","type":"Paid","subject":"good"}'
BYTES = [
    b"\xff",
    b"\xc3\xa9",
    b"\xe9",
    b"\x00",
    b"%ff",
    b"%",
    b"%C3%A9",
    b'"',
    b'""',
    b"\\",
    b" ",
    b"\xed\xa0\x80",
    b"[",
    b"\xf0\x9f\x98\x80",
]
VALUES = [
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b'"\\ud800"',
    b'"\xff"',
    b"[]",
    b"{}",
    b'""',
    b"true",
    b"%d" % 2**70,
    b'{"\xff":1}',
    b"}",
    b'"',
]
VALUES += [b"[" * depth + b"]" * depth for depth in (20, 5_000)]
NAMES = [
    b"type",
    b"userId",
    b"anonymousId",
    b"messageId",
    b"event",
    b"sentAt",
    b"context",
    b"integrations",
    b"properties",
    b"\xff",
    b"writeKey",
]
NAMES += [
    b"mergeProperties",
    b"specversion",
    b"id",
    b"source",
    b"data",
    b"data_base64",
    b"subject",
    b"decision",
    b"schema",
    b"a",
    b"b",
]
HEADERS = [
    b"authorization",
    b"content-type",
    b"content-encoding",
    b"content-length",
    b"host",
    b"origin",
    b"ce-id",
    b"ce-type",
    b"ce-subject",
]
HEADERS += [
    b"ce-time",
    b"ce-specversion",
    b"ce-source",
    b"access-control-request-method",
    b"access-control-request-headers",
    b"cookie",
    b"expect",
]
WORDS = [
    b"Bearer demo",
    b"Basic ZGVtbzo=",
    b"Bearer steward",
    b"Bearer reader",
    b"Basic \xe9",
    b"Basic =",
    b"gzip",
    b"1.0",
    b"Paid",
    b"identify",
]
WORDS += [
    b"application/cloudevents+json",
    b"application/cloudevents-batch+json",
    b"application/json",
    b"-1",
    b"9" * 5_000,
    b"\xb2",
    b"[",
    b"x:y:z",
]


class Sender:
    """Makes one request after another."""

    def __init__(self, routes: list[Route]) -> None:
        self.chance = random.Random(SEED)
        self.routes = [(method, route.path) for route in routes for method in sorted(route.methods or ())]

    def target(self) -> tuple[str, str]:
        method, path = self.chance.choice(self.routes)
        while "{" in path:
            before, _, after = path.partition("{")
            path = before + self._word() + after.partition("}")[2]
        if self.chance.random() < 0.2:
            path += "?" + self._word() + "=" + self._word()
        return (
            self.chance.choice(("GET", "POST", "OPTIONS", "HEAD", "BREW"))
            if self.chance.random() < 0.1
            else method
        ), path

    def headers(self) -> list[tuple[bytes, bytes]]:
        found = {name: self._bytes(WORDS) for name in self.chance.sample(HEADERS, self.chance.randrange(6))}
        if self.chance.random() < 0.7:
            found[b"authorization"] = self.chance.choice(
                (b"Bearer demo", b"Bearer steward", b"Bearer reader")
            )
        return list(found.items())

    def body(self) -> bytes:
        body = self.chance.choice((self.item, self.batch, lambda: self._bytes(VALUES)))()
        if self.chance.random() < 0.1:
            body = gzip.compress(body)[: self.chance.choice((5, -3, None))]
        return body

    def item(self, *extra: bytes) -> bytes:
        names = self.chance.sample(NAMES, self.chance.randrange(6))
        members = [*extra, *(b'"%s":%s' % (name, self.chance.choice(VALUES)) for name in names)]
        self.chance.shuffle(members)
        return b"{%s}" % b",".join(members)

    def batch(self) -> bytes:
        return b'{"batch":[%s]}' % b",".join(self.item() for _ in range(self.chance.randrange(4)))

    def bad(self) -> bytes:
        """One item; its brackets and quotes hold, so that it ends where it should."""
        item = self.item(self.chance.choice((b'"type":"track"', b'"specversion":"1.0"', b'"x":"\xff"')))
        return item if item.count(b'"') % 2 == 0 and item.count(b"{") == item.count(b"}") else self.bad()

    def _word(self) -> str:
        word = self.chance.choice(
            (PAIR, "user_id:ana", "demo", "1", "latest", "millrace.trigger-value", "../x", ":", "ana/history")
        )
        return word if self.chance.random() < 0.5 else "".join(f"%{byte:02x}" for byte in self._bytes(WORDS))

    def _bytes(self, words: list[bytes]) -> bytes:
        word = self.chance.choice(words)
        if self.chance.random() < 0.5:
            at = self.chance.randrange(len(word) + 1)
            word = word[:at] + self.chance.choice(BYTES) + word[at:]
        return word


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with gateway(
        WITH, lambda _, value: {"traits": {}} if value == "ana" else None, stewardship=Desk()
    ) as client:
        yield client


def test_never_a_500_from_any_route(client: Client) -> None:
    """A defect inside would reach this test as itself."""
    sender = Sender(client.routes)
    answered: dict[int, int] = {}
    for _ in range(3_000):
        (method, path), headers, body = sender.target(), sender.headers(), sender.body()
        client.writer.stored.clear()
        answer = client.request(method, path, headers=headers, content=body)
        assert answer.status_code < 500, (method, path, headers, body)
        answered[answer.status_code] = answered.get(answer.status_code, 0) + 1
    assert answered.keys() >= {200, 400, 401, 404, 405, 413, 422}


@pytest.mark.parametrize(
    ("path", "shape", "good"),
    [
        ("/v1/batch", b'{"sentAt":"2026-01-01T00:00:00Z","batch":[%s]}', GOOD),
        ("/v1/events", b"[%s]", GOOD_EVENT),
    ],
)
def test_a_bad_one_never_holds_back_a_good_one(client: Client, path: str, shape: bytes, good: bytes) -> None:
    sender = Sender(client.routes)
    for _ in range(300):
        bad = sender.bad()
        client.writer.stored.clear()
        answer = client.post(
            path,
            shape % b",".join((good, bad, good)),
            headers={"content-type": "application/cloudevents-batch+json"},
        )
        assert answer.status_code == 200, bad
        assert {error["index"] for error in answer.json().get("errors", [])} <= {1}, bad
        stored = [
            json.loads(event.value)["userId"]
            for key, event in client.writer.stored
            if event.fault is None and key == "good"
        ]
        assert stored[:1] == stored[-1:] == ["good"], bad


@pytest.mark.parametrize(
    "path",
    [
        "/v1/track",
        "/v1/batch",
        "/v1/events",
        "/v1/reviews",
        "/v1/profiles/user_id:ana",
        "/v1/identity/user_id:ana",
    ],
)
@pytest.mark.parametrize("scheme", [b"Basic ", b"Bearer ", b""])
def test_bytes_that_are_no_text_as_authorization(client: Client, path: str, scheme: bytes) -> None:
    method = "POST" if path in ("/v1/track", "/v1/batch", "/v1/events") else "GET"
    for word in BYTES:
        answer = client.request(method, path, headers=[(b"authorization", scheme + word)], content=GOOD)
        assert answer.status_code in (400, 401), word
