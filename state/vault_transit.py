"""Vault's engine Transit: what wraps without ever giving its keys away. OpenBao speaks the same.

There are two keys, so that a token can be kept from one of them: KEY-general for what every process needs,
KEY-sensitive for the customers' data keys. Both are derived: each wrapped key has its own, by its context.
Many are wrapped in one request.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import hvac
import hvac.exceptions
import msgspec
import requests

from schemas.config import Vault
from schemas.errors import KeysAway
from state.key_wrapping import (
    AGAIN_S,
    VAULT,
    Held,
    KekId,
    KeyMissing,
    NotOpened,
    Wrapping,
    body_of,
    bound_to,
    packed,
    rewrapped,
    wrapped_by,
)

BATCH: Final = 245  # OpenBao takes 1,000 texts in a request (`max_request_json_strings`): four for each key
TIMEOUT_S: Final = 10.0
_OTHER_VERSION: Final = ("too old", "too new")  # in what the server says of a version that it does not have
Made = TypeVar("Made")
Answer = dict[str, Any]
Item = tuple[bytes, str]  # context, and what was encrypted in it, `vault:vN:...`


class TransitKey(msgspec.Struct, frozen=True):
    """What the server says of one of its keys."""

    newest: int
    versions: tuple[int, ...]  # those that decrypt


class Refused(msgspec.Struct, frozen=True):
    """What the server says of one that does not open."""

    words: str


class Transit:
    """The engine. All raise `KeysAway` where the server does not answer, is sealed, or refuses the token:
    each may pass."""

    def __init__(self, options: Vault) -> None:
        self.where = f"Vault at {options.url}, {options.mount}"
        self._options = options
        self._client: Any = None

    def key(self, name: str) -> TransitKey | None:
        """Return what is known of a key; None where there is none."""

        def read() -> Answer | None:
            try:
                found: Answer = self._engine().read_key(name, **self._mount)
            except hvac.exceptions.InvalidPath as error:
                if error.errors:  # there is no such engine
                    raise
                return None
            return found

        found = self._asked(read)
        if found is None:
            return None
        data = found["data"]
        usable = (int(version) for version in data["keys"] if int(version) >= data["min_decryption_version"])
        return TransitKey(data["latest_version"], tuple(sorted(usable)))

    def create(self, name: str) -> None:
        """Make a derived key, unless there is one."""
        derived = {"derived": True, "key_type": "aes256-gcm96"}
        self._asked(lambda: self._engine().create_key(name, **derived, **self._mount))

    def rotate(self, name: str) -> None:
        """Give a key another version, which is the newest."""
        self._asked(lambda: self._engine().rotate_key(name, **self._mount))

    def encrypt(self, name: str, items: Sequence[Held]) -> list[str]:
        """Encrypt (context, plain) with the newest version."""
        asked = [{"context": _text(context), "plaintext": _text(plain)} for context, plain in items]
        return [one["ciphertext"] for one in self._batches("encrypt_data", name, asked)]

    def decrypt(self, name: str, items: Sequence[Item]) -> list[bytes | Refused]:
        """Return what was encrypted."""
        asked = [{"context": _text(context), "ciphertext": text} for context, text in items]
        found = self._batches("decrypt_data", name, asked)
        return [Refused(one["error"]) if one.get("error") else b64decode(one["plaintext"]) for one in found]

    def rewrap(self, name: str, items: Sequence[Item]) -> list[str | Refused]:
        """Encrypt the same with the newest version; it does not leave the server meanwhile."""
        asked = [{"context": _text(context), "ciphertext": text} for context, text in items]
        found = self._batches("rewrap_data", name, asked, ciphertext="")
        return [Refused(one["error"]) if one.get("error") else one["ciphertext"] for one in found]

    @property
    def _mount(self) -> dict[str, str]:
        return {"mount_point": self._options.mount}

    def _batches(self, verb: str, name: str, asked: Sequence[Answer], **more: str) -> list[Answer]:
        found: list[Answer] = []
        for first in range(0, len(asked), BATCH):
            found += self._batch(verb, name, asked[first : first + BATCH], more)
        return found

    def _batch(self, verb: str, name: str, page: Sequence[Answer], more: Mapping[str, str]) -> list[Answer]:
        def ask() -> Answer:
            try:
                found: Answer = getattr(self._engine(), verb)(name, batch_input=page, **self._mount, **more)
            except hvac.exceptions.InvalidRequest as error:
                # one that does not open makes a bad request of all, with the answer of each
                if error.json and "batch_results" in (error.json.get("data") or {}):
                    return dict(error.json)
                raise
            return found

        answers: list[Answer] = self._asked(ask)["data"]["batch_results"]
        return answers

    def _asked(self, ask: Callable[[], Made]) -> Made:
        with self._reported():
            try:
                return ask()
            except hvac.exceptions.Forbidden:
                if not self._options.token_file:
                    raise
            self._client = None
            return ask()  # with the token that the file holds now

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (requests.RequestException, hvac.exceptions.VaultError) as error:
            raise KeysAway(f"{self.where}: {_cause(error)}", AGAIN_S) from None

    def _engine(self) -> Any:
        if self._client is None:
            options = self._options
            if options.ca and not Path(options.ca).exists():
                raise KeysAway(f"{options.ca}, the certificate for Vault, is not there", AGAIN_S)
            self._client = hvac.Client(
                url=options.url, token=self._token(), verify=options.ca or True, timeout=TIMEOUT_S
            )
        return self._client.secrets.transit

    def _token(self) -> str:
        options = self._options
        if not options.token_file:
            return str(options.token)
        try:
            return Path(options.token_file).read_text().strip()
        except OSError as error:
            raise KeysAway(
                f"{options.token_file}, the token for Vault, cannot be read: {error.strerror}", AGAIN_S
            ) from None


class VaultWrapping:
    """Data keys wrapped by the key KEY-sensitive; those from before it was asked still open with the keks of
    the key file."""

    def __init__(self, transit: Transit, key: str, deployment: str, before: Wrapping) -> None:
        self._transit = transit
        self._key = key
        self._deployment = deployment
        self._before = before
        self.where = f"{transit.where}, key {key}"

    def wrap(self, keys: Sequence[Held]) -> list[bytes]:
        items = [(bound_to(self._deployment, origin), key) for origin, key in keys]
        return [_stored(text) for text in self._transit.encrypt(self._key, items)]

    def unwrap(self, keys: Sequence[Held]) -> list[bytes]:
        ours = [held for held in keys if wrapped_by(held[1]).scheme == VAULT]
        others = [held for held in keys if wrapped_by(held[1]).scheme != VAULT]
        opened = dict(zip(ours, self._opened(ours), strict=True))
        opened |= zip(others, self._before.unwrap(others) if others else (), strict=True)
        return [opened[held] for held in keys]

    def rewrap(self, keys: Sequence[Held]) -> list[bytes | None]:
        ours = [held for held in keys if wrapped_by(held[1]).scheme == VAULT]
        others = [held for held in keys if wrapped_by(held[1]).scheme != VAULT]
        items = [(bound_to(self._deployment, origin), _ciphertext(wrapped)) for origin, wrapped in ours]
        made: dict[Held, bytes | None] = {}
        for held, found in zip(ours, self._transit.rewrap(self._key, items), strict=True):
            if isinstance(found, Refused):
                self._lacks(held, found)
            made[held] = None if isinstance(found, Refused) else _stored(found)
        made |= zip(others, rewrapped(self._before, self, others), strict=True)
        return [made[held] for held in keys]

    def newest(self) -> KekId:
        found = self._transit.key(self._key)
        return KekId(VAULT, found.newest if found else 0)

    def known(self) -> list[KekId]:
        found = self._transit.key(self._key)
        return [
            *self._before.known(),
            *(KekId(VAULT, version) for version in (found.versions if found else ())),
        ]

    def _opened(self, keys: Sequence[Held]) -> list[bytes]:
        items = [(bound_to(self._deployment, origin), _ciphertext(wrapped)) for origin, wrapped in keys]
        opened = []
        for held, found in zip(keys, self._transit.decrypt(self._key, items), strict=True):
            if isinstance(found, Refused):
                self._lacks(held, found)
                raise NotOpened(held[0], wrapped_by(held[1]))
            opened.append(found)
        return opened

    def _lacks(self, held: Held, found: Refused) -> None:
        """Check that this version is one that the server lets decrypt. Raises `KeyMissing`."""
        if any(words in found.words for words in _OTHER_VERSION):
            raise KeyMissing(wrapped_by(held[1]), self.where)


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()


def _stored(text: str) -> bytes:
    """Return `vault:v3:BASE64` as it lies in Redis, a third shorter."""
    _, version, body = text.split(":")
    return packed(KekId(VAULT, int(version[1:])), b64decode(body))


def _ciphertext(wrapped: bytes) -> str:
    return f"vault:v{wrapped_by(wrapped).version}:{_text(body_of(wrapped))}"


def _cause(error: Exception) -> str:
    """Return what went wrong. Never the text of an answer: one to a batch has plain keys in it, and hvac puts
    it into its message."""
    if isinstance(error, hvac.exceptions.VaultError):
        errors = error.errors if isinstance(error.errors, list) else []
        said = " ".join("; ".join(map(str, errors)).split())
        return f"{type(error).__name__}{': ' + said if said else ''}"
    return f"cannot be reached ({type(error).__name__})"
