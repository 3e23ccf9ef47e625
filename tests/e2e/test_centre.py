"""The privacy centre in a real Chromium, before a whole deployment: without JavaScript, with it, by keyboard
alone; and every page measured by axe-core."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.runtime.deployment import Deployment
from flows.services.subjects import consenting, requests
from schemas.config.toml import load
from state.receipts import verified
from tests.clients.install import environment
from tests.node_packages import fetched
from tests.running import Running, running

PACKAGES = ("playwright-core@1.56.1", "axe-core@4.14.1")
PROGRAMS = Path(__file__).parents[1] / "browser"
WALK_S = 240
CONFIG = """
[shards]
count = 4
[raw]
partitions = 2
[archive]
enabled = true
[matching]
enabled = false
[consent]
confirm_to = ["crm"]
[centre]
holder = "Lindenhof Tea"
contact = "privacy@lindenhof.example"
[[gateway.write_keys]]
key = "demo"
source = "web"
[[tag]]
name = "viewer"
when = "events > 1"
ttl = "30d"
[[segment]]
name = "everybody"
when = "True"
[[trigger]]
name = "seen"
on = {event = "Viewed"}
channel = "email"
to = ["crm"]
[[trigger]]
name = "seen_sms"
on = {event = "Viewed"}
channel = "sms"
to = ["crm"]
[[connector]]
name = "crm"
type = "file"
path = "crm.jsonl"
identify = ["user_id", "email"]
"""

pytestmark = pytest.mark.xdist_group("centre")  # fetched and started once


@pytest.fixture(scope="session")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the programs, and what drives a browser."""
    if not shutil.which("chromium"):
        pytest.skip("Chromium is not installed here")
    folder = fetched(tmp_path_factory.mktemp("centre"), PACKAGES)
    for program in PROGRAMS.iterdir():
        shutil.copy(program, folder)
    return folder


@pytest.fixture(scope="module")
def millrace(tmp_path_factory: pytest.TempPathFactory, walks: Path) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("site"), CONFIG) as millrace:
        yield millrace


def known(millrace: Running, user: str) -> str:
    """Let somebody be known, and return a link for them."""
    who = {"userId": user, "anonymousId": f"{user}-phone"}
    traits = {"email": f"{user}@example.org", "city": "Hangzhou", "plan": "gold", "review": "Lovely tea"}
    batch = [
        who | {"type": "identify", "messageId": f"{user}-1", "traits": traits},
        who | {"type": "track", "event": "Viewed", "messageId": f"{user}-2"},
        who
        | {"type": "track", "event": "Order Completed", "messageId": f"{user}-3", "properties": {"total": 9}},
    ]
    assert millrace.post("/v1/batch", {"batch": batch}).status_code == 200
    millrace.eventually(lambda: millrace.profile(user).get("events") == 3)
    return millrace.command("privacy", "link", f"user_id:{user}").strip()


def walk(walks: Path, program: str, *arguments: str) -> Any:
    """Return what the program has found."""
    done = subprocess.run(
        ["node", program, *arguments],
        cwd=walks,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WALK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def deployment(millrace: Running) -> Deployment:
    return Deployment(load(millrace.file))


def refused(millrace: Running, user: str) -> set[str]:
    said = consenting.said(deployment(millrace), f"user_id:{user}")
    return {one.purpose for one in said.purposes if not one.allowed} | {
        f"{one.purpose}.{part}"
        for one in said.purposes
        if one.allowed
        for part, allowed in {**one.channels, **one.categories}.items()
        if not allowed
    }


def test_each_act_without_javascript(millrace: Running, walks: Path) -> None:
    link = known(millrace, "bea")
    assert refused(millrace, "bea") == {"sharing"}
    found = walk(walks, "plain.js", link, "choices", str(millrace.folder / "data" / "crm.jsonl"))
    root = f"{millrace.url}/privacy"
    assert (found["said"], found["scripts"]) == ([], 0)
    assert found["entered"] == root  # the token is gone from the address
    assert found["cookies"] == [[True, "Strict", False, "/"]]
    assert found["mode"] == [f"{root}?saved=now", "Saved. Your choice is in force.", True]
    assert found["switched"][1:] == ["Saved. Your choice is in force.", "false"]
    assert found["code"].startswith("This is not the code that was sent")
    assert found["shared"] == "true"
    assert refused(millrace, "bea") == {"personalisation", "marketing.sms"}

    for shown in ("b***@example.org", "Hangzhou", "gold", "Lovely tea", "viewer", "everybody", "crm"):
        assert shown in found["data"]
    assert "bea@example.org" not in found["data"]
    exported = json.loads(found["json"])
    assert exported["stated"]["email"] == "bea@example.org"
    assert len([one for one in exported["events"] if one["source"] == "web"]) == 3
    assert "bea@example.org" in found["html"]

    text = "My name is <b>Anna Lee</b>, with two n.\nBorn 1990-02-03."
    assert text in found["asked"][2]
    [asked] = requests.of(deployment(millrace), "user_id:bea")
    assert (asked.right, asked.step) == ("correct", "asked")
    assert requests.text_of(deployment(millrace), asked) == text
    assert text in json.loads(millrace.command("subject", "status", "user_id:bea", "--json"))[0]["text"]
    assert found["chinese"] == [f"{root}/requests", "zh-CN", "提出请求"]


def test_an_erasure_without_javascript(millrace: Running, walks: Path) -> None:
    link = known(millrace, "cleo")
    customer = millrace.profile("cleo")["customer"]
    found = walk(walks, "plain.js", link, "erase", "")
    assert (found["said"], found["scripts"]) == ([], 0)
    assert found["unsure"] == "Tick the box to say that you are sure. Nothing was erased."
    assert found["erased"] == "Your data was erased"
    receipt = verified(found["receipt"].encode(), millrace.command("subject", "receipt", "key").strip())
    assert (receipt["customer"], receipt["removed"]["data_keys"]) == (customer, 1)
    assert found["afterwards"] == f"{millrace.url}/privacy/erase"
    assert (found["left"], found["outside"], found["again"]) == (0, 401, 410)
    assert millrace.profile("cleo") == {}
    assert millrace.profile("bea").get("events", 3) >= 3  # nobody else's


def test_htmx_saves_the_loading_of_a_page_and_the_focus_stays(millrace: Running, walks: Path) -> None:
    found = walk(walks, "enhanced.js", known(millrace, "dora"))
    assert [one for one in found["said"] if "400" not in one] == []
    assert found["mode"] == [True, True, "mode-save"]
    assert found["switched"] == [True, "false", "s-personalisation", "Saved. Your choice is in force."]
    assert "Personal recommendations: yes" in found["words"]
    assert [one for one in found["asked"] if one[1] == "document"] == [
        ["GET", "document", "/privacy/choices"]
    ]
    assert found["wrong"][0] is True
    assert "Nothing was changed" in found["wrong"][1]
    assert refused(millrace, "dora") == {"marketing", "sales", "sharing"}


def test_everything_can_be_done_by_keyboard(millrace: Running, walks: Path) -> None:
    found = walk(walks, "keyboard.js", known(millrace, "emil"))
    assert (found["said"], found["unseen"]) == ([], [])
    assert (found["first"], found["skipped"]) == ("skip", "content")
    assert found["mode"] == "basic+marketing"
    assert "No more of this" in found["asked"]
    assert found["erasing"] == f"{millrace.url}/privacy/erase"
    millrace.eventually(lambda: millrace.profile("emil") == {})


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_page_keeps_anybody_out(millrace: Running, walks: Path, lang: str) -> None:
    """Nothing is found by axe-core (WCAG 2.2 A and AA, best practice) on any page, light and dark; and no
    page is wider than a phone."""
    link = known(millrace, f"fay-{lang}")
    link = millrace.command("privacy", "link", f"user_id:fay-{lang}", "--lang", lang).strip()
    found = walk(walks, "pages.js", link, lang)
    assert found["found"] == {}
    assert found["said"] == []
    assert {"color-contrast", "document-title", "html-has-lang", "label", "target-size"} <= {*found["rules"]}
    assert {"color-contrast", "image-alt", "label"} <= {*found["planted"]}  # it would have been seen


def test_the_log_names_nobody(millrace: Running) -> None:
    text = millrace.log.read_text()
    assert "centre_entered" in text
    for personal in ("example.org", "Hangzhou", "Anna", "/privacy/link/"):
        assert personal not in text
