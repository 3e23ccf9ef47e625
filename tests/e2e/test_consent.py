"""Consent as an app developer with Segment's client states it, from HTTP to what is sent and what is kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from flows.runtime.deployment import Deployment
from schemas.config.toml import load
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Decision
from tests.receiver import SECRET, Receiver
from tests.running import Running, running

WRITE_KEY = '[[gateway.write_keys]]\nkey = "demo"\nsource = "web"\n'
CONFIG = """
[shards]
count = 4
[window]
wait = "50ms"
[matching]
enabled = false
[consent]
[[consent.purpose]]
name = "service"
required = true
data = ["contact", "transaction", "device", "text"]
[[consent.purpose]]
name = "marketing"
stated_by = ["Advertising"]
[[aggregate]]
name = "views"
of = "count"
on = ["Viewed"]
[[segment]]
name = "all"
when = "True"
[[trigger]]
name = "offer"
on = {{event = "Order Completed"}}
channel = "sms"
to = ["hook"]
[[trigger]]
name = "receipt"
on = {{event = "Order Completed"}}
purpose = "service"
channel = "sms"
to = ["hook"]
[[connector]]
name = "hook"
type = "webhook"
url = "{hook}"
secrets = ["{secret}"]
allow_private = true
"""


@dataclass(frozen=True)
class Site:
    millrace: Running
    receiver: Receiver

    def publish(self, *batch: dict[str, Any]) -> None:
        assert self.millrace.post("/v1/batch", {"batch": list(batch)}).status_code == 200

    def sent(self) -> set[tuple[str, str]]:
        """Return rule and message of all that was sent."""
        data = [request.event["data"] for request in self.receiver.requests]
        return {(one["rule"], one["cause"]) for one in data}


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("consent")
    with (
        Receiver() as receiver,
        running(folder, CONFIG.format(hook=receiver.url, secret=SECRET), WRITE_KEY) as millrace,
    ):
        yield Site(millrace, receiver)


def order(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "track", "userId": "ana", "event": "Order Completed", "messageId": name} | more


def viewed(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "track", "userId": "ana", "event": "Viewed", "messageId": name} | more


def test_a_no_stops_offers_and_what_is_kept_of_behaviour_and_a_yes_brings_them_back(site: Site) -> None:
    site.publish(viewed("v1"), order("o1"))
    site.millrace.eventually(lambda: site.sent() == {("offer", "o1"), ("receipt", "o1")})
    refuses = {"consent": {"categoryPreferences": {"Advertising": False}}}
    site.publish(viewed("v2", context=refuses), order("o2"), viewed("v3"))
    site.millrace.eventually(lambda: ("receipt", "o2") in site.sent())
    site.millrace.eventually(lambda: _refused(site.millrace) == [("offer", "consent")])
    profile = site.millrace.profile("ana")
    assert profile["aggregates"] == {"views": 1}
    assert profile["traits"]["consent.Advertising"] is False
    agrees = {"consent": {"categoryPreferences": {"Advertising": True}}}
    site.publish(viewed("v4", context=agrees), order("o3"))
    site.millrace.eventually(lambda: {("offer", "o3"), ("receipt", "o3")} <= site.sent())
    assert ("offer", "o2") not in site.sent()
    assert site.millrace.profile("ana")["aggregates"] == {"views": 2}


def _refused(millrace: Running) -> list[tuple[str, str]]:
    deployment = Deployment(load(millrace.file))
    entries = deployment.outbox.read(Lane.DECISIONS, dict.fromkeys(range(4), 0), 100, 0)
    found = [msgspec.msgpack.decode(entry.body, type=Decision) for entry in entries]
    return [(decision.rule, decision.reason) for decision in found]
