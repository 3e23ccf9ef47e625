"""What all the ways in share: reading a bounded body, knowing the sender, keeping the rate, storing in the raw log."""

import asyncio
import base64
import binascii
import zlib
from collections.abc import Sequence
from time import monotonic

from prometheus_client import Counter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from connectors.gateway.limits import Bucket
from connectors.gateway.refusals import Refused, answer, later
from connectors.gateway.standing import Watch
from connectors.raw import RawWriter
from schemas.config import Gateway, WriteKey
from schemas.errors import LogFull, Unreachable
from schemas.events import RawEvent
from schemas.metrics import EVENTS_ACCEPTED, EVENTS_REFUSED

_BODY_S = 30  # for the whole body to arrive
_LOG_S = 10  # for the log to take a request's events
_SUSPENDED_S = 60  # until a sender whose source is suspended asks again: a person has to mend it
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's name for "with a gzip header"

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

    def __init__(self, config: Gateway, writer: RawWriter, watch: Watch) -> None:
        self.event_bytes = int(config.event_bytes)
        self._batch_bytes = int(config.batch_bytes)
        self._batch_events = config.batch_events
        self._senders = {str(key.key): Sender(key) for key in config.write_keys}
        self._writer = writer
        self._watch = watch

    async def body(self, request: Request, *, may_be_empty: bool = False) -> bytes:
        """The body without its gzip, never more than `batch_bytes` in memory. Raises `Refused`."""
        limit = self._batch_bytes
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("gzip", "identity", ""):
            raise Refused("encoding_unsupported", f"Content-Encoding must be gzip or absent, not {encoding[:40]!r}")
        body = await read(request, limit)
        if encoding == "gzip" or body[:2] == _GZIP_MAGIC:
            body = gunzip(body, limit)
        if not (body or may_be_empty):
            raise Refused("empty", "the request has no body")
        return body

    def sender(self, request: Request, *others: object) -> Sender:
        """Who sends: by the Authorization header, else by one of `others` (the body's or the path's key). Raises `Refused`."""
        for key in (credential(request), *others):
            sender = self._senders.get(key) if isinstance(key, str) else None
            if sender is not None:
                if not sender.enabled:
                    raise Refused("source_disabled", "this write key is switched off")
                return sender
        raise Refused(
            "write_key_invalid", "the write key is missing or unknown: send it as Basic user, as Bearer or as writeKey in the body"
        )

    def admit(self, sender: Sender, count: int) -> None:
        """Let `count` events pass. Raises `Refused`: a suspended source, too many at once, or too many a second."""
        if sender.source in self._watch.now.suspended:
            raise later("source_suspended", "too many of the last events of this source were invalid: it is suspended", _SUSPENDED_S)
        if count > self._batch_events:
            raise Refused("batch_too_long", f"the batch has {count} events, at most {self._batch_events} are allowed")
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
    """The answer to a request that was one event: its fault is the request's."""
    if event.fault is not None:
        return Refused(event.fault, event.detail).response()
    return Response(_SUCCESS, media_type="application/json")


def many(events: Sequence[Keyed]) -> Response:
    """The answer to a batch: 200, with the faults of single events listed."""
    errors = [
        {"index": index, "code": event.fault, "message": event.detail} for index, (_, event) in enumerate(events) if event.fault is not None
    ]
    if errors:
        return answer({"success": True, "errors": errors})
    return Response(_SUCCESS, media_type="application/json")


def credential(request: Request) -> str | None:
    """The Bearer token or the Basic user (its colon may be missing)."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            try:
                return base64.b64decode(value).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None


def gunzip(body: bytes, limit: int) -> bytes:
    """At most `limit` bytes come out, so a bomb costs no more memory than an honest body. Raises `Refused`."""
    parts: list[bytes] = []
    room = limit
    while body:  # a gzip file may have several members
        stream = zlib.decompressobj(_GZIP_WINDOW)
        try:
            part = stream.decompress(body, room + 1)
        except zlib.error as error:
            raise Refused("gzip_invalid", "the body is no gzip") from error
        room -= len(part)
        if room < 0:
            raise _too_large(limit)
        if not stream.eof:
            raise Refused("gzip_invalid", "the gzip body is truncated")
        parts.append(part)
        body = stream.unused_data
    return b"".join(parts)


async def read(request: Request, limit: int) -> bytes:
    """The body as sent, refused as soon as it is known to be longer than `limit` bytes. Raises `Refused`."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except (TimeoutError, ClientDisconnect) as error:
        raise Refused("request_timeout", "the body did not come in time") from error
    return bytes(body)


def _too_large(limit: int) -> Refused:
    return Refused("batch_too_large", f"the body is larger than {limit} bytes")
