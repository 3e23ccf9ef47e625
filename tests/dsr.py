"""A controller as others write it: requests with invented values, a receiver of callbacks, and the program
`openssl`, which shares no code with ours, to verify what came."""

import base64
import json
import shutil
import subprocess
import threading
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

OPENSSL = shutil.which("openssl")


def make_certificate(
    folder: Path, domain: str, name: str = "dsr", *, bits: int = 2_048, days: int = 30
) -> tuple[Path, Path]:
    """Return the files of a key and of its certificate, which is issued to `domain`; expired where `days` is
    negative."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    try:
        named: x509.GeneralName = x509.IPAddress(ip_address(domain))
    except ValueError:
        named = x509.DNSName(domain)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([named]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.key", folder / f"{name}.pem"
    files[0].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    files[1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return files


def genuine(folder: Path, certificate: Path, body: bytes, signature: str) -> bool:
    """Return whether `openssl` finds that the holder of the certificate signed this body."""
    assert OPENSSL is not None
    public, given, signed = folder / "public.pem", folder / "body", folder / "signature"
    extract = [OPENSSL, "x509", "-in", str(certificate), "-pubkey", "-noout"]
    public.write_bytes(subprocess.run(extract, check=True, capture_output=True).stdout)
    given.write_bytes(body)
    signed.write_bytes(base64.b64decode(signature))
    verify = [OPENSSL, "dgst", "-sha256", "-verify", str(public), "-signature", str(signed), str(given)]
    return subprocess.run(verify, check=False, capture_output=True).returncode == 0


def dsr(kind: str = "erasure", *identities: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    """Return a request as the specification has it. `identities`: type, value, format."""
    return {
        "regulation": "gdpr",
        "subject_request_id": str(uuid.uuid4()),
        "subject_request_type": kind,
        "submitted_time": "2026-11-30T09:30:00Z",
        "subject_identities": [
            {"identity_type": one, "identity_value": value, "identity_format": form}
            for one, value, form in identities or [("controller_customer_id", "ana", "raw")]
        ],
        "api_version": "2.0",
    } | more


class CallbackReceiver:
    """`with CallbackReceiver() as receiver:` listens on loopback and answers by `script`, 202 behind it."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.script: deque[int] = deque()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/opendsr_callbacks"

    @property
    def states(self) -> list[str]:
        """What was told, in order, however it was answered."""
        return [json.loads(body)["request_status"] for _, body in self.requests]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(receiver.script.popleft() if receiver.script else 202)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        return Handler

    def __enter__(self) -> "CallbackReceiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
