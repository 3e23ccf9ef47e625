"""What Jitsu's and RudderStack's clients ask for, as their published versions write it."""

import json
from collections.abc import Iterator

import pytest

from tests.connectors.gateway_kit import Client, gateway

TRACK = {"type": "track", "event": "Paid", "userId": "u1", "messageId": "m1"}


@pytest.fixture
def client() -> Iterator[Client]:
    with gateway() as client:
        yield client


@pytest.mark.parametrize("kind", ["identify", "track", "page", "screen", "group", "alias"])
@pytest.mark.parametrize("prefix", ["/api/s", "/api/s/s2s"])
def test_jitsu_names_its_key_in_a_header_and_masks_it_in_the_body(
    client: Client, prefix: str, kind: str
) -> None:
    body = {**TRACK, "type": kind, "writeKey": "demo:***"}
    answer = client.post(f"{prefix}/{kind}", body, headers={"x-write-key": "demo:secret"}, key=None)
    assert answer.status_code == 200
    assert [message["type"] for message in client.messages] == [kind]
    assert [event.source for _, event in client.writer.stored] == ["web"]


def test_a_wrong_key_in_jitsus_header_is_not_mended_by_the_body(client: Client) -> None:
    answer = client.post(
        "/api/s/track", {**TRACK, "writeKey": "demo"}, headers={"x-write-key": "nobody:secret"}, key=None
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "write_key_invalid")
    assert client.writer.stored == []


@pytest.mark.parametrize("path", ["/sourceConfig", "/sourceConfig/"])
def test_rudderstack_asks_for_its_source_first(client: Client, path: str) -> None:
    answer = client.request(
        "GET", f"{path}?p=npm&v=3.34.1&writeKey=demo&lockIntegrationsVersion=true", follow_redirects=True
    )
    assert answer.status_code == 200
    source = answer.json()["source"]
    assert (source["id"], source["enabled"], source["destinations"]) == ("web", True, [])


@pytest.mark.parametrize("query", ["", "?writeKey=nobody", "?writeKey="])
def test_a_source_without_its_key_is_nobodys(client: Client, query: str) -> None:
    assert client.request("GET", f"/sourceConfig{query}").status_code == 401


def test_rudderstack_leaves_a_page_with_a_beacon_of_plain_text(client: Client) -> None:
    body = json.dumps({"batch": [TRACK, {**TRACK, "messageId": "m2"}], "sentAt": "2026-11-29T00:00:00Z"})
    answer = client.request(
        "POST",
        "/beacon/v1/batch?writeKey=demo",
        content=body,
        headers={"content-type": "text/plain;charset=UTF-8"},
    )
    assert answer.status_code == 200
    assert [message["messageId"] for message in client.messages] == ["m1", "m2"]
