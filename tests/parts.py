"""The real parts that tests run against where they are installed: which are here, and which tests look for
them."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from state.redis.servers import NAMES, find_server, server_at

PROGRAMS = {"java": "-version"} | dict.fromkeys(("mvn", "node", "npm", "chromium", "faketime"), "--version")
LOOKS = re.compile(r"shutil\.which|_server\(\)|program_of|kafka_broker|chaos|tests\.running|Embedded\(")
FIXTURES = {"redis_server", "vault", "kafka", "node_client"}
_VERSION = re.compile(r"\d+(\.\d+)+")


def header() -> list[str]:
    """Return the lines for the top of the report."""
    ours = find_server()
    from_path = any(shutil.which(name) == str(ours) for name in NAMES)
    found = {name: version for name, option in PROGRAMS.items() if (version := _version(name, option))}
    there = [
        f"{server_at(ours)} from {'PATH' if from_path else 'its wheel'}",
        *(f"{name} {version}" for name, version in found.items()),
    ]
    absent = [
        *(() if from_path else ("a server on PATH",)),
        *(name for name in PROGRAMS if name not in found),
    ]
    return [f"real parts: {', '.join(there)}", f"not here: {', '.join(absent) or 'nothing'}"]


def looks_for_parts(item: pytest.Item) -> bool:
    """Return whether the test, or what it asks for, looks for a program that need not be installed."""
    return not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())) or _looks(item.path)


@cache
def _looks(file: Path) -> bool:
    return LOOKS.search(file.read_text()) is not None


def _version(name: str, option: str) -> str:
    """Empty where it is not installed."""
    if shutil.which(name) is None:
        return ""
    told = subprocess.run([name, option], capture_output=True, text=True, timeout=60, check=False)
    found = _VERSION.search(told.stdout + told.stderr)
    return found[0] if found else "of an unknown version"
