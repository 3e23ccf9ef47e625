"""`GET /v1/profiles/{namespace}:{value}`: a customer as the engine sees him now, for those who hold a read token."""

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.intake import credential
from connectors.gateway.refusals import Refused, answer, later
from connectors.gateway.routes import Routes
from schemas.errors import Unreachable

ReadProfile = Callable[[str, str], dict[str, Any] | None]  # (namespace, value) → the profile as plain data


def profile_routes(tokens: Sequence[str], read_profile: ReadProfile) -> Routes:
    """The token comes as Bearer or as Basic user."""
    allowed = [token.encode() for token in tokens]

    async def profile(request: Request) -> Response:
        token = (credential(request) or "").encode()
        if not any(hmac.compare_digest(token, other) for other in allowed):
            raise Refused("token_invalid", "reading profiles needs a read token, as Bearer or as Basic user")
        namespace, colon, value = request.path_params["identifier"].partition(":")
        found = None
        if colon and value:
            try:
                found = await run_in_threadpool(read_profile, namespace, value)
            except Unreachable as error:
                raise later("state_unreachable", "the store of profiles does not answer", 1) from error
        if found is None:
            raise Refused("profile_unknown", "nobody has this identifier")
        return answer(found)

    return [("GET", "/v1/profiles/{identifier:path}", profile)]
