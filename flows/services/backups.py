"""`millrace backup`: full copies while the flows run. `state.history.key_snapshot` says how one is
consistent, `state.history.backup_folders` how it lies there."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from flows.cli.progress import Progress
from flows.cli.tables import folded
from flows.runtime.deployment import Deployment
from schemas import metrics
from schemas.config import Config
from schemas.errors import Foreign, Unreachable
from state.history.backup_folders import Manifest
from state.history.key_snapshot import Copied, Copying
from state.redis.client import reported

log = structlog.get_logger()

PIPED_WIDTH = 160


def _now_ms() -> int:
    return int(time.time() * 1000)


def make(
    config: Config, clock_ms: Callable[[], int] = _now_ms, step: Callable[[], None] = lambda: None
) -> Manifest:
    """Copy everything; `step` is called with each key. Raises `Unreachable`, `Foreign`; then there is no
    backup."""
    deployment = Deployment(config)
    client, names = deployment.client, deployment.names
    with reported():
        if not client.exists(names.meta):
            raise Foreign(f"there is nothing under the prefix {config.redis.prefix!r} that could be copied")
        deployment.check_data()  # it is ours
        archive = deployment.archive.newest()
        keys = deployment.key_copy()
        writer = deployment.backups.begin(clock_ms(), deployment.journal.head())
        try:

            def add(copied: Copied) -> None:
                writer.add(copied)
                step()

            cut = Copying(client, names, writer.name, add).run(config.shards.count)
            keys.sync(client, names)  # behind the copy: it has the key of everything that is in there
            manifest = writer.finish(cut, archive, clock_ms())
        except BaseException as error:
            writer.abandon()
            if isinstance(error, OSError):
                raise Unreachable(
                    f"{config.backup.folder} cannot be written: {error.strerror or error}"
                ) from error
            raise
        finally:
            keys.close()
    log.info(
        "backup_made",
        backup=manifest.name,
        bytes=manifest.bytes,
        ms=manifest.ended_ms - manifest.begun_ms,
        journal=manifest.journal,
    )
    metrics.BACKUP_ENDED.set(manifest.ended_ms / 1000)
    return manifest


def create_and_prune(config: Config, clock_ms: Callable[[], int] = _now_ms) -> None:
    """What happens daily."""
    make(config, clock_ms)
    _prune(config)


def create(config: Config) -> int:
    with Progress("copying: keys") as step:
        manifest = make(config, step=step)
    seconds = (manifest.ended_ms - manifest.begun_ms) / 1000
    print(
        f"{manifest.name}: {manifest.bytes:,} bytes in {seconds:.1f} s, as of {moment_text(manifest.tick_s * 1000)}"
    )
    return 0


def listing(config: Config) -> int:
    """Print all; 1 if a manifest cannot be trusted."""
    backups = Deployment(config).backups
    table = folded(
        Table("backup", "as of", "bytes", "journal", "customers' logs up to", box=None, pad_edge=False)
    )
    bad = 0
    for name in backups.names():
        try:
            manifest = backups.manifest(name)
        except Foreign as error:
            print(f"millrace: {error}")
            bad += 1
            continue
        upto = max(manifest.offsets.values(), default=0)
        table.add_row(
            name,
            moment_text(manifest.tick_s * 1000),
            f"{manifest.bytes:,}",
            f"{manifest.journal:,}",
            f"{upto:,}",
        )
    if table.row_count:
        console = Console()
        if not console.is_terminal:
            console.width = PIPED_WIDTH
        console.print(table)
    elif not bad:
        print(f"no backup in {config.backup.folder}")
    return 1 if bad else 0


def verify(config: Config, name: str | None) -> int:
    """Read one backup (or all of them) to the last byte, and the archive behind each. Raises `Foreign`."""
    deployment = Deployment(config)
    backups, archive = deployment.backups, deployment.archive
    for each in [name] if name else backups.names():
        manifest = backups.manifest(each)
        records = backups.verify(manifest)
        print(f"{each}: {len(manifest.chunks)} chunks, {records:,} records, whole")
    oldest = min(
        (backups.manifest(each).journal for each in ([name] if name else backups.names())), default=0
    )
    last = oldest
    with Progress("reading: entries of the archive") as step:
        for found in archive.entries(oldest):
            step()
            last = found.entry.seq
            if found.entry.bare:
                raise Foreign(
                    f"{found.place}: entry {last} was written without its content: restore needs a backup made after it"
                )
    if archive.newest():
        print(f"{Path(config.archive.folder)}: entries {oldest + 1:,} to {last:,}, whole")
    return 0


def prune(config: Config) -> int:
    for name in _prune(config):
        print(f"removed {name}")
    return 0


def _prune(config: Config) -> list[str]:
    deployment = Deployment(config)
    backups = deployment.backups
    gone = backups.prune(config.backup.keep)
    if config.archive.keep is not None and (left := backups.names()):
        needed = min(backups.manifest(name).journal for name in left)
        gone += [
            path.name
            for path in deployment.archive.prune(needed + 1, time.time() - config.archive.keep / 1000)
        ]
    return gone


def moment_text(time_ms: int) -> str:
    """As `2026-01-31 12:00:00Z`."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
