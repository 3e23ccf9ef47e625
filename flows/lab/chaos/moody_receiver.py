"""A webhook receiver with moods: it can be down, slow, answer with any status, or with what is hardly an
answer."""

import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Self

from flows.lab.demo.trigger_receiver import Got, Receiver

_LOOK_EVERY_S = 0.05


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore it: a connection that we broke is no news."""


class Moody(Receiver):
    """While `status` is set it takes nothing and answers with that; while `odd` is, with one oddity after the
    other. Before each answer it waits `slow_s`."""

    def __init__(self, watch: Callable[[Got], None]) -> None:
        super().__init__(watch)
        self._server.server_close()
        self._address = ("127.0.0.1", self._server.server_port)
        self._server = _Server(self._address, self._handler())
        self._is_down = False
        self.status = 0
        self.odd = False
        self.slow_s = 0.0

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_EVERY_S,), name="receiver", daemon=True
        ).start()
        return self

    def take(self, headers: dict[str, str], body: bytes, arrived_ms: int | None = None) -> int:
        arrived_ms = time.time_ns() // 1_000_000 if arrived_ms is None else arrived_ms
        if self.slow_s:
            time.sleep(self.slow_s)
        if self._is_down:
            raise ConnectionAbortedError
        if self.status:
            self.refused += 1
            return self.status
        return super().take(headers, body, arrived_ms)

    def odd_answer(self) -> bytes | None:
        self._odd_every = int(self.odd)  # all or none
        return super().odd_answer()

    def down(self) -> None:
        """Nobody listens any more, and what comes over open connections has no answer."""
        self._is_down = True
        self._server.shutdown()
        self._server.server_close()

    def up(self) -> None:
        self._is_down = False
        self._server = _Server(self._address, self._handler())
        self.__enter__()
