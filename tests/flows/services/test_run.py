"""`millrace run` of one flow with several workers: real processes, and what Prometheus sees of them."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import httpx
import psutil
import pytest

from flows.services.processes import _main, workers_of_this_machine
from tests.running import running
from tests.waiting import eventually


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def learning(tmp_path: Path, address: str) -> Iterator[subprocess.Popen[str]]:
    """`learn` with no model switched on: it waits, and needs no server."""
    left = tmp_path / "data" / "metrics" / "learn" / "counter_1.db"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of an earlier start")
    file = tmp_path / "millrace.toml"
    file.write_text(f'[metrics]\nlisten = "{address}"\n[churn]\nenabled = false\n[data]\nfolder = "data"\n')
    argv = [sys.executable, "-m", "flows.cli", "run", "learn", "-c", str(file)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [
        child for child in psutil.Process(process.pid).children() if child.status() != psutil.STATUS_ZOMBIE
    ]


def metrics(address: str) -> str:
    try:
        return httpx.get(f"http://{address}/metrics").text
    except httpx.TransportError:
        return ""


def test_a_killed_worker_is_replaced_and_counted(
    learning: subprocess.Popen[str], address: str, tmp_path: Path
) -> None:
    deadline = time.monotonic() + 60
    while not (workers_of(learning) and metrics(address)) and time.monotonic() < deadline:
        time.sleep(0.05)
    (worker,) = workers_of(learning)
    assert not (tmp_path / "data/metrics/learn/counter_1.db").exists()
    worker.kill()
    while (
        'millrace_worker_restarts_total{worker="learn-0"} 1.0' not in metrics(address)
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    (successor,) = workers_of(learning)
    assert successor.pid != worker.pid
    learning.send_signal(signal.SIGTERM)
    assert learning.wait(5) == 0
    assert not successor.is_running()
    assert learning.stderr is not None
    said = learning.stderr.read()
    assert re.search(r'"event":"worker_died".*"flow":"supervisor"', said)
    assert "Traceback" not in said


def test_a_second_lone_flow_serves_its_figures_at_the_next_port(
    learning: subprocess.Popen[str], address: str, tmp_path: Path
) -> None:
    """Both have the same file, and neither ends for it."""
    eventually(lambda: metrics(address) != "")
    argv = [
        sys.executable,
        "-m",
        "flows.cli",
        "run",
        "resolve",
        "--workers",
        "1",
        "-c",
        str(tmp_path / "millrace.toml"),
    ]
    host, _, port = address.rpartition(":")
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as second:
        try:
            eventually(
                lambda: (
                    second.poll() is not None or any(metrics(f"{host}:{int(port) + n}") for n in range(1, 16))
                )
            )
            assert second.poll() is None
        finally:
            second.kill()
        assert second.stderr is not None
        (line,) = (line for line in second.stderr if "metrics_elsewhere" in line)
    assert f'"wanted":"{address}"' in line


def test_the_same_flow_twice_is_refused_and_takes_no_figures_away(
    learning: subprocess.Popen[str], address: str, tmp_path: Path
) -> None:
    eventually(lambda: metrics(address) != "")
    kept = sorted((tmp_path / "data/metrics/learn").glob("*.db"))
    argv = [sys.executable, "-m", "flows.cli", "run", "learn", "-c", str(tmp_path / "millrace.toml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "another `millrace run learn` of this data folder is running" in done.stderr
    assert kept
    assert all(file.exists() for file in kept)


def test_resolve_and_profile_together_have_about_a_process_for_each_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cores, resolve, profile in ((1, 1, 1), (2, 1, 2), (8, 3, 6), (None, 1, 1)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert (workers_of_this_machine("resolve"), workers_of_this_machine("profile")) == (resolve, profile)
        assert workers_of_this_machine("learn") == 1


def test_an_address_that_is_taken_is_told_once_before_anything_is_started(
    address: str, tmp_path: Path
) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text(f'[gateway]\nlisten = "{address}"\n[data]\nfolder = "data"\n')
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))):
        argv = [sys.executable, "-m", "flows.cli", "run", "-c", str(file)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("{"))  # logs are JSON
    assert line.startswith(f"millrace: gateway.listen: cannot listen on {address}: ")
    assert "worker_died" not in done.stderr


def test_a_redis_of_ones_own_that_forgets_is_warned_of_at_the_start(redis_url: str, tmp_path: Path) -> None:
    """The server of these tests has `appendfsync no`."""
    with running(tmp_path, f'[redis]\nurl = "{redis_url}"\n[shards]\ncount = 2') as millrace:
        assert "redis_forgets" in millrace.log.read_text()
        assert "appendfsync no" in millrace.log.read_text()
        assert "redis_forgets" not in millrace.command("reload")


@pytest.mark.parametrize(
    ("started", "child"),
    [
        ("flows.lab.demo.defect", "flows.lab.demo.defect"),
        ("flows.cli.__main__", "flows.cli"),
        ("pytest.__main__", "flows.cli"),
        (None, "flows.cli"),
    ],
)
def test_children_are_started_as_their_supervisor_was(
    started: str | None, child: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    main.__spec__ = ModuleSpec(started, None) if started else None
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert _main() == child
