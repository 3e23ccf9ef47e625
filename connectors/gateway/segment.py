"""The Segment HTTP API: `/v1/track` and its like, `/v1/batch`, RudderStack's `/v1/merge`, and what the browser client asks for besides."""

import json
import time

import msgspec
from msgspec import UNSET, Raw, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.intake import Intake, many, one
from connectors.gateway.messages import ORDER_TYPES, Shared, fields_of, head_of, keyed, keyed_by
from connectors.gateway.refusals import Refused, answer
from connectors.gateway.routes import Endpoint, Routes
from schemas.events import EVENT_TYPES, Reject

_SHORT = {"i": "identify", "t": "track", "p": "page", "s": "screen", "g": "group", "a": "alias"}
_BATCH = ("/v1/batch", "/v1/b", "/v1/import")


class _Batch(msgspec.Struct):
    batch: list[Raw]
    writeKey: str | None = None
    sentAt: Raw | UnsetType = UNSET
    context: Raw | UnsetType = UNSET
    integrations: Raw | UnsetType = UNSET


_read_batch = msgspec.json.Decoder(_Batch).decode


def segment_routes(intake: Intake) -> Routes:
    """`POST /v1/{type}`, `/v1/batch` and `/v1/import`, their short forms; `GET /v1/projects/{writeKey}/settings`."""

    def single(kind: str) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            body = (await intake.body(request)).strip()
            head = head_of(body)
            if isinstance(head, Reject) and head.reason == "not_json":
                raise Refused("not_json", "the body is not JSON")
            sender = intake.sender(request, None if isinstance(head, Reject) else head.writeKey)
            intake.admit(sender, 1)
            key, event = keyed_by(head, body, Shared(sender.source, now_ms(), intake.event_bytes, kind, sender.merges))
            await intake.store(sender, [(key, event)])
            return one(event)

        return endpoint

    async def batch(request: Request) -> Response:
        body = _batch(await intake.body(request))
        sender = intake.sender(request, body.writeKey)
        intake.admit(sender, len(body.batch))
        context, integrations = fields_of(body.context), fields_of(body.integrations)
        sent_at = None if body.sentAt is UNSET else bytes(body.sentAt)
        shared = Shared(sender.source, now_ms(), intake.event_bytes, None, sender.merges, sent_at, context, integrations)
        events = [keyed(bytes(item), shared) for item in body.batch]
        if events:
            await intake.store(sender, events)
        return many(events)

    async def client_metrics(request: Request) -> Response:
        """The browser client's figures about itself: taken, not kept."""
        await intake.body(request)
        return many([])

    async def settings(request: Request) -> Response:
        key = request.path_params["writeKey"]
        intake.sender(request, key)
        return answer(_settings(key, request))

    routes: Routes = [("POST", path, batch) for path in _BATCH]
    for kind in (*EVENT_TYPES, *ORDER_TYPES):
        routes.append(("POST", f"/v1/{kind}", single(kind)))
    for short, kind in _SHORT.items():
        routes.append(("POST", f"/v1/{short}", single(kind)))
    return [*routes, ("POST", "/v1/m", client_metrics), ("GET", "/v1/projects/{writeKey}/settings", settings)]


def now_ms() -> int:
    """The gateway's clock: what `received_ms` says."""
    return time.time_ns() // 1_000_000


def _batch(body: bytes) -> _Batch:
    try:
        return _read_batch(body)
    except msgspec.ValidationError as error:
        raise Refused("batch_invalid", f"the body must be an object with a list under `batch`: {error}") from error
    except (ValueError, RecursionError):
        return _salvage(body)


def _salvage(body: bytes) -> _Batch:
    """One item with NaN or half a surrogate pair, as common clients send them, spoils the JSON of the whole body.

    The standard library reads such a body, so that only that item is refused.
    """
    try:
        document = json.loads(body)
        items = [_raw(item) for item in document["batch"]]
        shared = {name: _raw(document[name]) for name in ("sentAt", "context", "integrations") if name in document}
    except RecursionError as error:
        raise Refused("too_deep", "the body is nested too deeply") from error
    except (ValueError, TypeError, KeyError) as error:
        raise Refused("not_json", "the body is not JSON") from error
    return _Batch(items, document.get("writeKey"), **shared)


def _raw(value: object) -> Raw:
    """As JSON again, with half a surrogate pair as the escape that it was."""
    return Raw(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace"))


def _settings(key: str, request: Request) -> dict[str, object]:
    """The least that the browser client needs: where to send, and that nothing is blocked."""
    everything = {"__default": {"enabled": True, "integrations": {}}}
    return {
        "integrations": {"Segment.io": {"apiKey": key, "apiHost": f"{request.url.netloc}/v1", "protocol": request.url.scheme}},
        "plan": {"track": everything, "identify": {"__default": {"enabled": True}}, "group": {"__default": {"enabled": True}}},
        "edgeFunction": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "analyticsNextEnabled": True,
    }
