"""`millrace run all` as a user runs it: real processes, in a folder of their own, on free ports."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.lab.chaos.ports import free_ports
from state.redis.servers import is_server
from tests.waiting import WITHIN_S, eventually

COMMAND = [sys.executable, "-P", "-m", "flows.cli"]
STOP_S = 30.0


class Running:
    """A deployment in `folder`; `file` is its configuration, `log` what its processes have written.

    `config` is TOML without `gateway.listen` and `metrics`, `gateway` what that table has besides.
    """

    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path, config: str, gateway: str = "") -> None:
        port, metrics = free_ports(2)
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self.http = httpx.Client(
            base_url=self.url, timeout=30, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self.file, self.log = folder / "millrace.toml", folder / "log"
        listen = (
            f'[gateway]\nlisten = "127.0.0.1:{port}"\n{gateway}\n[metrics]\nlisten = "127.0.0.1:{metrics}"\n'
        )
        self.file.write_text(f"{config}\n{listen}")
        self.file.chmod(0o600)

    def spawn(self, *arguments: str) -> None:
        """Start `millrace run <arguments>`, its output at the end of the log."""
        with self.log.open("ab") as output:
            argv = [*COMMAND, "run", *arguments, "-c", str(self.file)]
            self.process = subprocess.Popen(
                argv, cwd=self.folder, env=environment(), stdout=output, stderr=output
            )

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self.spawn("all")
        self.eventually(self.ready)

    def stop(self) -> None:
        """Stop it: whatever does not end in order is a failure, and nothing is left of it."""
        family = self.family()
        self.process.terminate()
        try:
            assert self.process.wait(STOP_S) == 0, self.log.read_text()[-4_000:]
        finally:
            for member in family:
                if member.is_running():
                    member.kill()

    def kill(self) -> None:
        """Kill it as a power cut would: the kernel ends the children with it."""
        family = self.family()
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(family[1:], STOP_S)

    def up(self) -> bool:
        return self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """Return the supervisor and all that is below it."""
        if not self.up():
            return []
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def pids(self, what: str) -> list[int]:
        """Return the processes of one flow, or of the redis-server."""
        found = []
        for child in self.family()[1:]:
            try:
                line = child.cmdline()
            except psutil.NoSuchProcess:
                continue
            if ("--worker" in line and what in line) or (what == "redis" and line and is_server(line[0])):
                found.append(child.pid)
        return found

    def post(self, path: str, body: Any, timeout_s: float = 30) -> httpx.Response:
        return self.http.post(path, json=body, auth=("demo", ""), timeout=timeout_s)

    def stored(self, batch: list[dict[str, Any]], timeout_s: float = 3) -> bool:
        """Return whether it was acknowledged; where it was not, it may be stored all the same."""
        try:
            return self.post("/v1/batch", {"batch": batch}, timeout_s).status_code == 200
        except httpx.TransportError:
            return False

    def profile(self, user: str) -> dict[str, Any]:
        """Return what is known of a `user_id`; {} where it is nobody's. A gateway that is about to start
        again is asked again."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            with suppress(httpx.TransportError):
                answers.append(self.http.get(f"/v1/profiles/user_id:{user}", auth=("demo-read", "")))
            return bool(answers) and answers[-1].status_code not in (429, 503)

        self.eventually(answered)
        assert answers[-1].status_code in (200, 404), answers[-1].text
        found: dict[str, Any] = answers[-1].json() if answers[-1].status_code == 200 else {}
        return found

    def ready(self) -> bool:
        try:
            return self.http.get("/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def command(self, *arguments: str) -> str:
        """Return what `millrace ...` prints on this configuration."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tried(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Return the same of a command that may be refused."""
        argv = [*COMMAND, *arguments, "-c", str(self.file)]
        return subprocess.run(
            argv,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
            env=environment(),
        )

    def eventually(self, holds: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        def said() -> str:
            return f"; the log ends with:\n{self.log.read_text()[-4_000:]}"

        def holds_while_it_is_up() -> bool:
            assert self.up(), said()
            return holds()

        eventually(holds_while_it_is_up, said, within_s)


@contextmanager
def running(folder: Path, config: str, gateway: str = "") -> Iterator[Running]:
    """From ready to stopped in order, as many times as the test starts it."""
    millrace = Running(folder, config, gateway)
    try:
        millrace.start()
        yield millrace
    finally:
        if millrace.up():
            millrace.stop()


def environment() -> dict[str, str]:
    """Return our environment, without what would make the processes share their figures with us."""
    return {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
