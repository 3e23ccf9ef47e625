"""Global Privacy Control: `Sec-GPC: 1` of a browser is part of each event of its request, as `context.gpc`.

Any other value, or none, says nothing. `/.well-known/gpc.json` tells that it is honoured."""

from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.refusals import answer
from connectors.gateway.routes import Routes


def is_signalled(request: Request) -> bool:
    """Return whether the browser asks not to sell or share what it sends."""
    return request.headers.get("sec-gpc") == "1"


def gpc_routes(updated: str) -> Routes:
    """Return the route of the statement; none where the configuration does not say when it was made."""

    async def statement(_: Request) -> Response:
        return answer({"gpc": True, "lastUpdate": updated})

    return [("GET", "/.well-known/gpc.json", statement)] if updated else []
