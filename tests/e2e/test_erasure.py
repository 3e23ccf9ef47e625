"""Erasures as they are run: real processes, real HTTP, and the process that drives them killed again and
again."""

import json
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psutil
import pytest

from state.receipts import verified
from tests.running import Running, running

pytestmark = pytest.mark.slow

CONFIG = """
[shards]
count = 4
[raw]
partitions = 2
[archive]
enabled = true
[[gateway.write_keys]]
key = "demo"
source = "web"
[[trigger]]
name = "seen"
on = {event = "Viewed"}
to = ["crm"]
[[connector]]
name = "crm"
type = "file"
path = "crm.jsonl"
"""
PEOPLE = 12
TOKEN = ("privacy", "")


def send(millrace: Running, *users: str, mark: str = "") -> None:
    batch = []
    for user in users:
        who = {"userId": user, "anonymousId": f"{user}-phone"}
        said = {
            "type": "identify",
            "messageId": f"{user}-i{mark}",
            "traits": {"email": f"{user}@example.org"},
        }
        batch += [who | said, who | {"type": "track", "event": "Viewed", "messageId": f"{user}-v{mark}"}]
    assert millrace.post("/v1/batch", {"batch": batch}).status_code == 200


def ask(millrace: Running, method: str, path: str) -> httpx.Response:
    return httpx.request(method, f"{millrace.url}/v1/subjects/{path}", auth=TOKEN, timeout=30)


def requests_of(millrace: Running, name: str) -> Any:
    return ask(millrace, "GET", f"{name}/requests").json()["requests"][0]


def test_every_erasure_ends_with_one_receipt_whoever_is_killed(tmp_path: Path) -> None:
    people = [f"person{n}" for n in range(PEOPLE)]
    luck = Random(7)
    with running(tmp_path, CONFIG, gateway='privacy_tokens = ["privacy"]') as millrace:
        send(millrace, *people, "bea")
        millrace.eventually(lambda: all(millrace.profile(user) for user in (*people, "bea")))
        names = []
        for user in people:
            answer = ask(millrace, "POST", f"user_id:{user}/erase")
            assert answer.status_code == 202, answer.text
            names.append(answer.json()["request"]["id"])
            if luck.random() < 0.6:  # in the midst of whatever it does
                for pid in millrace.pids("privacy"):
                    psutil.Process(pid).kill()
        millrace.eventually(lambda: all(requests_of(millrace, name)["step"] == "done" for name in names))
        key = millrace.command("subject", "receipt", "key").strip()
        for user, name in zip(people, names, strict=True):
            document = ask(millrace, "GET", f"{name}/receipt").content
            assert verified(document, key)["removed"]["data_keys"] == 1
            assert millrace.profile(user) == {}
        listed = json.loads(millrace.command("subject", "list", "--json").splitlines()[-1])
        assert sorted(one["id"] for one in listed) == sorted(names)
        deletions = [
            told
            for told in map(json.loads, (tmp_path / "data" / "crm.jsonl").read_text().splitlines())
            if told["type"] == "millrace.deletion"
        ]
        assert {told["id"] for told in deletions} == {*names}
        assert {told["data"]["identity"]["user_id"] for told in deletions} == {*people}
        send(millrace, people[0], mark="-again")
        millrace.eventually(lambda: millrace.profile(people[0]).get("events") == 2)
        assert millrace.profile("bea")["events"] == 2
