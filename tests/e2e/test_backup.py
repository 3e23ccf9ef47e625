"""The whole of millrace loses its Redis under load, and is restored by the commands that an operator would type."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_pipeline import free_ports

pytestmark = pytest.mark.timeout(120)

CONFIG = """
[gateway]
listen = "127.0.0.1:{port}"
[metrics]
listen = "127.0.0.1:{metrics}"
[shards]
count = 8
[window]
wait = "50ms"
[archive]
enabled = true
folder = "{elsewhere}/archive"
[backup]
folder = "{elsewhere}/backup"
keys = "{elsewhere}/keycopy.db"
[churn]
enabled = false
[[segment]]
name = "all"
when = "True"
"""
PEOPLE = 20


class Deployment:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port, metrics = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.file = folder / "millrace.toml"
        self.file.write_text(CONFIG.format(port=port, metrics=metrics, elsewhere=folder / "elsewhere"))
        self.process: subprocess.Popen[bytes] | None = None
        self.sent = 0

    def command(self, *argv: str) -> str:
        done = subprocess.run(self._argv(*argv), cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _argv(self, *argv: str) -> list[str]:
        return [sys.executable, "-P", "-m", "flows.cli", *argv, "-c", str(self.file)]

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._argv("run", "all"), cwd=self.folder, stdout=log, stderr=log)
        eventually(self._ready, 30)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def die(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(20) == 0

    def publish(self, batches: int) -> None:
        for _ in range(batches):
            batch: list[dict[str, Any]] = [
                {"type": "track", "userId": f"user-{n % PEOPLE}", "event": "Seen", "messageId": f"{self.sent + n}"} for n in range(100)
            ]
            batch.append({"type": "identify", "userId": "user-0", "traits": {"email": "a@example.com"}, "messageId": f"i{self.sent}"})
            assert httpx.post(f"{self.url}/v1/batch", json={"batch": batch}, auth=("demo", ""), timeout=5).status_code == 200
            self.sent += 100

    def profiles(self) -> list[dict[str, Any]]:
        found = [httpx.get(f"{self.url}/v1/profiles/user_id:user-{n}", auth=("demo-read", ""), timeout=5) for n in range(PEOPLE)]
        return [answer.json() for answer in found if answer.status_code == 200]

    def counted(self) -> int:
        return sum(profile["events"] for profile in self.profiles()) - self.sent // 100  # but for the identifies

    def archived(self) -> bool:
        lag = httpx.get(f"{self.url}/metrics", timeout=5).text
        return 'millrace_lag{flow="archive",of="journal"} 0.0' in lag


def eventually(holds: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.1)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path)
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


def test_a_lost_redis_is_restored_and_goes_on(deployment: Deployment) -> None:
    publisher = threading.Thread(target=deployment.publish, args=(60,))
    publisher.start()
    time.sleep(0.3)
    said = deployment.command("backup", "create")
    publisher.join()
    assert " bytes in " in said
    deployment.publish(20)
    eventually(lambda: deployment.counted() == deployment.sent, 20)
    time.sleep(2)  # twice as long as the archive may be behind
    eventually(deployment.archived, 10)
    before = deployment.profiles()
    deployment.die()
    shutil.rmtree(deployment.folder / "data" / "redis")
    assert "entries of the archive: as of" in deployment.command("restore")
    assert "whole" in deployment.command("backup", "verify")
    deployment.start()
    after = deployment.profiles()
    assert [without_age(profile) for profile in after] == [without_age(profile) for profile in before]
    assert after[0]["identifiers"]["email"].endswith("@example.com")
    deployment.publish(10)
    eventually(lambda: deployment.counted() == deployment.sent, 20)
    said = deployment.command("rebuild")
    assert f"with {deployment.sent + deployment.sent // 100:,} events" in said


def test_what_was_rebuilt_runs_after_the_switch(deployment: Deployment) -> None:
    deployment.publish(20)
    eventually(lambda: deployment.counted() == deployment.sent, 20)
    refused = subprocess.run(
        deployment._argv("rebuild", "--switch"), cwd=deployment.folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode != 0
    assert "still run: stop them first" in refused.stderr
    deployment.stop()
    deployment.file.write_text(deployment.file.read_text() + '[[aggregate]]\nname = "seen"\nof = "count"\non = ["Seen"]\n')
    assert "is what runs from now on" in deployment.command("rebuild", "--switch")
    deployment.start()
    deployment.publish(5)
    eventually(lambda: deployment.counted() == deployment.sent, 20)
    profiles = deployment.profiles()
    assert sum(profile["aggregates"]["seen"] for profile in profiles) == deployment.sent
    assert profiles[0]["identifiers"]["email"].endswith("@example.com")


def without_age(profile: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on when one looks."""
    return {name: value for name, value in profile.items() if name not in ("value", "inactive_days", "age_days")}
