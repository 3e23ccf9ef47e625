"""Regulations as Segment's public API has them: people to be erased, and people to stay unknown, thousands in
a request.

Only with a token of `gateway.privacy_tokens`. Answers are `{"data": ...}`, refusals `{"errors": [...]}`. Ids
that nobody has are no failure. Each request leaves a line in the log: which token (a fingerprint), what, how
many, and nothing of whom.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.intake import read
from connectors.gateway.refusals import Refused, answer
from connectors.gateway.routes import Endpoint, Routes, ask_in_thread, private
from connectors.gateway.tokens import Tokens, privacy_holder

log = structlog.get_logger()

BODY_BYTES: Final = 2_000_000  # 5,000 ids, however long
COUNT: Final = 50  # of a page, unless it is asked for otherwise
Answer = TypeVar("Answer")


class Regulation(msgspec.Struct):
    """The body of a request."""

    regulationType: str
    subjectType: str
    subjectIds: list[str]


class Page(Protocol):
    """A part of a list; `after` begins the next one, empty: there is none."""

    @property
    def entries(self) -> Sequence[Any]: ...

    @property
    def total(self) -> int: ...

    @property
    def after(self) -> str: ...


class Wanted(NamedTuple):
    """Which part of a list is asked for: where it begins, and how many entries."""

    after: str
    entries: int


class Regulations(Protocol):
    """What is handed in. Called in a thread; raises `Unusable` for what cannot be done or is not there,
    `Unreachable`, `LogFull`."""

    def create(self, asked: Regulation, source: str, token: str) -> str:
        """Return its id. `source`: of a regulation that is for one source alone."""

    def show(self, name: str) -> object: ...

    def listing(self, wanted: Wanted, status: str, types: Sequence[str]) -> Page: ...

    def cancel(self, name: str) -> None: ...

    def suppressed(self, wanted: Wanted) -> Page: ...


def regulation_routes(tokens: Tokens, regulations: Regulations) -> Routes:
    """Return the routes for holders of a privacy token."""
    pages = _Pages(tokens, regulations)
    routes: Routes = [
        ("POST", "/regulations", pages.create),
        ("GET", "/regulations", pages.listing),
        ("POST", "/regulations/sources/{source}", pages.create),
        ("GET", "/regulations/sources/{source}", pages.listing),
        ("POST", "/regulations/cloudsources/{source}", pages.cloud),
        ("GET", "/regulations/{id}", pages.show),
        ("DELETE", "/regulations/{id}", pages.cancel),
        ("GET", "/suppressions", pages.suppressed),
    ]
    return private([(method, path, _spoken(endpoint)) for method, path, endpoint in routes])


_ask = partial(ask_in_thread, unusable="regulation_invalid")


class _Pages:
    """What each route answers. All raise `Refused`."""

    def __init__(self, tokens: Tokens, regulations: Regulations) -> None:
        self._tokens = tokens
        self._regulations = regulations

    async def create(self, request: Request) -> Response:
        who = privacy_holder(self._tokens, request)
        asked = _body(await read(request, BODY_BYTES))
        source = request.path_params.get("source", "")
        name = await _ask(self._regulations.create, asked, source, who.fingerprint)
        log.info(
            "regulation",
            token=who.fingerprint,
            regulation=name,
            type=asked.regulationType[:64],
            subjects=len(asked.subjectIds),
        )
        return _data({"regulateId": name})

    async def cloud(self, request: Request) -> Response:
        privacy_holder(self._tokens, request)
        raise Refused("regulation_invalid", "objects of cloud sources are not kept here")

    async def show(self, request: Request) -> Response:
        privacy_holder(self._tokens, request)
        name = request.path_params["id"]
        found = await _ask(self._regulations.show, name, unusable="regulation_unknown")
        return _data({"regulation": found})

    async def cancel(self, request: Request) -> Response:
        who, name = privacy_holder(self._tokens, request), request.path_params["id"]
        await _ask(self._regulations.show, name, unusable="regulation_unknown")
        await _ask(self._regulations.cancel, name)
        log.info("regulation_deleted", token=who.fingerprint, regulation=name)
        return _data({"status": "SUCCESS"})

    async def listing(self, request: Request) -> Response:
        privacy_holder(self._tokens, request)
        query = request.query_params
        types = [one for name in query if name.startswith("regulationTypes") for one in query.getlist(name)]
        wanted = _wanted(query)
        status = query.get("status", "")
        page = await _ask(self._regulations.listing, wanted, status, [*dict.fromkeys(types)])
        return _data({"regulations": page.entries, "pagination": _pagination(wanted, page)})

    async def suppressed(self, request: Request) -> Response:
        who = privacy_holder(self._tokens, request)
        wanted = _wanted(request.query_params)
        page = await _ask(self._regulations.suppressed, wanted)
        log.info("suppressions_read", token=who.fingerprint, subjects=len(page.entries))
        subjects = [f"identifier:{name}" for name in page.entries]
        found = [{"subjectType": "USER_ID", "subjectIds": subjects}] if subjects else []
        return _data({"suppressed": found, "pagination": _pagination(wanted, page)})


def _body(content: bytes) -> Regulation:
    try:
        return msgspec.json.decode(content, type=Regulation)
    except (ValueError, RecursionError) as error:  # says the field and the types, and no value
        told = str(error) if isinstance(error, msgspec.ValidationError) else "it is no JSON"
        raise Refused("regulation_invalid", f"expected a regulation: {told}") from None


def _wanted(query: Mapping[str, str]) -> Wanted:
    """Read `pagination`, in one of the three ways in which clients write it."""
    given: dict[str, Any] = {}
    try:
        given = msgspec.json.decode(query.get("pagination", "{}"), type=dict[str, Any])
    except (ValueError, RecursionError):
        raise Refused("regulation_invalid", "pagination: expected {count, cursor}") from None
    for name in ("count", "cursor"):
        for spelling in (f"pagination[{name}]", f"pagination.{name}"):
            given[name] = query.get(spelling, given.get(name))
    count = str(given["count"] if given["count"] is not None else COUNT)
    if not (count.isascii() and count.isdecimal() and 0 < len(count) < 6):
        raise Refused("regulation_invalid", "pagination.count: expected a number of entries")
    return Wanted(str(given["cursor"] or ""), int(count))


def _pagination(wanted: Wanted, page: Page) -> dict[str, object]:
    found: dict[str, object] = {"current": wanted.after, "totalEntries": page.total}
    return found | ({"next": page.after} if page.after else {})


def _data(found: object) -> Response:
    return answer({"data": found})


def _spoken(endpoint: Endpoint) -> Endpoint:
    """The endpoint with its refusals in the words of the dialect."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refused as refused:
            status, headers = refused.response().status_code, refused.headers
            return answer({"errors": [{"type": refused.code, "message": str(refused)}]}, status, headers)

    return answered
