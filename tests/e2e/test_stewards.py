"""A bad deploy as a company lives through it: real processes, real HTTP. It is stopped within seconds, seen
everywhere, and undone."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.running import Running, running

pytestmark = pytest.mark.slow

CONFIG = """
[shards]
count = 4
[raw]
partitions = 2
[window]
wait = "50ms"
[archive]
enabled = false
[[gateway.write_keys]]
key = "demo"
source = "web"
events_per_second = 100000
[[gateway.write_keys]]
key = "crm"
source = "crm"
merges = true
[[aggregate]]
name = "orders"
of = "count"
on = ["Order Completed"]
"""
VISITORS = 200
STEWARD = ("steward", "")


def visitor(millrace: Running, n: int) -> dict[str, Any]:
    answer = httpx.get(f"{millrace.url}/v1/profiles/anonymous:v{n}", auth=("demo-read", ""), timeout=30)
    found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    return found


def figures(millrace: Running, name: str) -> float:
    lines = httpx.get(f"{millrace.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def identity(millrace: Running, path: str, status: int = 200) -> Any:
    answer = httpx.get(f"{millrace.url}{path}", auth=STEWARD, timeout=30)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_bad_deploy_is_stopped_within_seconds_and_undone_by_one_command(tmp_path: Path) -> None:
    with running(tmp_path, CONFIG, gateway='steward_tokens = ["steward"]') as millrace:
        bought = {"type": "track", "event": "Order Completed", "properties": {"total": 1}}
        batch = [bought | {"anonymousId": f"v{n}", "messageId": f"before-{n}"} for n in range(VISITORS)]
        assert millrace.post("/v1/batch", {"batch": batch}).status_code == 200
        millrace.eventually(lambda: all(visitor(millrace, n) for n in (0, VISITORS // 2, VISITORS - 1)))

        # The deploy: one user id for everybody.
        began = time.monotonic()
        for at in range(0, VISITORS, 20):
            page = [
                {"type": "page", "userId": "app", "anonymousId": f"v{n}", "messageId": f"bad-{n}"}
                for n in range(at, at + 20)
            ]
            assert millrace.post("/v1/batch", {"batch": page}).status_code == 200
        millrace.eventually(lambda: figures(millrace, "millrace_identifiers_suspended_total") == 1, 10)
        assert time.monotonic() - began < 10
        assert "identifier_suspended" in millrace.log.read_text()
        assert "1 identifiers are suspended" in millrace.command("status")
        millrace.eventually(lambda: "user_id:app" in millrace.command("identity", "suspended"), 10)
        shown = identity(millrace, "/v1/identity/user_id:app")
        united = len(shown["unions"])
        assert 40 <= united <= 50
        assert shown["unions"][0]["evidence"]["words"]["en"].startswith(
            "an event carried user_id app and anonymous"
        )

        dry = json.loads(
            millrace.command(
                "identity", "unmerge", "--identifier", "user_id:app", "--dry-run", "--json"
            ).splitlines()[-1]
        )
        assert len(dry["unions"]) == united
        undone = millrace.command(
            "identity",
            "unmerge",
            "--identifier",
            "user_id:app",
            "--since",
            "10m",
            "--yes",
            "--json",
            "--rate",
            "200/s",
        )
        outcome = json.loads(undone.splitlines()[-1])
        assert (outcome["undone"], outcome["refused"], outcome["taken_out"]) == (united, 0, "done")
        everybody = [f"v{n}" for n in range(VISITORS)]

        def apart() -> bool:
            found = [visitor(millrace, n) for n in range(VISITORS)]
            return (
                all(one.get("aggregates") == {"orders": 1} for one in found)
                and len({one["customer"] for one in found}) == len(everybody)
                and sum(one["events"] for one in found) == 2 * VISITORS
            )

        millrace.eventually(apart)
        assert not figures(millrace, "millrace_customers_divided_total") < united


def test_stewards_and_apps_over_http(tmp_path: Path) -> None:
    with running(tmp_path, CONFIG, gateway='steward_tokens = ["steward"]') as millrace:
        both = [{"type": "anonymous", "value": "v1"}, {"type": "anonymous", "value": "v2"}]
        pages = [{"type": "page", "anonymousId": one["value"], "messageId": one["value"]} for one in both]
        millrace.post("/v1/batch", {"batch": pages})
        millrace.eventually(lambda: bool(visitor(millrace, 1) and visitor(millrace, 2)))

        refused = httpx.post(
            f"{millrace.url}/v1/merge", json={"mergeProperties": both}, auth=("demo", ""), timeout=30
        )
        assert (refused.status_code, refused.json()["code"]) == (403, "order_forbidden")
        merged = httpx.post(
            f"{millrace.url}/v1/merge", json={"mergeProperties": both}, auth=("crm", ""), timeout=30
        )
        assert merged.status_code == 200
        millrace.eventually(
            lambda: visitor(millrace, 1).get("customer") == visitor(millrace, 2).get("customer")
        )
        [union] = identity(millrace, "/v1/identity/anonymous:v1")["unions"]
        assert (union["by"], union["stands"]) == ("crm", True)

        def order(body: dict[str, Any]) -> int:
            return httpx.post(
                f"{millrace.url}/v1/identity/orders", json=body, auth=STEWARD, timeout=30
            ).status_code

        assert order({"type": "identity", "order": "undo", "union": union["union"]}) == 202
        millrace.eventually(
            lambda: visitor(millrace, 1).get("customer") != visitor(millrace, 2).get("customer")
        )
        assert order({"type": "identity", "order": "undo", "union": union["union"]}) == 409
        assert order({"type": "identity", "order": "undo"}) == 400
        history = identity(millrace, "/v1/identity/anonymous:v2/history")
        assert [entry["kind"] for entry in history["entries"]] == ["undo", "union"]
        assert identity(millrace, "/v1/reviews") == {"reviews": [], "next": None}
        identity(millrace, "/v1/reviews/abcdef", 404)
        assert "v1" not in "".join(
            line for line in millrace.log.read_text().splitlines() if "identity_" in line
        ).replace("/v1", "")
