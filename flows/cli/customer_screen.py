"""`millrace customer ID`: one customer as a person reads it, contact details masked."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.runtime.deployment import Deployment
from flows.services.customers import profile
from schemas.config import Config


def show(config: Config, who: str) -> int:
    """Print the profile of `NAMESPACE:VALUE`, or of a customer's hex id. Raises `Unusable` where there is
    none."""
    Console(highlight=False).print(screen(profile(Deployment(config), who)))
    return 0


def screen(found: Mapping[str, Any]) -> Table:
    """Return what `flows.logic.shard.view` gives as a table that fits 80 columns."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in found.items():
        for index, line in enumerate(_lines(value)):
            table.add_row(
                name.removesuffix("_ms") if index == 0 else "",
                Text(_moment(line) if name.endswith("_ms") else line),
            )
    return table


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}: {_inner(inner)}" for name, inner in value.items()]
    return [_inner(entry) for entry in value] if isinstance(value, (list, tuple)) else [_inner(value)]


def _inner(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = ((name, inner) for name, inner in value.items() if inner not in (None, "", [], {}))
        return ", ".join(
            f"{name.removesuffix('_ms')} {_moment(str(inner)) if name.endswith('_ms') else _inner(inner)}"
            for name, inner in parts
        )
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_inner, value))
    return "-" if value in (None, "") else str(value)


def _moment(ms: str) -> str:
    """An instant as a person reads it; what is none as it stands."""
    return (
        datetime.fromtimestamp(int(ms) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        if ms.isdigit() and int(ms)
        else "never"
    )
