"""Receivers are asked to delete: each kind of connector carries it, and says what became of it."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import redis

from connectors.sinks.sink import Sink
from connectors.sinks.table import Surroundings, make_sink
from flows.services.subjects.telling import Telling, is_due
from schemas.config import (
    Connector,
    Deliver,
    FileConnector,
    Kafka,
    RedisConnector,
    Secret,
    WebhookConnector,
)
from schemas.records.privacy_requests import Answer, PrivacyRequest
from tests.receiver import SECRET, Receiver
from tests.receiver import Answer as Answered

NAMES = {"user_id": "ana", "email": "ana@example.org"}
REQUEST = PrivacyRequest(
    id="erase-1",
    right="erase",
    customer=b"a" * 12,
    regime="gdpr",
    asked_ms=1_000,
    due_ms=2_000,
    by="test",
    origins=[b"a" * 12, b"b" * 12],
)


def sinks(folder: Path, url: str = "") -> Callable[[Connector], Sink]:
    return lambda connector: make_sink(connector, Surroundings("/millrace/shop", folder, url, Kafka()))


def test_a_webhook_is_asked_again_until_it_answers(tmp_path: Path) -> None:
    with Receiver() as receiver:
        receiver.always = Answered(503)
        hook = WebhookConnector(name="hook", url=receiver.url, secrets=(Secret(SECRET),), allow_private=True)
        telling = Telling(Deliver(), sinks(tmp_path))
        first = telling.ask(hook, REQUEST, NAMES, 10_000)
        assert (first.said, first.detail, first.attempts) == ("waiting", "status 503", 1)
        assert not is_due(first, first.again_ms - 1)
        assert is_due(first, first.again_ms)
        receiver.always = Answered(200)
        again = msgspec.structs.replace(REQUEST, answers={"hook": first})
        assert telling.ask(hook, again, NAMES, 20_000) == Answer("taken", "", 20_000, 2)
        [refused, taken] = receiver.requests
    assert refused.headers["webhook-id"] == taken.headers["webhook-id"] == "erase-1"
    told = msgspec.json.decode(taken.body)
    assert refused.verified
    assert taken.verified
    assert (told["type"], told["data"]["action"]) == ("millrace.deletion", "delete")
    assert told["data"]["identity"] == {"user_id": "ana"}, "only what this receiver knows the customer by"
    assert told["data"]["properties"]["customers"] == ["61" * 12, "62" * 12]


def test_who_never_answers_is_given_up_after_the_attempts_of_a_delivery(tmp_path: Path) -> None:
    (tmp_path / "crm").mkdir()
    broken = FileConnector(name="crm", path="crm")
    telling, request = Telling(Deliver(attempts=2), sinks(tmp_path)), REQUEST
    said = []
    for _ in range(2):
        answer = telling.ask(broken, request, NAMES, 10_000)
        request = msgspec.structs.replace(request, answers={"crm": answer})
        said.append(answer.said)
    assert said == ["waiting", "refused"]


def test_a_stream_and_a_file_carry_it_as_well(tmp_path: Path, redis_url: str) -> None:
    telling = Telling(Deliver(), sinks(tmp_path, redis_url))
    for connector in (RedisConnector(name="r", stream="out"), FileConnector(name="f", path="out.jsonl")):
        assert telling.ask(connector, REQUEST, NAMES, 10_000).said == "taken"
    [(_, fields)] = redis.Redis.from_url(redis_url).xrange("out")
    for body in (fields[b"body"], (tmp_path / "out.jsonl").read_bytes()):
        assert msgspec.json.decode(body)["type"] == "millrace.deletion"


def test_one_that_is_switched_off_is_not_asked(tmp_path: Path) -> None:
    off = FileConnector(name="crm", path="crm.jsonl", enabled=False)
    assert Telling(Deliver(), sinks(tmp_path)).ask(off, REQUEST, NAMES, 10_000).said == "off"
    assert list(tmp_path.iterdir()) == []
