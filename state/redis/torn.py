"""Whether an append-only file stops in the middle of a command, as after a power cut.

Redis, and older Valkey (9.1.2 is right), cut off the torn command when they load such a file, and leave in it
what came before of the same transaction. Once something is written behind that, the next start takes it for a
part of the next transaction, and does what was never committed. A start that writes nothing takes it out: at
the second look the file ends with a whole command, and every server removes a transaction without its end.
"""

import re
from pathlib import Path
from typing import Final

_TAIL: Final = 1 << 20  # bytes that are looked at; a longer command counts as torn, and costs a start
_BEGINS: Final = re.compile(rb"\*[1-9]\d{0,5}\r\n\$\d{1,9}\r\n")
_COUNT: Final = re.compile(rb"\*([1-9]\d{0,5})\r\n")
_LENGTH: Final = re.compile(rb"\$(\d{1,9})\r\n")


def is_torn(folder: Path) -> bool:
    """Return whether the last file of commands in the data folder of a server ends within one. In doubt it
    does."""
    file = _last(folder)
    if file is None or file.stat().st_size == 0:
        return False
    with file.open("rb") as opened:
        opened.seek(-min(_TAIL, file.stat().st_size), 2)
        tail = opened.read()
    return not _ends_whole(tail)


def _last(folder: Path) -> Path | None:
    """Return the file that is written to: since Redis 7 the newest in a folder of its own; before, the only
    one."""
    several = sorted(
        (folder / "appendonlydir").glob("*.incr.aof"), key=lambda file: int(file.name.split(".")[-3])
    )
    single = folder / "appendonly.aof"
    if several:
        return several[-1]
    return single if single.exists() else None


def _ends_whole(tail: bytes) -> bool:
    """Return whether commands, from any place in it where one may begin, follow each other up to the very
    end."""
    tried: set[int] = set()
    for begin in reversed([found.start() for found in _BEGINS.finditer(tail)]):
        at: int | None = begin
        while at is not None and at not in tried:
            if at == len(tail):
                return True
            tried.add(at)
            at = _behind(tail, at)
    return False


def _behind(tail: bytes, at: int) -> int | None:
    """The end of the command that begins here; None where there is none, or not all of it."""
    count = _COUNT.match(tail, at)
    if count is None:
        return None
    at = count.end()
    for _ in range(int(count[1])):
        length = _LENGTH.match(tail, at)
        if length is None:
            return None
        at = length.end() + int(length[1]) + 2
        if tail[at - 2 : at] != b"\r\n":
            return None
    return at
