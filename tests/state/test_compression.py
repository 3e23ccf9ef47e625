"""Profiles in Redis: compressed as soon as there is something to learn from, and the same when they are
read."""

import random
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
import redis
from zstandard import ZstdCompressionDict

from schemas.errors import Damaged
from schemas.records.customer_profile import Fragment, Profile
from state.redis.names import Names
from state.shards.compression import SAMPLE, TRIED_AGAIN, Compressor, Dictionaries
from state.shards.redis_shards import RedisShards
from state.shards.shard_protocols import ShardCommit
from tests.golden import FOLDER

NAMES = Names("t")
SHARD = 0
EMPTY: dict[str, Any] = {"counters": {}, "sensitive": {}, "timers": {}, "outbox": []}


def profiles(count: int, seed: int = 1, word: str = "plan") -> dict[bytes, bytes]:
    """Customers with the same traits and rules, at other times and with other messages."""
    chance = random.Random(seed)
    made = {}
    for number in range(count):
        at = 1_767_225_600_000 + chance.randrange(10**9)
        traits = {f"{word} {n}": (at + n, f"{word} value {n}") for n in range(5)}
        fragment = Fragment(at, at + 9, 30, traits=traits, dedupe_ring=chance.randbytes(60))
        cooldowns = {f"{word}_rule_{n}": at + n for n in range(5)}
        profile = Profile({chance.randbytes(12): fragment}, {f"{word}_tag": (at, 0)}, cooldowns=cooldowns)
        made[b"%012d" % number] = msgspec.msgpack.encode(profile)
    return made


class Store:
    """One writer of one shard."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.shards = RedisShards(self.client, NAMES, 1, 1)
        self.head = self.shards.claim([SHARD])[SHARD]

    def write(self, written: dict[bytes, bytes]) -> None:
        after = self.head.copy()
        after.offset += 1
        self.shards.commit([ShardCommit(SHARD, self.head, after, profiles=dict(written), **EMPTY)], 0)
        self.head = after

    def read(self, roots: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
        return RedisShards(self.client, NAMES, 1, 1).load(SHARD, roots)

    def stored(self, roots: dict[bytes, bytes]) -> list[bytes]:
        return [self.client.get(NAMES.shard(SHARD) + b"p:" + root) or b"" for root in roots]  # type: ignore[misc]  # not asynchronous

    @property
    def dictionaries(self) -> int:
        return int(self.client.hlen(NAMES.dictionaries))  # type: ignore[arg-type]  # as above


def size(packed: list[bytes]) -> int:
    return sum(map(len, packed))


def test_a_dictionary_is_made_of_what_many_share_and_of_nothing_that_is_one_customers_own(
    redis_url: str,
) -> None:
    store, many = Store(redis_url), profiles(SAMPLE)
    own = {root: blake2b(root, digest_size=8).hexdigest() for root in many}
    for root, text in own.items():
        profile = msgspec.msgpack.decode(many[root], type=Profile)
        profile.segment = text  # what nobody else has, at the same place in each
        many[root] = msgspec.msgpack.encode(profile)
    store.write(many)
    store.write({})
    (dictionary,) = store.client.hvals(NAMES.dictionaries)
    assert b"plan value 3" in dictionary
    assert not any(text.encode() in dictionary for text in own.values())
    assert not any(
        origin in dictionary for profile in many.values() for origin in msgspec.msgpack.decode(profile)[0]
    )


def test_a_customer_who_is_written_often_is_one(redis_url: str) -> None:
    store, many = Store(redis_url), profiles(SAMPLE)
    (busy, _), own = next(iter(profiles(1, seed=9).items())), "mine alone, and said again and again"
    for _ in range(100):
        store.write({busy: msgspec.msgpack.encode(Profile(segment=own))})
    store.write({root: packed for root, packed in many.items() if root != busy} | profiles(1, seed=3))
    store.write({busy: msgspec.msgpack.encode(Profile(segment=own))})
    store.write({})
    (dictionary,) = store.client.hvals(NAMES.dictionaries)
    assert own.encode() not in dictionary


def test_until_there_is_enough_to_learn_from_profiles_lie_as_they_are(redis_url: str) -> None:
    store, few = Store(redis_url), profiles(SAMPLE - 1)
    store.write(few)
    store.write({})
    assert store.stored(few) == [*few.values()]
    assert store.dictionaries == 0


def test_then_they_take_less_than_half_and_are_read_the_same(redis_url: str) -> None:
    store, many = Store(redis_url), profiles(SAMPLE)
    store.write(many)
    later = profiles(500, seed=2)
    store.write(later)
    assert size(store.stored(later)) < size([*later.values()]) / 2
    assert store.read(many) == many | later


def test_another_dictionary_is_made_when_profiles_become_others_and_both_are_read(redis_url: str) -> None:
    store, old = Store(redis_url), profiles(SAMPLE)
    store.write(old)
    other = {root[::-1]: packed for root, packed in profiles(SAMPLE, word="Lieblingsfarbe").items()}
    for _ in range(TRIED_AGAIN):
        store.write(other)
    assert store.dictionaries == 2
    assert store.read(old | other) == old | other


def test_no_other_is_made_while_the_one_there_is_does_as_well(redis_url: str) -> None:
    store = Store(redis_url)
    for _ in range(TRIED_AGAIN + 1):
        store.write(profiles(SAMPLE))
    assert store.dictionaries == 1


def test_a_new_worker_uses_what_another_has_made(redis_url: str) -> None:
    first = Store(redis_url)
    first.write(profiles(SAMPLE))
    first.write({})
    second, some = Store(redis_url), profiles(100, seed=3)
    second.write(some)
    assert size(second.stored(some)) < size([*some.values()]) / 2
    assert second.dictionaries == 1


def test_nothing_is_learnt_where_all_profiles_are_the_same(redis_url: str) -> None:
    store, same = Store(redis_url), dict.fromkeys(profiles(SAMPLE), msgspec.msgpack.encode(Profile()))
    store.write(same)
    store.write(same)
    assert store.read(same) == same


def test_a_profile_without_its_dictionary_is_refused_with_the_reason(redis_url: str) -> None:
    store, many = Store(redis_url), profiles(SAMPLE)
    store.write(many)
    store.write(many)
    store.client.delete(NAMES.dictionaries)
    with pytest.raises(
        Damaged,
        match=r"dictionaries has no dictionary 1, and a profile was compressed with it: restore a backup",
    ):
        store.read(many)


def test_a_damaged_profile_is_refused_with_the_reason(redis_url: str) -> None:
    store, many = Store(redis_url), profiles(SAMPLE)
    store.write(many)
    store.write(many)
    root = next(iter(many))
    store.client.set(NAMES.shard(SHARD) + b"p:" + root, store.stored({root: b""})[0][:-1])
    with pytest.raises(
        Damaged, match=rf"shard {SHARD}: .*:p:{root.hex()} of customer .* its bytes were changed"
    ):
        store.read({root: b""})


def not_asked(at: int, reason: str) -> Damaged:
    return Damaged(f"profile {at} {reason}")


def test_what_an_earlier_release_compressed_is_read(redis_url: str) -> None:
    """`compressed.1.profile` was made from `Profile.4.bin`, with `Profile.3.bin` as the dictionary."""
    dictionaries = Dictionaries(redis.Redis.from_url(redis_url), NAMES)
    dictionaries.add(1, ZstdCompressionDict((FOLDER / "Profile.3.bin").read_bytes()))
    profile = (FOLDER / "Profile.4.bin").read_bytes()
    assert dictionaries.plain([(FOLDER / "compressed.1.profile").read_bytes(), None, profile], not_asked) == [
        profile,
        None,
        profile,
    ]
    compressor = Compressor(dictionaries)
    compressor.learn()
    assert dictionaries.plain([compressor.stored(b"%012d" % 1, profile)], not_asked) == [profile]
