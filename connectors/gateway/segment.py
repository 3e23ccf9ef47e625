"""The Segment HTTP API: `/v1/track` and its like, `/v1/batch`, RudderStack's `/v1/merge`, and what the
browser client asks for besides."""

import time

import msgspec
from msgspec import UNSET, Raw, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.gpc import is_signalled
from connectors.gateway.intake import Intake, Sender, many, one
from connectors.gateway.messages import ORDER_TYPES, Shared, fields_of, head_of, keyed, keyed_by
from connectors.gateway.refusals import Refused, answer
from connectors.gateway.routes import Endpoint, Routes
from connectors.gateway.salvage import crowded, items_of, members_of
from connectors.gateway.turns import in_turns
from schemas.wire.events import EVENT_TYPES, Reject

_SHORT = {"i": "identify", "t": "track", "p": "page", "s": "screen", "g": "group", "a": "alias"}
_BROWSER_CLIENTS = (
    "Segment.io",
    "Customer.io Data Pipelines",
)  # each looks for the place to send to under a name of its own
_BATCH = ("/v1/batch", "/v1/b", "/v1/import")


class _Batch(msgspec.Struct):
    batch: list[Raw]
    writeKey: str | None = None
    sentAt: Raw | UnsetType = UNSET
    context: Raw | UnsetType = UNSET
    integrations: Raw | UnsetType = UNSET


_read_batch = msgspec.json.Decoder(_Batch).decode


def segment_routes(intake: Intake) -> Routes:
    """Return `POST /v1/{type}`, `/v1/batch` and `/v1/import`, their short forms; `GET
    /v1/projects/{writeKey}/settings`."""

    async def client_metrics(request: Request) -> Response:
        """Take the browser client's figures about itself, and do not keep them."""
        await intake.body(request)
        return many([])

    async def settings(request: Request) -> Response:
        key = request.path_params["writeKey"]
        intake.sender(key)
        return answer(_settings(key, request))

    routes: Routes = [("POST", path, batch_endpoint(intake)) for path in _BATCH]
    for kind in (*EVENT_TYPES, *ORDER_TYPES):
        routes.append(("POST", f"/v1/{kind}", message_endpoint(intake, kind)))
    for short, kind in _SHORT.items():
        routes.append(("POST", f"/v1/{short}", message_endpoint(intake, kind)))
    return [*routes, ("POST", "/v1/m", client_metrics), ("GET", "/v1/projects/{writeKey}/settings", settings)]


def message_endpoint(intake: Intake, kind: str) -> Endpoint:
    """Take one message, whose type the path says."""

    async def endpoint(request: Request) -> Response:
        sender = intake.named(request)
        body = (await intake.body(request)).strip()
        head = head_of(body)
        if isinstance(head, Reject) and head.reason == "not_json":
            raise Refused("not_json", "the body is not JSON")
        if sender is None:
            sender = intake.sender(None if isinstance(head, Reject) else head.writeKey)
        intake.admit(sender, 1)
        key, event = keyed_by(
            head,
            body,
            Shared(
                source=sender.source,
                received_ms=now_ms(),
                limit=intake.event_bytes,
                kind=kind,
                merges=sender.merges,
                door=intake.door,
                gpc=is_signalled(request),
            ),
        )
        await intake.store(sender, [(key, event)])
        return one(event)

    return endpoint


def batch_endpoint(intake: Intake) -> Endpoint:
    """Take a batch of messages, each with its type."""

    async def endpoint(request: Request) -> Response:
        sender = intake.named(request)
        received = await intake.body(request)
        body = await _batch(received, intake.batch_events)
        if sender is None:
            sender = intake.sender(body.writeKey)
        intake.admit(sender, len(body.batch))
        shared = _shared(body, sender, intake, gpc=is_signalled(request))
        events = await in_turns(
            lambda items: [keyed(bytes(item), shared) for item in items],
            body.batch,
            len(received) + _common(body) * len(body.batch),
        )
        if events:
            await intake.store(sender, events)
        return many(events)

    return endpoint


def now_ms() -> int:
    """Return the gateway's clock: what `received_ms` says."""
    return time.time_ns() // 1_000_000


def _shared(body: _Batch, sender: Sender, intake: Intake, *, gpc: bool) -> Shared:
    """What the batch gives to each of its items. Raises `Refused`."""
    common = _common(body)
    if common > intake.event_bytes:
        raise Refused(
            "too_large",
            f"context, integrations and sentAt have {common} bytes, at most {intake.event_bytes} are allowed",
        )
    if common * len(body.batch) > intake.spread_bytes:
        raise Refused(
            "batch_too_large",
            f"{common} bytes of context, integrations and sentAt for each of {len(body.batch)} events are"
            " more than"
            f" {intake.spread_bytes} in all: send smaller batches",
        )
    sent_at = None if body.sentAt is UNSET else bytes(body.sentAt)
    return Shared(
        source=sender.source,
        received_ms=now_ms(),
        limit=intake.event_bytes,
        door=intake.door,
        gpc=gpc,
        merges=sender.merges,
        sent_at=sent_at,
        context=fields_of(body.context),
        integrations=fields_of(body.integrations),
    )


def _common(body: _Batch) -> int:
    """Bytes that each of its items gets besides."""
    return sum(
        len(bytes(part)) for part in (body.sentAt, body.context, body.integrations) if part is not UNSET
    )


async def _batch(body: bytes, most: int) -> _Batch:
    """The batch, or enough of it to see that it has more than `most` items. Raises `Refused`."""
    if crowded(body):
        return await _salvage(body, most)
    try:
        return _read_batch(body)
    except msgspec.ValidationError as error:
        raise Refused(
            "batch_invalid", f"the body must be an object with a list under `batch`: {error}"
        ) from error
    except (ValueError, RecursionError):
        return await _salvage(body, most)


async def _salvage(body: bytes, most: int) -> _Batch:
    """One item spoils the JSON of the whole body: with NaN or half a surrogate pair, as common clients send
    them, or nested too deeply.

    Taken apart by its brackets and commas, only that item is refused.
    """
    try:
        members = await members_of(body)
        items = await items_of(members[b"batch"], most)
    except (ValueError, KeyError) as error:
        raise Refused("not_json", "the body is not JSON") from error
    return _Batch(
        batch=[Raw(item) for item in items],
        writeKey=_text(members.get(b"writeKey")),
        sentAt=UNSET if _text(members.get(b"sentAt")) is None else Raw(members[b"sentAt"]),
        context=Raw(members[b"context"]) if b"context" in members else UNSET,
        integrations=Raw(members[b"integrations"]) if b"integrations" in members else UNSET,
    )


def _text(value: bytes | None) -> str | None:
    """The string that it is, if it is one."""
    try:
        return None if value is None else msgspec.json.decode(value, type=str)
    except ValueError:
        return None


def _settings(key: str, request: Request) -> dict[str, object]:
    """The least that the browser client needs: where to send, and that nothing is blocked."""
    everything = {"__default": {"enabled": True, "integrations": {}}}
    here = {"apiKey": key, "apiHost": f"{request.url.netloc}/v1", "protocol": request.url.scheme}
    return {
        "integrations": dict.fromkeys(_BROWSER_CLIENTS, here),
        "plan": {
            "track": everything,
            "identify": {"__default": {"enabled": True}},
            "group": {"__default": {"enabled": True}},
        },
        "edgeFunction": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "analyticsNextEnabled": True,
    }
