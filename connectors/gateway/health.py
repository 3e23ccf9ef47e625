"""`/healthz` (the process lives), `/readyz` (the log answers), `/metrics` (Prometheus).

What stands still behind the gateway is no reason to send it no events, which wait in the log: it is said
beside the status.
"""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.refusals import answer, later
from connectors.gateway.routes import Routes
from connectors.gateway.standing import Watch
from connectors.raw.log import RawWriter
from schemas.errors import Unreachable
from schemas.metrics import exposition

# answered even where all connections are in use
PATHS: Final = frozenset((b"/healthz", b"/readyz", b"/metrics"))
_READY_S = 2


def health_routes(writer: RawWriter, watch: Watch) -> Routes:
    def well(status: str) -> Response:
        given_up = watch.now.given_up
        return answer({"status": status, "given_up": given_up} if given_up else {"status": status})

    async def healthz(_: Request) -> Response:
        return well("alive")

    async def readyz(_: Request) -> Response:
        try:
            async with asyncio.timeout(_READY_S):
                await writer.ping()
        except (Unreachable, TimeoutError) as error:
            raise later("log_unreachable", "the log does not answer", 1) from error
        return well("ready")

    async def metrics(_: Request) -> Response:
        body, content_type = exposition()
        return Response(body, media_type=content_type)

    return [("GET", "/healthz", healthz), ("GET", "/readyz", readyz), ("GET", "/metrics", metrics)]
