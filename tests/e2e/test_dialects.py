"""What other systems ask, as it is run: real processes, real HTTP, `privacy` killed in the midst of it."""

import json
import time
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psutil
import pytest

from tests.dsr import CallbackReceiver, dsr, genuine, make_certificate
from tests.running import Running, running

pytestmark = pytest.mark.slow

CONFIG = """
[shards]
count = 4
[raw]
partitions = 2
[matching]
enabled = false
[opendsr]
url = "http://127.0.0.1"
key = "dsr.key"
certificate = "dsr.pem"
allow_private = true
[deliver]
backoff = "50ms"
[[trigger]]
name = "seen"
on = {event = "Viewed"}
to = ["crm"]
[[connector]]
name = "crm"
type = "file"
path = "crm.jsonl"
"""
PEOPLE = 5_000
FEW = 40


def ask(millrace: Running, method: str, path: str, body: Any = None) -> httpx.Response:
    return httpx.request(method, millrace.url + path, json=body, auth=("privacy", ""), timeout=30)


def send(millrace: Running, users: list[str], mark: str) -> None:
    for at in range(0, len(users), 500):
        batch = [
            {
                "type": "identify",
                "userId": user,
                "messageId": f"{user}-{mark}",
                "traits": {"email": f"{user}@example.org"},
            }
            for user in users[at : at + 500]
        ]
        assert millrace.post("/v1/batch", {"batch": batch}).status_code == 200


def status(millrace: Running, name: str) -> str:
    found: str = ask(millrace, "GET", f"/requests/{name}").json()["request_status"]
    return found


def overall(millrace: Running, name: str) -> str:
    found = ask(millrace, "GET", f"/regulations/{name}").json()["data"]["regulation"]
    return str(found["overallStatus"])


def test_what_other_systems_ask_is_carried_out_whoever_is_killed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_certificate(tmp_path / "data", "127.0.0.1")
    people, luck = [f"person{n}" for n in range(FEW)], Random(5)
    with (
        CallbackReceiver() as callbacks,
        running(tmp_path, CONFIG, gateway='privacy_tokens = ["privacy"]') as millrace,
    ):
        send(millrace, [*people, "bea"], "1")
        millrace.eventually(lambda: all(millrace.profile(user) for user in (*people, "bea")))
        names = []
        for user in people[: FEW // 2]:
            request = dsr(
                "erasure",
                ("email", f"{user}@example.org", "raw"),
                status_callback_urls=[callbacks.url],
            )
            answer = ask(millrace, "POST", "/opengdpr_requests", request)
            assert answer.status_code == 201, answer.text
            names.append(request["subject_request_id"])
            if luck.random() < 0.3:
                for pid in millrace.pids("privacy"):
                    psutil.Process(pid).kill()
        millrace.eventually(lambda: all(status(millrace, name) == "completed" for name in names))
        wanted = {(name, state) for name in names for state in ("in_progress", "completed")}
        millrace.eventually(lambda: told(callbacks) == wanted)
        for headers, body in callbacks.requests[:3]:
            certificate = tmp_path / "data" / "dsr.pem"
            assert genuine(tmp_path, certificate, body, headers["x-opendsr-signature"])
        assert not any(millrace.profile(user) for user in people[: FEW // 2])
        rest = people[FEW // 2 :]
        regulation = {
            "regulationType": "SUPPRESS_WITH_DELETE",
            "subjectType": "USER_ID",
            "subjectIds": rest + [f"never-seen-{n}" for n in range(PEOPLE - len(rest))],
        }
        begun = time.monotonic()
        answer = ask(millrace, "POST", "/regulations", regulation)
        assert answer.status_code == 200, answer.text
        name = answer.json()["data"]["regulateId"]
        for pid in millrace.pids("privacy"):
            psutil.Process(pid).kill()
        millrace.eventually(lambda: overall(millrace, name) == "FINISHED")
        print(f"{PEOPLE} ids, {len(rest)} of them known, in {time.monotonic() - begun:.1f} s")
        send(millrace, [*rest, "never-seen-1", "bea"], "2")
        millrace.eventually(lambda: millrace.profile("bea").get("events") == 2)
        assert [user for user in [*rest, "never-seen-1"] if millrace.profile(user)] == []
        deleted = [
            json.loads(line)["data"]["identity"]["user_id"]
            for line in (tmp_path / "data" / "crm.jsonl").read_text().splitlines()
            if json.loads(line)["type"] == "millrace.deletion"
        ]
        assert set(deleted) == {*people}


def told(callbacks: CallbackReceiver) -> set[tuple[str, str]]:
    bodies = [json.loads(body) for _, body in callbacks.requests]
    return {(one["subject_request_id"], one["request_status"]) for one in bodies}


def test_an_objection_over_http_counts_for_what_is_sent_next(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_certificate(tmp_path / "data", "127.0.0.1")
    with running(tmp_path, CONFIG, gateway='privacy_tokens = ["privacy"]') as millrace:
        send(millrace, ["ana"], "1")
        millrace.eventually(lambda: bool(millrace.profile("ana")))
        body = {"reason": "no advertising", "purposes": ["marketing"]}
        answer = ask(millrace, "POST", "/v1/subjects/user_id:ana/object", body)
        assert (answer.status_code, answer.json()["request"]["step"]) == (202, "done")

        def refused() -> bool:
            found = ask(millrace, "GET", "/v1/subjects/user_id:ana/consent").json()["consent"]
            return not next(one for one in found["purposes"] if one["purpose"] == "marketing")["allowed"]

        millrace.eventually(refused)
        listed = ask(millrace, "GET", "/v1/subjects").json()["requests"]
        assert [one["right"] for one in listed] == ["object"]
