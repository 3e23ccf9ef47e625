"""Signatures of OpenDSR: RSA (PKCS #1 v1.5) or ECDSA over the SHA-256 of a body, byte for byte, under a
certificate that is issued to the domain of who signs.
"""

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from schemas.errors import ConfigError, Foreign

RSA_BITS_MIN: Final = 2_048
SIGNATURE_MAX: Final = 2_048  # characters


class DsrSigner:
    """Signs as a processor."""

    def __init__(self, key: Path, certificate: Path, domain: str) -> None:
        """Raises `ConfigError` where the two files cannot sign for this domain."""
        self.domain: Final = domain
        self.certificate: Final = _read(certificate, "opendsr.certificate")
        found = _certificate(self.certificate, f"opendsr.certificate {certificate}")
        try:
            private = load_pem_private_key(_read(key, "opendsr.key"), password=None)
        except (ValueError, TypeError):
            raise ConfigError(
                f"opendsr.key {key}: expected a PEM file with a key without a password"
            ) from None
        if not isinstance(private, RSAPrivateKey) or private.key_size < RSA_BITS_MIN:
            raise ConfigError(f"opendsr.key {key}: expected an RSA key of at least {RSA_BITS_MIN} bits")
        if private.public_key() != found.public_key():
            raise ConfigError(f"opendsr.certificate {certificate}: it is of another key than {key}")
        if not _is_of(found, domain):
            raise ConfigError(
                f"opendsr.certificate {certificate}: expected one that is issued to {domain}, the host of"
                " opendsr.url"
            )
        if why := _out_of_date(found, datetime.now(UTC)):
            raise ConfigError(f"opendsr.certificate {certificate}: {why}")
        self._private = private

    def sign(self, body: bytes) -> str:
        """Return the signature of a body, in base64."""
        return b64encode(self._private.sign(body, PKCS1v15(), SHA256())).decode()


def self_signed(folder: Path, domain: str) -> tuple[Path, Path]:
    """Make a key and a certificate for trying it out, and return their files; the protocol wants one that an
    authority has issued."""
    private = generate_private_key(public_exponent=65_537, key_size=RSA_BITS_MIN)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(private, SHA256())
    )
    key, certificate = folder / "opendsr.key", folder / "opendsr.pem"
    key.touch(mode=0o600)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    return key, certificate


def check_signature(certificate: Path, domain: str, body: bytes, signature: str, now: datetime) -> None:
    """Check that the holder of a certificate that is issued to `domain` has signed this body. Raises
    `Foreign` where not, `ConfigError` where there is no such file."""
    found = _certificate(_read(certificate, "certificate"), f"certificate {certificate}")
    if not _is_of(found, domain):
        raise Foreign(f"the certificate that is kept of {domain} is issued to somebody else")
    if why := _out_of_date(found, now):
        raise Foreign(f"the certificate that is kept of {domain} {why}")
    public = found.public_key()
    try:
        given = b64decode("".join(signature[:SIGNATURE_MAX].split()), validate=True)
        if isinstance(public, RSAPublicKey):
            public.verify(given, body, PKCS1v15(), SHA256())
        elif isinstance(public, EllipticCurvePublicKey):
            public.verify(given, body, ECDSA(SHA256()))
        else:
            raise Foreign(f"the certificate that is kept of {domain} holds a key that signs otherwise")
    except (InvalidSignature, ValueError):
        raise Foreign("the signature is wrong: the body was changed, or another one signed it") from None


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{what} {file}: cannot be read ({error.strerror})") from None


def _certificate(pem: bytes, where: str) -> x509.Certificate:
    """Return the first one of a chain."""
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise ConfigError(f"{where}: expected a PEM file with a certificate") from None


def _is_of(certificate: x509.Certificate, domain: str) -> bool:
    """Return whether it is issued to exactly this domain: the protocol wants no wildcards."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    return domain.lower() in [one.lower() for one in [*names.get_values_for_type(x509.DNSName), *addresses]]


def _out_of_date(certificate: x509.Certificate, now: datetime) -> str:
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc.isoformat()}"
    if now > certificate.not_valid_after_utc:
        return f"has expired on {certificate.not_valid_after_utc.isoformat()}"
    return ""
