"""`millrace run all` as a user runs it: real processes, in a folder of their own, on free ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

COMMAND = [sys.executable, "-P", "-m", "flows.cli"]
READY_S = 40.0
STOP_S = 30.0


@dataclass
class Running:
    """A deployment that is up; `file` is its configuration, `log` what its processes have written."""

    process: subprocess.Popen[bytes]
    url: str
    file: Path
    log: Path

    def post(self, path: str, body: Any, timeout_s: float = 5) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, auth=("demo", ""), timeout=timeout_s)

    def profile(self, user: str) -> dict[str, Any]:
        """What is known of a `user_id`; {} where it is nobody's."""
        answer = httpx.get(f"{self.url}/v1/profiles/user_id:{user}", auth=("demo-read", ""), timeout=5)
        assert answer.status_code in (200, 404), answer.text
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def command(self, *arguments: str) -> str:
        """What `millrace ...` prints on this configuration."""
        argv = [*COMMAND, *arguments, "-c", str(self.file)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True, env=environment()).stdout

    def eventually(self, holds: Callable[[], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert self.process.poll() is None, self.log.read_text()[-4_000:]
            assert time.monotonic() < deadline, f"not within {within_s} s; the log ends with:\n{self.log.read_text()[-4_000:]}"
            time.sleep(0.05)


@contextmanager
def running(folder: Path, config: str, gateway: str = "") -> Iterator[Running]:
    """`config` is TOML without `gateway.listen` and `metrics`, `gateway` what that table has besides.

    Whatever does not end in order is a failure.
    """
    port, metrics = free_ports(2)
    file, log = folder / "millrace.toml", folder / "log"
    file.write_text(f'{config}\n[gateway]\nlisten = "127.0.0.1:{port}"\n{gateway}\n[metrics]\nlisten = "127.0.0.1:{metrics}"\n')
    file.chmod(0o600)
    with log.open("wb") as output:
        process = subprocess.Popen([*COMMAND, "run", "all", "-c", str(file)], cwd=folder, env=environment(), stdout=output, stderr=output)
    millrace = Running(process, f"http://127.0.0.1:{port}", file, log)
    family: list[psutil.Process] = []
    try:
        millrace.eventually(millrace.ready, READY_S)
        yield millrace
    finally:
        if process.poll() is None:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(STOP_S) == 0, log.read_text()[-4_000:]
        finally:
            for member in family:
                if member.is_running():
                    member.kill()


def environment() -> dict[str, str]:
    """Ours, without what would make the processes share their figures with us."""
    return {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
