"""The keys of the deployment itself, and the document that they lie in: a file, or a variable.

    hash  keyed hashes of identifiers: without it nobody can test whether a phone number is in the directory
    log   seals what lies in logs before it is known whose it is (raw log, dead letters), archive and backups
    sign  signs model snapshots and checkpoints
    kek   wraps the data key of each origin, by version; personal data is sealed under the data key

Whoever has the document without its keks reads what is general and no personal data. Where Vault wraps, there
are none in it, and the other three lie wrapped (`wrapped`).
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from schemas.errors import ConfigError
from state.durable import sync_folder
from state.key_wrapping import FIRST

KEY_BYTES = 32
GENERAL: Final = ("hash", "log", "sign")
_RESTORE: Final = "restore it from its backup"


class KeyRing(msgspec.Struct, frozen=True):
    """What every process of a deployment works with; no key of a customer hangs on it."""

    hash: bytes
    log: bytes
    sign: bytes
    fingerprint: str  # names the keys without telling them; the same for the life of a deployment

    def __repr__(self) -> str:
        return "KeyRing(***)"


class KeyDocument(msgspec.Struct, frozen=True):
    """What a key file or a variable holds."""

    fingerprint: str
    general: dict[str, bytes]  # plain; empty where they are wrapped
    wrapped: dict[str, str]  # as Vault wrote them
    keks: dict[int, bytes]

    def __repr__(self) -> str:
        return "KeyDocument(***)"

    def ring(self) -> KeyRing:
        """Return the plain keys. To be asked of a document that has them."""
        return KeyRing(**self.general, fingerprint=self.fingerprint)


class _Encoded(msgspec.Struct, omit_defaults=True):
    """`kek` was one text before there were versions of it, and there was no fingerprint."""

    hash: str = ""
    log: str = ""
    sign: str = ""
    kek: str | dict[int, str] = {}
    fingerprint: str = ""
    wrapped: dict[str, str] = {}


def new_document(*, keks: bool) -> KeyDocument:
    """Return fresh keys. `keks`: with a first key-encryption key."""
    general = {name: os.urandom(KEY_BYTES) for name in GENERAL}
    made = {FIRST: os.urandom(KEY_BYTES)} if keks else {}
    return KeyDocument(_fingerprint(general, made), general, {}, made)


def with_another_kek(document: KeyDocument) -> KeyDocument:
    """Return it with one more key-encryption key, the newest."""
    version = max(document.keks, default=0) + 1
    return msgspec.structs.replace(document, keks={**document.keks, version: os.urandom(KEY_BYTES)})


def decoded(text: bytes, where: str) -> KeyDocument:
    """Return what `encoded` wrote, or a release before it. `where` it was read from. Raises `ConfigError`,
    which tells no key."""
    try:
        found = msgspec.json.decode(text, type=_Encoded)
        general = {name: b64decode(getattr(found, name), validate=True) for name in GENERAL}
        listed = {FIRST: found.kek} if isinstance(found.kek, str) else found.kek
        keks = {version: b64decode(key, validate=True) for version, key in listed.items()}
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{where} is no key file of millrace: {type(error).__name__}; {_RESTORE}") from None
    if found.wrapped and not any(general.values()):
        if not found.fingerprint or set(found.wrapped) != {*GENERAL}:
            raise ConfigError(f"{where} is no key file of millrace: it is not whole; {_RESTORE}")
        return KeyDocument(found.fingerprint, {}, found.wrapped, keks)
    for name, key in [*general.items(), *((f"kek-{version}", key) for version, key in keks.items())]:
        if not key:
            raise ConfigError(f"{where} is no key file of millrace: key {name} is missing; {_RESTORE}")
        if len(key) != KEY_BYTES:
            raise ConfigError(
                f"{where}: expected keys of {KEY_BYTES} bytes, {name} has {len(key)}; {_RESTORE}"
            )
    fingerprint = found.fingerprint or _fingerprint(general, keks)
    if FIRST in keks and fingerprint != _fingerprint(general, keks):
        raise ConfigError(f"{where}: its keys are not those of fingerprint {fingerprint}; {_RESTORE}")
    return KeyDocument(fingerprint, general, found.wrapped, keks)


def encoded(document: KeyDocument) -> bytes:
    """Return it as JSON."""
    general = {name: b64encode(key).decode() for name, key in document.general.items()}
    return msgspec.json.encode(
        _Encoded(
            **general,
            kek={version: b64encode(key).decode() for version, key in sorted(document.keks.items())},
            fingerprint=document.fingerprint,
            wrapped=document.wrapped,
        )
    )


def load_document(path: Path) -> KeyDocument:
    """Read a key file. Raises `ConfigError` where there is none, others can read it, or it is none."""
    if not path.exists():
        raise ConfigError(
            f"no key file at {path}: start `millrace run all` or `millrace demo` once, or restore the"
            " file from its backup"
        )
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others: expected mode 0600; run chmod 600 on it")
    return decoded(path.read_bytes(), str(path))


def create_document(path: Path, document: KeyDocument) -> None:
    """Write a key file with mode 0600, unless there is one: of two processes that do it at once, the first
    wins."""
    draft = _draft(path, document)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def replace_document(path: Path, document: KeyDocument) -> None:
    """Put it in the place of the key file that is there, in one step that a power cut does not undo."""
    _draft(path, document).replace(path)
    sync_folder(path.parent)


def _draft(path: Path, document: KeyDocument) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(encoded(document))
        file.flush()
        os.fsync(file.fileno())
    return draft


def _fingerprint(general: Mapping[str, bytes], keks: Mapping[int, bytes]) -> str:
    keys = [*(general[name] for name in GENERAL), keks.get(FIRST, b"")]
    return blake2b(b"".join(keys), digest_size=8, person=b"millrace").hexdigest()
