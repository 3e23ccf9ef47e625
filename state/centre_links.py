"""Links into the privacy centre: who makes one says which customer it is for, and until when.

A link is a token, signed with HMAC-SHA256 under a key that is derived from the signing key of the key file
(HKDF, RFC 5869): nobody else can make one, and nobody needs to keep a list of them. It carries no personal
data: a customer is named by the keyed hash that it has anyway.
"""

import hmac
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, Literal

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.bilingual import Lang

_PURPOSE: Final = b"millrace privacy centre link"
_KEY_BYTES: Final = 32
_MAC_BYTES: Final = 32
NONCE_BYTES: Final = 13
_FORM: Final = struct.Struct(f">B12sI{NONCE_BYTES}sB")  # form, customer, expiry, nonce, language
_FIRST: Final = 1
_LANGS: Final[tuple[Lang, ...]] = ("en", "zh")
TOKEN_CHARS: Final = (_FORM.size + _MAC_BYTES) * 4 // 3

assert (_FORM.size + _MAC_BYTES) % 3 == 0, "so that a token needs no padding"


class Link(msgspec.Struct, frozen=True):
    """What a genuine link says."""

    customer: bytes
    expires_s: int
    nonce: bytes
    lang: Lang


class LinkSigner:
    """Makes and reads links. The same key file gives the same signer."""

    def __init__(self, secret: bytes) -> None:
        self._key = HKDF(SHA256(), _KEY_BYTES, salt=None, info=_PURPOSE).derive(secret)

    def make(self, customer: bytes, expires_s: int, lang: Lang) -> str:
        """Return the token of a new link."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        said = _FORM.pack(_FIRST, customer, expires_s, nonce, _LANGS.index(lang))
        return urlsafe_b64encode(said + self._mac(said)).decode()

    def read(self, token: str, now_s: float) -> Link | Literal["forged", "expired"]:
        """Return what a token says, or why it lets nobody in."""
        if len(token) != TOKEN_CHARS or not token.isascii():
            return "forged"
        try:
            signed = urlsafe_b64decode(token)
        except ValueError:
            return "forged"
        said, mac = signed[: _FORM.size], signed[_FORM.size :]
        # decoding ignores characters that are none of its own: what was altered so is no token of ours
        if not hmac.compare_digest(mac, self._mac(said)) or urlsafe_b64encode(signed).decode() != token:
            return "forged"
        form, customer, expires_s, nonce, lang = _FORM.unpack(said)
        if form != _FIRST or lang >= len(_LANGS):
            return "forged"
        if now_s >= expires_s:
            return "expired"
        return Link(customer, expires_s, nonce, _LANGS[lang])

    def _mac(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, "sha256")
