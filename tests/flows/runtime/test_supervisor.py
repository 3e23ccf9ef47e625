"""The supervisor, with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import redis
from structlog.testing import capture_logs

from flows.runtime.supervisor import Child, Patience, Supervisor, command
from schemas.errors import TRY_AGAIN, ConfigError, Fatal, Refused
from state.redis.embedded import Embedded

HASTY = Patience(quick_s=5.0, backoff_s=0.02, backoff_s_max=0.08, away_s_max=0.05, stop_s=1.0)
LIVES = "import time, sys; print('up', flush=True); time.sleep(60)"
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(60)
"""


def python(code: str) -> Callable[[], subprocess.Popen[bytes]]:
    return command([sys.executable, "-c", code])


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(patience=HASTY) as supervisor:
        yield supervisor


def until(true: Callable[[], bool], supervisor: Supervisor, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        supervisor.look()
        time.sleep(0.01)


def noting(
    pids: list[int], spawn: Callable[[], subprocess.Popen[bytes]]
) -> Callable[[], subprocess.Popen[bytes]]:
    def noted() -> subprocess.Popen[bytes]:
        process = spawn()
        pids.append(process.pid)
        return process

    return noted


def test_what_dies_is_started_again(supervisor: Supervisor) -> None:
    pids: list[int] = []
    process = supervisor.start(Child("sleeper", 0, noting(pids, python(LIVES))))
    for _ in range(2):
        os.kill(pids[-1], signal.SIGKILL)
        lives_now = len(pids) + 1
        until(lambda expected=lives_now: len(pids) == expected, supervisor)
    assert process.pid == pids[0] != pids[2]


def test_who_lived_for_a_while_is_started_again_at_once() -> None:
    """Whether it died of its own, or waits for a server that went away."""
    for code in (1, TRY_AGAIN):
        with Supervisor(patience=Patience(quick_s=0.3, backoff_s=0.02)) as supervisor, capture_logs() as said:
            pids: list[int] = []
            supervisor.start(
                Child(
                    "mortal",
                    0,
                    noting(pids, python(f"import time; time.sleep(0.4); raise SystemExit({code})")),
                )
            )
            until(lambda pids=pids: len(pids) == 3, supervisor)
        assert [line["restart_in_s"] for line in said if line["event"] == "worker_died"] == [0.0, 0.0]


def test_what_dies_at_once_is_given_up(supervisor: Supervisor) -> None:
    pids: list[int] = []
    supervisor.start(Child("broken", 0, noting(pids, python("raise SystemExit(7)"))))
    with pytest.raises(
        Fatal, match=r"broken ended 5 times in a row within 5 s of its start \(last: exit code 7\): giving up"
    ):
        until(lambda: False, supervisor)
    assert len(pids) == 5


def test_what_is_given_up_takes_nothing_else_down_and_is_tried_again(tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    code = (
        "import pathlib, time\n"
        f"if not pathlib.Path({str(mended)!r}).exists():\n    raise SystemExit(3)\ntime.sleep(60)"
    )
    told: list[list[str]] = []
    patience = Patience(quick_s=0.5, backoff_s=0.01, backoff_s_max=0.02, rest_s=0.3, stop_s=1.0)
    with (
        Supervisor(patience=patience, tell=lambda names: told.append(list(names))) as supervisor,
        capture_logs() as said,
    ):
        lives = supervisor.start(Child("gateway-0", 0, python(LIVES)))
        pids: list[int] = []
        supervisor.start(Child("match-0", 1, noting(pids, python(code)), vital=False))
        until(lambda: len(told) == 3, supervisor)
        assert told == [["match-0"]] * 3, "said again with each attempt"
        assert lives.poll() is None
        (first, *again) = [line for line in said if line["event"] == "worker_given_up"]
        assert (first["child"], first["how"], first["deaths"], first["log_level"]) == (
            "match-0",
            "exit code 3",
            5,
            "critical",
        )
        assert len(pids) == 5 + len(again)
        mended.touch()
        until(lambda: told[-1] == [], supervisor)
        assert [line["child"] for line in said if line["event"] == "worker_recovered"] == ["match-0"]
        died = len(pids)
        os.kill(pids[-1], signal.SIGKILL)
        until(lambda: len(pids) == died + 1, supervisor)
    assert lives.poll() is not None


def test_what_has_once_worked_is_given_up_as_loudly(tmp_path: Path) -> None:
    mark = tmp_path / "lived"
    code = f"import pathlib, time; mark = pathlib.Path({str(mark)!r}); "
    code += "time.sleep(0 if mark.exists() else 0.6); mark.touch(); raise SystemExit(1)"
    patience = Patience(quick_s=0.5, backoff_s=0.01, backoff_s_max=0.02, rest_s=0.02)
    with Supervisor(patience=patience) as supervisor, capture_logs() as said:
        pids: list[int] = []
        supervisor.start(Child("match-0", 0, noting(pids, python(code)), vital=False))
        until(lambda: len(pids) == 12, supervisor)
    assert [line["deaths"] for line in said if line["event"] == "worker_given_up"][:3] == [5, 6, 7]


def test_when_all_are_given_up_nothing_is_left_to_watch(supervisor: Supervisor) -> None:
    for name in ("one", "two"):
        supervisor.start(Child(name, 0, python("raise SystemExit(7)"), vital=False))
    with pytest.raises(Fatal, match=r"(one|two) ended 5 times in a row"):
        until(lambda: False, supervisor)


def test_a_death_after_a_while_starts_the_count_anew() -> None:
    """A worker that lives longer than `quick_s` may die as often as it likes."""
    pids: list[int] = []
    with Supervisor(patience=Patience(quick_s=0.1, backoff_s=0.02)) as supervisor:
        supervisor.start(Child("mortal", 0, noting(pids, python("import time; time.sleep(0.15)"))))
        until(lambda: len(pids) == 7, supervisor, within_s=30)


def test_what_has_once_lived_long_enough_is_never_given_up(tmp_path: Path) -> None:
    """A full disk ends Redis again and again: it comes back when there is room."""
    mark = tmp_path / "lived"
    code = f"import pathlib, time; mark = pathlib.Path({str(mark)!r}); "
    code += "time.sleep(0 if mark.exists() else 0.6); mark.touch(); raise SystemExit(1)"
    pids: list[int] = []
    with Supervisor(patience=Patience(quick_s=0.5, backoff_s=0.01, backoff_s_max=0.02)) as supervisor:
        supervisor.start(Child("redis", 0, noting(pids, python(code))))
        until(lambda: len(pids) == 9, supervisor, within_s=30)


def test_the_pauses_double_up_to_a_limit(supervisor: Supervisor) -> None:
    starts: list[float] = []

    def spawn() -> subprocess.Popen[bytes]:
        starts.append(time.monotonic())
        if len(starts) > 1:
            raise Refused("no room")
        return python("pass")()

    supervisor.start(Child("late", 0, spawn))
    with capture_logs() as lines, pytest.raises(Fatal, match="last: no room"):
        until(lambda: False, supervisor)
    announced = [line["restart_in_s"] for line in lines if line["event"] == "worker_died"]
    assert announced == [0.02, 0.04, 0.08, 0.08]
    pauses = [after - before for before, after in pairwise(starts[1:])]
    assert all(pause >= least for pause, least in zip(pauses, announced[1:], strict=True))


def test_nothing_is_started_or_blamed_while_what_it_needs_is_down(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    floor = Child("floor", 1, python(LIVES), ready=(tmp_path / "up").exists)
    pids: list[int] = []
    supervisor.start(floor)
    supervisor.start(Child("house", 0, noting(pids, python("raise SystemExit(1)")), needs=floor))
    ends = time.monotonic() + 1.0
    until(lambda: time.monotonic() > ends, supervisor)
    assert len(pids) == 1
    (tmp_path / "up").touch()
    until(lambda: len(pids) == 2, supervisor)


def test_a_killed_redis_comes_back_with_its_data(supervisor: Supervisor, tmp_path: Path) -> None:
    server = Embedded(tmp_path, max_memory=64 << 20)
    process = supervisor.start(Child("redis", 4, server.spawn, ready=server.ready))
    server.wait(process)
    with redis.Redis.from_url(server.url) as client:
        client.set("k", "v")
    process.kill()
    process.wait()
    until(server.ready, supervisor)
    with redis.Redis.from_url(server.url) as client:
        assert client.get("k") == b"v"


def test_they_end_stage_by_stage_and_the_deaf_are_killed(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    code = f"""
import signal, sys, time

def end(*_):
    open({str(ends)!r}, 'a').write(sys.argv[1])
    sys.exit()

signal.signal(signal.SIGTERM, end)
print('up', flush=True)
time.sleep(60)
"""
    with Supervisor(patience=HASTY) as supervisor:
        processes = []
        for name, stage in (("c", 2), ("a", 0), ("b", 1)):
            argv = [sys.executable, "-c", code, name]
            processes.append(supervisor.start(Child(name, stage, listening(argv))))
        processes.append(supervisor.start(Child("deaf", 1, listening([sys.executable, "-c", DEAF]))))
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
        began = time.monotonic()
    assert ends.read_text() == "abc"
    assert [process.poll() for process in processes] == [0, 0, 0, -signal.SIGKILL]
    assert time.monotonic() - began >= HASTY.stop_s
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()


def listening(argv: list[str]) -> Callable[[], subprocess.Popen[bytes]]:
    return lambda: subprocess.Popen(argv, stdout=subprocess.PIPE)


SCRIPT = """
import sys
from flows.runtime.supervisor import Child, Supervisor, command

with Supervisor(reload=lambda: print("again", flush=True)) as supervisor:
    spawn = command([sys.executable, "-c", sys.argv[1]])
    pids = [supervisor.start(Child(name, 0, spawn)).pid for name in ("one", "two")]
    print("pids", *pids, flush=True)
    supervisor.watch()
"""


@pytest.fixture
def running() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A supervisor of two processes in a process of its own, and their ids."""
    argv = [sys.executable, "-c", SCRIPT, "import time; time.sleep(60)"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            while not line.startswith("pids "):  # log lines go before it
                line = process.stdout.readline()
            yield process, [int(pid) for pid in line.split()[1:]]
        finally:
            process.kill()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_it_within_five_seconds(
    running: tuple[subprocess.Popen[str], list[int]], number: signal.Signals
) -> None:
    process, pids = running
    process.send_signal(number)
    assert process.wait(5) == 0
    assert [gone(pid) for pid in pids] == [True, True]


def test_a_hangup_reloads(running: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, pids = running
    process.send_signal(signal.SIGHUP)
    assert process.stdout is not None
    assert any(line == "again\n" for line in process.stdout)
    assert [gone(pid) for pid in pids] == [False, False]


def test_a_refused_reload_stops_nothing() -> None:
    def refuse() -> None:
        raise ConfigError("line 3: no such key")

    with Supervisor(reload=refuse, patience=HASTY) as supervisor:
        process = supervisor.start(Child("sleeper", 0, python(LIVES)))
        os.kill(os.getpid(), signal.SIGHUP)
        supervisor.look()
        assert process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux'")
def test_the_children_die_with_a_killed_supervisor(running: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, pids = running
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while not all(gone(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [gone(pid) for pid in pids] == [True, True]


def test_the_signals_of_the_caller_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Supervisor():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before


def test_what_waits_for_a_server_is_never_given_up(supervisor: Supervisor) -> None:
    pids: list[int] = []
    supervisor.start(Child("waits", 0, noting(pids, python(f"raise SystemExit({TRY_AGAIN})"))))
    with capture_logs() as said:
        until(lambda: len(pids) == 9, supervisor)
    delays = [line["restart_in_s"] for line in said if line["event"] == "worker_died"]
    assert max(delays) <= HASTY.away_s_max
    assert delays == sorted(delays)
