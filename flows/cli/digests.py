"""`millrace digest`: one hash for each shard, for the directory and for the whole. It reads a deployment that
may be running."""

import msgspec
from rich.console import Console
from rich.table import Table

from flows.cli.tables import folded
from flows.services.backups import moment_text
from schemas.config import Config
from state import state_digest
from state.redis.client import reported
from state.state_digest import Digest

SHOWN = 16  # hex digits of a unit in the table; `--json` has all


def run(config: Config, as_json: bool) -> int:
    """Print it. Raises `Unreachable`, `Foreign`, `Moving`."""
    from flows.runtime.deployment import Deployment

    deployment = Deployment(config)

    client, names = deployment.client, deployment.names
    with reported():
        reading = state_digest.Reading(
            client,
            names,
            deployment.layout,
            deployment.directory,
            state_digest.as_said(deployment.data_keys),
        )
        found = reading.digest()
        journal, tick = client.hmget(names.meta, "journal", "tick")
    moment_ms = (
        int(tick or 0) * 1000 if int(journal or 0) == found.directory.position else None
    )  # else it has moved on meanwhile
    plain = Console(soft_wrap=True, highlight=False)
    if as_json:
        plain.print(
            msgspec.json.encode(msgspec.to_builtins(found) | {"tick_ms": moment_ms}).decode(), markup=False
        )
    else:
        Console(highlight=False).print(_table(found))
        plain.print(f"{config.name} {found.whole}", markup=False)
        plain.print(_moment(found, moment_ms), markup=False)
    return 0


def _moment(found: Digest, tick_ms: int | None) -> str:
    of = f"tick {moment_text(tick_ms)}, " if tick_ms else ""
    return f"as of {of}entry {found.directory.position:,} of the journal: only a digest of the same moment can be equal (docs/simulation.md)"


def _table(found: Digest) -> Table:
    table = folded(Table("unit", "position", "entries", "digest"))
    for name, unit in (
        ("directory", found.directory),
        *((f"shard {number}", unit) for number, unit in enumerate(found.shards)),
    ):
        table.add_row(name, f"{unit.position:,}", f"{unit.entries:,}", unit.digest[:SHOWN])
    return table
