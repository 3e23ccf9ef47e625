"""What all the ways in share: reading a bounded body, knowing the sender, keeping the rate, storing in the
raw log."""

import asyncio
import base64
from collections.abc import Sequence
from time import monotonic

from prometheus_client import Counter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from connectors.gateway.door import Door
from connectors.gateway.gzipped import MAGIC, gunzip
from connectors.gateway.limits import Bucket
from connectors.gateway.refusals import Refused, answer, later, too_large
from connectors.gateway.standing import Watch
from connectors.raw.log import RawWriter
from schemas.config import Gateway, WriteKey
from schemas.errors import LogFull, Unreachable
from schemas.metrics import EVENTS_ACCEPTED, EVENTS_REFUSED
from schemas.wire.events import RawEvent

_BODY_S = 30  # for the whole body to arrive
_LOG_S = 10  # for the log to take a request's events
_SUSPENDED_S = 60  # until a sender whose source is suspended asks again: a person has to mend it
_SPREAD = 16  # what a batch says once for all its events may make this many times the largest body of it
_SUCCESS = b'{"success":true}'

Keyed = tuple[str, RawEvent]  # with the key that keeps the order


class Sender:
    """A write key in use."""

    def __init__(self, key: WriteKey) -> None:
        self.source = key.source
        self.enabled = key.enabled
        self.merges = key.merges
        self.bucket = Bucket(key.events_per_second, monotonic())
        self.accepted: Counter = EVENTS_ACCEPTED.labels(key.source)


class Intake:
    """One for each gateway process."""

    def __init__(self, config: Gateway, writer: RawWriter, watch: Watch, door: Door | None = None) -> None:
        self.event_bytes = int(config.event_bytes)
        self._batch_bytes = int(config.batch_bytes)
        self.spread_bytes = _SPREAD * self._batch_bytes
        self.batch_events = config.batch_events
        self._senders = {str(key.key): Sender(key) for key in config.write_keys}
        self.door = door
        self._writer = writer
        self._watch = watch

    async def body(self, request: Request, *, may_be_empty: bool = False) -> bytes:
        """Return the body without its gzip, never more than `batch_bytes` in memory. Raises `Refused`."""
        limit = self._batch_bytes
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("gzip", "identity", ""):
            raise Refused(
                "encoding_unsupported", f"Content-Encoding must be gzip or absent, not {encoding[:40]!r}"
            )
        body = await read(request, limit)
        if body and (encoding == "gzip" or body[:2] == MAGIC):
            body = await gunzip(body, limit)
        if not (body or may_be_empty):
            raise Refused("empty", "the request has no body")
        return body

    def named(self, request: Request) -> Sender | None:
        """Return who sends, as the request says outside of its body: known before anything is read. None
        where it says nothing.

        A Basic user is a write key and nothing else, so it wins and is refused when it is wrong. An unknown
        Bearer may be the OAuth token of a client that has its key in the body (Segment's for Python), and
        Authorization of another scheme is for somebody else: then the query (`?writeKey=`, as beacons send
        it) or the body has to name a key. Raises `Refused`.
        """
        scheme, key = _authorization(request)
        if key in self._senders or (scheme == "basic" and key != ""):
            return self.sender(key)
        if (
            key := request.headers.get("x-write-key")
        ) is not None:  # Jitsu's `key:secret`; as of Basic the first part is enough
            return self.sender(key if key in self._senders else key.partition(":")[0])
        if request.scope["query_string"]:
            key = request.query_params.get("writeKey")
            return self.sender(key) if key else None
        return None

    def sender(self, key: object) -> Sender:
        """Return who sends with this key. Raises `Refused`."""
        sender = self._senders.get(key) if isinstance(key, str) else None
        if sender is None:
            raise Refused(
                "write_key_invalid",
                "the write key is missing or unknown: send it as Basic user, as Bearer or as writeKey in the"
                " body",
            )
        if not sender.enabled:
            raise Refused("source_disabled", "this write key is switched off")
        return sender

    def admit(self, sender: Sender, count: int) -> None:
        """Let `count` events pass. Raises `Refused`: a suspended source, too many at once, or too many a
        second."""
        if sender.source in self._watch.now.suspended:
            raise later(
                "source_suspended",
                "too many of the last events of this source were invalid: it is suspended",
                _SUSPENDED_S,
            )
        if count > self.batch_events:
            raise Refused(
                "batch_too_long", f"the batch has {count} events, at most {self.batch_events} are allowed"
            )
        wait_s = sender.bucket.take(count, monotonic())
        if wait_s:
            raise later("rate_limited", "this write key sends more events than it may", wait_s)

    async def store(self, sender: Sender, events: Sequence[Keyed]) -> None:
        """Return when the log has them all. Raises `Refused` when it has no room or does not answer."""
        await self.append(events)
        faults = [event.fault for _, event in events if event.fault is not None]
        for fault in faults:
            EVENTS_REFUSED.labels(fault).inc()
        sender.accepted.inc(len(events) - len(faults))

    async def append(self, events: Sequence[Keyed]) -> None:
        """`store` for what no write key sent."""
        try:
            async with asyncio.timeout(_LOG_S):
                await self._writer.append(events)
        except LogFull as full:
            raise later("log_full", "the engine is behind, try again later", full.retry_after_s) from full
        except (Unreachable, TimeoutError) as error:
            raise later("log_unreachable", "the log does not answer, try again later", 1) from error


def one(event: RawEvent) -> Response:
    """Return the answer to a request that was one event: its fault is the request's."""
    if event.fault is not None:
        return Refused(event.fault, event.detail).response()
    return Response(_SUCCESS, media_type="application/json")


def many(events: Sequence[Keyed]) -> Response:
    """Return the answer to a batch: 200, with the faults of single events listed."""
    errors = [
        {"index": index, "code": event.fault, "message": event.detail}
        for index, (_, event) in enumerate(events)
        if event.fault is not None
    ]
    if errors:
        return answer({"success": True, "errors": errors})
    return Response(_SUCCESS, media_type="application/json")


def credential(request: Request) -> str | None:
    """Return the Bearer token or the Basic user (its colon may be missing)."""
    return _authorization(request)[1]


def _authorization(request: Request) -> tuple[str, str | None]:
    """The scheme, and what it gives; None where that cannot be read."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return "bearer", value.strip()
        case "basic":
            try:
                return "basic", base64.b64decode(value).decode().partition(":")[0]
            except ValueError:  # not ASCII, not base64, not UTF-8
                return "basic", None
    return "", None


async def read(request: Request, limit: int) -> bytes:
    """Return the body as sent, refused as soon as it is known to be longer than `limit` bytes. Raises
    `Refused`."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        raise too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large(limit)
    except (TimeoutError, ClientDisconnect) as error:
        raise Refused("request_timeout", "the body did not come in time") from error
    return bytes(body)
