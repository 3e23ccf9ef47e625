"""Full copies while the flows run. `state.history.key_snapshot` says how one is consistent,
`state.history.backup_folders` how it lies there."""

import time
from collections.abc import Callable

import msgspec
import structlog

from flows.runtime.deployment import Deployment
from schemas import metrics
from schemas.errors import Foreign, Unreachable
from state.history.backup_folders import Manifest
from state.history.key_snapshot import Copied, Copying
from state.redis.client import reported

log = structlog.get_logger()


class Listed(msgspec.Struct, frozen=True):
    """All backups, the oldest first."""

    manifests: list[Manifest]
    broken: list[str]  # what is wrong with those that cannot be trusted


class Verified(msgspec.Struct, frozen=True):
    """A backup that is whole."""

    name: str
    chunks: int
    records: int


class Behind(msgspec.Struct, frozen=True):
    """The archive behind a backup, whole: its entries."""

    first: int
    last: int


def _now_ms() -> int:
    return int(time.time() * 1000)


def make(
    deployment: Deployment,
    clock_ms: Callable[[], int] = _now_ms,
    step: Callable[[], None] = lambda: None,
) -> Manifest:
    """Copy everything; `step` is called with each key. Raises `Unreachable`, `Foreign`; then there is no
    backup."""
    config = deployment.config
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


def create_and_prune(deployment: Deployment, clock_ms: Callable[[], int] = _now_ms) -> None:
    """Do what is done daily."""
    make(deployment, clock_ms)
    prune(deployment)


def listed(deployment: Deployment) -> Listed:
    """Return what is in the backup folder."""
    backups, found = deployment.backups, Listed([], [])
    for name in backups.names():
        try:
            found.manifests.append(backups.manifest(name))
        except Foreign as error:
            found.broken.append(str(error))
    return found


def verify(
    deployment: Deployment, name: str | None, told: Callable[[Verified], None], step: Callable[[], None]
) -> Behind | None:
    """Read one backup (or all of them) to the last byte, and the archive behind each. Return what of the
    archive was read, None where there is none. `told` hears of each backup, `step` is called with each entry
    of the archive. Raises `Foreign`."""
    backups, archive = deployment.backups, deployment.archive
    names = [name] if name else backups.names()
    for each in names:
        manifest = backups.manifest(each)
        told(Verified(each, len(manifest.chunks), backups.verify(manifest)))
    oldest = min((backups.manifest(each).journal for each in names), default=0)
    last = oldest
    for found in archive.entries(oldest):
        step()
        last = found.entry.seq
        if found.entry.bare:
            raise Foreign(
                f"{found.place}: entry {last} was written without its content: "
                "restore needs a backup made after it"
            )
    return Behind(oldest + 1, last) if archive.newest() else None


def prune(deployment: Deployment) -> list[str]:
    """Remove backups and archive files that are older than what is to be kept. Return their names."""
    config, backups = deployment.config, deployment.backups
    gone = backups.prune(config.backup.keep)
    if config.archive.keep is not None and (left := backups.names()):
        needed = min(backups.manifest(name).journal for name in left)
        before_s = time.time() - config.archive.keep / 1000
        gone += [path.name for path in deployment.archive.prune(needed + 1, before_s)]
    return gone
