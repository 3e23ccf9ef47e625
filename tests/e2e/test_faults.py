"""Faults of the world around a running deployment: a server that is away or full, a wrong reload, a stop, a
full disk."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from schemas.errors import TRY_AGAIN
from state.redis.embedded import Embedded
from tests.running import COMMAND, Running, environment, running

pytestmark = pytest.mark.slow

CONFIG = """
[redis]
url = "{url}"
[shards]
count = 4
[window]
wait = "20ms"
[archive]
enabled = true
[[segment]]
name = "all"
when = "True"
[[trigger]]
name = "each"
on = {{event = "Viewed"}}
to = ["file"]
[[connector]]
name = "file"
type = "file"
path = "triggers.jsonl"
"""


def event(user: str, message: str) -> dict[str, str]:
    return {"type": "track", "event": "Viewed", "userId": user, "messageId": message}


def delivered(folder: Path) -> int:
    """How many triggers have arrived: again under the same id, after a kill, is not another one."""
    file = folder / "data" / "triggers.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return len({json.loads(line)["id"] for line in lines if line.endswith("\n")})


def workers(millrace: Running) -> dict[int, str]:
    """Process ids of the flows; the archive starts again when it has no room."""
    children = [(child.pid, child.cmdline()) for child in psutil.Process(millrace.process.pid).children()]
    return {
        pid: line[line.index("run") + 1]
        for pid, line in children
        if "--worker" in line and "archive" not in line
    }


# --- Redis ----------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A Redis that is not ours to start; keeps its data from start to start."""
    made = Embedded(tmp_path_factory.mktemp("r"), fsync="everysec")
    yield made
    with suppress(redis.ConnectionError):
        redis.Redis.from_url(made.url).shutdown(nosave=True)


def start(server: Embedded) -> "subprocess.Popen[bytes]":
    process = server.spawn()
    server.wait(process)
    return process


def test_a_redis_that_is_away_is_waited_for(server: Embedded, tmp_path: Path) -> None:
    away_s = float(
        os.environ.get("MILLRACE_AWAY_S", "12")
    )  # the supervisor gives up on what dies five times within seconds
    process = start(server)
    with running(tmp_path, CONFIG.format(url=server.url)) as millrace:
        assert millrace.post("/v1/track", event("ana", "m1")).status_code == 200
        millrace.eventually(lambda: delivered(tmp_path) == 1)
        process.kill()
        process.wait()
        deadline = time.monotonic() + away_s
        while time.monotonic() < deadline:
            assert millrace.process.poll() is None, millrace.log.read_text()[-3_000:]
            time.sleep(0.5)
        assert millrace.post("/v1/track", event("ana", "m2"), timeout_s=20).status_code == 503
        process = start(server)
        came_back = time.monotonic()
        millrace.eventually(lambda: _posted(millrace, event("ana", "m3")))
        millrace.eventually(lambda: delivered(tmp_path) == 2)
        print(f"processing again {time.monotonic() - came_back:.1f} s after the server")
        said = [line for line in millrace.log.read_text().splitlines() if line.startswith("millrace ")]
        assert said, "the fault was not noticed: the test shows nothing"
        assert all("Redis cannot be reached" in line or "redis does not answer" in line for line in said), (
            said
        )
        assert "Traceback" not in millrace.log.read_text()
    process.wait(10) if process.poll() is None and not server.ready() else None


def _posted(millrace: Running, body: dict[str, str]) -> bool:
    return millrace.post("/v1/track", body, timeout_s=10).status_code == 200


def test_a_redis_without_memory_is_back_pressure(server: Embedded, tmp_path: Path) -> None:
    start(server)
    client = redis.Redis.from_url(server.url)
    with running(tmp_path, CONFIG.format(url=server.url)) as millrace:
        assert _posted(millrace, event("ana", "m1"))
        millrace.eventually(lambda: delivered(tmp_path) == 1)
        millrace.eventually(lambda: "model_taken" in millrace.log.read_text())  # the last that is up
        before = workers(millrace)
        client.config_set("maxmemory", 1)
        answer = millrace.post("/v1/track", event("ana", "m2"))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        time.sleep(4)
        client.config_set("maxmemory", 0)
        assert _posted(millrace, event("ana", "m2"))
        millrace.eventually(lambda: delivered(tmp_path) == 2)
        assert workers(millrace) == before, millrace.log.read_text()[-3_000:]


def test_a_memory_that_ends_in_mid_flow_loses_and_doubles_nothing(server: Embedded, tmp_path: Path) -> None:
    start(server)
    client = redis.Redis.from_url(server.url)
    with running(tmp_path, CONFIG.format(url=server.url)) as millrace:
        millrace.eventually(lambda: "model_taken" in millrace.log.read_text())
        before, taken = workers(millrace), 0
        for n in range(120):
            if n % 40 == 20:
                client.config_set("maxmemory", 1)
            if n % 40 == 30:
                time.sleep(1.5)
                client.config_set("maxmemory", 0)
            taken += _posted(millrace, event(f"u{n % 7}", f"m{n}"))
        assert 80 < taken < 120
        millrace.eventually(lambda: delivered(tmp_path) == taken)
        assert workers(millrace) == before, millrace.log.read_text()[-3_000:]


def test_a_gateway_that_outlived_its_redis_ends_with_the_next_look_into_it(
    server: Embedded, tmp_path: Path
) -> None:
    """It was idle while the server was away, so no command of it failed."""
    process = start(server)
    millrace = Running(tmp_path, CONFIG.format(url=server.url))
    millrace.spawn("gateway", "--worker", "0/1")
    try:
        millrace.eventually(millrace.ready)
        assert millrace.profile("ana") == {}
        process.kill()
        process.wait()
        process = start(server)
        assert _posted(millrace, event("ana", "m1"))  # the raw log is not what it remembers anything of
        answer = httpx.get(f"{millrace.url}/v1/profiles/user_id:ana", auth=("demo-read", ""), timeout=30)
        assert answer.status_code == 503
        assert millrace.process.wait(10) == TRY_AGAIN
        (line,) = (line for line in millrace.log.read_text().splitlines() if not line.startswith("{"))
        assert line.startswith("millrace gateway 0/1: Redis was started again")
    finally:
        millrace.kill()


# --- configuration --------------------------------------------------------------------------------


def test_a_reload_with_errors_prints_each_and_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path, CONFIG.format(url="embedded")) as millrace:
        good = millrace.file.read_text()
        before = workers(millrace)
        wrong = ("pth", "nonsense", "shards.count")
        millrace.file.write_text(
            good.replace("path =", "pth =").replace("count = 4", "count = 0") + "\n[nonsense]\n"
        )
        millrace.process.send_signal(signal.SIGHUP)
        millrace.eventually(lambda: "reload_refused" in millrace.log.read_text())
        line = next(line for line in millrace.log.read_text().splitlines() if "reload_refused" in line)
        assert all(words in line for words in wrong)
        done = millrace.tried("reload")
        assert done.returncode == 1
        assert all(words in done.stderr for words in wrong), done.stderr
        assert _posted(millrace, event("ana", "m1"))
        millrace.eventually(lambda: delivered(tmp_path) == 1)
        millrace.file.write_text(good.replace('name = "all"', 'name = "everybody"'))
        millrace.process.send_signal(signal.SIGHUP)
        millrace.eventually(lambda: '"reloaded"' in millrace.log.read_text())
        assert _posted(millrace, event("ana", "m2"))
        millrace.eventually(lambda: millrace.profile("ana").get("segment") == "everybody")
        assert workers(millrace) == before


def test_a_file_that_takes_the_rules_away_changes_nothing_until_somebody_says_yes(tmp_path: Path) -> None:
    """Not by SIGHUP, and not by a start; and what the archive has of the change can be restored."""
    with running(tmp_path, CONFIG.format(url="embedded")) as millrace:
        whole = millrace.file.read_text()
        poor = whole.replace('name = "each"', 'name = "other"').replace("enabled = true", "enabled = false")
        log, triggers = millrace.log.read_text, (tmp_path / "data" / "triggers.jsonl").read_text
        for text, says in (("", "the file is empty"), (poor, "the only trigger goes: `each`")):
            millrace.file.write_text(text)
            seen = log().count("reload_refused")
            millrace.process.send_signal(signal.SIGHUP)
            millrace.eventually(lambda seen=seen: log().count("reload_refused") > seen)  # type: ignore[misc]
            assert says in next(line for line in reversed(log().splitlines()) if "reload_refused" in line)
        assert _posted(millrace, event("ana", "m1"))
        millrace.eventually(lambda: delivered(tmp_path) == 1)
        millrace.file.write_text(poor.replace("enabled = false", "enabled = true"))
        millrace.stop()
        millrace.start()
        assert "the only trigger goes: `each`" in next(
            line for line in log().splitlines() if "rules_not_announced" in line
        )
        assert _posted(millrace, event("ana", "m2"))
        millrace.eventually(lambda: delivered(tmp_path) == 2)
        millrace.file.write_text(poor)  # and no word of the archive
        assert "version 2" in millrace.command("reload", "--yes")
        assert _posted(millrace, event("ana", "m3"))
        millrace.eventually(lambda: delivered(tmp_path) == 3)
        millrace.file.write_text(poor.replace("enabled = false", "enabled = true"))
        millrace.stop()
        (tmp_path / "data" / "redis").rename(tmp_path / "lost")
        assert "restored from the beginning of the archive" in millrace.command("restore")
        millrace.start()
        assert _posted(millrace, event("ana", "m4"))
        millrace.eventually(lambda: '"m4"' in triggers() and '"m4"' in triggers().splitlines()[-1])
        assert '"rule":"other"' in triggers().splitlines()[-1]


# --- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", ["gateway", "resolve", "profile", "deliver", "learn", "archive"])
def test_each_flow_stops_in_order_within_five_seconds(redis_url: str, tmp_path: Path, flow: str) -> None:
    """After it has begun to work; what it was doing is done."""
    millrace = Running(tmp_path, CONFIG.format(url=redis_url))
    millrace.spawn(flow, "--worker", "0/1")
    try:
        millrace.eventually(lambda: '"event":' in millrace.log.read_text())
        time.sleep(1.5)
        millrace.process.terminate()
        stopped = time.monotonic()
        assert millrace.process.wait(5) == 0, millrace.log.read_text()
        print(f"{flow} stopped after {time.monotonic() - stopped:.2f} s")
        assert "Traceback" not in millrace.log.read_text(), millrace.log.read_text()
    finally:
        millrace.kill()


# --- disk -----------------------------------------------------------------------------------------

UNSHARE = shutil.which("unshare")


def _tiny(
    folder: Path, command: str, kilobytes: int, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run it where `folder` is a file system of so many kilobytes, which only it sees."""
    mount = f"mount -t tmpfs -o size={kilobytes}k tmpfs {folder}"
    argv = [str(UNSHARE), "-rm", "sh", "-c", f"{mount} && {command}"]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout_s, env=environment(), check=False
    )


def _can_mount(folder: Path) -> bool:
    return UNSHARE is not None and _tiny(folder, "true", 64).returncode == 0


@pytest.mark.parametrize("what", ["all", "profile"])
def test_a_full_data_folder_at_the_start_is_one_line(redis_url: str, tmp_path: Path, what: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if not _can_mount(data):
        pytest.skip("no file system of our own can be mounted here")
    file = tmp_path / "millrace.toml"
    file.write_text(CONFIG.format(url=redis_url))
    worker = "" if what == "all" else " --worker 0/1"
    fill = f"head -c 100k /dev/zero > {data}/full 2>/dev/null"
    done = _tiny(data, f"{{ {fill}; {' '.join(COMMAND)} run {what}{worker} -c {file}; }}", 64)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == (TRY_AGAIN if worker else 1), done.stderr
    assert len(lines) == 1, done.stderr
    assert re.fullmatch(
        r"millrace( profile 0/1)?: the disk of \S+ is full: 0 MB are free, we start with 32 MB; make room",
        lines[0],
    )


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_disk_that_fills_up_while_running_ends_nothing_for_good(tmp_path: Path, fsync: str) -> None:
    """Everything on it: Redis with its file, figures, archive, triggers."""
    data = tmp_path / "data"
    data.mkdir()
    if not _can_mount(data):
        pytest.skip("no file system of our own can be mounted here")
    config = CONFIG.format(url="embedded").replace("[redis]", '[redis]\nfsync = "{fsync}"')
    script = tmp_path / "inside.py"
    (tmp_path / "wanted.toml").write_text(config.replace("{fsync}", fsync))
    script.write_text(INSIDE.format(root=str(Path(__file__).parent.parent.parent), folder=str(tmp_path)))
    done = _tiny(data, f"{sys.executable} {script}", 200_000, timeout_s=120)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "SIGBUS" not in said


INSIDE = """
import shutil, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.e2e.test_faults import _posted, delivered, event
from tests.running import running

folder = Path({folder!r})
with running(folder, (folder / "wanted.toml").read_text()) as millrace:
    assert _posted(millrace, event("ana", "m1"))
    millrace.eventually(lambda: delivered(folder) == 1)
    full = folder / "data" / "full"
    with full.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
    taken = 0
    for n in range(2, 8):
        try:
            taken += _posted(millrace, event("ana", f"m{{n}}"))
        except Exception as error:
            print("not taken:", type(error).__name__)
        time.sleep(0.5)
    assert millrace.process.poll() is None
    full.unlink()
    millrace.eventually(lambda: _posted(millrace, event("bob", "last")), 40)
    millrace.eventually(lambda: delivered(folder) >= taken + 2, 40)
    print("taken while full:", taken)
"""
