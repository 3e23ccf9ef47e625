"""`millrace check FILE --event EVENTS`: what events would do."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.printing import printable
from flows.services.what_if import Outlook, events_of, foresee
from schemas.config import Config


def show(config: Config, path: Path) -> int:
    """Print what each would do, in order. 1 where one would be refused. Raises `Unusable`, `ConfigError`."""
    console, refused = Console(highlight=False), 0
    outlooks = foresee(config, events_of(path), int(time.time() * 1000))
    for number, seen in enumerate(outlooks, 1):
        refused += bool(seen.refused)
        verdict = f"refused: {seen.refused}" if seen.refused else "accepted"
        console.print(Text(printable(f"event {number}: {verdict}"), style="bold"), overflow="fold")
        if seen.lines:
            console.print(_table(seen))
    return 1 if refused else 0


def _table(seen: Outlook) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for what, how in seen.lines:
        table.add_row(f"  {what}", Text(printable(how)))
    return table
