"""`millrace quality --personal`: from events through the flow and a real Redis to the printed table."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.cli.quality_screen import run_personal
from flows.runtime.deployment import Deployment
from flows.runtime.personal_notes import EVERY_S, PersonalNotes
from flows.runtime.windows import Window
from schemas.wire.events import RawEvent
from state.redis.client import Client
from tests.site import Site

NUMBER = "13800135678"


class Noted:
    """A site whose worker takes notes."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.site = Site(folder, redis_url, archive=False).start()
        self.now_s = 0.0
        self.begin()

    def begin(self) -> None:
        """Start a worker, or start it again."""
        deployment = Deployment(self.site.config)
        self.notes = PersonalNotes(deployment.personal_findings, 0, lambda: self.now_s)
        self.site.resolver._validator = deployment.validator(noted=self.notes.tally)

    def take(
        self,
        *properties: dict[str, Any],
        event: str = "Order Completed",
        context: dict[str, Any] | None = None,
    ) -> None:
        """Resolve an event for each of these, and look whether it is time to store."""
        site = self.site
        before = site.directory.offsets().get("events/0", -1)
        raw = [
            RawEvent(
                msgspec.json.encode(
                    {
                        "type": "track",
                        "event": event,
                        "userId": "ana",
                        "messageId": f"m{before}-{n}",
                        "properties": each,
                        "context": context or {},
                    }
                ),
                site.now_s * 1000,
                "web",
            )
            for n, each in enumerate(properties)
        ]
        window = Window("events/0", before, before + len(raw), raw, list(range(len(raw))), 0.0)
        assert site.resolver.commit(site.resolver.judge(window)) is window
        self.now_s += EVERY_S
        self.notes.look()


@pytest.fixture
def noted(tmp_path: Path, redis_url: str) -> Noted:
    return Noted(tmp_path, redis_url)


def told(noted: Noted, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run_personal(noted.site.config, as_json=True) == 0
    found: dict[str, Any] = msgspec.json.decode(capsys.readouterr().out)
    return found


def test_a_field_that_nobody_listed_is_told_with_a_masked_example(
    noted: Noted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: float(noted.site.now_s))
    assert told(noted, capsys) == {"events": 0, "fields": [], "beyond": 0, "failed": 0}
    noted.take({"handle": NUMBER, "total": 5}, {"handle": "none"}, {"memo": "mail ana@shop.example"})
    found = told(noted, capsys)
    assert found["events"] == 3
    assert found["fields"][0] == {
        "source": "web",
        "event": "Order Completed",
        "field": "properties.handle",
        "kind": "phone",
        "looked_at": 2,
        "hits": 1,
        "kept": 1,
        "example": "138****5678",
        "seen_ms": noted.site.now_s * 1000,
    }
    assert [(row["field"], row["kind"], row["kept"]) for row in found["fields"][1:]] == [
        ("properties.memo", "email", 0)
    ]
    assert run_personal(noted.site.config, as_json=False) == 0
    printed = capsys.readouterr().out
    assert "138****5678" in printed
    assert "privacy.sensitive" in printed
    assert NUMBER not in printed


def test_a_worker_that_starts_again_goes_on_counting(
    noted: Noted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: float(noted.site.now_s))
    noted.take({"handle": NUMBER})
    noted.begin()
    noted.take({"handle": NUMBER}, {"handle": NUMBER})
    [row] = told(noted, capsys)["fields"]
    assert (row["hits"], row["looked_at"]) == (3, 3)


def test_it_is_stored_now_and_then_and_only_where_there_is_something_new(noted: Noted) -> None:
    client: Client = Deployment(noted.site.config).client
    key = Deployment(noted.site.config).names.personal
    noted.take({"handle": NUMBER})
    first = client.hget(key, "0")
    assert first is not None
    assert NUMBER.encode() not in first
    noted.take()
    assert client.hget(key, "0") == first
    client.delete(key)
    noted.now_s += EVERY_S
    noted.notes.look()
    assert client.hget(key, "0") is None
    noted.take({"handle": NUMBER})
    assert client.hget(key, "0") is not None


def test_of_what_a_customer_refuses_no_example_is_kept(
    noted: Noted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: float(noted.site.now_s))
    refused = {"consent": {"categoryPreferences": {"behaviour": False, "location": False}}}
    noted.take({"handle": NUMBER}, event="Viewed", context=refused)
    noted.take({"handle": NUMBER}, event="Viewed")
    noted.take({"handle": NUMBER, "city": "杭州"})  # a purchase, without the place
    assert told(noted, capsys)["fields"] == []
    noted.take({"handle": NUMBER})
    assert [row["event"] for row in told(noted, capsys)["fields"]] == ["Order Completed"]


def test_what_cannot_be_read_is_begun_anew(noted: Noted, capsys: pytest.CaptureFixture[str]) -> None:
    deployment = Deployment(noted.site.config)
    deployment.client.hset(deployment.names.personal, "0", b"\xc1 nonsense")
    assert told(noted, capsys)["fields"] == []
    noted.begin()
    noted.take({"handle": NUMBER})
    assert told(noted, capsys)["events"] == 1
