"""One connection: uvicorn's protocol with bounds in time, size and number, and without upgrades.

uvicorn bounds neither the head of a request nor the time that it takes, closes no connection on which nothing
ever came, and leaves out the body of a request that offers to go on in another protocol.
"""

from asyncio import Transport
from asyncio.events import TimerHandle
from typing import Any, ClassVar, Final

import httptools
import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from connectors.gateway import health
from connectors.gateway.refusals import Refused, later
from schemas.metrics import GATEWAY_REQUESTS

_CLOSE: Final = {"Connection": "close"}
_OFFERS: Final = (b"upgrade", b"http2-settings")  # the headers of an offer, and nothing else


class Bounds(msgspec.Struct, frozen=True):
    """What all connections of a gateway may have."""

    connections: int = 4_096  # beyond it requests are answered 503, but for `health.PATHS`
    reserve: int = 64  # connections that are still taken for them
    head_s: float = 10.0  # from the first byte of a head (or from connecting) to its last
    # the request line and all headers; also what comes between two pieces of a body, and behind it
    head_bytes: int = 32 * 1024
    headers: int = 100
    answer_s: float = 30.0  # for a client to take more of an answer that it does not read


def bounded(bounds: Bounds) -> type["Connection"]:
    """Return the connections of one server, which know of each other."""
    return type("BoundedConnection", (Connection,), {"bounds": bounds, "idle": {}})


class Connection(HttpToolsProtocol):
    """To be made by `bounded`."""

    bounds: ClassVar[Bounds]
    # those that have no request under way; the one that waits longest stands first
    idle: ClassVar[dict["Connection", None]]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._served: ASGIApp = self.app
        self.limit_concurrency = None  # `_application` sees to it
        self._running: RequestResponseCycle | None = None
        self._in_head = False  # a head has begun and is not complete
        self._no_body_bytes = 0  # of a head, or since the last of a body, but for what came together with it
        self._due: TimerHandle | None = None  # when its head has to be there
        self._stalled: TimerHandle | None = None  # when more of the answer has to be taken

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if len(self.connections) > self.bounds.connections:
            self._make_room()
        if not transport.is_closing():
            self.idle[self] = None
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.idle.pop(self, None)
        for timer in (self._due, self._stalled, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        if self._running is not None:  # it is not the last one where requests came ahead of their answers
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        """In a full house whoever has waited longest for something to do goes; where all are busy, only the
        reserve is left."""
        longest = next(iter(self.idle), None)
        if longest is not None:
            del self.idle[longest]
            self.connections.discard(longest)  # its end comes a moment later, perhaps behind our request
            longest.transport.abort()
        elif len(self.connections) > self.bounds.connections + self.bounds.reserve:
            self.transport.abort()

    # --- what comes in ---

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._no_body_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("this is no HTTP/1.1 request")
            return
        if (
            self._no_body_bytes > self.bounds.head_bytes
        ):  # a head without end, or what stands around the chunks of a body
            self._refuse(_head_too_large(self.bounds))
        elif self._due is None and (self._in_head or self._is_idle()):
            self._expect_head()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
            return
        except httptools.HttpParserUpgrade as offer:
            rest = memoryview(data)[offer.args[0] :]
        while True:
            self._decline()
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]

    def _decline(self) -> None:
        """Read the head again without its offer to go on in another protocol: it may be ignored (RFC 9110,
        7.8).

        The parser takes what follows it for that protocol, even where it is the body of the request.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is for proxies")
        lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in _OFFERS]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join((*lines, b"", b"")))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._no_body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if (
            self._in_head
        ):  # what follows a chunked body is no header (RFC 9110, 6.5.1): nothing of ours is said there
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._no_body_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # it comes again: `_decline`
        self._in_head = False
        self._no_body_bytes = 0
        self.idle.pop(self, None)
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self.app = self._application()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _application(self) -> ASGIApp:
        """What answers this request."""
        if len(self.headers) > self.bounds.headers or self._measured() > self.bounds.head_bytes:
            return _counted(_head_too_large(self.bounds))
        if (
            len(self.connections) > self.bounds.connections
            and self.url.partition(b"?")[0] not in health.PATHS
        ):
            return _counted(
                later(
                    "connections_full",
                    "all connections of this gateway are in use, try again later",
                    1,
                    _CLOSE,
                )
            )
        return self._served

    def _measured(self) -> int:
        return len(self.url) + sum([len(name) + len(value) for name, value in self.headers])

    # --- who owes us something ---

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        self._due = self.loop.call_later(self.bounds.head_s, self._overdue)

    def _overdue(self) -> None:
        self._due = None
        if not self._is_idle():
            self._expect_head()  # requests came ahead of their answers: first those
        elif self._in_head:
            self._refuse(Refused("request_timeout", "the head of the request did not come in time"))
        else:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_idle() and not self.transport.is_closing():
            self.idle[self] = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.bounds.answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # --- what is answered where there is no request ---

    def send_400_response(self, msg: str) -> None:
        self._refuse(Refused("http_invalid", msg))

    def _refuse(self, refused: Refused) -> None:
        if self.transport.is_closing():
            return
        response = _counted(refused)
        head = [STATUS_LINE[response.status_code]]
        head += [b"%s: %s\r\n" % header for header in response.raw_headers]
        self.transport.write(b"".join((*head, b"connection: close\r\n\r\n", bytes(response.body))))
        self.transport.close()


def _head_too_large(bounds: Bounds) -> Refused:
    return Refused(
        "head_too_large",
        f"what stands before the body (or around its chunks) has more than {bounds.head_bytes} bytes or"
        f" {bounds.headers} headers",
        _CLOSE,
    )


def _counted(refused: Refused) -> Response:
    """As the answer of no route in particular."""
    response = refused.response()
    GATEWAY_REQUESTS.labels("none", str(response.status_code)).inc()
    return response
