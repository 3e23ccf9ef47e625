"""Identities for stewards: who a customer is and why, orders to unite and part customers, the pairs that wait
for a decision.

Only with a token of `gateway.steward_tokens`; without one configured nobody gets in. Each request leaves a
line in the log: which token (a fingerprint), what, about which customers (their ids), and no personal data.
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.intake import Intake, read
from connectors.gateway.refusals import Code, Refused, answer, later
from connectors.gateway.routes import Routes, private
from connectors.gateway.tokens import Reader, Tokens
from schemas.errors import KeysAway, Unreachable, Unusable
from schemas.records.identity_graph import Order, text_id
from schemas.wire.events import RawEvent, Reject

log = structlog.get_logger()

ORDER_BYTES: Final = 4_096
Answer = TypeVar("Answer")


class Stewardship(Protocol):
    """What is handed in. Called in a thread; raises `Unusable` for names that can name nobody,
    `Unreachable`."""

    def show(self, named: str) -> object | None: ...

    def history(self, named: str) -> object | None: ...

    def reviews(self, after: str) -> object:
        """Return the page of the queue behind `after`, with `next`."""

    def review(self, ident: str) -> object | None: ...

    def decision(self, ident: str, said: str) -> bytes | None:
        """Return the order that a decision is; None: there is no such pair."""

    def judge(self, document: bytes) -> tuple[Order, RawEvent, str] | Reject:
        """Return an order, how it lies in the raw log, and what stands against it now."""


class _Decision(msgspec.Struct):
    decision: str


def identity_routes(tokens: Tokens, desk: Stewardship, intake: Intake) -> Routes:
    """Return the routes for stewards; their answers are for nobody on the way to keep."""
    pages = _Pages(tokens, desk, intake)
    routes: Routes = [
        ("GET", "/v1/identity/{identifier:path}", pages.customer),
        ("POST", "/v1/identity/orders", pages.orders),
        ("GET", "/v1/reviews", pages.reviews),
        ("GET", "/v1/reviews/{id}", pages.review),
        ("POST", "/v1/reviews/{id}", pages.decide),
    ]
    return private(routes)


class _Pages:
    """What each route answers. All raise `Refused`."""

    def __init__(self, tokens: Tokens, desk: Stewardship, intake: Intake) -> None:
        self._tokens = tokens
        self._desk = desk
        self._intake = intake

    async def customer(self, request: Request) -> Response:
        who, named = self._holder(request), request.path_params["identifier"]
        who.ask()
        wanted, _, last = named.rpartition("/")
        history = last == "history" and ":" in wanted
        if history:
            found = await _asked(self._desk.history, wanted)
        else:
            found = await _asked(self._desk.show, named)
        log.info(
            "identity_read",
            token=who.fingerprint,
            what="history" if history else "show",
            customer=getattr(found, "customer", None),
        )
        if found is None:
            raise who.missed()
        return answer(found)

    async def orders(self, request: Request) -> Response:
        who = self._holder(request).fingerprint
        return await self._give(who, await read(request, ORDER_BYTES))

    async def reviews(self, request: Request) -> Response:
        who = self._holder(request).fingerprint
        log.info("identity_read", token=who, what="reviews")
        after = request.query_params.get("after", "")
        return answer(await _asked(self._desk.reviews, after, wrong="cursor_invalid"))

    async def review(self, request: Request) -> Response:
        who, ident = self._holder(request).fingerprint, request.path_params["id"]
        found = await _asked(self._desk.review, ident)
        log.info("identity_read", token=who, what="review", review=ident[:64] if found is not None else None)
        if found is None:
            raise Refused("review_unknown", "no such pair waits for a decision")
        return answer(found)

    async def decide(self, request: Request) -> Response:
        who = self._holder(request).fingerprint
        try:
            said = msgspec.json.decode(await read(request, ORDER_BYTES), type=_Decision).decision
        except (ValueError, RecursionError) as error:
            raise Refused(
                "decision_invalid", 'expected {"decision": "accept"}, "reject" or "unsure"'
            ) from error
        ident = request.path_params["id"]
        document = await _asked(self._desk.decision, ident, said, wrong="decision_invalid")
        if document is None:
            raise Refused("review_unknown", "no such pair waits for a decision")
        return await self._give(who, document)

    def _holder(self, request: Request) -> Reader:
        """Return who asks."""
        if not self._tokens:
            raise Refused(
                "stewards_none",
                "gateway.steward_tokens is empty: over HTTP nobody may see or change identities",
            )
        found = self._tokens.reader(request)
        if found is None:
            raise Refused(
                "token_invalid",
                "identities need a token of gateway.steward_tokens, as Bearer or as Basic user",
            )
        return found

    async def _give(self, who: str, document: bytes) -> Response:
        """Put an order into the raw log: it is carried out when `resolve` comes to it."""
        judged = await _asked(self._desk.judge, document)
        if isinstance(judged, Reject):
            raise Refused(judged.reason, judged.detail)
        order, event, objection = judged
        log.info(
            "identity_order",
            token=who,
            order=order.kind,
            by=order.by,
            about=_about(order),
            refused=objection or None,
        )
        if objection:
            raise Refused("order_refused", objection)
        await self._intake.append([(event.source, event)])
        return answer({"accepted": True, "order": order.kind}, 202)


def _about(order: Order) -> list[int] | list[str]:
    """Return the number of the union, or the ids of the customers."""
    if order.kind == "undo":
        return [int.from_bytes(order.a)]
    return [text_id(one) for one in (order.a, order.b) if one]


async def _asked(
    ask: Callable[..., Answer], *about: str | bytes, wrong: Code = "identifier_invalid"
) -> Answer:
    try:
        return await run_in_threadpool(ask, *about)
    except Unusable as error:
        raise Refused(wrong, str(error)) from error
    except (KeysAway, Unreachable) as error:
        raise later(
            "state_unreachable", "the store of identities, or of its keys, does not answer", 1
        ) from error
