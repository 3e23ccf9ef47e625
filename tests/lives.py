"""What a deployment (`tests/site.py`) lives through, and what is restored of it."""

import subprocess
import sys

from flows.archive import Archiver
from flows.runtime.deployment import Deployment
from flows.services import backups, restore
from state.digest_entries import Digest
from tests.site import Site


def lived(
    site: Site, archiver: Archiver | None, seconds: int, backups_at: tuple[int, ...] = ()
) -> dict[int, Digest]:
    """What it was at the end of each second, when all shards had applied what they had."""
    found = {}
    for second in range(seconds):
        for _ in range(site.random.randint(1, 8)):
            site.step()
        if archiver:
            archiver.round(block_ms=0)
        if second in backups_at:  # with the shards somewhere on their way
            backups.make(Deployment(site.config))
        site.apply()
        found[site.now_s] = site.digest()
        site.tick()
    site.apply()
    found[site.now_s] = site.digest()
    if archiver:
        archiver.round(block_ms=0)
    return found


def restored(
    site: Site, prefix: str, upto_s: int | None = None, source: str | None = None, few: int = 1
) -> Site:
    other = Site(site.folder, site.url, prefix, few=few)
    upto_ms = None if upto_s is None else upto_s * 1000
    deployment = Deployment(other.config)
    manifest, archive = restore.plan(deployment, upto_ms, source)
    restore.restore(deployment, manifest, archive, upto_ms)
    return other


def millrace(site: Site, *argv: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "flows.cli", *argv, "-c", str(site.file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def untouched(other: Site) -> bool:
    return not list(other.client.scan_iter(f"{other.prefix}:*"))
