"""The other side of the triggers: a webhook receiver that verifies each signature and remembers what it
got."""

import base64
import itertools
import json
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from flows.services.subjects.telling import ACTION as DELETE

_LOOK_EVERY_S = 0.05  # for the end of the `with`


def _busy(retry_after: str) -> bytes:
    return f"HTTP/1.1 503 Busy\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n".encode()


ODDITIES: Final = (  # what proxies, half-finished services and wrong ports send
    *map(
        _busy,
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "0", "soon", "-1"),
    ),
    b"",
    b"220 mail.example ESMTP\r\n",
    b"HTTP/1.1 OK\r\n\r\n",
    b"HTTP/1.1 500 \xff\xfe\r\nContent-Length: many\r\n\r\n",
    b"HTTP/1.1 500 No\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)


class Got(msgspec.Struct, frozen=True):
    """One trigger, as it came."""

    id: str
    customer: str
    rule: str
    cause: str
    reasons: dict[str, Any]
    receipt: dict[str, int]
    arrived_ms: int
    purpose: str = ""

    @property
    def occasion(self) -> tuple[str, ...]:
        """Return what fires once: a rule for an event, whoever is its customer by then; for a timer, whose
        due time many share, each customer."""
        return (self.rule, self.cause, self.customer) if self.timed else (self.rule, self.cause)

    @property
    def timed(self) -> bool:
        return self.cause.startswith("timer:")

    @property
    def latency_ms(self) -> int | None:
        """Return the time from the event's arrival at the gateway to the commit of the trigger; none for a
        timer, which waits on purpose."""
        return None if self.timed else self.receipt["emitted_ms"] - self.receipt["received_ms"]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing of a sender that goes away in the middle: it sends again."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Receiver:
    """Listens on a free port of the loopback address while its `with` lasts.

    One of `odd_every` requests it takes nothing of, and answers with the next of `ODDITIES`; 0: none.
    """

    def __init__(self, watch: Callable[[Got], None], odd_every: int = 0) -> None:
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.got: dict[str, Got] = {}  # by id
        self.deletions: dict[str, Got] = {}  # requests to delete a customer, by id: no triggers of a rule
        self.repeats = 0  # the same id again, as at-least-once delivery may
        self.forged = 0  # signature wrong or missing
        self.refused = 0  # requests that it answered oddly, or with a status that it was told to
        self._odd_every = odd_every
        self._asked = 0
        self._odd_answers = itertools.cycle(ODDITIES)
        self._watch = watch
        self._webhook = Webhook(self.secret)
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer = _Server(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/triggers"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_EVERY_S,), name="receiver", daemon=True
        ).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def twice(self) -> int:
        """Return the triggers beyond the first for one occasion: doubles with ids of their own."""
        with self._lock:
            counts = Counter(got.occasion for got in self.got.values())
        return sum(counts.values()) - len(counts)

    def all(self) -> list[Got]:
        """Return what has come so far."""
        with self._lock:
            return list(self.got.values())

    def latencies_ms(self) -> list[int]:
        with self._lock:
            return [latency for got in self.got.values() if (latency := got.latency_ms) is not None]

    def take(self, headers: dict[str, str], body: bytes, arrived_ms: int | None = None) -> int:
        """Take a delivery, and return the status to answer with: 204, or 401 for a signature that is not
        ours. `arrived_ms`: when, where that was not just now."""
        arrived_ms = time.time_ns() // 1_000_000 if arrived_ms is None else arrived_ms
        try:
            self._webhook.verify(body, headers, json_parse=False)
        except WebhookVerificationError:
            with self._lock:
                self.forged += 1
            return 401
        data = json.loads(body)["data"]
        got = Got(
            id=data["id"],
            customer=data["customer"],
            rule=data["rule"],
            cause=data["cause"],
            reasons=data["reasons"],
            receipt=data["receipt"],
            arrived_ms=arrived_ms,
            purpose=data["purpose"],
        )
        if data["action"] == DELETE:
            with self._lock:
                self.deletions.setdefault(got.id, got)
            return 204
        with self._lock:
            new = got.id not in self.got
            self.repeats += not new
            self.got.setdefault(got.id, got)
        if new:
            self._watch(got)
        return 204

    def odd_answer(self) -> bytes | None:
        """Return what to answer with instead of taking it, if anything."""
        with self._lock:
            self._asked += 1
            if not self._odd_every or self._asked % self._odd_every:
                return None
            self.refused += 1
            return next(self._odd_answers)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections stay open
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if (odd := receiver.odd_answer()) is not None:
                    self.wfile.write(odd)
                    self.close_connection = True
                    return
                self.send_response(receiver.take(dict(self.headers), body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing on the terminal."""

        return Handler
