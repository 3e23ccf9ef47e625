"""How a data key lies in Redis: wrapped, and saying which key-encryption key (kek) wrapped it.

    scheme (1 byte), version of the kek (4 bytes, big-endian), what the scheme made of it

    scheme 1  RFC 3394 under a key that is derived (keyed BLAKE2b) from the kek, the deployment and the
              origin; the keks are in the key file, or in a variable of the environment. It takes no nonce, so
              that no number of uses wears a kek out
    scheme 2  Vault's engine Transit, whose key is derived in the same way: the deployment and the origin are
              its context

So a wrapped key opens for its own origin alone. Until format 3 a data key was 40 bytes, RFC 3394 under the
first kek, and nothing else: these are still read, and `millrace keys rotate` makes them new ones.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, Protocol

import msgspec
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from schemas.errors import Foreign, KeysAway

LOCAL: Final = 1
VAULT: Final = 2
FIRST: Final = 1  # the version of the kek that wraps what says no version
HEAD_BYTES: Final = 5
AGAIN_S: Final = 1.0  # until what does not answer is asked again
_UNBOUND_BYTES: Final = 40
_NAMES: Final = {LOCAL: "kek", VAULT: "vault"}

Held = tuple[bytes, bytes]  # origin, its data key, plain or wrapped
PROBE: Final[Held] = bytes(12), bytes(32)  # nobody's: wrapped by each kek, so that a start can try it


class KekId(msgspec.Struct, frozen=True, order=True):
    """Which key-encryption key: `kek-2`, `vault-1`."""

    scheme: int
    version: int

    def __str__(self) -> str:
        return f"{_NAMES.get(self.scheme, f'scheme{self.scheme}')}-{self.version}"


def kek_id(text: str) -> KekId:
    """Return what `str` made a text of. Raises `Foreign`."""
    name, _, version = text.rpartition("-")
    scheme = next((scheme for scheme, known in _NAMES.items() if known == name), None)
    if scheme is None or not version.isdecimal():
        raise Foreign(f"{text!r} is no id of a key-encryption key: use the newer millrace that wrote it")
    return KekId(scheme, int(version))


class KeyMissing(KeysAway):
    """A key-encryption key is not there; it may come yet."""

    def __init__(self, kek: KekId, where: str) -> None:
        super().__init__(missing(kek, where), AGAIN_S)


class NotOpened(Foreign):
    """A wrapped key does not open."""

    def __init__(self, origin: bytes, by: KekId) -> None:
        super().__init__(f"the data key of origin {origin.hex()} {self.reason(by)}")
        self.origin = origin
        self.by = by

    @staticmethod
    def reason(by: KekId) -> str:
        return (
            f"does not open with {by}: it was wrapped with another key file or for another deployment or"
            " origin, or changed: restore that file, or the key copy"
        )


class Wrapping(Protocol):
    """What wraps data keys, and unwraps those that it, or what was there before it, has wrapped."""

    where: str  # for people

    def wrap(self, keys: Sequence[Held]) -> list[bytes]:
        """Wrap with the newest kek. Raises `KeysAway`."""
        ...

    def unwrap(self, keys: Sequence[Held]) -> list[bytes]:
        """Return the plain keys. Raises `NotOpened` for what was changed, or is another deployment's or
        origin's; `KeyMissing`, `KeysAway`."""
        ...

    def rewrap(self, keys: Sequence[Held]) -> list[bytes | None]:
        """Wrap with the newest kek what is wrapped; None for what does not open. Raises `KeysAway`."""
        ...

    def newest(self) -> KekId:
        """Return what wraps now. Raises `KeysAway`."""
        ...

    def known(self) -> list[KekId]:
        """Return those that can unwrap. Raises `KeysAway`."""
        ...


def packed(kek: KekId, body: bytes) -> bytes:
    """Return a wrapped key as it is stored."""
    return bytes([kek.scheme]) + kek.version.to_bytes(4) + body


def body_of(wrapped: bytes) -> bytes:
    """Return what the scheme made of the key."""
    return wrapped if is_unbound(wrapped) else wrapped[HEAD_BYTES:]


def wrapped_by(wrapped: bytes) -> KekId:
    """Return which kek wrapped it."""
    if is_unbound(wrapped):
        return KekId(LOCAL, FIRST)
    return KekId(wrapped[0] if wrapped else 0, int.from_bytes(wrapped[1:HEAD_BYTES]))


def is_unbound(wrapped: bytes) -> bool:
    """Return whether it was wrapped by a release before format 4."""
    return len(wrapped) == _UNBOUND_BYTES


def bound_to(deployment: str, origin: bytes) -> bytes:
    """Return what a wrapped key is bound to."""
    name = deployment.encode()
    return b"millrace data key\0" + len(name).to_bytes(2) + name + origin


def derived(key: bytes, purpose: bytes, size: int = 32) -> bytes:
    """Return what a random key is expanded to for one purpose, of 64 bytes at most: keyed BLAKE2b (RFC 7693),
    a third of the time that HKDF takes."""
    return blake2b(purpose, key=key, digest_size=size, person=b"millrace derived").digest()


class LocalWrapping:
    """Keks that this process holds itself."""

    def __init__(self, keks: Callable[[], Mapping[int, bytes]], deployment: str, where: str) -> None:
        """`keks`: the versions as they are now, asked once for each batch; `where`: what they are read from,
        for people."""
        self._keks = keks
        self._bound = bound_to(deployment, b"")
        self.where = where

    def wrap(self, keys: Sequence[Held]) -> list[bytes]:
        keks = self._keks()
        newest = max(keks, default=0)
        kek = self._kek(keks, KekId(LOCAL, newest))
        by = KekId(LOCAL, newest)
        head, bound = packed(by, b""), self._bound
        return [head + aes_key_wrap(derived(kek, bound + origin), key) for origin, key in keys]

    def unwrap(self, keys: Sequence[Held]) -> list[bytes]:
        keks = self._keks()
        return [self._unwrapped(keks, origin, wrapped) for origin, wrapped in keys]

    def rewrap(self, keys: Sequence[Held]) -> list[bytes | None]:
        return rewrapped(self, self, keys)

    def newest(self) -> KekId:
        return KekId(LOCAL, max(self._keks(), default=0))

    def known(self) -> list[KekId]:
        return [KekId(LOCAL, version) for version in sorted(self._keks())]

    def _unwrapped(self, keks: Mapping[int, bytes], origin: bytes, wrapped: bytes) -> bytes:
        by = wrapped_by(wrapped)
        if by.scheme not in _NAMES:
            raise NotOpened(origin, by)
        kek = self._kek(keks, by)
        key = kek if is_unbound(wrapped) else derived(kek, self._bound + origin)
        try:
            return aes_key_unwrap(key, body_of(wrapped))
        except (InvalidUnwrap, ValueError):
            raise NotOpened(origin, by) from None

    def _kek(self, keks: Mapping[int, bytes], wanted: KekId) -> bytes:
        if wanted.scheme != LOCAL or wanted.version not in keks:
            raise KeyMissing(wanted, self.where)
        return keks[wanted.version]


def rewrapped(old: Wrapping, new: Wrapping, keys: Sequence[Held]) -> list[bytes | None]:
    """Return what `old` has wrapped, wrapped by `new`; None for what does not open. Raises `KeysAway`."""
    opened: list[bytes | None] = []
    for held in keys:
        try:
            opened += old.unwrap([held])
        except NotOpened:
            opened.append(None)
    plain = [(origin, key) for (origin, _), key in zip(keys, opened, strict=True) if key is not None]
    wrapped = iter(new.wrap(plain) if plain else ())
    return [None if key is None else next(wrapped) for key in opened]


def missing(kek: KekId, where: str) -> str:
    """Return the line that says which key is missing, and what to do."""
    if kek.scheme == VAULT:
        return (
            f"key {kek} is missing: it wraps customers' data keys, and {where} does not have it; set [keys]"
            " provider to vault with the key that wrapped them, and its min_decryption_version to"
            f" {kek.version} at most"
        )
    return (
        f"key {kek} is missing: it wraps customers' data keys, and {where} does not have it; restore the"
        " newest key file (after `millrace keys rotate` every machine needs the file that it left)"
    )
