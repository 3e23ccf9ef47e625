"""The whole of millrace loses its Redis under load, and is restored by the commands that an operator would
type."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.runtime.deployment import Deployment
from schemas.config.toml import load
from tests.running import Running, running

CONFIG = """
[data]
folder = "{folder}/data"
[shards]
count = 8
[window]
wait = "50ms"
[archive]
enabled = true
folder = "{folder}/elsewhere/archive"
[backup]
folder = "{folder}/elsewhere/backup"
keys = "{folder}/elsewhere/keycopy.db"
[churn]
enabled = false
[matching]
enabled = false
[[segment]]
name = "all"
when = "True"
"""
PEOPLE = 20


class Shop:
    """What is published to a deployment, and what is known of those who did it."""

    def __init__(self, millrace: Running) -> None:
        self.millrace = millrace
        self.sent = 0

    def publish(self, batches: int) -> None:
        for _ in range(batches):
            batch: list[dict[str, Any]] = [
                {
                    "type": "track",
                    "userId": f"user-{n % PEOPLE}",
                    "event": "Seen",
                    "messageId": f"{self.sent + n}",
                }
                for n in range(100)
            ]
            batch.append(
                {
                    "type": "identify",
                    "userId": "user-0",
                    "traits": {"email": "a@example.com"},
                    "messageId": f"i{self.sent}",
                }
            )
            assert self.millrace.post("/v1/batch", {"batch": batch}).status_code == 200
            self.sent += 100

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """A batch every 20 ms or slower."""
        over = threading.Event()

        def publish() -> None:
            while not over.wait(0.02):
                self.publish(1)

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            self.millrace.eventually(lambda: self.sent > 0)
            yield
        finally:
            over.set()
            publisher.join()

    def profiles(self) -> list[dict[str, Any]]:
        found = [self.millrace.profile(f"user-{n}") for n in range(PEOPLE)]
        return [profile for profile in found if profile]

    def all_counted(self) -> bool:
        identifies = self.sent // 100
        return sum(profile["events"] for profile in self.profiles()) == self.sent + identifies

    def await_archive(self) -> None:
        """Until all that has happened so far is in it."""
        journal = Deployment(load(self.millrace.file)).journal
        last = journal.head()
        self.millrace.eventually(lambda: (journal.archived() or 0) >= last)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with running(tmp_path, CONFIG.format(folder=tmp_path)) as millrace:
        yield Shop(millrace)


def test_a_lost_redis_is_restored_and_goes_on(shop: Shop) -> None:
    millrace = shop.millrace
    with shop.publishing():
        assert " bytes in " in millrace.command("backup", "create")
    shop.publish(20)
    millrace.eventually(shop.all_counted)
    shop.await_archive()
    before = shop.profiles()
    millrace.kill()
    shutil.rmtree(millrace.folder / "data" / "redis")
    assert "entries of the archive: as of" in millrace.command("restore")
    assert "whole" in millrace.command("backup", "verify")
    millrace.start()
    after = shop.profiles()
    assert [without_age(profile) for profile in after] == [without_age(profile) for profile in before]
    assert after[0]["identifiers"]["email"].endswith("@example.com")
    shop.publish(10)
    millrace.eventually(shop.all_counted)
    said = millrace.command("rebuild")
    assert f"with {shop.sent + shop.sent // 100:,} events" in said


def test_what_was_rebuilt_runs_after_the_switch(shop: Shop) -> None:
    millrace = shop.millrace
    shop.publish(20)
    millrace.eventually(shop.all_counted)
    refused = millrace.tried("rebuild", "--switch")
    assert refused.returncode != 0
    assert "still run: stop them first" in refused.stderr
    millrace.stop()
    millrace.file.write_text(
        millrace.file.read_text() + '[[aggregate]]\nname = "seen"\nof = "count"\non = ["Seen"]\n'
    )
    assert "is what runs from now on" in millrace.command("rebuild", "--switch")
    millrace.start()
    shop.publish(5)
    millrace.eventually(shop.all_counted)
    profiles = shop.profiles()
    assert sum(profile["aggregates"]["seen"] for profile in profiles) == shop.sent
    assert profiles[0]["identifiers"]["email"].endswith("@example.com")


def without_age(profile: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on when one looks."""
    return {
        name: value for name, value in profile.items() if name not in ("value", "inactive_days", "age_days")
    }
