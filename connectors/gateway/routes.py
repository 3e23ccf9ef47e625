"""The form in which each part of the gateway names its routes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.refusals import Code, Refused, later
from schemas.errors import LogFull, Unreachable, Unusable

Answer = TypeVar("Answer")
Endpoint = Callable[[Request], Awaitable[Response]]
Routes = list[tuple[str, str, Endpoint]]  # method, path, what answers


def private(routes: Routes) -> Routes:
    """Return the same routes, whose answers nobody on the way may keep: they are about customers, for the
    holder of a token."""
    return [(method, path, _unkept(endpoint)) for method, path, endpoint in routes]


async def ask_in_thread(ask: Callable[..., Answer], *about: object, unusable: Code) -> Answer:
    """Ask what is handed in, in a thread. Raises `Refused`, with the code `unusable` for what cannot be
    done."""
    try:
        return await run_in_threadpool(ask, *about)
    except Unusable as error:
        raise Refused(unusable, str(error)) from error
    except LogFull as full:
        raise later(
            "log_full", "the store of requests is full, try again later", full.retry_after_s
        ) from full
    except Unreachable as error:
        raise later("state_unreachable", "the store of requests does not answer", 1) from error


def guarded(routes: Routes) -> tuple[str, ...]:
    """Return how the paths begin that `private` has made of these."""
    return tuple(
        {path.partition("{")[0]: None for _, path, endpoint in routes if hasattr(endpoint, "is_private")}
    )


def _unkept(endpoint: Endpoint) -> Endpoint:
    async def answered(request: Request) -> Response:
        try:
            response = await endpoint(request)
        except Refused as refused:
            response = refused.response()
        response.headers["Cache-Control"] = "no-store"
        return response

    answered.is_private = True  # type: ignore[attr-defined]  # for `guarded`
    return answered
