"""`millrace check FILE`: every error at once, each with its line; or, when all is well, what is active."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.services.configuration_check import examine, said
from schemas.errors import ConfigError


def check(path: Path) -> int:
    """Print the outcome for the file at `path`; 0 if it may be used, else 1."""
    try:
        found = examine(path)
    except ConfigError as error:
        print(error)
        return 1
    for problem in (*found.errors, *found.warnings):
        print(said(path, problem))
    if found.errors:
        print(f"{len(found.errors)} {'error' if len(found.errors) == 1 else 'errors'}")
        return 1
    _show(path, found.active)
    return 0


def _show(path: Path, active: list[tuple[str, list[str]]]) -> None:
    table = Table(
        title=f"{path}: ready",
        title_justify="left",
        title_style="bold",
        show_header=False,
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, values in active:
        for index, value in enumerate(values or ["none"]):
            table.add_row(name if index == 0 else "", Text(value))  # Text: brackets in names are no markup
    console = Console()
    console.print(table)
