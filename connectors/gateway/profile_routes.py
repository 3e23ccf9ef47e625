"""`GET /v1/profiles/{namespace}:{value}`: a customer as the engine sees them now, for those who hold a
read token."""

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.refusals import Refused, answer, later
from connectors.gateway.routes import Routes, private
from connectors.gateway.tokens import Tokens
from schemas.errors import KeysAway, Unreachable

ReadProfile = Callable[[str, str], dict[str, Any] | None]  # (namespace, value) → the profile as plain data


def profile_routes(tokens: Tokens, read_profile: ReadProfile) -> Routes:
    async def profile(request: Request) -> Response:
        reader = tokens.reader(request)
        if reader is None:
            raise Refused("token_invalid", "reading profiles needs a read token, as Bearer or as Basic user")
        reader.ask()
        namespace, colon, value = request.path_params["identifier"].partition(":")
        found = None
        if colon and value:
            try:
                found = await run_in_threadpool(read_profile, namespace, value)
            except (KeysAway, Unreachable) as error:
                raise later(
                    "state_unreachable", "the store of profiles, or of its keys, does not answer", 1
                ) from error
        if found is None:
            raise reader.missed()
        return answer(found)

    return private([("GET", "/v1/profiles/{identifier:path}", profile)])
