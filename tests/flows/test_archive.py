"""The process `archive` on a real Redis: whoever dies, falls behind or finds no room, what was safe can be
restored."""

import resource
import signal
import time
from pathlib import Path

import msgspec
import pytest

from flows.runtime.deployment import Deployment
from schemas.errors import Fenced, LogFull
from schemas.records.identity_graph import WindowCommit
from state.history.archive_files import files
from tests.lives import lived, millrace, restored
from tests.site import Site


def test_a_redis_that_came_back_older_is_archived_as_it_is_now(site: Site) -> None:
    archiver = site.archiver()
    lived(site, archiver, 5, (2,))
    older = {key: site.client.dump(key) for key in site.client.scan_iter(b"mr:*")}
    lived(site, archiver, 5, (2,))
    archiver.close()
    for key in site.client.scan_iter(b"mr:*"):
        site.client.delete(key)
    for key, dumped in older.items():
        site.client.restore(key, 0, dumped)
    site.start()
    site.random.seed(77)
    site.now_s -= 5
    again = site.archiver()
    was = lived(site, again, 6)
    assert restored(site, "b").digest() == was[site.now_s]


def test_an_archiver_killed_before_it_said_so_writes_nothing_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = site.archiver()
    for _ in range(4):
        site.window()
    monkeypatch.setattr(killed._journal, "advance", lambda _upto: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        killed.round(block_ms=0)
    killed._writer.abandon()
    was = lived(site, site.archiver(), 3)
    seqs = [found.entry.seq for found in Deployment(site.config).archive.entries(0)]
    assert seqs == [*range(1, Deployment(site.config).journal.head() + 1)]
    assert restored(site, "b").digest() == was[site.now_s]


def test_a_full_journal_makes_resolve_wait_and_loses_nothing(tmp_path: Path, redis_url: str) -> None:
    site = Site(tmp_path, redis_url).start()
    settings = msgspec.structs.replace(
        site.config, archive=msgspec.structs.replace(site.config.archive, journal_max=5)
    )
    site.directory = Deployment(settings).directory
    archiver = site.archiver()
    empty = WindowCommit("events/9", -1, 0, [], [], {})
    sealed = Deployment(settings).log_seal.seal(b"content")
    for n in range(4):  # the first entry are the rules
        site.directory.commit(msgspec.structs.replace(empty, before=n - 1, after=n), sealed)
    with pytest.raises(LogFull, match="the journal is full"):
        site.directory.commit(msgspec.structs.replace(empty, before=3, after=4), sealed)
    assert site.directory.offsets() == {"events/9": 3}
    archiver.round(block_ms=0)
    site.directory.commit(msgspec.structs.replace(empty, before=3, after=4), sealed)


def test_a_full_disk_stops_nothing_until_the_journal_is_full_and_loses_nothing(site: Site) -> None:
    """A limit on the size of files stands for the disk: the same error at the same place."""
    archiver = site.archiver()
    lived(site, archiver, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        for _ in range(3):
            site.window(60)
            with pytest.raises(OSError, match="too large"):
                archiver.round(block_ms=0)
            archiver.begin_again()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    was = lived(site, archiver, 3)
    assert restored(site, "b").digest() == was[site.now_s]


def test_sigterm_ends_the_archive_process_with_everything_safe(site: Site) -> None:
    process = millrace(site, "run", "archive", "--worker", "0/1")
    journal = Deployment(site.config).journal
    deadline = time.monotonic() + 60
    was = lived(site, None, 4)
    while journal.archived() != journal.head():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(Fenced, match="another process writes this archive"):
        site.archiver()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert all(file.closed for file in files(Path(site.config.archive.folder)))
    assert restored(site, "b").digest() == was[site.now_s]
