"""A webhook receiver with moods: it can be down, slow, answer with any status, or with what is hardly an answer."""

import itertools
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from flows.demo.receiver import Got, Receiver

_LOOK_EVERY_S = 0.05


def _busy(retry_after: str) -> bytes:
    return f"HTTP/1.1 503 Busy\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n".encode()


ODDITIES = (  # what proxies, half-finished services and wrong ports send
    *map(_busy, ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "0", "soon", "-1")),
    b"",
    b"220 mail.example ESMTP\r\n",
    b"HTTP/1.1 OK\r\n\r\n",
    b"HTTP/1.1 500 \xff\xfe\r\nContent-Length: many\r\n\r\n",
    b"HTTP/1.1 500 No\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that we broke is no news."""


class Moody(Receiver):
    """While `status` is set it takes nothing and answers with that; while `odd` is, with one of `ODDITIES` after the other. Before each
    answer it waits `slow_s`."""

    def __init__(self, watch: Callable[[Got], None]) -> None:
        super().__init__(watch)
        self._server.server_close()
        self._address = ("127.0.0.1", self._server.server_port)
        self._server = _Server(self._address, self._handler())
        self._is_down = False
        self.status = 0
        self.odd = False
        self.slow_s = 0.0
        self.refused = 0  # requests answered with `status`

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(_LOOK_EVERY_S,), name="receiver", daemon=True).start()
        return self

    def take(self, headers: dict[str, str], body: bytes) -> int:
        if self.slow_s:
            time.sleep(self.slow_s)
        if self._is_down:
            raise ConnectionAbortedError
        if self.status:
            self.refused += 1
            return self.status
        return super().take(headers, body)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver, oddities = self, itertools.cycle(ODDITIES)
        usual: Any = super()._handler()

        class Handler(usual):  # type: ignore[misc]  # made in a function
            def do_POST(self) -> None:
                if not receiver.odd:
                    super().do_POST()
                    return
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.wfile.write(next(oddities))
                self.close_connection = True
                receiver.refused += 1

        return Handler

    def down(self) -> None:
        """Nobody listens any more, and what comes over open connections has no answer."""
        self._is_down = True
        self._server.shutdown()
        self._server.server_close()

    def up(self) -> None:
        self._is_down = False
        self._server = _Server(self._address, self._handler())
        self.__enter__()
