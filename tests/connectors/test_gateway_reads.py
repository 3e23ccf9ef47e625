"""What can be read from a gateway: profiles, schemas, health, metrics."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from schemas.config import Secret
from schemas.errors import Unreachable
from schemas.wire.trigger_avro import TRIGGER
from tests.connectors.gateway_kit import CONFIG, Client, gateway

TOKEN = {"authorization": "Bearer reader"}


def read_profile(namespace: str, value: str) -> dict[str, Any] | None:
    if value == "broken":
        raise Unreachable("no state")
    people: dict[tuple[str, str], dict[str, Any]] = {
        ("user_id", "u1"): {"traits": {"plan": "gold"}},
        ("email", "jü+x:y@shop.example/z"): {"traits": {}},
    }
    return people.get((namespace, value))


@pytest.fixture
def client() -> Iterator[Client]:
    with gateway(read_profile=read_profile) as client:
        yield client


# --- profiles ---


def test_a_profile_is_read_with_a_token(client: Client) -> None:
    assert client.get("/v1/profiles/user_id:u1", headers=TOKEN).json() == {"traits": {"plan": "gold"}}
    assert client.get("/v1/profiles/user_id:u1", auth=("reader", "")).status_code == 200
    assert (
        client.get("/v1/profiles/email:j%C3%BC%2Bx%3Ay%40shop.example%2Fz", headers=TOKEN).status_code == 200
    )


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer demo"}, {"authorization": "Bearer "}],
)
def test_without_a_token_nothing_is_told(client: Client, headers: dict[str, str]) -> None:
    for identifier in ("user_id:u1", "user_id:nobody"):
        answer = client.get(f"/v1/profiles/{identifier}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


@pytest.mark.parametrize("identifier", ["user_id:nobody", "user_id:", "u1", ":u1", "", "other:u1"])
def test_nobody_has_this_identifier(client: Client, identifier: str) -> None:
    answer = client.get(f"/v1/profiles/{identifier}", headers=TOKEN)
    assert (answer.status_code, answer.json()["code"]) == (404, "profile_unknown")


def test_state_that_does_not_answer(client: Client) -> None:
    answer = client.get("/v1/profiles/user_id:broken", headers=TOKEN)
    assert (answer.status_code, answer.json()["code"]) == (503, "state_unreachable")


@pytest.mark.parametrize("headers", [TOKEN, {}])
@pytest.mark.parametrize("identifier", ["user_id:u1", "user_id:nobody", "user_id:broken"])
def test_nobody_on_the_way_keeps_a_profile(client: Client, identifier: str, headers: dict[str, str]) -> None:
    assert client.get(f"/v1/profiles/{identifier}", headers=headers).headers["cache-control"] == "no-store"


def test_a_token_may_not_try_all_names() -> None:
    config = msgspec.structs.replace(
        CONFIG, misses_per_minute=5, read_tokens=(Secret("reader"), Secret("other"))
    )
    with gateway(config, read_profile) as client:
        for number in range(6):  # the last one runs into debt
            assert client.get("/v1/profiles/user_id:u1", headers=TOKEN).status_code == 200
            assert client.get(f"/v1/profiles/user_id:x{number}", headers=TOKEN).status_code == 404
        for identifier in ("user_id:x9", "user_id:u1"):  # nor is a hit told of
            answer = client.get(f"/v1/profiles/{identifier}", headers=TOKEN)
            assert (answer.status_code, answer.json()["code"]) == (429, "guesses_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 24
        assert (
            client.get("/v1/profiles/user_id:u1", headers={"authorization": "Bearer other"}).status_code
            == 200
        )


# --- the schema registry ---


def test_subjects_versions_and_ids(client: Client) -> None:
    assert client.get("/subjects").json() == ["millrace.trigger-value"]
    assert client.get("/subjects/millrace.trigger-value/versions").json() == [1]
    latest = client.get("/subjects/millrace.trigger-value/versions/latest")
    assert latest.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
    assert latest.json() == client.get("/subjects/millrace.trigger-value/versions/1").json()
    assert {name: latest.json()[name] for name in ("subject", "id", "version")} == {
        "subject": "millrace.trigger-value",
        "id": 1,
        "version": 1,
    }
    assert client.get("/schemas/ids/1/subjects").json() == ["millrace.trigger-value"]
    assert client.get("/schemas/ids/1/versions").json() == [
        {"subject": "millrace.trigger-value", "version": 1}
    ]
    assert client.get("/schemas/ids/1").json() == {"schema": latest.json()["schema"]}


def test_look_up_by_schema(client: Client) -> None:
    schema = client.get("/schemas/ids/1").json()["schema"]
    assert client.post("/subjects/millrace.trigger-value", {"schema": schema}, key=None).json()["id"] == 1
    respelled = schema.replace(",", ", ").replace('"doc":', '"doc" :')
    assert client.post("/subjects/millrace.trigger-value", {"schema": respelled}, key=None).json()["id"] == 1
    assert TRIGGER["name"] in schema


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/subjects/none/versions", 404, 40401),
        ("/subjects/none/versions/1", 404, 40401),
        ("/subjects/millrace.trigger-value/versions/9", 404, 40402),
        ("/subjects/millrace.trigger-value/versions/x", 422, 42202),
        ("/schemas/ids/9", 404, 40403),
        ("/schemas/ids/9/subjects", 404, 40403),
        ("/schemas/ids/x/versions", 404, 40403),
        ("/schemas/ids/x", 404, 40403),
        ("/schemas/ids/" + "9" * 5_000, 404, 40403),
    ],
)
def test_what_the_registry_does_not_have(client: Client, path: str, status: int, code: int) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"schema": '"string"'}, 404, 40403),
        ({"schema": '{"type":"nope"}'}, 422, 42201),
        ({"schema": "{"}, 422, 42201),
        ({"schema": "3"}, 422, 42201),
        ({}, 422, 42201),
        (b"{", 422, 42201),
    ],
)
def test_look_ups_in_vain(client: Client, body: object, status: int, code: int) -> None:
    answer = client.post("/subjects/millrace.trigger-value", body, key=None)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert client.post("/subjects/none", body, key=None).json()["error_code"] == 40401


# --- health and metrics ---


def test_alive_and_ready_are_two_things(client: Client) -> None:
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    client.writer.error = Unreachable("gone")
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "log_unreachable")


def test_metrics(client: Client) -> None:
    def figure(line: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return next((float(found.rpartition(" ")[2]) for found in lines if found.startswith(line)), 0.0)

    accepted = 'millrace_events_accepted_total{source="web"}'
    refused = 'millrace_events_refused_total{reason="type_unknown"}'
    requests = 'millrace_gateway_requests_total{code="401",route="/v1/batch"}'
    before = [figure(line) for line in (accepted, refused, requests)]
    client.post(
        "/v1/batch",
        {"batch": [{"type": "track", "userId": "u"}, {"type": "page", "userId": "u"}, {"type": "?"}]},
    )
    client.post("/v1/batch", {"batch": []}, key="wrong")
    assert [figure(line) for line in (accepted, refused, requests)] == [
        before[0] + 2,
        before[1] + 1,
        before[2] + 1,
    ]
