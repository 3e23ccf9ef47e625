"""Keys and sealing. Every secret of a deployment hangs on one file of four keys, readable by its owner alone.

    hash  keyed hashes of identifiers: without it nobody can test whether a phone number is in the directory
    log   seals what lies in logs before it is known whose it is (raw log, dead letters)
    sign  signs model snapshots and checkpoints
    kek   wraps the data key of each origin; personal data is sealed under the data key

Erasing a customer destroys the data keys of its origins: every copy of what they sealed is unreadable from
then on.
"""

import os
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import cast

import msgspec
import redis
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from schemas.errors import ConfigError, Foreign
from state.damage import shown
from state.redis.client import writing
from state.redis.gather import Gather
from state.redis.names import Names

KEY_BYTES = 32
NONCE_BYTES = 12
CACHE_MAX = 50_000


class KeyRing(msgspec.Struct, frozen=True):
    hash: bytes
    log: bytes
    sign: bytes
    kek: bytes

    def __repr__(self) -> str:
        return "KeyRing(***)"

    @property
    def fingerprint(self) -> str:
        """Return what names the keys without telling them."""
        return blake2b(
            b"".join((self.hash, self.log, self.sign, self.kek)), digest_size=8, person=b"millrace"
        ).hexdigest()


def load_keys(path: Path, *, create: bool) -> KeyRing:
    """Read the key file; where there is none and `create` is set, make one with mode 0600. Raises
    `ConfigError`."""
    if not path.exists():
        if not create:
            raise ConfigError(
                f"no key file at {path}: start `millrace run all` or `millrace demo` once, or restore the"
                " file from its backup"
            )
        _create(path)
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others: expected mode 0600; run chmod 600 on it")
    try:
        encoded = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        keys = {name: b64decode(encoded[name], validate=True) for name in KeyRing.__struct_fields__}
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{path} is no key file of millrace: {type(error).__name__}; restore it from its backup"
        ) from None
    if any(len(key) != KEY_BYTES for key in keys.values()):
        raise ConfigError(f"{path}: expected keys of {KEY_BYTES} bytes; restore it from its backup")
    return KeyRing(**keys)


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = {name: b64encode(os.urandom(KEY_BYTES)).decode() for name in KeyRing.__struct_fields__}
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(keys))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # of two processes that create it at once, the first wins
    except FileExistsError:
        pass
    finally:
        draft.unlink()


class LogSeal:
    """AES-256-GCM over one log record. The nonce stands before the ciphertext."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, plain: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, b"log")

    def open(self, sealed: bytes) -> bytes:
        """Open. Raises `Foreign` for what another deployment sealed, or somebody changed."""
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], b"log")
        except (InvalidTag, ValueError):
            raise Foreign(
                "a log record cannot be opened: it was sealed with another key file, or changed"
            ) from None


class DataKey:
    """The data key of one origin. A field is bound to its origin and name: it cannot be passed off as
    another."""

    def __init__(self, origin: bytes, key: bytes, wrapped: bytes = b"") -> None:
        self.wrapped = wrapped
        self._origin = origin
        self._aead = AESGCM(key)

    def seal(self, field: str, plain: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, self._origin + field.encode())

    def open(self, field: str, sealed: bytes) -> bytes | None:
        """Open; None if this key did not seal it (the customer was erased and came back)."""
        try:
            return self._aead.decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._origin + field.encode()
            )
        except InvalidTag:
            return None


class DataKeys:
    """Data keys in Redis, wrapped (RFC 3394) by the key-encryption key; the unwrapped ones in a bounded
    cache."""

    def __init__(self, client: redis.Redis, names: Names, kek: bytes, buckets: int) -> None:
        self._redis = client
        self._names = names
        self._kek = kek
        self._buckets = buckets
        self._gather = Gather(client, buckets)
        # from a plain dict the oldest leaves in ever more time
        self._cache: OrderedDict[bytes, DataKey] = OrderedDict()

    def of(self, origins: Iterable[bytes], *, create: bool = False) -> dict[bytes, DataKey]:
        """Return the data keys of these origins; those that have none are left out, or given one."""
        wanted = dict.fromkeys(origins)
        missing = [origin for origin in wanted if origin not in self._cache]
        if missing:
            self._load(missing, create)
        found = {origin: self._cache[origin] for origin in wanted if origin in self._cache}
        self._bound()
        return found

    def current(self, origins: Sequence[bytes]) -> list[DataKey | None]:
        """Return the keys as they are now, None for who has none: who was erased a moment ago must not be
        opened from memory.

        It is the same object for as long as it is the same key, and remembered.
        """
        found: list[DataKey | None] = []
        for origin, wrapped in zip(origins, self._gather(self._names.data_keys, origins), strict=True):
            held = self._cache.get(origin)
            if wrapped is None:
                self._cache.pop(origin, None)
                held = None
            elif held is None or held.wrapped != wrapped:
                held = self._cache[origin] = self._unwrapped(origin, wrapped)
            found.append(held)
        self._bound()
        return found

    def _bound(self) -> None:
        while len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)

    def _load(self, origins: Sequence[bytes], create: bool) -> None:
        answers = self._created(origins) if create else self._gather(self._names.data_keys, origins)
        for origin, wrapped in zip(origins, answers, strict=True):
            if wrapped is not None:
                self._cache[origin] = self._unwrapped(origin, wrapped)

    def _created(self, origins: Sequence[bytes]) -> list[bytes | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for origin in origins:
            bucket = self._bucket(origin)
            pipeline.hsetnx(bucket, origin, aes_key_wrap(self._kek, os.urandom(KEY_BYTES)))
            pipeline.hget(bucket, origin)
        with writing():
            return cast(list[bytes | None], pipeline.execute()[1::2])

    def _unwrapped(self, origin: bytes, wrapped: bytes) -> DataKey:
        try:
            return DataKey(origin, aes_key_unwrap(self._kek, wrapped), wrapped)
        except InvalidUnwrap:
            where = f"{shown(self._bucket(origin))}, field {origin.hex()},"
            raise Foreign(
                f"{where} a customer's data key, was wrapped with another key file, or changed: restore that"
                " file, or the key copy"
            ) from None

    def _bucket(self, origin: bytes) -> bytes:
        return self._names.data_keys + b"%d" % (int.from_bytes(origin[:4]) % self._buckets)
