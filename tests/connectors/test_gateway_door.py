"""What validation would refuse behind the gateway is refused at it, with the same words; and never anything
that it would take."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from connectors.gateway import Door
from flows.logic.resolution.validation import Validator
from schemas.config import Config, Validate
from schemas.units import Duration
from schemas.wire.events import RawEvent, Reject
from tests.connectors.gateway_kit import Client, gateway

VALIDATOR = Validator(Config(), bytes(32), {})
DEEP: Any = json.loads('{"a":' * 16 + "1" + "}" * 16)
NOW = datetime.now(UTC)


class Judge:
    """The real one, which counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, event: RawEvent) -> Reject | None:
        self.asked += 1
        return VALIDATOR.refusal(event)


JUDGE = Judge()


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    with gateway(door=Door(Config(), JUDGE)) as client:
        yield client


@pytest.fixture
def client(shared: Client) -> Client:
    shared.writer.stored.clear()
    JUDGE.asked = 0
    return shared


def track(**fields: Any) -> dict[str, Any]:
    message = {
        "type": "track",
        "event": "Paid",
        "userId": "u1",
        "messageId": "m1",
        "properties": {"total": 3},
        **fields,
    }
    return {name: value for name, value in message.items() if value is not None}


BAD = {
    "a messageId too long": (track(messageId="m" * 101), "message_id_invalid"),
    "a messageId that is a list": (track(messageId=[1]), "message_id_invalid"),
    "an event name too long": (track(event="e" * 257), "field_invalid"),
    "an event name that is a number": (track(event=7), "field_invalid"),
    "no event name": (track(event=None), "event_missing"),
    "an empty event name": (track(event=""), "event_missing"),
    "a page name too long": (track(type="page", name="p" * 257), "field_invalid"),
    "a group too long": (track(type="group", groupId="g" * 257), "field_invalid"),
    "too deep": (track(properties=DEEP), "too_deep"),
    "too many properties": (track(properties={f"p{n}": n for n in range(1_001)}), "too_many_properties"),
    "properties that are a list": (track(properties=[1]), "field_invalid"),
    "traits that are a text": (track(type="identify", traits="x"), "field_invalid"),
    "a number too large": (track(properties={"total": 2**70}), "number_out_of_range"),
    "a trait too large": (track(type="identify", traits={"a": [-(2**64)]}), "number_out_of_range"),
    "long ago": (track(timestamp="1999-01-01T00:00:00Z"), "timestamp_out_of_range"),
    "far ahead": (track(originalTimestamp=(NOW + timedelta(days=3)).isoformat()), "timestamp_out_of_range"),
    "no date": (track(timestamp="the day after tomorrow"), "timestamp_invalid"),
    "no id": (track(userId=None), "id_missing"),
    "an id too long": (track(userId="u" * 257), "id_invalid"),
    "an id that is an object": (track(userId={"id": 7}), "id_invalid"),
    "a placeholder": (track(userId="null"), "id_blocked"),
    "zeros": (track(userId=None, anonymousId="00000000-0000-0000-0000-000000000000"), "id_blocked"),
    "what a spreadsheet left": (track(userId="1.38001E+10"), "id_invalid"),
    "a previousId too long": (track(type="alias", previousId="p" * 257), "id_invalid"),
}
GOOD = {
    "an event": track(),
    "a page without a name": track(type="page", event=None),
    "an identify": track(type="identify", traits={"plan": "gold"}),
    "now": track(timestamp=NOW.isoformat()),
    "without a zone": track(timestamp=NOW.isoformat()[:19]),
    "no messageId": track(messageId=None),
    "a visitor": track(userId=None, anonymousId="3f0b6f9e-6b3e-4a57-9c6f-1a2b3c4d5e6f"),
}
ODD = {
    "a name alone": track(userId="alice"),
    "a number as id": track(userId=7),
    "Go's time": track(timestamp="0001-01-01T00:00:00Z"),
    "Unix seconds": track(timestamp=NOW.timestamp()),
    "a bad clock put right": track(timestamp="1999-01-01T00:00:00Z", sentAt="1999-01-01T00:00:01Z"),
    "a name that is none on a track": track(name=[1]),
    "a placeholder beside a visitor": track(userId="undefined", anonymousId="a-1"),
    "null for nothing": track() | {"properties": None, "timestamp": None},
    "sixteen deep": track(properties=DEEP["a"]),
    "many digits": track(properties={"order": "1" * 40}),
    "an alias": track(type="alias", previousId="a-1"),
    "a group": track(type="group", groupId="acme"),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_refused_with_the_words_of_validation(client: Client, name: str) -> None:
    message, reason = BAD[name]
    answer = client.post(f"/v1/{message['type']}", message)
    assert (answer.status_code, answer.json()["code"]) == (400, reason)
    (fault,) = client.faults
    found = VALIDATOR.check(RawEvent(fault.value, fault.received_ms, fault.source))
    assert isinstance(found, Reject)
    assert (fault.fault, fault.detail) == (found.reason, found.detail)


def test_in_a_batch_only_the_bad_ones(client: Client) -> None:
    batch = [item for message, _ in BAD.values() for item in (message, track())]
    errors = client.post("/v1/batch", {"batch": batch}).json()["errors"]
    assert [(error["index"], error["code"]) for error in errors] == [
        (2 * n, reason) for n, (_, reason) in enumerate(BAD.values())
    ]
    assert len(client.messages) == len(BAD)


@pytest.mark.parametrize("name", GOOD)
def test_what_looks_good_is_not_judged(client: Client, name: str) -> None:
    assert client.post("/v1/batch", {"batch": [GOOD[name]]}).json() == {"success": True}
    assert JUDGE.asked == 0


@pytest.mark.parametrize("name", ODD)
def test_what_looks_odd_and_is_good_is_taken(client: Client, name: str) -> None:
    assert client.post("/v1/batch", {"batch": [ODD[name]]}).json() == {"success": True}


def test_a_cloudevent_too(client: Client) -> None:
    event = {
        "specversion": "1.0",
        "id": "m" * 101,
        "source": "s",
        "type": "paid",
        "subject": "u1",
        "data": {},
    }
    answer = client.post("/v1/events", event, headers={"content-type": "application/cloudevents+json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "message_id_invalid")


def test_what_a_batch_says_for_all_may_make_one_too_large(client: Client) -> None:
    batch = [track(), track(properties={"x": "y" * 31_000})]
    answer = client.post("/v1/batch", {"batch": batch, "context": {"x": "y" * 2_000}})
    assert [(error["index"], error["code"]) for error in answer.json()["errors"]] == [(1, "too_large")]


def test_the_dead_letter_can_be_judged_again(client: Client) -> None:
    """It has what the route and the request said."""
    bad = track(type=None, timestamp="1999-01-01T00:00:00Z", messageId=None)
    assert client.post("/v1/track", bad).status_code == 400
    (fault,) = client.faults
    assert json.loads(fault.value).keys() == {"type", "messageId", *bad}


def test_never_more_than_validation_would(client: Client) -> None:
    """Whatever fields are put together: the door says what validation says, or nothing."""
    luck = Random(20_261_130)
    told = [message for message, _ in BAD.values()] + [*GOOD.values(), *ODD.values()]
    for _ in range(40):
        batch = []
        for _ in range(50):
            one, other = luck.choice(told), luck.choice(told)
            batch.append(
                {
                    name: luck.choice((one, other)).get(name, one.get(name))
                    for name in {**one, **other}
                    if name == "type" or luck.random() < 0.9
                }
            )
        refused = {
            error["index"]: error["code"]
            for error in client.post("/v1/batch", {"batch": batch}).json().get("errors", ())
        }
        for index, (_, event) in enumerate(client.writer.stored):
            found = VALIDATOR.check(
                RawEvent(json.dumps(batch[index]).encode(), event.received_ms, event.source)
            )
            reason = found.reason if isinstance(found, Reject) else None
            assert refused.get(index) == reason, batch[index]
        client.writer.stored.clear()


def test_a_defect_of_ours_is_no_reason_to_refuse() -> None:
    def broken(_event: RawEvent) -> Reject | None:
        raise KeyError

    with gateway(door=Door(Config(), broken)) as client:
        assert client.post("/v1/track", BAD["long ago"][0]).json() == {"success": True}


def test_the_limits_are_those_of_the_configuration() -> None:
    limits = Validate(depth=3, properties=2, past=Duration.parse("3650000d"), future=Duration.parse("1h"))
    config = Config(validate=limits)
    judge = Validator(config, bytes(32), {})
    soon = (NOW + timedelta(hours=2)).isoformat()
    with gateway(door=Door(config, judge.refusal)) as client:
        for message, code in (
            (track(timestamp="1000-01-01T00:00:00Z"), None),
            (track(timestamp=soon), "timestamp_out_of_range"),
            (track(properties={"a": {"b": {"c": 1}}}), "too_deep"),
            (track(properties={"a": 1, "b": 2, "c": 3}), "too_many_properties"),
        ):
            assert client.post("/v1/track", message).json().get("code") == code


def test_what_a_judgement_costs_has_a_bound() -> None:
    """It is done on the event loop."""
    brackets = (
        b'{"type":"track","event":"e","userId":"u1","properties":{"a":'
        + b"[" * 13
        + b"[]"
        + b",[]" * 10_000
        + b"]" * 13
        + b"}}"
    )
    phones = {f"phone{n}": f"138001380{n % 100:02}" for n in range(990)}
    for value in (brackets, json.dumps(track(type="identify", messageId="m" * 101, traits=phones)).encode()):
        event = RawEvent(value, int(time.time() * 1000), "web")
        took = min(_seconds(event) for _ in range(5))
        assert took < 0.015


def _seconds(event: RawEvent) -> float:
    began = time.thread_time()  # what others do meanwhile is not its cost
    VALIDATOR.refusal(event)
    return time.thread_time() - began
