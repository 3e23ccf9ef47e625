"""The digest: equal for a twin and for Redis after any history, unequal after the smallest change of
either."""

import random
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from zstandard import ZstdCompressionDict

import tests.world
from schemas.errors import Moving
from schemas.records.customer_profile import Head, Sealed, Sensitive
from schemas.records.identity_graph import WindowCommit, WindowResult
from schemas.records.outbox_lanes import LANES
from schemas.records.shard_log import LogKind
from schemas.wire.triggers import Absorb
from state import state_digest
from state.digest_entries import Digest, Sum, as_said, as_stored
from state.directory.layout import Layout
from state.directory.redis_directory import RedisDirectory
from state.keys import KEY_BYTES, DataKeys
from state.memory.memory_shards import MemoryShards
from state.redis.names import Names
from state.shards.compression import Dictionaries
from state.shards.redis_shards import RedisShards
from state.shards.shard_protocols import ShardCommit
from state.state_digest import Reading, of_memory
from tests.golden import FOLDER
from tests.key_files import wrapping
from tests.logic.shard.test_profile_replay import MODELS, RULES, live
from tests.world import LIMITS, SECOND, SHARDS, KeptDirectory, World, person, visitor

LAYOUT, NAMES = Layout("test", SHARDS, 16, LIMITS), Names("t")


class Tee(KeptDirectory):
    """A twin that does everything on Redis as well."""

    client: redis.Redis

    @property
    def real(self) -> RedisDirectory:
        return RedisDirectory(self.client, NAMES, LAYOUT)

    def commit(self, window: WindowCommit) -> WindowResult:
        self.real.commit(window)
        return super().commit(window)

    def announce(self, kind: Any, sender: str, seq: int, version: int, body: bytes) -> bool:
        self.real.announce(kind, sender, seq, version, body)
        return super().announce(kind, sender, seq, version, body)

    def forward(self, shard: int, seq: int, message: Absorb) -> bool:
        self.real.forward(shard, seq, message)
        return super().forward(shard, seq, message)

    def tick(self) -> bool:
        """The server's clock cannot be moved, so its tick is written by hand."""
        if ticked := super().tick():
            self.client.hset(NAMES.meta, "tick", self.ticked_s)
            self.client.hincrby(NAMES.meta, "journal", 1)
            for shard in range(SHARDS):
                self.client.hincrby(NAMES.heads, str(shard), 1)
        return ticked


class TeeShards(MemoryShards):
    client: redis.Redis

    @cached_property
    def real(self) -> RedisShards:
        return RedisShards(self.client, NAMES, SHARDS, LAYOUT.shard_buckets)

    def claim(self, shards: Sequence[int]) -> dict[int, Head]:
        self.real.claim(shards)
        return super().claim(shards)

    def commit(self, commits: Sequence[ShardCommit], stamp_ms: int) -> None:
        self.real.commit(commits, stamp_ms)
        super().commit(commits, stamp_ms)


def lived(client: redis.Redis, seed: int, steps: int, dictionary: bytes = b"") -> World:
    """`dictionary`: what profiles are compressed with from the beginning."""
    client.flushall()
    RedisDirectory(client, NAMES, LAYOUT).create()
    if dictionary:
        Dictionaries(client, NAMES).add(1, ZstdCompressionDict(dictionary))
    with pytest.MonkeyPatch.context() as patch:
        for name, tee in (("KeptDirectory", Tee), ("MemoryShards", TeeShards)):
            tee.client = client  # type: ignore[attr-defined]
            patch.setattr(tests.world, name, tee)
        world = World(RULES[0], scorers=MODELS)
        live(world, random.Random(seed), steps)
        world.later(SECOND)
    return world


def reading(client: redis.Redis) -> Reading:
    return Reading(client, NAMES, LAYOUT, RedisDirectory(client, NAMES, LAYOUT))


def of_twin(world: World) -> Digest:
    return of_memory(world.directory, world.store)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 120))
def test_a_twin_and_redis_have_equal_digests_after_any_history(
    redis_server: str, seed: int, steps: int
) -> None:
    client = redis.Redis.from_url(redis_server)
    world = lived(client, seed, steps)
    assert reading(client).digest() == of_twin(world)


def test_compressed_profiles_count_as_what_they_say(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    world = lived(client, 5, 300, (FOLDER / "Profile.3.bin").read_bytes())
    plain = {packed for profiles in world.store.profiles.values() for packed in profiles.values()}
    stored = {client.get(key) for key in client.scan_iter("*p:*", _type="string")}
    assert plain
    assert not plain & stored
    assert reading(client).digest() == of_twin(world)


def test_pages_smaller_than_what_is_read_change_nothing(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = redis.Redis.from_url(redis_url)
    world = lived(client, 3, 150)
    monkeypatch.setattr(state_digest, "PAGE", 3)
    assert reading(client).digest() == of_twin(world)


def test_a_lost_entry_or_a_flipped_bit_anywhere_on_redis_changes_it(redis_url: str) -> None:
    """Every key of the shards and of the graph, one after the other: gone, and with its last bit flipped."""
    client = redis.Redis.from_url(redis_url)
    world = lived(client, 7, 120)
    newest = {
        NAMES.body(kind, sender, world.directory.sent(sender))
        for kind, sender in ((LogKind.CONFIG, "rules"), (LogKind.MODEL, "learn:churn"))
    }
    whole = reading(client).digest().whole
    touched = set()
    for key in sorted(client.keys()):
        kind = key.split(b"}:")[1].rstrip(b"0123456789").partition(b":")[0]
        if kind in (b"log", b"journal", b"cursors") or key == NAMES.meta:
            continue  # how far somebody has read is not what a system says
        if kind == b"changes":
            continue  # tells workers what to forget; nothing is lost with it
        if kind in (b"rates", b"moves"):
            continue  # what the guards counted in the last minutes; it expires by itself
        if kind == b"body" and key not in newest:
            continue  # nobody will ask for it again
        saved = client.dump(key)
        client.delete(key)
        assert reading(client).digest().whole != whole, f"{key!r} lost"
        client.restore(key, 0, saved)
        if kind in (b"p", b"body") and (value := client.get(key)):
            for at in (0, len(value) // 2, len(value) - 1):
                client.setrange(key, at, bytes([value[at] ^ 1]))
                assert reading(client).digest().whole != whole, f"{key!r} flipped at {at}"
                client.set(key, value)
        if kind == b"xs":
            root, value = next(iter(client.hgetall(key).items()))
            for at in (0, len(value) // 2, len(value) - 1):
                client.hset(key, root, value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :])
                assert reading(client).digest().whole != whole, f"{key!r} flipped at {at}"
            client.hset(key, root, value)
        touched.add(kind)
    assert reading(client).digest().whole == whole
    assert touched >= {b"i", b"r", b"p", b"xs", b"tm", b"due", b"head", b"heads", b"counters"}
    assert touched >= {b"out", b"offsets", b"senders", b"stats", b"body"}


@pytest.mark.parametrize("seed", range(8))
def test_a_lost_entry_or_a_flipped_bit_anywhere_in_a_twin_changes_it(seed: int) -> None:
    world = World(RULES[0], scorers=MODELS)
    live(world, random.Random(seed), 80)
    whole = of_twin(world).whole
    directory, store = world.directory, world.store
    tables: list[dict[Any, Any]] = [
        directory.graph.origins,
        directory.graph.roots,
        directory.graph.records,
        directory.senders,
    ]
    tables += [directory._offsets, directory._stats]
    tables += [
        kind[shard] for kind in (store.profiles, store.sensitive, store.timers) for shard in range(SHARDS)
    ]
    for table in tables:
        for key in list(table):
            before = dict(table)
            del table[key]
            assert of_twin(world).whole != whole, f"{key!r} lost"
            table.clear()
            table.update(before)  # in the old order, which says nothing
            if isinstance(table[key], int):
                table[key] += 1
                assert of_twin(world).whole != whole, f"{key!r} is one more"
                table[key] -= 1
    for shard in range(SHARDS):
        for lane in LANES:
            for at in range(len(store.outbox[shard, lane])):
                entry = store.outbox[shard, lane].pop(at)
                assert of_twin(world).whole != whole
                store.outbox[shard, lane].insert(at, entry)
    assert of_twin(world).whole == whole


def test_it_names_what_differs_and_not_who_wrote_it() -> None:
    world = World(RULES[0])
    for name in "abcdef":
        world.send([person(name)], "Bought")
    before = of_twin(world)
    world.restart()
    assert of_twin(world) == before  # an epoch later
    shard = next(shard for shard in range(SHARDS) if world.store.profiles[shard])
    world.store.profiles[shard].popitem()
    after = of_twin(world)
    assert after.directory == before.directory
    assert [old == new for old, new in zip(before.shards, after.shards, strict=True)] == [
        number != shard for number in range(SHARDS)
    ]
    assert after.shards[shard].entries == before.shards[shard].entries - 1


@given(
    entries=st.lists(
        st.tuples(st.sampled_from([b"a", b"b"]), st.binary(max_size=3), st.binary(max_size=3)), unique=True
    ),
    seed=st.integers(),
)
def test_the_order_of_entries_says_nothing_and_where_a_key_ends_does(
    entries: list[state_digest.Entry], seed: int
) -> None:
    shuffled = list(entries)
    random.Random(seed).shuffle(shuffled)
    assert Sum(shuffled).unit(0) == Sum(entries).unit(0)
    assert (
        Sum([(b"a", b"xy", b"z")]).total
        != Sum([(b"a", b"x", b"yz")]).total
        != Sum([(b"ax", b"", b"yz")]).total
    )


# --- sealed values --------------------------------------------------------------------------------


def sensitive_twin(keys: DataKeys, plain: bytes) -> tuple[World, bytes]:
    world = World("")
    world.send(visitor("v"))
    root = world.root(visitor("v"))
    shard = next(shard for shard in range(SHARDS) if root in world.store.profiles[shard])
    sealed = keys.of([root], create=True)[root].seal("email", plain)
    world.store.sensitive[shard][root] = tests.world._pack(Sensitive({root: {"email": Sealed(5, sealed)}}))
    return world, root


def test_sealed_values_count_by_what_they_say(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    keys = DataKeys(client, NAMES, wrapping(bytes(KEY_BYTES)), 16)
    (one, root), (other, _), (third, _) = (sensitive_twin(keys, plain) for plain in (b"a@b", b"a@b", b"a@c"))
    said = [of_memory(world.directory, world.store, as_said(keys)).whole for world in (one, other, third)]
    assert said[0] == said[1] != said[2]
    stored = [of_memory(world.directory, world.store, as_stored).whole for world in (one, other)]
    assert stored[0] != stored[1]  # two nonces
    table = next(table for table in one.store.sensitive.values() if table)
    table[root] = table[root][:-1] + bytes([table[root][-1] ^ 1])
    damaged = of_memory(one.directory, one.store, as_said(keys)).whole
    client.flushall()
    erased = [
        of_memory(
            world.directory, world.store, as_said(DataKeys(client, NAMES, wrapping(bytes(KEY_BYTES)), 16))
        ).whole
        for world in (one, other)
    ]
    assert erased[0] == erased[1]
    assert len({*said, damaged, *erased}) == 4


# --- while others write ---------------------------------------------------------------------------


class Busy(redis.Redis):
    """Something happens at some of the calls that a reading makes."""

    world: World
    left = 0

    def mget(self, *args: Any, **options: Any) -> Any:
        found = super().mget(*args, **options)
        if self.left > 0:
            self.left -= 1
            self.left, left = 0, self.left
            self.world.send([person(f"new{left}"), visitor(f"new{left}")], "Bought")
            self.left = left
        return found


@pytest.mark.parametrize("changes", [1, 2, 3, 5, 8])
def test_a_reading_beside_a_writer_is_of_one_moment(redis_url: str, changes: int) -> None:
    client = redis.Redis.from_url(redis_url)
    world = lived(client, 5, 60)
    busy = Busy.from_url(redis_url)
    busy.world, busy.left = world, changes
    found = reading(busy).digest()
    assert busy.left == 0
    assert found.shards == of_twin(world).shards  # no shard was read before its last change and taken


def test_a_unit_that_never_rests_is_said_and_not_guessed(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    busy = Busy.from_url(redis_url)
    busy.world, busy.left = lived(client, 5, 20), 10_000
    with pytest.raises(Moving, match="committed during each of"):
        reading(busy).digest()
