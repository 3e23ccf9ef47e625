"""The ASGI application: one table of routes, CORS, and errors as JSON."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.gateway.callback_routes import Processors, callback_routes
from connectors.gateway.cloudevents_routes import cloudevent_routes
from connectors.gateway.cors import Cors
from connectors.gateway.decision_routes import ReadDecisions, decision_routes
from connectors.gateway.dialects import dialect_routes
from connectors.gateway.door import Door
from connectors.gateway.gpc import gpc_routes
from connectors.gateway.health import health_routes
from connectors.gateway.identity_routes import Stewardship, identity_routes
from connectors.gateway.intake import Intake
from connectors.gateway.opendsr_routes import OpenDsr, opendsr_routes
from connectors.gateway.profile_routes import ReadProfile, profile_routes
from connectors.gateway.refusals import Refused, later, problem
from connectors.gateway.registry_routes import registry_routes
from connectors.gateway.regulation_routes import Regulations, regulation_routes
from connectors.gateway.routes import Endpoint, guarded
from connectors.gateway.segment import segment_routes
from connectors.gateway.standing import Standing, Watch
from connectors.gateway.subject_routes import Rights, subject_routes
from connectors.gateway.tokens import Tokens
from connectors.raw.log import RawWriter
from schemas.config import Gateway
from schemas.errors import Damaged
from schemas.metrics import GATEWAY_REQUESTS, GATEWAY_SECONDS
from schemas.wire.trigger_avro import REGISTERED, SUBJECT, Registered

log = structlog.get_logger()


def build(
    config: Gateway,
    writer: RawWriter,
    read_profile: ReadProfile,
    subjects: Mapping[str, Sequence[Registered]] = {SUBJECT: REGISTERED},  # never written to
    stewardship: Stewardship | None = None,
    standing: Callable[[], Standing] = Standing,
    door: Door | None = None,
    rights: Rights | None = None,
    regulations: Regulations | None = None,
    opendsr: OpenDsr | None = None,
    processors: Processors | None = None,
    pages: Sequence[tuple[str, str, Endpoint]] = (),
    read_decisions: ReadDecisions | None = None,
) -> Starlette:
    """Return the gateway. `read_profile(namespace, value)` and `read_decisions` run in a thread; the writer
    is closed when the application stops.

    `stewardship`: what holders of a steward's token get; None where there is no access to identities at all.
    `rights`, `regulations`, `opendsr`: what holders of a privacy token get, likewise, each in a dialect of
    its own. `processors`: who hears of their callbacks. `standing` is asked in a thread, once a second.
    `door`: what is refused besides what the gateway sees by itself. `pages`: web pages for people.
    """
    watch = Watch(standing)
    intake = Intake(config, writer, watch, door)
    table = [
        *segment_routes(intake),
        *dialect_routes(intake),
        *cloudevent_routes(intake),
        *profile_routes(Tokens(config.read_tokens, config.misses_per_minute), read_profile),
        *(
            decision_routes(Tokens(config.read_tokens, config.misses_per_minute), read_decisions)
            if read_decisions is not None
            else ()
        ),
        *(
            identity_routes(Tokens(config.steward_tokens, config.misses_per_minute), stewardship, intake)
            if stewardship is not None
            else ()
        ),
        *(
            subject_routes(Tokens(config.privacy_tokens, config.misses_per_minute), rights)
            if rights is not None
            else ()
        ),
        *(
            regulation_routes(Tokens(config.privacy_tokens, config.misses_per_minute), regulations)
            if regulations is not None
            else ()
        ),
        *(
            opendsr_routes(Tokens(config.privacy_tokens, config.misses_per_minute), opendsr)
            if opendsr is not None
            else ()
        ),
        *(callback_routes(processors) if processors is not None else ()),
        *registry_routes(subjects),
        *gpc_routes(config.gpc_updated),
        *health_routes(writer, watch),
        *pages,
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await watch.look()
        watching = asyncio.create_task(watch.run())
        yield
        watching.cancel()
        await writer.close()

    plain = [Route(path, _answered(path, endpoint), methods=[method]) for method, path, endpoint in table]
    slashed = [
        Route(f"{route.path}/", route.endpoint, methods=route.methods)
        for route in plain
        if not route.path.endswith(":path}")
    ]
    application = Starlette(
        routes=[
            *plain,
            *slashed,
        ],  # clients differ in the slash, and few send a body again where they are redirected
        middleware=[Middleware(Cors, origins=config.cors_origins, guarded=guarded(table))],
        exception_handlers={HTTPException: _http_error, Exception: _defect},
        lifespan=lifespan,
    )
    application.router.redirect_slashes = False
    return application


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
