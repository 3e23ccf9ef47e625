"""`millrace digest`: one hash for each shard, for the directory and for the whole. It reads a deployment that may be running."""

import msgspec
from rich.console import Console
from rich.table import Table

from schemas.config import Config
from state import digest
from state.client import connect, reported
from state.digest import Digest

SHOWN = 16  # hex digits of a unit in the table; `--json` has all


def run(config: Config, as_json: bool) -> int:
    """Print it. Raises `Unreachable`, `Foreign`, `Moving`."""
    from flows import compose

    with reported():
        reading = digest.Reading(
            connect(compose.redis_url(config)),
            compose.names(config),
            compose.layout(config),
            compose.directory(config),
            digest.as_said(compose.data_keys(config)),
        )
        found = reading.digest()
    if as_json:
        Console(soft_wrap=True, highlight=False).print(msgspec.json.encode(found).decode(), markup=False)
    else:
        Console(highlight=False).print(_table(found))
        Console(soft_wrap=True, highlight=False).print(f"{config.name} {found.whole}", markup=False)
    return 0


def _table(found: Digest) -> Table:
    table = Table("unit", "position", "entries", "digest")
    for name, unit in (("directory", found.directory), *((f"shard {number}", unit) for number, unit in enumerate(found.shards))):
        table.add_row(name, f"{unit.position:,}", f"{unit.entries:,}", unit.digest[:SHOWN])
    return table
