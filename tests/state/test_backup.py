"""Copies of a real Redis while it is written to, the chunks that they lie in, and the copy of the customers'
keys."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import redis

from schemas.errors import Foreign, Unreachable
from schemas.records.customer_profile import Head
from state.directory.layout import Layout
from state.history.backup_folders import Backups, Manifest, usable
from state.history.changed_keys import Changes
from state.history.data_key_copy import KeyCopy
from state.history.key_snapshot import Copied, Copying, Cut, load
from state.key_ring import KeyRing
from state.redis.client import connect
from state.redis.names import Names

LAYOUT = Layout("test", shards=2, buckets=16, limits=(1, 2))
KEYS = KeyRing(b"h" * 32, b"l" * 32, b"s" * 32, "fingerprint")
NAMES = Names("t")


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return Backups(tmp_path / "backup", KEYS, LAYOUT)


def copied(client: redis.Redis, shards: int = 2) -> tuple[dict[bytes, Copied], Cut]:
    """The last record of each key."""
    found: list[Copied] = []
    cut = Copying(client, NAMES, "b", found.append).run(shards)
    return {record.key: record for record in found}, cut


# --- copying --------------------------------------------------------------------------------------


def test_every_type_of_key_comes_back_as_it_was(client: redis.Redis, redis_url: str) -> None:
    client.set("t:{s00}:head", msgspec.msgpack.encode(Head(offset=3)))
    client.hset("t:{dir}:heads", mapping={"0": 5})
    client.hset("t:{dir}:meta", mapping={"name": "test", "journal": 9, "tick": 77})
    client.set(b"t:{s00}:p:\xff\n*[ ]{s01}:", b"\x00raw")
    client.zadd("t:{s00}:timers", {b"a\xff": 1_767_225_600_123})
    client.sadd("t:{s01}:some", "x", "y")
    client.rpush("t:{dir}:changes", b"z", b"a\xff")
    client.xadd("t:{s00}:out:t", {"b": b"\xfe", "t": 5}, id="4-0")
    for seq in range(2, 6):
        client.xadd("t:{dir}:log:0", {"e": b"body"}, id=f"{seq}-0")
    client.xadd("t:{dir}:dead", {"b": b"letter"}, id="1767225600123-4")
    client.hset("t:{models}:churn:checkpoint", mapping={"revision": 3})
    client.hset("t:{keys}:1", b"origin", b"wrapped")
    client.xadd("t:{dir}:journal", {"w": b"note"}, id="9-0")
    client.set("other:{s00}:p:x", b"not ours")
    before = {key: held(client, key) for key in client.scan_iter(b"t:*")}
    records: list[Copied] = []
    cut = Copying(client, NAMES, "b", records.append).run(2)
    assert cut == Cut(9, 77, {0: 3, 1: 0})
    left_out = {b"t:{keys}:1", b"t:{dir}:journal"}
    client.flushall()
    client.hset("t:{dir}:meta", "name", "unfinished")
    load(client, NAMES, records)
    assert client.hgetall("t:{dir}:meta") == {b"name": b"unfinished", b"journal": b"9", b"tick": b"77"}
    assert client.xrange("t:{dir}:log:0") == [
        (b"4-0", {b"e": b"body"}),
        (b"5-0", {b"e": b"body"}),
    ]  # behind the shard's copy
    client.hset("t:{dir}:meta", "name", "test")
    after = {key: held(client, key) for key in client.scan_iter()}
    uncompared = left_out | {b"t:{dir}:log:0", b"t:{dir}:meta"}
    assert after.keys() == before.keys() - left_out
    for key in after.keys() - uncompared:
        assert after[key] == before[key], key


def held(client: redis.Redis, key: bytes) -> object:
    """Compare a stream by its entries, for its dump has counters of its past, and a set by its members,
    which have no order."""
    match client.type(key):
        case b"stream":
            return client.xrange(key)
        case b"set":
            return client.smembers(key)
        case _:
            return client.dump(key)


class Writers:
    """Shards whose invariant shows a copy of two moments: every profile of a shard holds the head's offset,
    or says since when not."""

    def __init__(self, url: str, profiles: int) -> None:
        self._client = connect(url)
        self._profiles = profiles
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._shard, args=(shard,)) for shard in (0, 1)]
        self._threads.append(threading.Thread(target=self._directory))
        self.commits = 0

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _shard(self, shard: int) -> None:
        """Each commit moves 1 from one profile to another, makes a new one and takes one away."""
        tag = f"t:{{s{shard:02d}}}:"
        values = dict.fromkeys(range(self._profiles), 1_000)
        offset = 0
        while not self._over.is_set():
            offset += 1
            giver, taker = offset % self._profiles, offset * 7 % self._profiles
            values[giver] -= 1
            values[taker] += 1
            pipeline = self._client.pipeline(transaction=True)
            pipeline.mset({f"{tag}p:{who:05d}": values[who] for who in (giver, taker)})
            pipeline.set(f"{tag}p:new{offset}", 0)
            pipeline.delete(f"{tag}p:new{offset - 3}")
            pipeline.set(f"{tag}head", msgspec.msgpack.encode(Head(offset=offset)))
            pipeline.set(f"{tag}counters", offset)
            pipeline.xadd(f"{tag}out:t", {"b": b"x"}, id=f"{offset}-0", maxlen=20)
            pipeline.execute()
            self.commits += 1
            time.sleep(0.0005)

    def _directory(self) -> None:
        journal = 0
        while not self._over.is_set():
            journal += 1
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hset(f"t:{{dir}}:i:{journal % 16}", f"id{journal}", journal)
            pipeline.hset("t:{dir}:meta", mapping={"journal": journal, "tick": journal})
            pipeline.execute()
            time.sleep(0.0005)


def test_a_copy_of_what_changes_all_the_time_is_of_one_moment_for_each_unit(
    client: redis.Redis, redis_url: str
) -> None:
    profiles = 3_000
    client.mset({f"t:{{s{shard:02d}}}:p:{who:05d}": 1_000 for shard in (0, 1) for who in range(profiles)})
    with Writers(redis_url, profiles) as writers:
        time.sleep(0.2)
        begun = writers.commits
        taken = [copied(client) for _ in range(3)]
        assert writers.commits - begun > 50, "nothing was written while it was copied: the test shows nothing"
    for records, cut in taken:
        for shard in (0, 1):
            tag = b"{s%02d}:" % shard
            offset = cut.offsets[shard]
            assert offset > 0
            assert int(records[tag + b"counters"].value) == offset
            held = [
                int(r.value)
                for key, r in records.items()
                if key.startswith(tag + b"p:0") and r.value is not None
            ]
            assert (len(held), sum(held)) == (profiles, profiles * 1_000)
            new = {
                key[len(tag) + 5 :]
                for key, r in records.items()
                if key.startswith(tag + b"p:new") and r.value is not None
            }
            assert new == {b"%d" % n for n in range(max(1, offset - 2), offset + 1)}
            assert records[tag + b"out:t"].value[-1][0] == b"%d-0" % offset
        ids = {
            int(n): field for key, r in records.items() if key.startswith(b"{dir}:i:") for field, n in r.value
        }
        assert sorted(ids) == [*range(1, cut.journal + 1)]


def test_a_log_that_was_trimmed_behind_the_copy_is_refused(client: redis.Redis) -> None:
    client.set("t:{s00}:head", msgspec.msgpack.encode(Head(offset=3)))
    client.hset("t:{dir}:heads", mapping={"0": 6})
    client.xadd("t:{dir}:log:0", {"e": b"body"}, id="6-0")
    with pytest.raises(Unreachable, match="log of shard 0 was trimmed behind its copy"):
        copied(client)
    assert not client.exists(NAMES.hold)


def test_two_backups_at_once_are_refused_and_a_hold_ends_by_itself(client: redis.Redis) -> None:
    client.set(NAMES.hold, "first", px=150)
    with pytest.raises(Unreachable, match="backup first is being made"):
        copied(client)
    assert client.get(NAMES.hold) == b"first"
    time.sleep(0.2)
    copied(client)
    assert not client.exists(NAMES.hold)


def test_changes_tells_of_every_key_written_before_it_was_asked(client: redis.Redis) -> None:
    client.set("t:{keys}:0", "before")
    with Changes(client, NAMES, b"{keys}:") as changes:
        assert changes.take() == set()
        client.hset("t:{keys}:1", "a", "b")
        client.set("t:{s00}:head", "elsewhere")
        assert changes.take() == {b"t:{keys}:1"}
        assert changes.take() == set()
        with Changes(client, NAMES) as others:
            client.set("t:{keys}:2", "a")
            assert others.take() == {b"t:{keys}:2"}
            client.set("t:{keys}:3", "b")
        assert changes.take() == {b"t:{keys}:2", b"t:{keys}:3"}  # and is not taken in by the other's barrier
        client.flushall()
        with pytest.raises(Unreachable, match="Redis was emptied"):
            changes.take()


# --- how it lies there ----------------------------------------------------------------------------


RECORDS = [Copied(b"{s00}:p:%d" % n, "string", os.urandom(40_000)) for n in range(300)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backups, Manifest]:
    backups = Backups(tmp_path_factory.mktemp("backup"), KEYS, LAYOUT)
    return backups, make(backups)


def make(backups: Backups, now_ms: int = 1_767_225_600_000, journal: int = 9, archive: int = 0) -> Manifest:
    writer = backups.begin(now_ms, journal)
    for record in RECORDS:
        writer.add(record)
    return writer.finish(Cut(journal, 77, {0: 3, 1: 4}), archive, now_ms + 5)


def test_what_was_written_is_read_again(backups: Backups) -> None:
    manifest = make(backups)
    assert len(manifest.chunks) == 3
    assert backups.names() == ["20260101T000000.000Z-000000000009"]
    assert backups.manifest(manifest.name) == manifest
    assert list(backups.records(manifest)) == RECORDS
    assert backups.verify(manifest) == 300


def test_a_backup_without_its_manifest_is_none(backups: Backups) -> None:
    writer = backups.begin(0, 1)
    for record in RECORDS:
        writer.add(record)
    assert backups.names() == []
    with pytest.raises(Foreign, match="never completed"):
        backups.manifest(writer.name)
    assert [path.suffix for path in backups.folder.iterdir()] == [".part"]
    assert backups.prune(keep=1) == [f"{writer.name}.part"]
    assert list(backups.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda folder: flip(folder / "00001.chunk", 1_000),
            r"00001\.chunk \(chunk 2 of 3, at byte \d+ of the backup\): its digest is wrong",
        ),
        (
            lambda folder: (folder / "00001.chunk").unlink(),
            r"00001\.chunk \(chunk 2 of 3, at byte \d+ of the backup\): is missing",
        ),
        (lambda folder: cut_off(folder / "00002.chunk"), r"00002\.chunk .*: has \d+ bytes, expected \d+"),
        (
            lambda folder: (folder / "00000.chunk").replace(folder / "00001.chunk"),
            r"00000\.chunk .*: is missing",
        ),
    ],
)
def test_a_damaged_chunk_is_named_with_its_position(
    backups: Backups, spoil: Callable[[Path], None], says: str
) -> None:
    manifest = make(backups)
    spoil(backups.folder / manifest.name)
    with pytest.raises(Foreign, match=says):
        backups.verify(manifest)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_a_flipped_bit_anywhere_in_the_manifest_is_found(made: tuple[Backups, Manifest]) -> None:
    backups, manifest = made
    path = backups.folder / manifest.name / "manifest.json"
    whole = path.read_bytes()
    try:
        for at in range(0, len(whole), 3):
            flip(path, at)
            with pytest.raises(Foreign, match=r"manifest\.json"):
                backups.manifest(manifest.name)
            path.write_bytes(whole)
    finally:
        path.write_bytes(whole)


def test_another_deployments_backup_is_refused(made: tuple[Backups, Manifest]) -> None:
    backups, manifest = made
    for keys, layout, says in (
        (msgspec.structs.replace(KEYS, fingerprint="other"), LAYOUT, "this is 'test' with key file"),
        (KEYS, msgspec.structs.replace(LAYOUT, name="shop"), "a backup of 'test' .*; this is 'shop'"),
        (
            KEYS,
            msgspec.structs.replace(LAYOUT, shards=4),
            "made with 2 shards and 16 buckets, the configuration gives 4",
        ),
    ):
        with pytest.raises(Foreign, match=says):
            Backups(backups.folder, keys, layout).manifest(manifest.name)


def test_a_backup_under_another_name_is_refused(backups: Backups) -> None:
    manifest = make(backups)
    (backups.folder / manifest.name).rename(backups.folder / "20270101T000000.000Z-000000000009")
    with pytest.raises(Foreign, match="the folder's name"):
        backups.manifest("20270101T000000.000Z-000000000009")


def test_the_newest_are_kept(backups: Backups) -> None:
    for n in range(5):
        make(backups, now_ms=n * 86_400_000, journal=n)
    names = backups.names()
    assert backups.prune(keep=2) == names[:3]
    assert backups.names() == names[3:]


def test_a_backup_is_chosen_by_the_time_that_it_stands_for(backups: Backups) -> None:
    manifests = [
        msgspec.structs.replace(make(backups, now_ms=n), name=str(n), journal=n, tick_s=n * 10)
        for n in (1, 2, 3)
    ]
    assert [manifest.name for manifest in usable(manifests, None)] == ["3", "2", "1"]
    assert [manifest.name for manifest in usable(manifests, 20_000)] == ["2", "1"]
    assert usable(manifests, 9_999) == []


# --- the customers' keys --------------------------------------------------------------------------


def test_the_copy_of_the_keys_follows_what_comes_and_what_goes(client: redis.Redis, tmp_path: Path) -> None:
    copy = KeyCopy(tmp_path / "keys.db", "ours")
    client.hset("t:{keys}:0", mapping={b"a": b"1", b"b\xff": b"2"})
    client.hset("t:{keys}:7", mapping={b"c": b"3"})
    copy.sync(client, NAMES)
    assert len(copy) == 3
    client.hset("t:{keys}:7", b"d", b"4")
    client.hdel("t:{keys}:0", b"a")
    copy.follow(client, NAMES, {b"t:{keys}:0", b"t:{keys}:7"})
    copy.close()
    client.flushall()
    again = KeyCopy(tmp_path / "keys.db", "ours")
    assert again.load(client, NAMES) == 3
    assert client.hgetall("t:{keys}:0") == {b"b\xff": b"2"}
    assert client.hgetall("t:{keys}:7") == {b"c": b"3", b"d": b"4"}
    again.close()


def test_an_erased_key_leaves_no_trace_in_the_file(client: redis.Redis, tmp_path: Path) -> None:
    copy = KeyCopy(tmp_path / "keys.db", "ours")
    secret = os.urandom(40)
    client.hset("t:{keys}:0", mapping={b"erased": secret, b"kept": b"k" * 40})
    copy.sync(client, NAMES)
    assert secret in (tmp_path / "keys.db").read_bytes()
    client.hdel("t:{keys}:0", b"erased")
    copy.sync(client, NAMES)
    copy.close()
    assert not any(secret in path.read_bytes() for path in tmp_path.iterdir())


def test_a_redis_that_lost_its_keys_does_not_empty_the_copy(client: redis.Redis, tmp_path: Path) -> None:
    copy = KeyCopy(tmp_path / "keys.db", "ours")
    client.hset("t:{keys}:0", b"a", b"1")
    copy.sync(client, NAMES)
    client.flushall()
    with pytest.raises(Foreign, match="holds the keys of 1 customers and Redis none"):
        copy.sync(client, NAMES)
    assert len(copy) == 1
    copy.close()


def test_another_deployments_copy_of_keys_is_refused(tmp_path: Path) -> None:
    KeyCopy(tmp_path / "keys.db", "ours").close()
    with pytest.raises(Foreign, match="wrapped by the key file ours, ours is theirs"):
        KeyCopy(tmp_path / "keys.db", "theirs")
    (tmp_path / "keys.db").write_bytes(b"no database at all, but long enough to be looked at as one" * 10)
    with pytest.raises(Foreign, match="cannot be read as a copy"):
        KeyCopy(tmp_path / "keys.db", "ours")
