"""Sealing: AES-256-GCM with random nonces of 96 bits, under keys of which none seals more than 2^32 values
(NIST SP 800-38D, 8.3).

What is sealed begins with its form. What older releases sealed has none, and is still opened:

    of a log     2, salt (16 bytes), nonce (12), ciphertext; bound to the deployment
    of a field   2, nonce (12), ciphertext; bound to the deployment, the customer's origin, the field and 2

The log key itself seals nothing. Each `LogSeal` derives keys of its own from it by a random salt, and counts:
at 20,000 entries a second one key would be used up in two and a half days. A data key is not counted. It
seals what one person says, and a thousand values each second for 49 days are fewer than 2^32.

A data key does not seal either: two keys are derived from it, one for the fields of the customer and one for
what archive and matching keep, so that these share none and end together when it is destroyed.
`state.key_wrapping` says how data keys lie in Redis.

Erasing a customer destroys the data keys of its origins: every copy of what they sealed is unreadable from
then on. An empty value stays in place of each, so that no window on its way makes a new one; the copy of the
keys has it too, and so a restore knows who was erased since.
"""

import hmac
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, cast

import redis
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import ConfigError, Foreign
from state.damage import shown
from state.key_ring import KEY_BYTES
from state.key_wrapping import (
    PROBE,
    Held,
    KekId,
    KeyMissing,
    NotOpened,
    Wrapping,
    derived,
    kek_id,
    missing,
    wrapped_by,
)
from state.redis.client import writing
from state.redis.gather import Gather
from state.redis.names import Names

NONCE_BYTES = 12
SALT_BYTES = 16
CACHE_MAX = 50_000
SALTS_MAX = 256  # of others, whose derived keys are remembered
SEALS_MAX = 2**31  # half of what is allowed: threads that seal at once may miscount
ARCHIVED, MATCHED = "archive", "match"  # not fields of a customer, and sealed apart from those
_APART: Final = frozenset((ARCHIVED, MATCHED))
_FORM: Final = b"\x02"
_SALTED: Final = len(_FORM) + SALT_BYTES
PAGE: Final = 1_000
DESTROYED: Final = b""  # in place of the key of an origin that was erased


class LogSeal:
    """Seals log records, for one deployment."""

    def __init__(self, key: bytes, deployment: str = "") -> None:
        """`deployment`: the fingerprint of its keys, which names it for life."""
        self._key = key
        self._bound = b"log" + _FORM + deployment.encode()
        self._former = AESGCM(key)  # opens what has no form
        self._derived: OrderedDict[bytes, AESGCM] = OrderedDict()
        self._begin()

    def seal(self, plain: bytes) -> bytes:
        if self._left <= 0:
            self._begin()
        self._left -= 1
        head, aead = self._own
        nonce = os.urandom(NONCE_BYTES)
        return head + nonce + aead.encrypt(nonce, plain, self._bound)

    def open(self, sealed: bytes) -> bytes:
        """Open. Raises `Foreign` for what another deployment sealed, or somebody changed."""
        try:
            if sealed.startswith(_FORM) and (plain := self._opened(sealed)) is not None:
                return plain
            return self._former.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], b"log")
        except (InvalidTag, ValueError):
            raise Foreign(
                "a log record cannot be opened: it was sealed with another key file, or changed"
            ) from None

    def _begin(self) -> None:
        """Take a fresh key."""
        salt = os.urandom(SALT_BYTES)
        self._own = _FORM + salt, self._of(salt)
        self._left = SEALS_MAX

    def _opened(self, sealed: bytes) -> bytes | None:
        nonce, body = sealed[_SALTED : _SALTED + NONCE_BYTES], sealed[_SALTED + NONCE_BYTES :]
        try:
            return self._remembered(sealed[len(_FORM) : _SALTED]).decrypt(nonce, body, self._bound)
        except (InvalidTag, ValueError):
            return None  # of the form before, whose first byte was any

    def _remembered(self, salt: bytes) -> AESGCM:
        found = self._derived.get(salt)
        if found is None:
            found = self._derived[salt] = self._of(salt)
            if len(self._derived) > SALTS_MAX:
                self._derived.popitem(last=False)
        return found

    def _of(self, salt: bytes) -> AESGCM:
        return AESGCM(derived(self._key, b"log" + salt))


class DataKey:
    """The data key of one origin. A field is bound to its deployment, origin and name: it cannot be passed
    off as another."""

    def __init__(self, origin: bytes, key: bytes, wrapped: bytes = b"", deployment: str = "") -> None:
        self.wrapped = wrapped
        self._origin = origin
        self._key = key
        name = deployment.encode()
        self._bound = _FORM + len(name).to_bytes(2) + name + origin
        both = derived(key, b"data", 2 * KEY_BYTES)
        self._fields, self._apart = AESGCM(both[:KEY_BYTES]), both[KEY_BYTES:]

    def seal(self, field: str, plain: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return _FORM + nonce + self._of(field).encrypt(nonce, plain, self._bound + field.encode())

    def open(self, field: str, sealed: bytes) -> bytes | None:
        """Open; None if this key did not seal it (the customer was erased and came back)."""
        if sealed.startswith(_FORM):
            plain = _opened(self._of(field), sealed[len(_FORM) :], self._bound + field.encode())
            if plain is not None:
                return plain
        return _opened(AESGCM(self._key), sealed, self._origin + field.encode())

    def is_now(self, key: bytes, wrapped: bytes) -> bool:
        """Return whether it is this key, wrapped anew, and take note of it."""
        same = hmac.compare_digest(key, self._key)
        if same:
            self.wrapped = wrapped
        return same

    def _of(self, field: str) -> AESGCM:
        if field in _APART:
            return AESGCM(self._apart)  # not kept: it takes 2.5 KB, and tens of thousands are remembered
        return self._fields


def _opened(aead: AESGCM, sealed: bytes, bound: bytes) -> bytes | None:
    try:
        return aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        return None


class DataKeys:
    """Data keys in Redis, wrapped; the unwrapped ones in a bounded cache. Whatever wraps or unwraps raises
    `KeysAway` while that cannot be done."""

    def __init__(
        self, client: redis.Redis, names: Names, wrapping: Wrapping, buckets: int, deployment: str = ""
    ) -> None:
        """`deployment`: the fingerprint of its keys."""
        self._redis = client
        self._names = names
        self._wrapping = wrapping
        self._buckets = buckets
        self._deployment = deployment
        self._gather = Gather(client, buckets)
        self._probes: dict[KekId, bytes] = {}
        # from a plain dict the oldest leaves in ever more time
        self._cache: OrderedDict[bytes, DataKey] = OrderedDict()

    def check(self) -> None:
        """Check that every key-encryption key that wraps a data key is there, and is the one that it was.
        Raises `ConfigError`, which says the id of the one that is not; `KeysAway`."""
        used = cast(dict[bytes, bytes], self._redis.hgetall(self._names.keks))
        where = self._wrapping.where
        untried = {kek_id(text.decode()) for text, probe in used.items() if not probe}  # of a restore
        if untried and (lost := sorted(untried.difference(self._wrapping.known()))):
            raise ConfigError(missing(lost[0], where))
        try:
            self._wrapping.unwrap([(PROBE[0], probe) for _, probe in sorted(used.items()) if probe])
        except KeyMissing as error:
            raise ConfigError(str(error)) from None
        except NotOpened as error:
            raise ConfigError(
                f"key {error.by} of {where} is not the one that wraps customers' data keys: put that one"
                " back, or restore the newest key file"
            ) from None

    def of(self, origins: Iterable[bytes], *, create: bool = False) -> dict[bytes, DataKey]:
        """Return the data keys of these origins; those that have none are left out, or given one. Who was
        erased never gets one again."""
        wanted = dict.fromkeys(origins)
        unknown = [origin for origin in wanted if origin not in self._cache]
        if unknown:
            self._load(unknown, create)
        found = {origin: self._cache[origin] for origin in wanted if origin in self._cache}
        self._bound()
        return found

    def current(self, origins: Sequence[bytes]) -> list[DataKey | None]:
        """Return the keys as they are now, None for who has none: who was erased a moment ago must not be
        opened from memory.

        It is the same object for as long as it is the same key, and remembered.
        """
        stored = list(zip(origins, self._gather(self._names.data_keys, origins), strict=True))
        self._remember([(origin, wrapped) for origin, wrapped in stored if wrapped])
        found: list[DataKey | None] = []
        for origin, wrapped in stored:
            if not wrapped:
                self._cache.pop(origin, None)
            found.append(self._cache.get(origin))
        self._bound()
        return found

    def _bound(self) -> None:
        while len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)

    def _load(self, origins: Sequence[bytes], create: bool) -> None:
        answers = self._gather(self._names.data_keys, origins)
        stored = dict(zip(origins, answers, strict=True))
        self._remember([(origin, wrapped) for origin, wrapped in stored.items() if wrapped])
        if create and (absent := [origin for origin, wrapped in stored.items() if wrapped is None]):
            self._create(absent)

    def forget(self) -> None:
        """Ask Redis again from here on: keys were destroyed."""
        self._cache.clear()

    def destroy(self, origins: Sequence[bytes]) -> None:
        """Destroy the keys of these origins, for ever, also of those that have none yet. Raises `LogFull`
        where the server has no room."""
        pipeline = self._redis.pipeline(transaction=True)
        for origin in origins:
            self._cache.pop(origin, None)
            pipeline.hset(self._bucket(origin), origin, DESTROYED)
        with writing():
            pipeline.execute()

    def buckets(self, origins: Iterable[bytes]) -> list[bytes]:
        """Return the keys in Redis under which the data keys of these lie."""
        return sorted({self._bucket(origin) for origin in origins})

    def destroyed(self) -> Iterator[bytes]:
        """Yield the origins whose keys were destroyed."""
        for bucket in self._redis.scan_iter(match=self._names.data_keys + b"*", count=PAGE):
            held = cast(dict[bytes, bytes], self._redis.hgetall(bucket))
            yield from (origin for origin, wrapped in held.items() if wrapped == DESTROYED)

    def _create(self, origins: Sequence[bytes]) -> None:
        """Give these a key each. Where somebody else did meanwhile, it is theirs."""
        fresh = [(origin, os.urandom(KEY_BYTES)) for origin in origins]
        wrapped = self._wrapped(fresh)
        by = wrapped_by(wrapped[0])
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hsetnx(self._names.keks, str(by), self._probes.get(by, b""))
        for origin, each in zip(origins, wrapped, strict=True):
            bucket = self._bucket(origin)
            pipeline.hsetnx(bucket, origin, each)
            pipeline.hget(bucket, origin)
        with writing():
            answers = cast(list[bytes | None], pipeline.execute()[2::2])
        others: list[Held] = []
        for (origin, key), ours, found in zip(fresh, wrapped, answers, strict=True):
            if found == ours:
                self._cache[origin] = DataKey(origin, key, ours, self._deployment)
            elif found:
                others.append((origin, found))
        self._remember(others)

    def _wrapped(self, fresh: Sequence[Held]) -> list[bytes]:
        """Wrap these, and once for each key-encryption key what a start tries."""
        if self._probes:
            wrapped = self._wrapping.wrap(fresh)
            if wrapped_by(wrapped[0]) in self._probes:
                return wrapped
        probe, *wrapped = self._wrapping.wrap([PROBE, *fresh])
        self._probes[wrapped_by(probe)] = probe
        return wrapped

    def _remember(self, stored: Sequence[Held]) -> None:
        """Unwrap what is not known yet, all at once."""
        cache = self._cache
        new = [
            (origin, wrapped)
            for origin, wrapped in dict(stored).items()
            if (held := cache.get(origin)) is None or held.wrapped != wrapped
        ]
        if not new:
            return
        for (origin, wrapped), key in zip(new, self._unwrapped(new), strict=True):
            held = cache.get(origin)
            if held is None or not held.is_now(key, wrapped):
                cache[origin] = DataKey(origin, key, wrapped, self._deployment)

    def _unwrapped(self, wrapped: Sequence[Held]) -> list[bytes]:
        try:
            return self._wrapping.unwrap(wrapped)
        except NotOpened as error:
            where = f"{shown(self._bucket(error.origin))}, field {error.origin.hex()},"
            raise Foreign(f"{where} a customer's data key, {error.reason(error.by)}") from None

    def _bucket(self, origin: bytes) -> bytes:
        return self._names.data_keys + b"%d" % (int.from_bytes(origin[:4]) % self._buckets)
