"""`millrace backup` on a real Redis: exact while everything moves, and none at all when it is killed."""

import threading
import time
from pathlib import Path

import pytest

from flows.archive import Archiver
from flows.runtime.deployment import Deployment
from flows.services import backups, restore
from flows.services.restore import Replay
from schemas.errors import Foreign, MillraceError
from state.digest_entries import Digest
from state.history.backup_folders import Manifest
from state.history.key_snapshot import begin_anew
from state.redis.client import connect
from tests.lives import lived, millrace, restored, untouched
from tests.site import Site


def test_a_backup_made_while_everything_moves_is_exact_with_the_archive_and_without(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver = site.archiver()
    over = threading.Event()
    faults: list[BaseException] = []

    def live() -> None:
        try:
            while not over.is_set():
                for _ in range(4):
                    site.step()
                site.tick()
        except BaseException as error:  # noqa: BLE001  # raised in the test's own thread
            faults.append(error)

    thread = threading.Thread(target=live)
    thread.start()
    made: list[Manifest] = []
    try:
        for _ in range(8):
            time.sleep(0.15)
            made.append(backups.make(Deployment(site.config)))
    finally:
        over.set()
        thread.join()
    assert not faults, faults
    while archiver.round(block_ms=0):
        pass
    site.apply()
    was = site.digest()
    assert len({manifest.journal for manifest in made}) > 4
    for number, manifest in enumerate(made):
        assert restored(site, f"with{number}", source=manifest.name).digest() == was
        alone = Site(site.folder, site.url, f"alone{number}")
        reference = Site(site.folder, site.url, f"ref{number}")
        empty = Deployment(site.config).archive
        monkeypatch.setattr(empty, "folder", site.folder / "no archive")
        restore.restore(Deployment(alone.config), manifest, empty, None)
        assert alone.digest() == rebuilt_upto(reference, manifest.journal)


def rebuilt_upto(site: Site, journal: int) -> Digest:
    """From the archive's beginning, up to this entry."""
    client, names, layout = connect(site.url), Deployment(site.config).names, Deployment(site.config).layout
    begin_anew(client, names, layout)
    replay = Replay(Deployment(site.config))
    for found in Deployment(site.config).archive.entries(0):
        if found.entry.seq > journal:
            break
        replay.apply(found)
    replay.drain()
    client.hset(names.meta, "name", layout.name)
    return site.digest()


def test_a_backup_of_nothing_is_refused_and_makes_nothing(tmp_path: Path, redis_url: str) -> None:
    site = Site(tmp_path, redis_url)
    with pytest.raises(Foreign, match="there is nothing under the prefix 'mr'"):
        backups.make(Deployment(site.config))
    assert untouched(site)


def test_kill_9_in_the_middle_of_a_backup_leaves_none_and_holds_nothing_for_long(
    big: tuple[Site, Archiver],
) -> None:
    site, archiver = big
    names, folder = Deployment(site.config).names, Path(site.config.backup.folder)
    process = millrace(site, "backup", "create")
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.part/*.chunk")):
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert Deployment(site.config).backups.names() == []
    assert 0 < site.client.pttl(names.hold) <= 20_000
    with pytest.raises(MillraceError, match="was killed less than"):
        backups.make(Deployment(site.config))
    site.client.delete(names.hold)  # as after 20 s
    backups.make(Deployment(site.config))
    backups.create_and_prune(Deployment(site.config))
    assert not list(folder.glob("*.part"))
    was = lived(site, archiver, 2)
    assert restored(site, "b").digest() == was[site.now_s]
