"""The ASGI application: one table of routes, CORS, and errors as JSON."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.gateway.cloudevents import cloudevent_routes
from connectors.gateway.health import health_routes
from connectors.gateway.identity import Stewardship, identity_routes
from connectors.gateway.intake import Intake
from connectors.gateway.profiles import ReadProfile, profile_routes
from connectors.gateway.refusals import Refused, later, problem
from connectors.gateway.registry import registry_routes
from connectors.gateway.routes import Endpoint
from connectors.gateway.segment import segment_routes
from connectors.raw import RawWriter
from schemas.config import Gateway
from schemas.errors import Damaged
from schemas.metrics import GATEWAY_REQUESTS, GATEWAY_SECONDS
from schemas.trigger_avro import REGISTERED, SUBJECT, Registered

log = structlog.get_logger()

_PREFLIGHT_S = 86_400


def build(
    config: Gateway,
    writer: RawWriter,
    read_profile: ReadProfile,
    subjects: Mapping[str, Sequence[Registered]] = {SUBJECT: REGISTERED},  # never written to
    stewardship: Stewardship | None = None,
) -> Starlette:
    """The gateway. `read_profile(namespace, value)` runs in a thread; the writer is closed when the application stops.

    `stewardship`: what holders of a steward's token get; None where there is no access to identities at all.
    """
    intake = Intake(config, writer)
    table = [
        *segment_routes(intake),
        *cloudevent_routes(intake),
        *profile_routes(config.read_tokens, read_profile),
        *(identity_routes(config.steward_tokens, stewardship, intake) if stewardship is not None else ()),
        *registry_routes(subjects),
        *health_routes(writer),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await writer.close()

    return Starlette(
        routes=[Route(path, _answered(path, endpoint), methods=[method]) for method, path, endpoint in table],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=config.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=("*",),
                expose_headers=("Retry-After", "X-RateLimit-Reset"),
                max_age=_PREFLIGHT_S,
            )
        ],
        exception_handlers={HTTPException: _http_error, Exception: _defect},
        lifespan=lifespan,
    )


def _answered(path: str, endpoint: Endpoint) -> Endpoint:
    """The endpoint with its refusals as answers, counted and timed."""
    seconds = GATEWAY_SECONDS.labels(path)
    ok = GATEWAY_REQUESTS.labels(path, "200")

    async def answered(request: Request) -> Response:
        start = perf_counter()
        try:
            response = await endpoint(request)
        except Refused as refused:
            response = refused.response()
        except Damaged as damaged:
            log.error("state_damaged", reason=str(damaged))
            told = "what is kept of this customer is damaged: the gateway's log says what to do"
            response = later("state_damaged", told, 60).response()
        if response.status_code == 200:
            ok.inc()
        else:
            GATEWAY_REQUESTS.labels(path, str(response.status_code)).inc()
        seconds.observe(perf_counter() - start)
        return response

    return answered


async def _http_error(_: Request, error: Exception) -> Response:
    """What the router itself refuses."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "internal")
    return problem(error.status_code, code, error.detail, error.headers)


async def _defect(request: Request, _: Exception) -> Response:
    """Starlette raises it again behind this answer, so that the server logs it with its traceback."""
    log.error("gateway_defect", path=request.scope.get("path", "").split("/")[:3])
    return problem(500, "internal", "a defect of ours: it has been logged")
