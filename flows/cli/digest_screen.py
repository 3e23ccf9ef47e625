"""`millrace digest`: one hash for each shard, for the directory and for the whole. It reads a deployment that
may be running."""

import msgspec
from rich.console import Console
from rich.table import Table

from flows.cli.printing import folded, moment_text, print_json
from flows.runtime.deployment import Deployment
from flows.services.digests import digest
from schemas.config import Config
from state.digest_entries import Digest

SHOWN = 16  # hex digits of a unit in the table; `--json` has all


def run(config: Config, as_json: bool) -> int:
    """Print it. Raises `Unreachable`, `Foreign`, `Moving`."""
    digested = digest(Deployment(config))
    found, tick_ms = digested.digest, digested.tick_ms
    if as_json:
        print_json(msgspec.to_builtins(found) | {"tick_ms": tick_ms})
        return 0
    Console(highlight=False).print(_table(found))
    plain = Console(soft_wrap=True, highlight=False)
    plain.print(f"{config.name} {found.whole}", markup=False)
    plain.print(_moment(found, tick_ms), markup=False)
    return 0


def _moment(found: Digest, tick_ms: int | None) -> str:
    of = f"tick {moment_text(tick_ms)}, " if tick_ms else ""
    return (
        f"as of {of}entry {found.directory.position:,} of the journal: only a digest of the same moment can "
        "be equal (docs/simulation.md)"
    )


def _table(found: Digest) -> Table:
    table = folded(Table("unit", "position", "entries", "digest"))
    for name, unit in (
        ("directory", found.directory),
        *((f"shard {number}", unit) for number, unit in enumerate(found.shards)),
    ):
        table.add_row(name, f"{unit.position:,}", f"{unit.entries:,}", unit.digest[:SHOWN])
    return table
