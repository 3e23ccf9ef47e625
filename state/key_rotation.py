"""Which key-encryption keys wrap the data keys, and wrapping them anew while everything runs.

Nothing says how far a rotation is but the wrapped keys themselves: who was killed in it, or is second at it,
finds what is left. Each is replaced only where it is still what was read (`rewrap.lua`), so that a customer
who is erased meanwhile stays erased.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from itertools import islice
from typing import Final, cast

import msgspec
import redis

from schemas.errors import Unreachable
from state.key_wrapping import PROBE, Held, KekId, Wrapping, is_unbound, wrapped_by
from state.keys import DESTROYED
from state.redis.client import writing
from state.redis.names import Names

PAGE: Final = 20  # buckets: of some 20 data keys each, so that a page is a request or two to Vault
PASSES_MAX: Final = 20
MAKING_MS: Final = 10_000  # longer than a file takes; who was killed holds nobody up for more


class Tally(msgspec.Struct, frozen=True):
    """The data keys that there are, by what wrapped them."""

    keys: dict[KekId, int]
    unbound: int  # of these, as releases before format 4 wrapped them

    @property
    def total(self) -> int:
        return sum(self.keys.values())


class Rewrapped(msgspec.Struct):
    """What one run did."""

    keys: int = 0  # wrapped anew
    gone: int = 0  # destroyed or replaced by somebody else meanwhile
    damaged: int = 0  # did not open, and stay as they are


class Rotation:
    """The data keys of one deployment, all of them."""

    def __init__(self, client: redis.Redis, names: Names, wrapping: Wrapping) -> None:
        self._redis = client
        self._names = names
        self._wrapping = wrapping
        self._replace = client.register_script(files("state").joinpath("rewrap.lua").read_text())

    def tally(self) -> Tally:
        """Count them."""
        found: Counter[KekId] = Counter()
        unbound = 0
        for page in self._pages():
            pipeline = self._redis.pipeline(transaction=False)
            for bucket in page:
                pipeline.hvals(bucket)
            for wrapped in (each for held in pipeline.execute() for each in held if each != DESTROYED):
                found[wrapped_by(wrapped)] += 1
                unbound += is_unbound(wrapped)
        return Tally(dict(found), unbound)

    @contextmanager
    def making(self) -> Iterator[None]:
        """Stand around the making of another key-encryption key: two at once would both be version 2. Raises
        `Unreachable` while somebody else makes one."""
        names = self._names
        if not self._redis.set(names.making_kek, b"1", nx=True, px=MAKING_MS):
            raise Unreachable(
                "another `millrace keys rotate` makes a key, or was killed at it: try again in ten seconds"
            )
        try:
            yield
            self._note()
        finally:
            self._redis.delete(names.making_kek)

    def run(self) -> Rewrapped:
        """Wrap with the newest key-encryption key what another one wraps. Raises `KeysAway`, `LogFull`; what
        is done by then is done."""
        done = Rewrapped()
        newest = self._note()
        for _ in range(PASSES_MAX):  # a process that has not heard of the newest may still make some
            before, done.damaged = done.keys + done.gone, 0
            for page in self._pages():
                self._rewrap(page, newest, done)
            if done.keys + done.gone == before:
                break
        return done

    def forget(self, newest: KekId, found: Tally) -> None:
        """Take those out of the list of key-encryption keys in use that wrap nothing."""
        names = self._names
        listed = {*cast(list[bytes], self._redis.hkeys(names.keks))}
        used = {str(kek).encode() for kek in (*found.keys, newest)}
        if idle := listed - used:
            self._redis.hdel(names.keks, *cast(set[str], idle))

    def _note(self) -> KekId:
        """List the newest key-encryption key, and return it."""
        [probe] = self._wrapping.wrap([PROBE])
        newest = wrapped_by(probe)
        self._redis.hsetnx(self._names.keks, str(newest), cast(str, probe))
        return newest

    def _rewrap(self, buckets: list[bytes], newest: KekId, done: Rewrapped) -> None:
        old = self._outdated(buckets, newest)
        fresh = self._wrapping.rewrap([held for _, held in old])
        changes: dict[bytes, list[bytes]] = {}
        for (bucket, (origin, before)), now in zip(old, fresh, strict=True):
            if now is None:
                done.damaged += 1
            else:
                changes.setdefault(bucket, []).extend((origin, before, now))
        if not changes:
            return
        with writing():
            for bucket, arguments in changes.items():
                replaced = int(self._replace(keys=[bucket], args=arguments))
                done.keys += replaced
                done.gone += len(arguments) // 3 - replaced

    def _outdated(self, buckets: list[bytes], newest: KekId) -> list[tuple[bytes, Held]]:
        pipeline = self._redis.pipeline(transaction=False)
        for bucket in buckets:
            pipeline.hgetall(bucket)
        return [
            (bucket, (origin, wrapped))
            for bucket, held in zip(buckets, pipeline.execute(), strict=True)
            for origin, wrapped in held.items()
            if wrapped != DESTROYED and (wrapped_by(wrapped) != newest or is_unbound(wrapped))
        ]

    def _pages(self) -> Iterator[list[bytes]]:
        match = self._names.data_keys + b"*"
        found = cast(Iterator[bytes], self._redis.scan_iter(match=match, count=1_000))
        while page := list(islice(found, PAGE)):
            yield page
