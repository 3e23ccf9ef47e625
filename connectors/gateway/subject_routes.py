"""What customers ask of their own data, over HTTP: erasure, its state and receipt, everything that is held,
what people have to answer, and consent.

Only with a token of `gateway.privacy_tokens`; without one configured nobody gets in. Each request leaves a
line in the log: which token (a fingerprint), what, and no personal data.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar, get_args

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.intake import read
from connectors.gateway.refusals import Code, Refused, answer, later
from connectors.gateway.routes import Endpoint, Routes, private
from connectors.gateway.tokens import Reader, Tokens, privacy_holder
from schemas.bilingual import Lang
from schemas.errors import LogFull, Unreachable, Unusable

log = structlog.get_logger()
LINK_DAYS_MAX: Final = 90
_DAYS: Final = frozenset(map(str, range(1, LINK_DAYS_MAX + 1)))
_LANGS: Final[tuple[str, ...]] = get_args(Lang)

BODY_BYTES: Final = 8_192
BY_HAND: Final = ("correct", "restrict", "object", "move", "complain")  # what `ask` takes
Answer = TypeVar("Answer")
Body = TypeVar("Body", bound=msgspec.Struct)


class Receipt(NamedTuple):
    """A signed receipt, and the public key that verifies it."""

    document: bytes
    key: str


class Erase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an erasure; it may be missing."""

    reason: str = ""
    suppress: bool = False


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of what people answer. `purposes`: of an objection alone; empty: all that may be refused."""

    reason: str
    purposes: Sequence[str] = ()


class Close(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an answer by people."""

    reason: str = ""
    refused: bool = False


class Say(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of consent: thing -> what is said of it."""

    words: Mapping[str, bool | str]
    version: str = ""


class Rights(Protocol):
    """What is handed in. Called in a thread; raises `Unusable` for who is not known, or what is not there,
    `Unreachable`, `LogFull`."""

    def known(self, who: str) -> None:
        """Return where somebody is known so."""

    def request(self, name: str) -> object: ...

    def erase(self, who: str, asked: Erase, token: str) -> tuple[object, bool]:
        """Return the request, and whether it was there before."""

    def ask(self, who: str, right: str, asked: Ask, token: str) -> object:
        """Return the request."""

    def cancel(self, name: str) -> object: ...

    def close(self, name: str, answer: Close) -> object: ...

    def unsuppress(self, named: str) -> bool:
        """Return whether what names it was dropped so far."""

    def consent(self, who: str) -> object: ...

    def say(self, who: str, said: Say, token: str) -> str:
        """Return the proof."""

    def listing(self, unfinished: bool) -> list[object]: ...

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
        *(("POST", f"/v1/subjects/{{id:path}}/{right}", pages.asking(right)) for right in BY_HAND),
        ("POST", "/v1/subjects/{id:path}/cancel", pages.cancel),
        ("POST", "/v1/subjects/{id:path}/close", pages.close),
        ("POST", "/v1/subjects/{id:path}/unsuppress", pages.unsuppress),
        ("GET", "/v1/subjects/{id:path}/consent", pages.consent),
        ("POST", "/v1/subjects/{id:path}/consent", pages.say),
        ("GET", "/v1/subjects", pages.listing),
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
        asked = await _body(request, Erase, Erase())
        await _ask(who, self._rights.known, named)
        about = (named, asked, who.fingerprint)
        found, already = await _ask(who, self._rights.erase, *about, unknown="request_refused")
        log.info("subject_erase", token=who.fingerprint, already=already, suppress=asked.suppress)
        return answer({"request": found, "already": already}, 200 if already else 202)

    def asking(self, right: str) -> Endpoint:
        """Return what answers the request for one of the rights that people see to."""

        async def answered(request: Request) -> Response:
            who, named = self._asked(request)
            asked = await _body(request, Ask)
            await _ask(who, self._rights.known, named)
            about = (named, right, asked, who.fingerprint)
            found = await _ask(who, self._rights.ask, *about, unknown="request_invalid")
            log.info("subject_ask", token=who.fingerprint, right=right)
            return answer({"request": found}, 202)

        return answered

    async def cancel(self, request: Request) -> Response:
        who, named = self._asked(request)
        await _ask(who, self._rights.request, named, unknown="request_unknown")
        found = await _ask(who, self._rights.cancel, named, unknown="request_refused")
        log.info("subject_cancel", token=who.fingerprint)
        return answer({"request": found})

    async def close(self, request: Request) -> Response:
        who, named = self._asked(request)
        said = await _body(request, Close, Close())
        await _ask(who, self._rights.request, named, unknown="request_unknown")
        found = await _ask(who, self._rights.close, named, said, unknown="request_refused")
        log.info("subject_close", token=who.fingerprint, refused=said.refused)
        return answer({"request": found})

    async def unsuppress(self, request: Request) -> Response:
        who, named = self._asked(request)
        was = await _ask(who, self._rights.unsuppress, named, unknown="identifier_invalid")
        log.info("subject_unsuppress", token=who.fingerprint, suppressed=was)
        return answer({"suppressed": was})

    async def consent(self, request: Request) -> Response:
        who, named = self._asked(request)
        log.info("subject_read", token=who.fingerprint, what="consent")
        return answer({"consent": await _ask(who, self._rights.consent, named)})

    async def say(self, request: Request) -> Response:
        who, named = self._asked(request)
        said = await _body(request, Say)
        await _ask(who, self._rights.known, named)
        about = (named, said, who.fingerprint)
        proof = await _ask(who, self._rights.say, *about, unknown="request_invalid")
        log.info("subject_consent", token=who.fingerprint, proof=proof)
        return answer({"proof": proof}, 202)

    async def listing(self, request: Request) -> Response:
        who = privacy_holder(self._tokens, request)
        unfinished = request.query_params.get("open", "").lower() in ("true", "1")
        log.info("subject_read", token=who.fingerprint, what="list")
        return answer({"requests": await _ask(who, self._rights.listing, unfinished)})

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
        return privacy_holder(self._tokens, request), request.path_params["id"]


async def _body(request: Request, kind: type[Body], missing: Body | None = None) -> Body:
    """Return the body. Raises `Refused` for what is none of these; the message shows no value."""
    content = await read(request, BODY_BYTES)
    if not content.strip() and missing is not None:
        return missing
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, msgspec.ValidationError) else "it is no JSON"
        fields = ", ".join(kind.__struct_fields__)
        raise Refused("request_invalid", f"expected a JSON object of {fields}: {told}") from None


async def _ask(
    who: Reader, ask: Callable[..., Answer], *about: object, unknown: Code = "profile_unknown"
) -> Answer:
    try:
        return await run_in_threadpool(ask, *about)
    except Unusable as error:
        if unknown not in ("request_refused", "request_invalid"):
            who.missed()
        raise Refused(unknown, str(error)) from error
    except LogFull as full:
        raise later("log_full", "the engine is behind, try again later", full.retry_after_s) from full
    except Unreachable as error:
        raise later("state_unreachable", "the store of requests does not answer", 1) from error
