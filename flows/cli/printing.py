"""What commands print with: text that cannot steer a terminal, times, and tables that fit whatever terminal
there is."""

from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 200  # so that an entry is one line for `grep`


def printable(text: str, keep: str = "") -> str:
    """Return the text without control characters, which a sender could steer the operator's terminal with.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def moment_text(time_ms: int) -> str:
    """Return a time as `2026-01-31 12:00:00Z`."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"


def moment_or_nothing(time_ms: int) -> str:
    """Return a time as `2026-01-31 12:00:00Z`; nothing for 0, which is none."""
    return moment_text(time_ms) if time_ms else ""


def folded(table: Table) -> Table:
    """Return the same table: what is too long for a column goes on in its next line, and nothing is cut."""
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", False
    return table


def console(piped_width: int | None = None, *, highlight: bool = True) -> Console:
    """Return a console as wide as the terminal, or `piped_width` (by default `PIPED_WIDTH`) where there is
    none."""
    made = Console(highlight=highlight)
    if not made.is_terminal:
        made.width = piped_width or PIPED_WIDTH
    return made


def print_json(found: object) -> None:
    """Print it as JSON in one line."""
    Console(soft_wrap=True, highlight=False).print(msgspec.json.encode(found).decode(), markup=False)
