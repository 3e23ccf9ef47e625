"""`/healthz` (the process lives), `/readyz` (the log answers), `/metrics` (Prometheus)."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.refusals import answer, later
from connectors.gateway.routes import Routes
from connectors.raw import RawWriter
from schemas.errors import Unreachable
from schemas.metrics import exposition

PATHS: Final = frozenset((b"/healthz", b"/readyz", b"/metrics"))  # answered even where all connections are in use
_READY_S = 2


def health_routes(writer: RawWriter) -> Routes:
    async def healthz(_: Request) -> Response:
        return answer({"status": "alive"})

    async def readyz(_: Request) -> Response:
        try:
            async with asyncio.timeout(_READY_S):
                await writer.ping()
        except (Unreachable, TimeoutError) as error:
            raise later("log_unreachable", "the log does not answer", 1) from error
        return answer({"status": "ready"})

    async def metrics(_: Request) -> Response:
        body, content_type = exposition()
        return Response(body, media_type=content_type)

    return [("GET", "/healthz", healthz), ("GET", "/readyz", readyz), ("GET", "/metrics", metrics)]
