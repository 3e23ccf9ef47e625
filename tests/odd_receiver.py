"""A receiver that answers oddly: a raw socket on loopback that takes one request a connection, and answers
with bytes of a seeded choice.

What a receiver answers is data, whatever it is. Nothing here is an attack: it is what proxies, half-finished
services and wrong ports send.
"""

import random
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DATES = (
    "Fri, 31 Dec 99999999999999999999 23:59:59 GMT",  # no calendar holds it
    "Fri, 99999999999999999999 Dec 2026 23:59:59 GMT",
    "Fri, 31 Dec 2026 23:59:59 +99999999999999999999",
    "Thu, 31 Feb 2027 25:61:61 GMT",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Thu, 01 Jan 1970 00:00:00 GMT",
)
NUMBERS = (
    "0",
    "-0",
    "-1",
    "00000",
    "1e400",
    "nan",
    "inf",
    "0x10",
    "1.5",
    "²",
    "١٢",
    "Null",
    "",
    " ",
    ",",
    "0, 0",
    "\x7f",
    "\xff\xfe",
)


def _head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1", "replace")


def _retry_after(value: str) -> bytes:
    return _head("503 Busy", f"Retry-After: {value}", "Content-Length: 0", "Connection: close")


ANSWERS: dict[str, bytes] = {
    **{f"retry-after date {value!r}": _retry_after(value) for value in DATES},
    **{f"retry-after number {value!r}": _retry_after(value) for value in NUMBERS},
    "retry-after twice": _head(
        "429 Slow", "Retry-After: x", "Retry-After: 0", "Content-Length: 0", "Connection: close"
    ),
    "nothing": b"",
    "no http": b"220 mail.example ESMTP\r\n",
    "random bytes": random.Random(7).randbytes(400),
    "half a status line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "status without a number": b"HTTP/1.1 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "negative status": b"HTTP/1.1 -200 OK\r\nContent-Length: 0\r\n\r\n",
    "status 000": b"HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n",
    "status 999": b"HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n",
    "status 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "only 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "many 1xx": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 50,
    "http/9.9": b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "reason of bytes": b"HTTP/1.1 500 \xff\xfe\xe4\xb8\r\nContent-Length: 0\r\n\r\n",
    "header of bytes": b"HTTP/1.1 500 No\r\nX-\xff: \xfe\xff\r\nContent-Length: 0\r\n\r\n",
    "header without a colon": b"HTTP/1.1 500 No\r\nwhat is this\r\nContent-Length: 0\r\n\r\n",
    "folded header": b"HTTP/1.1 500 No\r\nX: a\r\n  b\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 500 No\nContent-Length: 0\n\n",
    "one huge header": b"HTTP/1.1 500 No\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    "a thousand headers": b"HTTP/1.1 500 No\r\n"
    + b"".join(b"X-%d: y\r\n" % n for n in range(1_000))
    + b"Content-Length: 0\r\n\r\n",
    "many headers": b"HTTP/1.1 500 No\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
    "length is a word": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "length is negative": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "length is absurd": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nshort",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "body too short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    "chunk size is a word": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "chunk size is absurd": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"ffffffffffffffffffff\r\nab",
    "chunks without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "chunked and a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
    b"0\r\n\r\n",
    "unknown coding": b"HTTP/1.1 500 No\r\nTransfer-Encoding: snappy\r\n\r\nabc",
    "gzip that is none": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "redirect to nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    "redirect to itself": b"HTTP/1.1 308 Moved\r\nLocation: /hook\r\nContent-Length: 0\r\n\r\n",
    "cookies": b"HTTP/1.1 500 No\r\nSet-Cookie: \xff=\x00; Max-Age=99999999999999999999; Expires=never\r\n"
    b"Content-Length: 0\r\n\r\n",
    "content type of bytes": b"HTTP/1.1 500 No\r\nContent-Type: \xff/;;charset=\"nope\r\n"
    b"Content-Length: 1\r\n\r\n\xff",
    "tls alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "http/2 settings": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
}  # fmt: skip


class OddReceiver:
    """`with OddReceiver(seed) as odd:` listens. Requests take `answers` in a seeded order, each of them
    before any again."""

    def __init__(
        self, seed: int, answers: Sequence[str] = tuple(ANSWERS), certificate: Path | None = None
    ) -> None:
        """`certificate`: a file with key and certificate; the receiver then speaks TLS."""
        self.answered: list[str] = []
        self._names = list(answers)
        random.Random(seed).shuffle(self._names)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._thread = threading.Thread(target=self._listen, daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._listener.close()

    def _listen(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(5)
            with self._spoken(connection) as stream:
                _read_request(stream)
                stream.sendall(ANSWERS[self._next()])

    @contextmanager
    def _spoken(self, connection: socket.socket) -> Iterator[socket.socket]:
        if self._tls is None:
            yield connection
            return
        with self._tls.wrap_socket(connection, server_side=True) as wrapped:
            yield wrapped

    def _next(self) -> str:
        with self._lock:
            name = self._names[len(self.answered) % len(self._names)]
            self.answered.append(name)
        return name


def _read_request(stream: socket.socket) -> None:
    """All of it, so that closing is no reset."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += _some(stream)
    head, _, body = came.partition(b"\r\n\r\n")
    length = next(
        int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    )
    while len(body) < length:
        body += _some(stream)


def _some(stream: socket.socket) -> bytes:
    if not (found := stream.recv(65_536)):
        raise ConnectionResetError
    return found


def certificate(folder: Path) -> Path:
    """A certificate that nobody has signed but itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "odd.invalid")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = (
        made.serial_number(1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=9))
    )
    signed = made.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "odd.pem"
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path
