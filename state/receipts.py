"""Receipts that an outsider can verify: canonical JSON (RFC 8785) under an Ed25519 signature.

Models are signed with an HMAC, which only who holds the secret can check. A customer or an authority must
need no secret of ours: so the signing key of the key file gives a key pair of its own (HKDF, RFC 5869), and
the public half may be handed to anybody.

    {"key": public key, "receipt": {...}, "signature": over the canonical bytes of `receipt`}
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import Foreign

_PURPOSE: Final = b"millrace receipt"
KEY_BYTES: Final = 32


class _Signed(msgspec.Struct):
    key: str
    receipt: dict[str, Any]
    signature: str


class ReceiptSigner:
    """Signs receipts. The same key file gives the same key pair."""

    def __init__(self, secret: bytes) -> None:
        seed = HKDF(SHA256(), KEY_BYTES, salt=None, info=_PURPOSE).derive(secret)
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = b64encode(self._private.public_key().public_bytes_raw()).decode()

    def sign(self, receipt: Mapping[str, Any]) -> bytes:
        """Return the signed document, in canonical form itself."""
        signature = self._private.sign(rfc8785.dumps(dict(receipt)))
        document: dict[str, Any] = {
            "key": self.public,
            "receipt": dict(receipt),
            "signature": b64encode(signature).decode(),
        }
        return rfc8785.dumps(document)


def verified(document: bytes, public: str) -> dict[str, Any]:
    """Return the receipt in a signed document. `public`: the key that must have signed it, base64. Raises
    `Foreign` for any other, for what was changed since, and for what is no receipt."""
    try:
        signed = msgspec.json.decode(document, type=_Signed)
        canonical = rfc8785.dumps(signed.receipt)
        signature = b64decode(signed.signature, validate=True)
    except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise Foreign(f"expected a signed receipt as millrace writes it: {error}") from None
    try:
        key = Ed25519PublicKey.from_public_bytes(b64decode(public, validate=True))
    except ValueError:
        raise Foreign(f"expected a public key of {KEY_BYTES} bytes in base64, got {public[:64]!r}") from None
    if signed.key != public:
        raise Foreign(f"expected a receipt of the key {public}, this one names {signed.key[:64]!r}")
    try:
        key.verify(signature, canonical)
    except InvalidSignature:
        raise Foreign("the signature is wrong: the receipt was changed, or another one signed it") from None
    return signed.receipt
