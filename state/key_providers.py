"""Where keys come from: a file, a variable of the environment, or Vault.

Each gives the keys of the deployment itself (`ring`), and what wraps the data keys of customers (`wrapping`).
A process that never asks for the latter needs no access to it.
"""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from schemas.config import Keys
from schemas.errors import ConfigError, KeysAway
from state.key_ring import (
    GENERAL,
    KeyDocument,
    KeyRing,
    create_document,
    decoded,
    load_document,
    new_document,
    replace_document,
    with_another_kek,
)
from state.key_wrapping import LocalWrapping, Wrapping

if TYPE_CHECKING:
    from state.vault_transit import Transit


class KeyProvider(Protocol):
    """What `[keys]` describes."""

    name: str
    where: str  # for people
    file: Path | None  # what can go while a process runs

    def exists(self) -> bool:
        """Return whether there are keys already."""
        ...

    def create(self) -> None:
        """Make the keys of a new deployment, unless there are some. Raises `ConfigError`, `KeysAway`."""
        ...

    def ring(self) -> KeyRing:
        """Return the keys of the deployment. Raises `ConfigError`, `KeysAway`."""
        ...

    def wrapping(self, deployment: str) -> Wrapping:
        """Return what wraps the data keys of a deployment, which is named by its fingerprint. Raises
        `ConfigError`."""
        ...

    def rotate(self) -> None:
        """Make another version of the key-encryption key, the newest. Raises `ConfigError`, `KeysAway`."""
        ...

    def settle(self) -> None:
        """Forget what is not needed any more once every data key is wrapped by the newest version. Raises
        `KeysAway`."""
        ...


def provider_of(options: Keys) -> KeyProvider:
    """Return what the options describe; nothing is read yet."""
    if options.provider == "env":
        return EnvironmentProvider(options.variable)
    if options.provider == "vault":
        return VaultProvider(options)
    return FileProvider(Path(options.path))


class FileProvider:
    """Everything in one file."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self.file: Path | None = path
        self.where = str(path)
        self._path = path
        self._read: tuple[int, int] = (0, 0)
        self._keks: Mapping[int, bytes] = {}

    def exists(self) -> bool:
        return self._path.exists()

    def create(self) -> None:
        if not self._path.exists():
            create_document(self._path, new_document(keks=True))
        self._load()

    def ring(self) -> KeyRing:
        document = self._load()
        if not document.general:
            raise ConfigError(
                f"{self._path} holds keys that Vault has wrapped: set [keys] provider to vault, or restore"
                " the file"
            )
        return document.ring()

    def wrapping(self, deployment: str) -> Wrapping:
        return LocalWrapping(self._now, deployment, self.where)

    def rotate(self) -> None:
        replace_document(self._path, with_another_kek(load_document(self._path)))

    def settle(self) -> None:
        """Keep all versions: an older copy of a file is all that may be left after an accident."""

    def _now(self) -> Mapping[int, bytes]:
        """Return the keks as the file has them. One that has gone meanwhile is not asked for: see
        `flows.runtime.key_watch`."""
        try:
            if self._stamp() != self._read:
                self._load()
        except (OSError, ConfigError):
            if not self._keks:
                raise
        return self._keks

    def _load(self) -> KeyDocument:
        read = self._stamp() if self._path.exists() else self._read
        document = load_document(self._path)
        self._read, self._keks = read, document.keks
        return document

    def _stamp(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_ino


class EnvironmentProvider:
    """What the file would hold, in a variable: it is the environment's to keep it."""

    name = "env"
    file: Path | None = None

    def __init__(self, variable: str) -> None:
        self.where = f"${variable}"
        self._variable = variable

    def exists(self) -> bool:
        return bool(os.environ.get(self._variable))

    def create(self) -> None:
        _ = self._document

    def ring(self) -> KeyRing:
        return self._document.ring()

    def wrapping(self, deployment: str) -> Wrapping:
        keks = self._document.keks
        return LocalWrapping(lambda: keks, deployment, self.where)

    def rotate(self) -> None:
        newest = max(self._document.keks, default=0)
        raise ConfigError(
            f"{self.where} is not ours to change: give it key {newest + 1} under `kek` (base64 of"
            " 32 random bytes), start everything again, then `millrace keys rotate`"
        )

    def settle(self) -> None:
        """There is nothing that could be forgotten here."""

    @cached_property
    def _document(self) -> KeyDocument:
        text = os.environ.get(self._variable, "")
        if not text:
            raise ConfigError(
                f"the environment has no {self.where}: expected the content of a key file"
                " (`millrace keys new` prints one)"
            )
        document = decoded(text.encode(), self.where)
        if not document.general:
            raise ConfigError(f"{self.where} holds keys that Vault has wrapped: expected them plain")
        return document


class VaultProvider:
    """Keks that never leave the server. The keys of the deployment lie in the file as it has wrapped them."""

    name = "vault"

    def __init__(self, options: Keys) -> None:
        self._path = Path(options.path)
        self.file: Path | None = self._path
        self._general = f"{options.vault.key}-general"
        self._sensitive = f"{options.vault.key}-sensitive"
        self.where = f"Vault at {options.vault.url}, {options.vault.mount}/{self._sensitive}"
        self._options = options

    def exists(self) -> bool:
        return self._path.exists()

    def create(self) -> None:
        for name in (self._general, self._sensitive):
            if self._transit.key(name) is None:
                self._make(name)
        if not self._path.exists():
            create_document(self._path, self._wrapped(new_document(keks=False)))

    def ring(self) -> KeyRing:
        document = load_document(self._path)
        if not document.wrapped:  # of the time before Vault: `settle` wraps them
            return document.ring()
        items = [(self._context(document, name), document.wrapped[name]) for name in GENERAL]
        found = self._transit.decrypt(self._general, items)
        opened = {}
        for name, key in zip(GENERAL, found, strict=True):
            if not isinstance(key, bytes):
                raise ConfigError(
                    f"{self._path}: key {name} does not open with {self._general} of {self._transit.where}"
                    f" ({key.words}): restore the newest key file, or name the Vault key that wrapped it"
                )
            opened[name] = key
        return KeyRing(**opened, fingerprint=document.fingerprint)

    def wrapping(self, deployment: str) -> Wrapping:
        from state.vault_transit import VaultWrapping

        before = FileProvider(self._path).wrapping(deployment)
        return VaultWrapping(self._transit, self._sensitive, deployment, before)

    def rotate(self) -> None:
        for name in (self._general, self._sensitive):
            self._transit.rotate(name)

    def settle(self) -> None:
        """Write the file anew: wrapped by the newest version, and without keks of the time before Vault."""
        ring, document = self.ring(), load_document(self._path)
        plain = {name: getattr(ring, name) for name in GENERAL}
        replace_document(self._path, self._wrapped(msgspec.structs.replace(document, general=plain, keks={})))

    def _make(self, name: str) -> None:
        try:
            self._transit.create(name)
        except KeysAway as error:
            raise ConfigError(
                f"there is no key {name}, and none can be made ({error}): make it with `vault write"
                f" {self._options.vault.mount}/keys/{name} derived=true type=aes256-gcm96`"
            ) from None

    def _wrapped(self, document: KeyDocument) -> KeyDocument:
        items = [(self._context(document, name), document.general[name]) for name in GENERAL]
        texts = self._transit.encrypt(self._general, items)
        wrapped = dict(zip(GENERAL, texts, strict=True))
        return msgspec.structs.replace(document, general={}, wrapped=wrapped)

    def _context(self, document: KeyDocument, name: str) -> bytes:
        return f"millrace {name}\0{document.fingerprint}".encode()

    @cached_property
    def _transit(self) -> "Transit":
        from state.vault_transit import Transit

        return Transit(self._options.vault)
