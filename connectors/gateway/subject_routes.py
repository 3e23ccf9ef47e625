"""What customers ask of their own data, over HTTP: erasure, its state and receipt, everything that is held.

Only with a token of `gateway.privacy_tokens`; without one configured nobody gets in. Each request leaves a
line in the log: which token (a fingerprint), what, and no personal data.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeVar, get_args

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.refusals import Code, Refused, answer, later
from connectors.gateway.routes import Routes, private
from connectors.gateway.tokens import Reader, Tokens
from schemas.bilingual import Lang
from schemas.errors import Unreachable, Unusable

log = structlog.get_logger()
LINK_DAYS_MAX: Final = 90
_DAYS: Final = frozenset(map(str, range(1, LINK_DAYS_MAX + 1)))
_LANGS: Final[tuple[str, ...]] = get_args(Lang)

Answer = TypeVar("Answer")


class Receipt(NamedTuple):
    """A signed receipt, and the public key that verifies it."""

    document: bytes
    key: str


class Rights(Protocol):
    """What is handed in. Called in a thread; raises `Unusable` for who is not known, or what is not there,
    `Unreachable`."""

    def erase(self, who: str, token: str) -> tuple[object, bool]:
        """Return the request, and whether it was there before."""

    def requests(self, named: str) -> list[object]: ...

    def receipt(self, named: str) -> Receipt: ...

    def export(self, who: str) -> object: ...

    def link(self, who: str, days: int, lang: Lang) -> str:
        """Return a link into the privacy centre."""


def subject_routes(tokens: Tokens, rights: Rights) -> Routes:
    """Return the routes for holders of a privacy token; their answers are for nobody on the way to keep."""
    pages = _Pages(tokens, rights)
    routes: Routes = [
        ("POST", "/v1/subjects/{id:path}/erase", pages.erase),
        ("GET", "/v1/subjects/{id:path}/requests", pages.requests),
        ("GET", "/v1/subjects/{id:path}/receipt", pages.receipt),
        ("GET", "/v1/subjects/{id:path}/export", pages.export),
        ("POST", "/v1/subjects/{id:path}/link", pages.link),
    ]
    return private(routes)


class _Pages:
    """What each route answers. All raise `Refused`."""

    def __init__(self, tokens: Tokens, rights: Rights) -> None:
        self._tokens = tokens
        self._rights = rights

    async def erase(self, request: Request) -> Response:
        who, named = self._asked(request)
        found, already = await _ask(who, self._rights.erase, named, who.fingerprint)
        log.info("subject_erase", token=who.fingerprint, already=already)
        return answer({"request": found, "already": already}, 200 if already else 202)

    async def requests(self, request: Request) -> Response:
        who, named = self._asked(request)
        log.info("subject_read", token=who.fingerprint, what="requests")
        return answer({"requests": await _ask(who, self._rights.requests, named)})

    async def receipt(self, request: Request) -> Response:
        who, named = self._asked(request)
        log.info("subject_read", token=who.fingerprint, what="receipt")
        found = await _ask(who, self._rights.receipt, named, unknown="request_unknown")
        return Response(found.document, headers={"X-Receipt-Key": found.key}, media_type="application/json")

    async def export(self, request: Request) -> Response:
        who, named = self._asked(request)
        log.info("subject_read", token=who.fingerprint, what="export")
        return answer(await _ask(who, self._rights.export, named))

    async def link(self, request: Request) -> Response:
        who, named = self._asked(request)
        days, lang = request.query_params.get("days", "7"), request.query_params.get("lang", "en")
        if lang not in _LANGS or days not in _DAYS:
            raise Refused(
                "link_invalid",
                f"expected `days` from 1 to {LINK_DAYS_MAX}, and `lang`: {' or '.join(_LANGS)}",
            )
        log.info("subject_link", token=who.fingerprint)
        return answer({"link": await _ask(who, self._rights.link, named, int(days), lang)}, 201)

    def _asked(self, request: Request) -> tuple[Reader, str]:
        """Return who asks, and about whom."""
        if not self._tokens:
            raise Refused(
                "privacy_none", "gateway.privacy_tokens is empty: over HTTP nobody's rights are served"
            )
        found = self._tokens.reader(request)
        if found is None:
            raise Refused(
                "token_invalid",
                "customers' rights need a token of gateway.privacy_tokens, as Bearer or as Basic user",
            )
        found.ask()
        return found, request.path_params["id"]


async def _ask(
    who: Reader, ask: Callable[..., Answer], *about: str | int, unknown: Code = "profile_unknown"
) -> Answer:
    try:
        return await run_in_threadpool(ask, *about)
    except Unusable as error:
        who.missed()
        raise Refused(unknown, str(error)) from error
    except Unreachable as error:
        raise later("state_unreachable", "the store of requests does not answer", 1) from error
