"""All of millrace as a user runs it: HTTP in, profile by GET, signed webhook out; and each of its processes is killed in mid-flow."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.receiver import SECRET, Receiver

pytestmark = pytest.mark.timeout(120)

CONFIG = """
[gateway]
listen = "127.0.0.1:{port}"
[[gateway.write_keys]]
key = "demo"
source = "web"
events_per_second = 100000
[metrics]
listen = "127.0.0.1:{metrics}"
[shards]
count = 8
[window]
wait = "50ms"
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


@dataclass
class Millrace:
    """`millrace run all` in a folder of its own, and the receiver that it delivers to."""

    process: subprocess.Popen[bytes]
    url: str
    receiver: Receiver
    log: Path

    def post(self, path: str, body: Any, timeout_s: float = 5) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, auth=("demo", ""), timeout=timeout_s)

    def profile(self, user: str) -> dict[str, Any] | None:
        answer = httpx.get(f"{self.url}/v1/profiles/user_id:{user}", auth=("demo-read", ""), timeout=5)
        assert answer.status_code in (200, 404), answer.text
        found: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return found

    def pids(self, what: str) -> list[int]:
        """Processes of one flow, or of the redis-server, below the supervisor."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                line = child.cmdline()
            except psutil.NoSuchProcess:
                continue
            if ("--worker" in line and what in line) or (what == "redis" and line and "redis-server" in line[0]):
                found.append(child.pid)
        return found


@pytest.fixture(scope="module")
def millrace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Millrace]:
    folder = tmp_path_factory.mktemp("pipeline")
    port, metrics = free_ports(2)
    with Receiver() as receiver:
        file = folder / "millrace.toml"
        file.write_text(CONFIG.format(port=port, metrics=metrics, hook=receiver.url, secret=SECRET))
        file.chmod(0o600)
        environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
        log = folder / "log"
        with log.open("wb") as output:
            argv = [sys.executable, "-P", "-m", "flows.cli", "run", "all", "-c", str(file)]
            process = subprocess.Popen(argv, cwd=folder, env=environment, stdout=output, stderr=output)
        running = Millrace(process, f"http://127.0.0.1:{port}", receiver, log)
        try:
            eventually(lambda: ready(running), 30, running)
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            try:
                assert process.wait(20) == 0, running.log.read_text()[-2_000:]
            finally:
                for member in [*family, *([psutil.Process(process.pid)] if process.poll() is None else [])]:
                    if member.is_running():
                        member.kill()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def ready(running: Millrace) -> bool:
    try:
        return httpx.get(f"{running.url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def eventually(holds: Callable[[], bool], within_s: float, running: Millrace) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert running.process.poll() is None, running.log.read_text()[-2_000:]
        assert time.monotonic() < deadline, f"not within {within_s} s; the log ends with:\n{running.log.read_text()[-4_000:]}"
        time.sleep(0.05)


def test_an_event_becomes_a_profile_and_a_signed_webhook(millrace: Millrace) -> None:
    traits = {"email": "Maria@Example.com", "plan": "gold"}
    batch = [
        {"type": "page", "anonymousId": "maria-browser", "name": "Home", "messageId": "maria-1"},
        {"type": "identify", "anonymousId": "maria-browser", "userId": "maria", "traits": traits, "messageId": "maria-2"},
        {"type": "track", "userId": "maria", "event": "Order Completed", "properties": {"total": 12.5}, "messageId": "maria-3"},
        {"type": "track", "userId": "maria", "event": "Order Completed", "properties": {"total": 12.5}, "messageId": "maria-3"},
    ]
    assert millrace.post("/v1/batch", {"batch": batch}).status_code == 200
    eventually(lambda: (millrace.profile("maria") or {}).get("events") == 3, 10, millrace)
    profile = millrace.profile("maria")
    assert profile is not None
    assert profile["aggregates"] == {"orders": 1, "paid": 12.5}
    assert (profile["value"]["frequency"], profile["value"]["monetary"]) == (1, 12.5)
    assert (profile["segment"], list(profile["tags"])) == ("all", ["buyer"])
    assert profile["traits"] == {"plan": "gold"}
    assert profile["identifiers"]["email"] == "M***@example.com"
    assert "Maria" not in str(profile)

    request = millrace.receiver.wait(1)[0]
    assert request.verified
    data = request.event["data"]
    assert (data["rule"], data["action"], data["cause"]) == ("thank_you", "thank", "maria-3")
    assert data["identity"] == {"user_id": "maria", "email": "Maria@example.com"}
    assert data["reasons"] == {"orders": 1, "paid": 12.5}
    assert request.event["id"] == request.id == data["id"]
    assert data["customer"] == profile["customer"]
    receipt = data["receipt"]
    assert receipt["event_ms"] <= receipt["received_ms"] <= receipt["resolved_ms"] <= receipt["emitted_ms"]
    assert receipt["emitted_ms"] - receipt["received_ms"] < 5_000


@dataclass
class Publisher:
    """Sends small batches of orders without a pause, each again (with the same ids) until it is acknowledged."""

    millrace: Millrace
    people: int = 40
    sent: Counter[str] = field(default_factory=Counter)  # events by user, all acknowledged when `stop` returns
    messages: set[str] = field(default_factory=set)
    retries: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a batch was never acknowledged"

    def _run(self) -> None:
        for number in itertools.count():
            if self._over.is_set():
                return
            users = [f"user-{(number * 7 + n) % self.people}" for n in range(10)]
            batch = [
                {"type": "track", "userId": user, "anonymousId": f"visitor-{user}-{number % 3}", "event": "Order Completed"}
                | {"properties": {"total": 1}, "messageId": f"{number}-{n}"}
                for n, user in enumerate(users)
            ]
            while not self._acknowledged(batch):
                self.retries += 1
                time.sleep(0.1)
            self.sent.update(users)
            self.messages.update(event["messageId"] for event in batch)  # type: ignore[misc]
            time.sleep(0.02)

    def _acknowledged(self, batch: list[dict[str, Any]]) -> bool:
        try:
            return self.millrace.post("/v1/batch", {"batch": batch}, timeout_s=3).status_code == 200
        except httpx.TransportError:
            return False


def test_kill_9_of_any_process_loses_nothing_and_doubles_nothing(millrace: Millrace) -> None:
    before = len(millrace.receiver.requests)
    publisher = Publisher(millrace)
    publisher.start()
    try:
        for what in ("resolve", "profile", "deliver", "learn", "gateway", "redis"):
            time.sleep(1)
            killed = millrace.pids(what)
            assert killed, f"no {what} to kill"
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            eventually(lambda what=what, killed=killed: bool(set(millrace.pids(what)) - set(killed)), 10, millrace)  # type: ignore[misc]
        eventually(lambda: ready(millrace), 20, millrace)
        time.sleep(1)
    finally:
        publisher.stop()
    assert publisher.retries > 0, "the kills were not noticed: the test shows nothing"

    def delivered() -> dict[str, str]:
        events = (request.event["data"] for request in millrace.receiver.requests[before:] if request.status == 200)
        return {data["id"]: data["cause"] for data in events}

    eventually(lambda: len(delivered()) >= len(publisher.messages), 20, millrace)
    counted = {user: (millrace.profile(user) or {}).get("events") for user in publisher.sent}
    assert counted == dict(publisher.sent)
    assert sorted(delivered().values()) == sorted(publisher.messages)
    assert all(request.verified for request in millrace.receiver.requests)
