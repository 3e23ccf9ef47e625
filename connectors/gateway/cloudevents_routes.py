"""`POST /v1/events`: CloudEvents 1.0 over HTTP, in its three content modes."""

import re
from collections.abc import Callable
from functools import partial
from urllib.parse import unquote, unquote_to_bytes

import msgspec
from msgspec import Raw
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.gpc import is_signalled
from connectors.gateway.intake import Intake, Keyed, many, one
from connectors.gateway.messages import Shared, faulty, keyed
from connectors.gateway.refusals import Refused
from connectors.gateway.routes import Routes
from connectors.gateway.salvage import crowded, items_of
from connectors.gateway.segment import now_ms
from connectors.gateway.turns import in_turns
from connectors.wire import formats
from schemas.wire.events import Reject

_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_HEADER = b"ce-"
_escaped = re.compile(rb"\\(.)")

_read_list = msgspec.json.Decoder(list[Raw]).decode


def cloudevent_routes(intake: Intake) -> Routes:
    """Return the one path; the content type says which mode it is. The write key comes as Bearer or Basic
    user."""

    async def events(request: Request) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        sender = intake.named(request) or intake.sender(None)
        body = await intake.body(request, may_be_empty=media not in (_STRUCTURED, _BATCH))
        items = await _items(body, intake.batch_events) if media == _BATCH else [body]
        intake.admit(sender, len(items))
        shared = Shared(
            source=sender.source,
            received_ms=now_ms(),
            limit=intake.event_bytes,
            door=intake.door,
            gpc=is_signalled(request),
        )
        if media == _BATCH:
            batch = await in_turns(
                lambda some: [_keyed(item, formats.structured, shared) for item in some], items, len(body)
            )
            if batch:
                await intake.store(sender, batch)
            return many(batch)
        key, event = _keyed(
            body, formats.structured if media == _STRUCTURED else partial(_binary, request), shared
        )
        if event.fault == "not_json":
            raise Refused("not_json", "the body is not JSON")
        await intake.store(sender, [(key, event)])
        return one(event)

    return [("POST", "/v1/events", events)]


async def _items(body: bytes, most: int) -> list[bytes]:
    """The events of a batch, or enough of them to see that they are more than `most`. Raises `Refused`."""
    try:
        if crowded(body):
            return await items_of(body, most)
        return [bytes(item) for item in _read_list(body)]
    except msgspec.ValidationError as error:
        raise Refused("batch_invalid", "a batch of CloudEvents must be a JSON array") from error
    except (ValueError, RecursionError):  # perhaps one of them only
        try:
            return await items_of(body, most)
        except ValueError as error:
            raise Refused("not_json", "the body is not JSON") from error


def _binary(request: Request, body: bytes) -> bytes | Reject:
    """The attributes stand in the headers."""
    try:
        attributes = {
            name[len(_HEADER) :].decode(): _attribute(value)
            for name, value in request.headers.raw
            if name.startswith(_HEADER)
        }
    except UnicodeDecodeError:
        return Reject("cloudevent_invalid", "a ce- header is not percent-encoded UTF-8")
    return formats.binary(attributes, request.headers.get("content-type", ""), body)


def _attribute(value: bytes) -> str:
    """The text of a header (HTTP binding, 3.1.3.2): out of its quotes, then percent-decoded, then UTF-8.

    Bytes that should have been encoded and are no UTF-8 are Latin-1, as HTTP had it once. Encoded ones have
    no such excuse: raises `UnicodeDecodeError`.
    """
    if len(value) > 1 and value[:1] == value[-1:] == b'"':
        value = _escaped.sub(rb"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        if value.isascii():
            raise
    return unquote(value.decode("latin-1"), encoding="latin-1")


def _keyed(original: bytes, translate: Callable[[bytes], bytes | Reject], shared: Shared) -> Keyed:
    if len(original) > shared.limit:
        return faulty(
            "too_large",
            f"the event has {len(original)} bytes, at most {shared.limit} are allowed",
            original,
            shared,
        )
    translated = translate(original)
    if isinstance(translated, Reject):
        return faulty(translated.reason, translated.detail, original, shared)
    return keyed(translated, shared)
