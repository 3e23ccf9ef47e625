"""A gateway that refuses its first requests with 429, as ours does when a write key sends too much, and then
takes all that comes.

What clients ask beforehand (their settings, what a page of another origin may send) a real gateway answers.
"""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import msgspec

_REFUSAL = b'{"success":false,"error":{"code":"rate_limited","message":"too many events"}}'
_AGAIN_S = "1"


class Refusing:
    """`url` of the server; `taken` are the ids of the messages that it took."""

    def __init__(self, url: str, refusals: int) -> None:
        self.url = url
        self.left = refusals
        self.taken: set[str] = set()


@contextmanager
def refusing(refusals: int, gateway: str) -> Iterator[Refusing]:
    """On loopback, answering each request on a thread of its own. `gateway`: the URL of ours."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._body()
            with lock:
                refused = state.left > 0
                state.left -= refused
                if not refused:
                    state.taken |= _messages(body, self.headers.get("ce-id"))
            self._answer(429 if refused else 200, _REFUSAL if refused else b'{"success":true}')

        def do_GET(self) -> None:
            self._forward()

        def do_OPTIONS(self) -> None:
            self._forward()

        def _forward(self) -> None:
            answer = httpx.request(self.command, gateway + self.path, headers=dict(self.headers.items()))
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in (
                    "content-length",
                    "transfer-encoding",
                    "content-encoding",
                    "connection",
                ):
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Refusing(f"http://127.0.0.1:{server.server_port}", refusals)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def _messages(body: bytes, cloudevent: str | None) -> set[str]:
    """Ids of the messages in it: of a batch, of a single one, of CloudEvents."""
    if cloudevent is not None:
        return {cloudevent}
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return set()
    items = (
        found if isinstance(found, list) else found.get("batch", [found]) if isinstance(found, dict) else []
    )
    return {_id(item) for item in items if isinstance(item, dict)}


def _id(item: dict[str, Any]) -> str:
    """Its own, or what it says where it has none."""
    named = item.get("id") if "specversion" in item else item.get("messageId")
    return str(named) if named else msgspec.json.encode(item, order="sorted").decode()
