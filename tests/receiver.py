"""A webhook receiver as a customer would write it: a real HTTP server on loopback that verifies with the
`standardwebhooks` library.

It answers by script: each request takes the next `Answer`, and 200 when there are none left. Behind it is a
thread for each connection.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1taWxscmFjZS10ZXN0cw=="


@dataclass(frozen=True)
class Answer:
    """How one request is answered; `status` 0 closes the connection without a word."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    after_s: float = 0.0


@dataclass(frozen=True)
class Request:
    """What came."""

    id: str
    body: bytes
    headers: dict[str, str]  # names in lower case
    verified: bool
    status: int
    at: float  # monotonic seconds

    @property
    def event(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """`with Receiver() as receiver:` listens on a free port. `requests` are in the order in which they
    came."""

    def __init__(self, secret: str = SECRET, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.script: deque[Answer] = deque()
        self.always: Answer | None = None  # what is answered when the script is over
        self.connections = 0
        self.concurrent_max = 0
        self._open = 0
        self._webhook = Webhook(secret)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def accepted(self) -> list[str]:
        """Ids that were answered with 2xx, repeats included."""
        return [request.id for request in self.requests if 200 <= request.status < 300]

    def wait(self, count: int, timeout_s: float = 60.0) -> list[Request]:
        """The requests, when there are `count` of them."""
        deadline = time.monotonic() + timeout_s
        while len(self.requests) < count:
            assert time.monotonic() < deadline, (
                f"{len(self.requests)} of {count} requests after {timeout_s} s"
            )
            time.sleep(0.002)
        return self.requests

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def take(self, headers: dict[str, str], body: bytes) -> Answer:
        """Verify, note and choose the answer. What cannot be verified gets 401, whatever the script says."""
        try:
            self._webhook.verify(body, headers)
            verified = True
        except WebhookVerificationError:
            verified = False
        with self._lock:
            if not verified:
                answer = Answer(401)
            else:
                answer = self.script.popleft() if self.script else self.always or Answer()
            self._note(headers.get("webhook-id", ""), body, headers, verified, answer.status)
            self._open += 1
            self.concurrent_max = max(self.concurrent_max, self._open)
        self._over.wait(answer.after_s)
        with self._lock:
            self._open -= 1
        return answer

    def _note(self, id: str, body: bytes, headers: dict[str, str], verified: bool, status: int) -> None:
        request = Request(
            id=id, body=body, headers=headers, verified=verified, status=status, at=time.monotonic()
        )
        self.requests.append(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # one packet for each answer

            def setup(self) -> None:
                super().setup()
                receiver.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                answer = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
                if answer.status == 0:
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def do_GET(self) -> None:
                """Where a redirect would lead: nobody should come."""
                receiver._note("GET", b"", {}, False, 200)
                self.send_response_only(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running
