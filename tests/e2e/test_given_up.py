"""A flow that ends at every start: all else goes on, events are taken in, and everybody who asks is told."""

import json
from pathlib import Path

import pytest

from tests.running import running

pytestmark = pytest.mark.slow

CONFIG = """
[shards]
count = 4
[matching]
enabled = false
[[validate.plan]]
event = "Viewed"
schema = "viewed.json"
"""


def test_a_flow_that_ends_at_every_start_keeps_the_gateway_taking_events_in(tmp_path: Path) -> None:
    plan = tmp_path / "viewed.json"
    plan.write_text("{")
    with running(tmp_path, CONFIG) as millrace:
        millrace.eventually(lambda: "given_up" in millrace.http.get("/readyz").json())
        (named,) = millrace.http.get("/healthz").json()["given_up"]
        assert named.startswith("resolve-0@")
        event = {"type": "track", "event": "Viewed", "userId": "maria", "messageId": "m1"}
        assert millrace.post("/v1/track", event).status_code == 200
        for flow in ("gateway", "profile", "deliver", "learn"):
            assert millrace.pids(flow), f"{flow} does not run"
        assert f"given up, since they end at every start: {named}" in " ".join(
            millrace.command("status").split()
        )
        assert 'millrace_worker_given_up{worker="resolve-0"} 1.0' in millrace.http.get("/metrics").text
        lines = [json.loads(line) for line in millrace.log.read_text().splitlines() if line.startswith("{")]
        line = next(line for line in lines if line["event"] == "worker_given_up")
        assert (line["level"], line["child"], line["again_in_s"]) == ("critical", "resolve-0", 30.0)
        plan.write_text("{}")
        millrace.eventually(lambda: millrace.profile("maria").get("events") == 1)
        millrace.eventually(lambda: "given_up" not in millrace.http.get("/readyz").json())
