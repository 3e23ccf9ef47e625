"""`millrace restore` on a real Redis: what is restored is the system that was lost, bit for bit, wherever it
was cut.

`tests/site.py` drives the parts that the flows run; processes are killed where it is about that.
"""

import time
from copy import copy
from pathlib import Path

import msgspec
import pytest
import redis

from flows.archive import Archiver
from flows.cli import backup_screen, restore_screen
from flows.cli.moments import moment
from flows.runtime.deployment import Deployment
from flows.services import backups, restore
from schemas.errors import Foreign, MillraceError
from schemas.records.customer_profile import Sensitive
from schemas.records.identity_graph import WindowCommit
from schemas.records.journal import WindowContent
from schemas.records.outbox_lanes import Lane
from state import state_digest
from state.history.archive_files import files
from tests.lives import lived, millrace, restored, untouched
from tests.site import START_S, Site


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_restored_to_100_cut_points_it_is_the_system_that_never_stopped(
    tmp_path: Path, redis_url: str, seed: int
) -> None:
    site = Site(tmp_path, redis_url, seed=seed).start()
    at = tuple(sorted(site.random.sample(range(3, 100), 9)))
    was = lived(site, site.archiver(), 105, at)
    stats = site.directory.stats()
    assert min(stats["united"], stats["moved"], stats["attached"], stats["rejected:type_unknown"]) > 10, stats
    assert len(files(Path(site.config.archive.folder))) > 5
    begun = set()
    for cut in site.random.sample(sorted(was), 100):
        other = restored(site, f"cut{cut}", cut)
        assert other.digest() == was[cut], f"seed {seed}, cut at second {cut - START_S}"
        begun.add(restore.plan(Deployment(other.config), cut * 1000, None)[0] is not None)
    assert begun == {True, False}  # from a backup, and from the archive's beginning alone


def test_the_latest_is_restored_without_a_time_and_goes_on_as_if_nothing_had_been(site: Site) -> None:
    archiver = site.archiver()
    with Deployment(site.config).following_keys() as follow_keys:
        archiver._follow_keys = follow_keys
        was = lived(site, archiver, 20, (7,))
    other = restored(site, "again", few=site.few)
    assert other.digest() == was[site.now_s]
    other._message = copy(site._message)
    for each in (site, other):  # both as after a restart
        each.start()
        each.random.seed(5)
        each.now_s = START_S + 20
        lived(each, None, 5)
    assert site.digest(said=True) == other.digest(said=True)
    assert site.digest() != was[START_S + 20]


def test_shards_whose_logs_may_hold_little_are_restored_step_by_step(site: Site) -> None:
    was = lived(site, site.archiver(), 20)
    other = Site(site.folder, site.url, "b")
    config = msgspec.structs.replace(
        other.config, shards=msgspec.structs.replace(other.config.shards, log_max=2)
    )
    deployment = Deployment(config)
    restore.restore(deployment, *restore.plan(deployment, None, None), None)
    assert other.digest() == was[site.now_s]


def test_a_restored_system_goes_on_writing_the_same_archive(site: Site) -> None:
    """And what was after the moment that it was restored to is void from then on."""
    first = site.archiver()
    lived(site, first, 20, (5, 15))
    first.close()
    middle = site.now_s - 10
    other = restored(site, "b", middle).start()
    other.random.seed(99)
    other.now_s, other._forwarded = middle, other.outbox.cursors(Lane.ABSORBS, "internal")
    archiver = other.archiver()
    was = lived(other, archiver, 10)
    found = files(Path(site.config.archive.folder))
    assert [file.branch for file in found].count(True) == 1
    assert restored(other, "c").digest() == was[other.now_s]
    manifest, _ = restore.plan(Deployment(Site(site.folder, site.url, "d").config), None, None)
    assert manifest is not None
    assert manifest.tick_s <= middle  # the later backup is of what is void now
    void = Deployment(site.config).backups.names()[-1]
    with pytest.raises(Foreign, match="history took another way"):
        restore.plan(Deployment(other.config), None, void)


def test_kill_9_in_the_middle_of_a_restore_leaves_nothing_that_looks_whole(
    big: tuple[Site, Archiver],
) -> None:
    site, archiver = big
    backups.make(Deployment(site.config))
    was = lived(site, archiver, 3)
    other = Site(site.folder, site.url, "b")
    names = Deployment(other.config).names
    for wait in (0.0, 0.15):
        process = millrace(other, "restore")
        deadline = time.monotonic() + 60
        while site.client.hget(names.meta, "name") is None:
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(wait)
        process.kill()
        process.wait()
        with pytest.raises(Foreign, match="unfinished restore"):
            Deployment(other.config).prepare()
    finished = millrace(other, "restore")
    said = finished.communicate(timeout=60)[0].decode()
    assert finished.returncode == 0, said
    assert "restored from" in said
    assert other.digest() == was[site.now_s]
    again = millrace(other, "restore")
    said = again.communicate(timeout=60)[0].decode()
    assert (again.returncode, "the target is not empty" in said) == (1, True), said


def test_what_is_damaged_is_named_before_anything_is_written(site: Site) -> None:
    archiver = site.archiver()
    lived(site, archiver, 30, (2, 4))
    archiver.close()
    folder, other = Path(site.config.backup.folder), Site(site.folder, site.url, "b")
    newest = Deployment(site.config).backups.names()[-1]
    chunk = folder / newest / "00000.chunk"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(Foreign, match=r"00000\.chunk \(chunk 1 of 1, at byte 0 of the backup\)"):
        restored(site, "b")
    assert untouched(other)
    chunk.write_bytes(whole)
    found = files(Path(site.config.archive.folder))
    assert len(found) > 2
    gone = found[-2].path.read_bytes()
    found[-2].path.unlink()
    with pytest.raises(Foreign, match="there is a gap before it"):
        restored(site, "b")
    assert untouched(other)
    found[-2].path.write_bytes(gone)
    restored(site, "b")


def test_nothing_to_restore_from_and_other_keys_are_clear(site: Site, tmp_path: Path) -> None:
    with pytest.raises(Foreign, match="nothing to restore from: no backup in"):
        restored(site, "b")
    backups.make(Deployment(site.config))
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    theirs = Site(stranger, site.url, "b")
    Deployment(theirs.config).prepare()
    site.client.flushall()
    config = msgspec.structs.replace(
        theirs.config, backup=msgspec.structs.replace(theirs.config.backup, folder=site.config.backup.folder)
    )
    with pytest.raises(Foreign, match=r"manifest\.json: a backup of 'millrace' with key file"):
        restore.plan(Deployment(config), None, None)
    assert untouched(theirs)


def test_a_lost_redis_that_was_started_empty_does_not_spoil_the_archive(site: Site) -> None:
    archiver = site.archiver()
    was = lived(site, archiver, 5, (2,))
    archiver.close()
    upto = site.now_s
    site.client.flushall()
    site.start()
    with pytest.raises(Foreign, match="has never written one: if its data was lost run `millrace restore`"):
        site.archiver()
    with pytest.raises(Foreign, match="the target is not empty"):
        restored(site, "mr")
    site.client.flushall()
    assert restored(site, "mr").digest() == was[upto]


def test_a_worker_that_ran_without_the_archive_leaves_a_gap_that_is_refused(site: Site) -> None:
    archiver = site.archiver()
    site.window()
    archiver.round(block_ms=0)
    archived = site.resolver._content
    site.resolver._content = None
    site.window()
    site.resolver._content = archived
    archiver.round(block_ms=0)
    with pytest.raises(Foreign, match="without its content: a backup made after it is needed"):
        restored(site, "b")
    site.apply()
    backups.make(Deployment(site.config))
    was = lived(site, archiver, 3)
    assert restored(site, "b").digest() == was[site.now_s]


def data_keys(site: Site) -> int:
    buckets = set(
        site.client.scan_iter(Deployment(site.config).names.data_keys + b"*")
    )  # SCAN may give one twice
    return sum(site.client.hlen(key) for key in buckets)


def test_an_erased_customer_stays_erased_after_a_restore(site: Site) -> None:
    """The backup and the archive are older than the erasure: without the key they tell nothing."""
    archiver = site.archiver()
    with Deployment(site.config).following_keys() as follow_keys:
        archiver._follow_keys = follow_keys
        lived(site, archiver, 20, (10,))
        names = Deployment(site.config).names
        bucket, origin = next(
            (key, origin)
            for key in sorted(site.client.scan_iter(names.data_keys + b"*"))
            for origin in sorted(site.client.hkeys(key))
        )
        kept = data_keys(site) - 1
        site.client.hdel(bucket, origin)
        archiver.round(block_ms=0)
    archiver.close()
    other = restored(site, "b")
    assert data_keys(other) == kept
    said = state_digest.as_said(Deployment(other.config).data_keys)
    found: dict[bytes, set[bool]] = {}
    for key in site.client.scan_iter(b"b:{s0?}:xs:*"):
        for packed in site.client.hvals(key):  # type: ignore[union-attr]  # not asynchronous
            for owner, fields in msgspec.msgpack.decode(packed, type=Sensitive).origins.items():
                for name, sealed in fields.items():
                    found.setdefault(owner, set()).add(
                        said([(owner, name, sealed.value)])[0].startswith(b"plain:")
                    )
    assert found.pop(origin) == {False}
    assert set.union(*found.values()) == {True}


def test_the_commands_say_what_they_did(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    archiver = site.archiver()
    assert backup_screen.listing(site.config) == 0
    assert "no backup in" in capsys.readouterr().out
    lived(site, archiver, 3)
    assert backup_screen.create(site.config) == 0
    name = Deployment(site.config).backups.names()[0]
    assert backup_screen.listing(site.config) == 0
    assert backup_screen.verify(site.config, None) == 0
    assert backup_screen.prune(site.config) == 0
    out = capsys.readouterr().out
    assert f"{name}: 1 chunks, " in out
    assert "as of 2026-01-01 00:00:03Z" in out
    other = Site(site.folder, site.url, "b")
    assert restore_screen.run(other.config, "2026-01-01T00:00:02Z", None) == 0
    assert "restored from the beginning of the archive" in capsys.readouterr().out
    with pytest.raises(MillraceError, match="expected a time such as"):
        restore_screen.run(other.config, "yesterday", None)
    with pytest.raises(Foreign, match="stands for a later time than --to"):
        restore_screen.run(other.config, "2026-01-01T00:00:00Z", name)


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00Z", "2026-01-01 00:00", "2026-01-01T01:00:00+01:00", "2026-01-01"]
)
def test_a_time_is_read_as_utc_unless_it_says_otherwise(text: str) -> None:
    assert moment(text) == START_S * 1_000


def test_positions_of_a_restored_raw_log_go_on_above_the_old_ones(site: Site) -> None:
    archiver = site.archiver()
    far = (int(time.time() * 1000) + 86_400_000) << 20  # as if the clock had been a day ahead
    commit = WindowCommit("events/3", -1, far, [], [], {})
    content = msgspec.msgpack.encode(WindowContent([1, 3, 5, 20, 100], commit, [], [], []))
    site.directory.commit(commit, Deployment(site.config).log_seal.seal(content))
    archiver.round(block_ms=0)
    other = restored(site, "b")
    client = redis.Redis.from_url(site.url)
    assert client.xlen("b:raw:03") == 0
    entry = client.xadd("b:raw:03", {"b": b"x"})
    ms, _, seq = entry.partition(b"-")
    assert int(ms) << 20 | int(seq) > far
    assert Deployment(other.config).directory.offsets()["events/3"] == far
