"""What the clients of Jitsu and RudderStack ask for besides the Segment API. What they send are Segment's
messages.

Jitsu          `POST /api/s/{type}` from browsers, `/api/s/s2s/{type}` from servers: the key in `X-Write-Key`,
               and masked in the body
RudderStack    `GET /sourceConfig` before a page sends anything, `POST /beacon/v1/batch?writeKey=` when it is
               left
"""

from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.intake import Intake
from connectors.gateway.refusals import answer
from connectors.gateway.routes import Routes
from connectors.gateway.segment import batch_endpoint, message_endpoint
from schemas.wire.events import EVENT_TYPES

_JITSU = ("/api/s", "/api/s/s2s")


def dialect_routes(intake: Intake) -> Routes:
    """Return their ways in; who sends and what is taken is as it is for Segment's."""

    async def source_config(request: Request) -> Response:
        sender = intake.named(request) or intake.sender(None)
        return answer(_source_config(sender.source))

    routes: Routes = [
        ("GET", "/sourceConfig", source_config),
        ("POST", "/beacon/v1/batch", batch_endpoint(intake)),
    ]
    for kind in EVENT_TYPES:
        routes += [("POST", f"{prefix}/{kind}", message_endpoint(intake, kind)) for prefix in _JITSU]
    return routes


def _source_config(source: str) -> dict[str, object]:
    """The least that the browser client needs: the source is there, nothing is loaded besides, and nothing is
    told of the client itself."""
    off = {"errors": {"enabled": False}, "metrics": {"enabled": False}}
    return {
        "source": {
            "id": source,
            "name": source,
            "enabled": True,
            "config": {"statsCollection": off},
            "destinations": [],
            "dataplanes": {},
        }
    }
