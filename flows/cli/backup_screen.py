"""`millrace backup`: full copies while the flows run."""

from pathlib import Path

from rich.table import Table

from flows.cli.printing import console, folded, moment_text
from flows.cli.progress_line import Progress
from flows.runtime.deployment import Deployment
from flows.services import backups
from flows.services.backups import Verified
from schemas.config import Config

PIPED_WIDTH = 160


def create(config: Config) -> int:
    """Make one. Raises `Unreachable`, `Foreign`; then there is none."""
    with Progress("copying: keys") as step:
        made = backups.make(Deployment(config), step=step)
    seconds = (made.ended_ms - made.begun_ms) / 1000
    print(f"{made.name}: {made.bytes:,} bytes in {seconds:.1f} s, as of {moment_text(made.tick_s * 1000)}")
    return 0


def listing(config: Config) -> int:
    """Print all; 1 if a manifest cannot be trusted."""
    found = backups.listed(Deployment(config))
    for wrong in found.broken:
        print(f"millrace: {wrong}")
    columns = ("backup", "as of", "bytes", "journal", "customers' logs up to")
    table = folded(Table(*columns, box=None, pad_edge=False))
    for manifest in found.manifests:
        upto = max(manifest.offsets.values(), default=0)
        table.add_row(
            manifest.name,
            moment_text(manifest.tick_s * 1000),
            f"{manifest.bytes:,}",
            f"{manifest.journal:,}",
            f"{upto:,}",
        )
    if table.row_count:
        console(PIPED_WIDTH).print(table)
    elif not found.broken:
        print(f"no backup in {config.backup.folder}")
    return 1 if found.broken else 0


def verify(config: Config, name: str | None) -> int:
    """Read one backup (or all of them) to the last byte, and the archive behind each. Raises `Foreign`."""
    with Progress("reading: entries of the archive") as step:
        behind = backups.verify(Deployment(config), name, _tell, step)
    if behind is not None:
        print(f"{Path(config.archive.folder)}: entries {behind.first:,} to {behind.last:,}, whole")
    return 0


def _tell(one: Verified) -> None:
    print(f"{one.name}: {one.chunks} chunks, {one.records:,} records, whole")


def prune(config: Config) -> int:
    """Remove what is older than what is to be kept, and print it."""
    for name in backups.prune(Deployment(config)):
        print(f"removed {name}")
    return 0
