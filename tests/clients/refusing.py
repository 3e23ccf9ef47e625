"""A gateway that refuses its first requests with 429, as ours does when a write key sends too much, and then
takes all that comes.

What clients ask beforehand (their settings, what a page of another origin may send) a real gateway answers.
"""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import msgspec

_REFUSAL = b'{"success":false,"error":{"code":"rate_limited","message":"too many events"}}'
_AGAIN_S = "1"
_OF_THE_CONNECTION = ("content-length", "transfer-encoding", "content-encoding", "connection")


class Refusing:
    """`url` of the server; `taken` are the ids of the messages that it took."""

    def __init__(self, refusals: int) -> None:
        self.url = ""
        self.taken: set[str] = set()
        self._left = refusals
        self._lock = threading.Lock()

    def take(self, body: bytes, cloudevent: str | None) -> bool:
        """Take what a request brings, or refuse it; return whether it was taken."""
        with self._lock:
            if self._left > 0:
                self._left -= 1
                return False
            self.taken |= _messages(body, cloudevent)
            return True


@contextmanager
def refusing(refusals: int, gateway: str) -> Iterator[Refusing]:
    """Serve on loopback, each request on a thread of its own. `gateway`: the URL of ours."""
    state = Refusing(refusals)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, state, gateway))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, state: Refusing, gateway: str, *connection: Any) -> None:
        self._state, self._gateway = state, gateway
        super().__init__(*connection)  # which answers at once

    def do_POST(self) -> None:
        if self._state.take(self._body(), self.headers.get("ce-id")):
            self._answer(200, b'{"success":true}')
        else:
            self._answer(429, _REFUSAL)

    def do_GET(self) -> None:
        self._forward()

    def do_OPTIONS(self) -> None:
        self._forward()

    def _forward(self) -> None:
        answer = httpx.request(self.command, self._gateway + self.path, headers=dict(self.headers.items()))
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in _OF_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        if code == 429:
            self.send_header("Retry-After", _AGAIN_S)
            self.send_header("X-RateLimit-Reset", _AGAIN_S)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
        self.send_header("Access-Control-Allow-Credentials", "true")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def _messages(body: bytes, cloudevent: str | None) -> set[str]:
    """Ids of the messages in it: of a batch, of a single one, of CloudEvents."""
    if cloudevent is not None:
        return {cloudevent}
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return set()
    items: Any = found
    if isinstance(found, dict):
        items = found.get("batch", [found])
    elif not isinstance(found, list):
        items = []
    return {_id(item) for item in items if isinstance(item, dict)}


def _id(item: dict[str, Any]) -> str:
    """Its own, or what it says where it has none."""
    named = item.get("id") if "specversion" in item else item.get("messageId")
    return str(named) if named else msgspec.json.encode(item, order="sorted").decode()
