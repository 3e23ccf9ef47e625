"""Wrapping data keys anew, on a real Redis, while others write and erase."""

import threading
from typing import Any

import pytest
import redis

import state.key_rotation as module
from schemas.errors import ConfigError, KeysAway, Unreachable
from state.key_rotation import Rotation
from state.key_wrapping import FIRST, KekId, LocalWrapping, is_unbound, wrapped_by
from state.keys import DataKeys
from state.redis.names import Names

NAMES, BUCKETS = Names("t"), 16
K1, K2, K3 = (bytes([n]) * 32 for n in (1, 2, 3))
FIRST_KEK, SECOND_KEK = KekId(1, 1), KekId(1, 2)


def origins(count: int, start: int = 0) -> list[bytes]:
    return [n.to_bytes(4) + b"12345678" for n in range(start, start + count)]


class Site:
    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.keks = {FIRST: K1}
        self.rotation = Rotation(self.client, NAMES, self.wrapping())

    def wrapping(self) -> LocalWrapping:
        return LocalWrapping(lambda: self.keks, "shop", "the test")

    def keys(self) -> DataKeys:
        return DataKeys(self.client, NAMES, self.wrapping(), BUCKETS, "shop")

    def stored(self) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for bucket in self.client.scan_iter(match=NAMES.data_keys + b"*"):
            found |= self.client.hgetall(bucket)
        return found

    def used(self) -> set[bytes]:
        return {*self.client.hkeys(NAMES.keks)}

    def destroy(self, origin: bytes) -> None:
        self.client.hdel(NAMES.data_keys + b"%d" % (int.from_bytes(origin[:4]) % BUCKETS), origin)


@pytest.fixture
def site(redis_url: str) -> Site:
    return Site(redis_url)


def test_all_are_wrapped_by_the_newest_and_open_as_before(site: Site) -> None:
    made = site.keys().of(origins(300), create=True)
    sealed = {origin: key.seal("email", origin) for origin, key in made.items()}
    site.keks[2] = K2
    done = site.rotation.run()
    assert (done.keys, done.gone, done.damaged) == (300, 0, 0)
    found = site.rotation.tally()
    assert found.keys == {SECOND_KEK: 300}
    site.rotation.forget(SECOND_KEK, found)
    assert site.used() == {b"kek-2"}
    del site.keks[1]
    fresh = site.keys().of(sealed)
    assert all(fresh[origin].open("email", value) == origin for origin, value in sealed.items())


def test_in_place_of_a_destroyed_key_nothing_is_wrapped(site: Site) -> None:
    """What stands there says that its customer was erased: it stays, and counts as no key."""
    gone, stays = origins(2)
    keys = site.keys()
    keys.of([gone, stays], create=True)
    keys.destroy([gone])
    assert site.rotation.tally().total == 1
    site.keks[2] = K2
    done = site.rotation.run()
    assert (done.keys, done.gone, done.damaged) == (1, 0, 0)
    assert site.stored()[gone] == b""
    assert site.keys().of([gone, stays], create=True).keys() == {stays}


def test_what_earlier_releases_wrapped_is_bound(site: Site) -> None:
    [origin] = origins(1)
    key = site.keys().of([origin], create=True)[origin]
    sealed = key.seal("email", b"x")
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap

    plain = site.wrapping().unwrap([(origin, key.wrapped)])[0]
    bucket = NAMES.data_keys + b"%d" % (int.from_bytes(origin[:4]) % BUCKETS)
    site.client.hset(bucket, origin, aes_key_wrap(K1, plain))
    assert site.rotation.tally().unbound == 1
    assert site.rotation.run().keys == 1
    assert not is_unbound(site.stored()[origin])
    assert wrapped_by(site.stored()[origin]) == FIRST_KEK
    assert site.keys().of([origin])[origin].open("email", sealed) == b"x"


def test_who_is_killed_in_it_goes_on_where_it_was(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.keys().of(origins(100), create=True)
    site.keks[2] = K2
    monkeypatch.setattr(module, "PAGE", 2)
    rewrap, pages = LocalWrapping.rewrap, 0

    def dies(wrapping: LocalWrapping, keys: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == 4:
            raise KeyboardInterrupt
        return rewrap(wrapping, keys)

    with monkeypatch.context() as patched:
        patched.setattr(LocalWrapping, "rewrap", dies)
        with pytest.raises(KeyboardInterrupt):
            site.rotation.run()
    half = site.rotation.tally().keys
    assert half[FIRST_KEK] > 0
    assert half[SECOND_KEK] > 0
    assert site.rotation.run().keys == half[FIRST_KEK]
    assert site.rotation.tally().keys == {SECOND_KEK: 100}


def test_a_key_that_is_destroyed_meanwhile_does_not_come_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the reading of a page and its writing: the narrowest place there is."""
    erased, *others = origins(20)
    site.keys().of([erased, *others], create=True)
    site.keks[2] = K2
    rewrap = LocalWrapping.rewrap

    def meanwhile(wrapping: LocalWrapping, keys: Any) -> Any:
        site.destroy(erased)
        return rewrap(wrapping, keys)

    monkeypatch.setattr(LocalWrapping, "rewrap", meanwhile)
    done = site.rotation.run()
    assert (done.keys, done.gone) == (19, 1)
    assert erased not in site.stored()
    assert {*site.stored()} == {*others}


def test_a_key_that_was_destroyed_and_made_again_stays_the_new_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    [origin] = origins(1)
    old = site.keys().of([origin], create=True)[origin]
    site.keks[2] = K2
    rewrap, sealed = LocalWrapping.rewrap, b""

    def meanwhile(wrapping: LocalWrapping, keys: Any) -> Any:
        nonlocal sealed
        if not sealed:
            site.destroy(origin)
            sealed = site.keys().of([origin], create=True)[origin].seal("email", b"new")
        return rewrap(wrapping, keys)

    monkeypatch.setattr(LocalWrapping, "rewrap", meanwhile)
    site.rotation.run()
    now = site.keys().of([origin])[origin]
    assert now.open("email", sealed) == b"new"
    assert now.open("email", old.seal("email", b"old")) is None


def test_writers_and_two_rotations_at_once_lose_nothing(site: Site) -> None:
    site.keys().of(origins(500), create=True)
    sealed: dict[bytes, bytes] = {}
    stop = threading.Event()

    def write() -> None:
        writer, start = site.keys(), 1_000
        while not stop.is_set():
            made = writer.of(origins(10, start), create=True)
            sealed.update({origin: key.seal("f", origin) for origin, key in made.items()})
            start += 10

    def rotate() -> None:
        Rotation(site.client, NAMES, site.wrapping()).run()

    writing = threading.Thread(target=write)
    writing.start()
    site.keks[2] = K2
    rotating = [threading.Thread(target=rotate) for _ in range(2)]
    for thread in rotating:
        thread.start()
    for thread in rotating:
        thread.join()
    stop.set()
    writing.join()
    site.rotation.run()
    assert {wrapped_by(wrapped) for wrapped in site.stored().values()} == {SECOND_KEK}
    assert sealed
    fresh = site.keys().of(sealed)
    assert all(fresh[origin].open("f", value) == origin for origin, value in sealed.items())


def test_a_key_stays_the_same_object_when_it_is_wrapped_anew(site: Site) -> None:
    """What matching remembers of a customer hangs on it."""
    keys = site.keys()
    [origin] = origins(1)
    before = keys.of([origin], create=True)[origin]
    site.keks[2] = K2
    site.rotation.run()
    assert keys.current([origin]) == [before]
    assert wrapped_by(before.wrapped) == SECOND_KEK
    site.destroy(origin)
    assert keys.current([origin]) == [None]


def test_one_that_does_not_open_stays_as_it_is_and_is_counted(site: Site) -> None:
    site.keys().of(origins(20), create=True)
    damaged = origins(1)[0]
    bucket = NAMES.data_keys + b"%d" % (int.from_bytes(damaged[:4]) % BUCKETS)
    site.client.hset(bucket, damaged, site.stored()[damaged][:-1] + b"!")
    before = site.stored()[damaged]
    site.keks[2] = K2
    done = site.rotation.run()
    assert (done.keys, done.damaged) == (19, 1)
    assert site.stored()[damaged] == before


def test_a_missing_version_is_refused_at_the_start_and_named(site: Site) -> None:
    site.keks[2] = K2
    site.keys().of(origins(1), create=True)
    site.keys().check()
    del site.keks[2]
    with pytest.raises(ConfigError, match=r"key kek-2 is missing: .*, and the test does not have it"):
        site.keys().check()
    with pytest.raises(KeysAway, match="key kek-2 is missing"):  # in mid-run it may come yet
        site.keys().of(origins(1))


def test_another_key_of_the_same_version_is_refused_at_the_start_and_named(site: Site) -> None:
    """It would open nothing of what is there, and wrap what is new as if nothing were wrong."""
    site.keys().of(origins(1), create=True)
    site.keks[1] = K2
    with pytest.raises(ConfigError, match="key kek-1 of the test is not the one that wraps customers' data"):
        site.keys().check()


def test_what_is_listed_without_a_probe_is_looked_for(site: Site) -> None:
    """So a restore lists them."""
    site.client.hset(NAMES.keks, "kek-1", b"")
    site.keys().check()
    site.client.hset(NAMES.keks, "kek-2", b"")
    with pytest.raises(ConfigError, match="key kek-2 is missing"):
        site.keys().check()


def test_a_process_that_goes_on_after_a_rotation_lists_the_new_key_with_its_probe(site: Site) -> None:
    keys = site.keys()
    keys.of(origins(1), create=True)
    site.keks[2] = K2
    keys.of(origins(1, 1), create=True)
    keys.of(origins(1, 2), create=True)
    probes = site.client.hgetall(NAMES.keks)
    assert {name: str(wrapped_by(probe)).encode() for name, probe in probes.items()} == {
        b"kek-1": b"kek-1",
        b"kek-2": b"kek-2",
    }
    site.keys().check()


def test_two_do_not_make_a_key_at_once(site: Site) -> None:
    with site.rotation.making(), pytest.raises(Unreachable, match="makes a key"), site.rotation.making():
        pass
    with site.rotation.making():
        site.keks[2] = K2
    assert b"kek-2" in site.used()
