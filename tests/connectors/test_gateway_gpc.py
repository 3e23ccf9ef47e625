"""`Sec-GPC: 1` becomes part of each event of a request, by whichever way in, and no client takes it back."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from flows.logic.message import Checked
from flows.logic.resolution.validation import Validator
from schemas.config import Config
from tests.connectors.gateway_kit import CONFIG, Client, gateway
from tests.connectors.test_gateway_segment import TRACK

SIGNAL = {"sec-gpc": "1"}
DENIED = {"consent.sale_or_sharing": False}
CLOUD_EVENT = {"specversion": "1.0", "id": "m1", "source": "s", "type": "Paid", "subject": "u1", "data": {}}
CLOUD_HEADERS = {f"ce-{name}": value for name, value in CLOUD_EVENT.items() if type(value) is str}


@pytest.fixture
def client() -> Iterator[Client]:
    with gateway() as client:
        yield client


def consents(client: Client) -> list[dict[str, Any]]:
    """What `resolve` reads of consent in each event of the log."""
    validator = Validator(Config(), b"k" * 32, {})
    found = []
    for _, raw in client.writer.stored:
        checked = validator.check(raw)
        assert isinstance(checked, Checked), checked
        found.append(
            {
                name: said
                for name, said in (checked.traits | checked.stamps).items()
                if name.startswith("consent.")
            }
        )
    return found


def cloud(mode: str) -> dict[str, str]:
    return SIGNAL | {"content-type": f"application/cloudevents{mode}+json"}


WAYS: list[tuple[str, Any, dict[str, Any]]] = [
    ("/v1/track", TRACK, {"headers": SIGNAL}),
    ("/v1/t", {"userId": "u1", "event": "Paid"}, {"headers": SIGNAL}),
    ("/v1/identify", {"userId": "u1"}, {"headers": SIGNAL}),
    ("/v1/batch", {"batch": [TRACK]}, {"headers": SIGNAL}),
    ("/v1/import", {"batch": [TRACK], "context": {"locale": "de"}}, {"headers": SIGNAL}),
    ("/v1/batch", gzip.compress(json.dumps({"batch": [TRACK]}).encode()), {"headers": SIGNAL}),
    ("/v1/batch", b'{"batch": [' + json.dumps(TRACK).encode() + b', {"x": NaN}]}', {"headers": SIGNAL}),
    ("/beacon/v1/batch?writeKey=demo", {"batch": [TRACK]}, {"headers": SIGNAL, "key": None}),
    ("/v1/t?writeKey=demo", TRACK, {"headers": SIGNAL | {"content-type": "text/plain"}, "key": None}),
    ("/api/s/track", TRACK, {"headers": SIGNAL | {"x-write-key": "demo:secret"}, "key": None}),
    ("/v1/events", CLOUD_EVENT, {"headers": cloud("")}),
    ("/v1/events", [CLOUD_EVENT], {"headers": cloud("-batch")}),
    ("/v1/events", {"total": 1}, {"headers": SIGNAL | CLOUD_HEADERS | {"content-type": "application/json"}}),
]


@pytest.mark.parametrize(("path", "body", "options"), WAYS)
def test_the_signal_is_in_each_event(client: Client, path: str, body: Any, options: dict[str, Any]) -> None:
    assert client.post(path, body, **options).status_code == 200
    assert [message["context"]["gpc"] for message in client.messages] == [True]
    client.writer.stored = [pair for pair in client.writer.stored if pair[1].fault is None]
    assert consents(client) == [DENIED]


@pytest.mark.parametrize(
    "context",
    [
        {"gpc": False},
        {"gpc": None, "locale": "de"},
        {"gpc": "no", "consent": {"categoryPreferences": {"sale_or_sharing": True}}},
        {"consentManagement": {"allowedConsentIds": ["sale_or_sharing"]}},
        {},
        [],
        "no object",
        None,
    ],
)
def test_a_client_cannot_take_it_back(client: Client, context: Any) -> None:
    shared = {"context": {"gpc": False, "app": {"name": "shop"}}}
    client.post("/v1/track", TRACK | {"context": context}, headers=SIGNAL)
    client.post("/v1/batch", {"batch": [TRACK | {"context": context}]} | shared, headers=SIGNAL)
    client.post("/v1/batch", {"batch": [TRACK]} | shared, headers=SIGNAL)
    assert consents(client) == [DENIED] * 3
    kept = client.messages[2]["context"]
    assert kept == {"gpc": True, "app": {"name": "shop"}}
    if isinstance(context, dict):
        assert client.messages[0]["context"] == context | {"gpc": True}


@pytest.mark.parametrize("value", ["0", "", "true", "11", "1, 1", "yes"])
def test_only_1_says_something(client: Client, value: str) -> None:
    client.post("/v1/track", TRACK, headers={"sec-gpc": value})
    client.post("/v1/track", TRACK)
    assert [message.get("context") for message in client.messages] == [None, None]
    assert consents(client) == [{}, {}]


@pytest.mark.parametrize(
    ("said", "denies"),
    [(True, True), ("1", True), (1, True), (False, False), ("0", False), (None, False), ([1], False)],
)
def test_a_client_may_say_it_itself(client: Client, said: Any, denies: bool) -> None:
    """A server that passes on what its visitors' browsers said to it."""
    client.post("/v1/track", TRACK | {"context": {"gpc": said}})
    assert consents(client) == [DENIED if denies else {}]


def test_the_statement_is_there_where_it_is_configured(client: Client) -> None:
    answer = client.get("/.well-known/gpc.json")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    with gateway(msgspec.structs.replace(CONFIG, gpc_updated="2026-03-01")) as stating:
        answer = stating.get("/.well-known/gpc.json")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == {"gpc": True, "lastUpdate": "2026-03-01"}
