"""`POST /v1/events`: CloudEvents 1.0 over HTTP, in its three content modes."""

from urllib.parse import unquote

import msgspec
from msgspec import Raw
from starlette.requests import Request
from starlette.responses import Response

from connectors import formats
from connectors.gateway.intake import Intake, Keyed, many, one
from connectors.gateway.messages import Shared, faulty, keyed
from connectors.gateway.refusals import Refused
from connectors.gateway.routes import Routes
from connectors.gateway.segment import now_ms
from schemas.events import Reject

_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_HEADER = "ce-"

_read_list = msgspec.json.Decoder(list[Raw]).decode


def cloudevent_routes(intake: Intake) -> Routes:
    """One path; the content type says which mode it is. The write key comes as Bearer or Basic user."""

    async def events(request: Request) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        sender = intake.sender(request)
        body = await intake.body(request, may_be_empty=media not in (_STRUCTURED, _BATCH))
        items = _items(body) if media == _BATCH else [body]
        intake.admit(sender, len(items))
        shared = Shared(sender.source, now_ms(), intake.event_bytes)
        if media == _BATCH:
            batch = [_keyed(item, formats.structured(item), shared) for item in items]
            if batch:
                await intake.store(sender, batch)
            return many(batch)
        translated = formats.structured(body) if media == _STRUCTURED else _binary(request, body)
        if isinstance(translated, Reject) and translated.reason == "not_json":
            raise Refused("not_json", "the body is not JSON")
        key, event = _keyed(body, translated, shared)
        await intake.store(sender, [(key, event)])
        return one(event)

    return [("POST", "/v1/events", events)]


def _items(body: bytes) -> list[bytes]:
    try:
        return [bytes(item) for item in _read_list(body)]
    except msgspec.ValidationError as error:
        raise Refused("batch_invalid", "a batch of CloudEvents must be a JSON array") from error
    except (ValueError, RecursionError) as error:
        raise Refused("not_json", "the body is not JSON") from error


def _binary(request: Request, body: bytes) -> bytes | Reject:
    """The attributes stand percent-encoded in the headers."""
    try:
        attributes = {
            name[len(_HEADER) :]: unquote(value.strip('"'), errors="strict")
            for name, value in request.headers.items()
            if name.startswith(_HEADER)
        }
    except UnicodeDecodeError:
        return Reject("cloudevent_invalid", "a ce- header is not percent-encoded UTF-8")
    return formats.binary(attributes, request.headers.get("content-type", ""), body)


def _keyed(original: bytes, translated: bytes | Reject, shared: Shared) -> Keyed:
    if len(original) > shared.limit:
        return faulty("too_large", f"the event has {len(original)} bytes, at most {shared.limit} are allowed", original, shared)
    if isinstance(translated, Reject):
        return faulty(translated.reason, translated.detail, original, shared)
    return keyed(translated, shared)
