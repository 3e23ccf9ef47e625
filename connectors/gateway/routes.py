"""The form in which each part of the gateway names its routes."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.refusals import Refused

Endpoint = Callable[[Request], Awaitable[Response]]
Routes = list[tuple[str, str, Endpoint]]  # method, path, what answers


def private(routes: Routes) -> Routes:
    """Return the same routes, whose answers nobody on the way may keep: they are about customers, for the
    holder of a token."""
    return [(method, path, _unkept(endpoint)) for method, path, endpoint in routes]


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
