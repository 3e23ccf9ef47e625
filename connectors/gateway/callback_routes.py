"""Callbacks of processors that we have sent requests to, under each name that the protocol OpenDSR has had.

For anybody: what counts is the signature of the body, by a certificate that is configured. 202 where it does,
403 where it does not.
"""

from typing import Final, Protocol

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.intake import read
from connectors.gateway.refusals import Refused, later
from connectors.gateway.routes import Routes, private
from connectors.sinks.opendsr_sink import signed_by
from schemas.errors import ConfigError, Foreign, Unreachable, Unusable

log = structlog.get_logger()

BODY_BYTES: Final = 65_536
PATHS: Final = ("/opendsr_callbacks", "/opengdpr_callbacks", "/opencompliance_callbacks")


class Processors(Protocol):
    """What is handed in. Called in a thread; raises `Foreign` for what does not count, `Unusable` for what is
    no callback, `ConfigError`, `Unreachable`."""

    def heard(self, domain: str, signature: str, body: bytes) -> bool:
        """Return whether it was news."""


def callback_routes(processors: Processors) -> Routes:
    """Return the routes for processors."""

    async def heard(request: Request) -> Response:
        domain, signature = signed_by(request.headers)
        body = await read(request, BODY_BYTES)
        try:
            news = await run_in_threadpool(processors.heard, domain, signature, body)
        except Foreign as error:
            log.warning("callback_refused", reason=str(error))
            raise Refused("callback_refused", str(error)) from error
        except ConfigError as error:  # ours to mend, and it names files: nothing for who is outside
            log.error("callback_unchecked", reason=str(error))
            raise Refused("callback_refused", "the signature cannot be checked now") from error
        except Unusable as error:
            raise Refused("callback_invalid", str(error)) from error
        except Unreachable as error:
            raise later("state_unreachable", "the store of requests does not answer", 1) from error
        log.info("callback_heard", news=news)
        return Response(status_code=202)

    return private([("POST", path, heard) for path in PATHS])
