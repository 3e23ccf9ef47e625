"""All of millrace as a user runs it: HTTP in, profile by GET, signed webhook out; and each of its processes
is killed in mid-flow."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.publisher import Batch, Publisher
from tests.receiver import SECRET, Receiver
from tests.running import Running, running

pytestmark = pytest.mark.xdist_group("pipeline")  # one deployment for the file

PEOPLE = 40
WRITE_KEY = """
[[gateway.write_keys]]
key = "demo"
source = "web"
events_per_second = 100000
"""
CONFIG = """
[shards]
count = 8
[window]
wait = "50ms"
[matching]
enabled = false
[[aggregate]]
name = "orders"
of = "count"
on = ["Order Completed"]
[[aggregate]]
name = "paid"
of = "sum"
on = ["Order Completed"]
value = "total"
[[tag]]
name = "buyer"
when = "orders > 0"
[[segment]]
name = "all"
when = "True"
[[trigger]]
name = "thank_you"
on = {{event = "Order Completed"}}
when = "orders > 0 and paid >= 0"
purpose = "service"
action = "thank"
channel = "email"
to = ["hook"]
[[connector]]
name = "hook"
type = "webhook"
url = "{hook}"
secrets = ["{secret}"]
allow_private = true
identify = ["user_id", "email"]
"""


@dataclass(frozen=True)
class Pipeline:
    """A deployment, and the receiver that it delivers to."""

    millrace: Running
    receiver: Receiver


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("pipeline")
    with (
        Receiver() as receiver,
        running(folder, CONFIG.format(hook=receiver.url, secret=SECRET), WRITE_KEY) as millrace,
    ):
        yield Pipeline(millrace, receiver)


def test_an_event_becomes_a_profile_and_a_signed_webhook(pipeline: Pipeline) -> None:
    millrace = pipeline.millrace
    traits = {"email": "Maria@Example.com", "plan": "gold"}
    bought = {
        "total": 12.5,
        "url": "https://shop.example/thanks?email=maria%40example.com&step=3",
        "items": [{"sku": "s-1", "buyerEmail": "maria@example.com"}],
        "emails": ["maria@example.com"],
        "receiver": "13800138000",
    }
    page = {
        "url": "https://shop.example/?email=maria@example.com",
        "referrer": "https://x.example/maria@example.com",
    }
    batch = [
        {"type": "page", "anonymousId": "maria-browser", "name": "Home", "messageId": "maria-1"},
        {
            "type": "identify",
            "anonymousId": "maria-browser",
            "userId": "maria",
            "traits": traits,
            "messageId": "maria-2",
        },
        {
            "type": "track",
            "userId": "maria",
            "event": "Order Completed",
            "properties": bought,
            "messageId": "maria-3",
            "context": {"page": page},
        },
        {
            "type": "track",
            "userId": "maria",
            "event": "Order Completed",
            "properties": {"total": 12.5},
            "messageId": "maria-3",
        },
    ]
    assert millrace.post("/v1/batch", {"batch": batch}).status_code == 200
    millrace.eventually(lambda: millrace.profile("maria").get("events") == 3)
    profile = millrace.profile("maria")
    assert profile["aggregates"] == {"orders": 1, "paid": 12.5}
    assert (profile["value"]["frequency"], profile["value"]["monetary"]) == (1, 12.5)
    assert (profile["segment"], list(profile["tags"])) == ("all", ["buyer"])
    assert profile["traits"] == {"plan": "gold"}
    assert profile["identifiers"]["email"] == "M***@example.com"
    assert "Maria" not in str(profile)

    request = pipeline.receiver.wait(1)[0]
    assert request.verified
    data = request.event["data"]
    assert (data["rule"], data["action"], data["cause"]) == ("thank_you", "thank", "maria-3")
    assert data["identity"] == {"user_id": "maria", "email": "Maria@example.com"}
    assert data["reasons"] == {"orders": 1, "paid": 12.5}
    url = "https://shop.example/thanks?email=(redacted)&step=3"
    assert data["properties"] == {"total": 12.5, "url": url, "items": [{"sku": "s-1"}]}
    assert request.event["id"] == request.id == data["id"]
    assert data["customer"] == profile["customer"]
    receipt = data["receipt"]
    assert receipt["event_ms"] <= receipt["received_ms"] <= receipt["resolved_ms"] <= receipt["emitted_ms"]
    assert receipt["emitted_ms"] - receipt["received_ms"] < 60_000


def orders(number: int) -> Batch:
    """A batch of ten, of as many people and their browsers."""
    users = [f"user-{(number * 7 + n) % PEOPLE}" for n in range(10)]
    return [
        {
            "type": "track",
            "userId": user,
            "anonymousId": f"visitor-{user}-{number % 3}",
            "event": "Order Completed",
        }
        | {"properties": {"total": 1}, "messageId": f"{number}-{n}"}
        for n, user in enumerate(users)
    ]


def test_kill_9_of_any_process_loses_nothing_and_doubles_nothing(pipeline: Pipeline) -> None:
    millrace = pipeline.millrace
    before = len(pipeline.receiver.requests)
    with Publisher(orders, millrace.stored) as publisher:
        for what in ("resolve", "profile", "deliver", "learn", "gateway", "redis"):
            publisher.await_batches(20)
            killed = millrace.pids(what)
            assert killed, f"no {what} to kill"
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            millrace.eventually(lambda what=what, killed=killed: bool(set(millrace.pids(what)) - set(killed)))  # type: ignore[misc]
        millrace.eventually(millrace.ready)
        publisher.await_batches(20)
    assert publisher.retries > 0, "the kills were not noticed: the test shows nothing"

    def delivered() -> dict[str, str]:
        events = (
            request.event["data"] for request in pipeline.receiver.requests[before:] if request.status == 200
        )
        return {data["id"]: data["cause"] for data in events}

    millrace.eventually(lambda: len(delivered()) >= len(publisher.sent))
    counted = Counter(publisher.sent.values())
    assert {user: millrace.profile(user).get("events") for user in counted} == counted
    assert sorted(delivered().values()) == sorted(publisher.sent)
    assert all(request.verified for request in pipeline.receiver.requests)
