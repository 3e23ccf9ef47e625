"""`GET /v1/customers/{id}/decisions`: what was not sent to a customer, and why, for those who hold a read
token."""

from collections.abc import Callable
from typing import Any, Final, get_args

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.refusals import Refused, answer, later
from connectors.gateway.routes import Routes, private
from connectors.gateway.tokens import Tokens
from schemas.bilingual import Lang
from schemas.errors import Unreachable, Unusable

LIMIT_MAX: Final = 1_000
_LIMITS: Final = frozenset(map(str, range(1, LIMIT_MAX + 1)))
_LANGS: Final[tuple[str, ...]] = get_args(Lang)
# (who, limit, language) → decisions as plain data. Called in a thread; raises `Unusable`, `Unreachable`.
ReadDecisions = Callable[[str, int, str], list[dict[str, Any]]]


def decision_routes(tokens: Tokens, read: ReadDecisions) -> Routes:
    async def decisions(request: Request) -> Response:
        reader = tokens.reader(request)
        if reader is None:
            raise Refused("token_invalid", "reading decisions needs a read token, as Bearer or as Basic user")
        reader.ask()
        limit = request.query_params.get("limit", "100")
        lang = request.query_params.get("lang", "en")
        if limit not in _LIMITS or lang not in _LANGS:
            raise Refused(
                "request_invalid",
                f"expected `limit` from 1 to {LIMIT_MAX}, and `lang`: {' or '.join(_LANGS)}",
            )
        try:
            found = await run_in_threadpool(read, request.path_params["id"], int(limit), lang)
        except Unusable as error:
            raise reader.missed() from error
        except Unreachable as error:
            raise later("state_unreachable", "the store of decisions does not answer", 1) from error
        return answer({"decisions": found})

    return private([("GET", "/v1/customers/{id:path}/decisions", decisions)])
