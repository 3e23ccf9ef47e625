"""Receivers hear that a customer was erased, so that they delete as well.

The request has the form of a trigger (rule `$erasure`, action `delete`; the CloudEvents type is
`millrace.deletion`), so each kind of connector can carry it, signed and under one id like everything else. It
is the one thing that is sent about an erased customer: its door has no gates, and names the customer from
what the request has kept, for nothing else knows the names any more.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from connectors.sinks.sink import Delivered, Outcome, Retry, Sink
from flows.dispatch.admission import Admission
from flows.dispatch.attempt import attempt
from flows.dispatch.verdicts import Admitted, Dropped
from flows.logic.delivery import Backoff
from schemas.config import Connector, Deliver, OpenDsrConnector
from schemas.records.identity_graph import text_id
from schemas.records.privacy_requests import Answer, PrivacyRequest, Step
from schemas.wire.triggers import ERASURE, Receipt, Trigger

ACTION: Final = "delete"
AWAITED: Final = "has taken the request; its callback is awaited"


class Telling:
    """Asks each connector once, and again later where it did not answer."""

    def __init__(self, deliver: Deliver, make_sink: Callable[[Connector], Sink]) -> None:
        self._sink = make_sink
        self._attempts_max = deliver.attempts
        self._backoff = Backoff(deliver.backoff, deliver.backoff_max)

    def ask(
        self, connector: Connector, request: PrivacyRequest, names: Mapping[str, str], now_ms: int
    ) -> Answer:
        """Return what the connector says; `waiting` where it is to be asked again."""
        if not connector.enabled:
            return Answer("off", "the connector is switched off", now_ms)
        held = request.answers.get(connector.name)
        if held is not None and held.detail == AWAITED:
            return Answer(
                "refused", "took the request, and never said what came of it", now_ms, held.attempts
            )
        deletion = _deletion(connector, request, now_ms)
        outcome = asyncio.run(handed_over(self._sink, connector, deletion, names))
        before = request.answers.get(connector.name)
        attempts = (before.attempts if before else 0) + 1
        if isinstance(outcome, Delivered) and isinstance(connector, OpenDsrConnector) and connector.callback:
            return Answer("waiting", AWAITED, now_ms, attempts, now_ms + connector.answer_within)
        if isinstance(outcome, Delivered):
            return Answer("taken", "", now_ms, attempts)
        if isinstance(outcome, Retry) and attempts < self._attempts_max:
            pause_ms = max(self._backoff.delay_ms(attempts, 1.0), 1000 * (outcome.after_s or 0))
            return Answer("waiting", outcome.reason, now_ms, attempts, now_ms + int(pause_ms))
        return Answer("refused", outcome.reason, now_ms, attempts)


async def handed_over(
    make_sink: Callable[[Connector], Sink], connector: Connector, trigger: Trigger, names: Mapping[str, str]
) -> Outcome:
    """Hand something to one connector, now and once, by a door without gates. `names`: of its customer, by
    field; the connector gets those that it may know."""

    def identify(customers: list[str], fields: tuple[str, ...]) -> list[dict[str, str]]:
        return [{field: names[field] for field in fields if field in names} for _ in customers]

    [verdict] = await Admission(connector, identify, _unreported).admit([trigger])
    if not isinstance(verdict, Admitted):
        return Retry(verdict.reason)
    sink = make_sink(connector)
    try:
        [outcome] = await attempt(sink, [verdict.delivery], connector.name)
    finally:
        await sink.close()
    return outcome


def _unreported(_trigger: Trigger, _connector: str, _refusal: Dropped) -> None:
    """Record nothing: a door without gates refuses nothing."""


def is_due(answer: Answer | None, now_ms: int) -> bool:
    """Return whether a connector is to be asked now."""
    return answer is None or (answer.said == "waiting" and answer.again_ms <= now_ms)


def _deletion(connector: Connector, request: PrivacyRequest, now_ms: int) -> Trigger:
    """The request in the form of a trigger: all names under which the receiver may have heard of the
    customer."""
    return Trigger(
        id=request.id,
        customer=text_id(request.customer),
        rule=ERASURE,
        action=ACTION,
        channel="",
        purpose="erasure",
        to=[connector.name],
        cause=request.id,
        reasons={},
        scores={},
        properties={"customers": [text_id(origin) for origin in request.origins]},
        receipt=Receipt(
            event_ms=request.asked_ms,
            received_ms=request.asked_ms,
            resolved_ms=request.times.get(Step.DETACHED, 0),
            applied_ms=request.times.get(Step.GONE, 0),
            emitted_ms=now_ms,
        ),
    )


def pack_names(names: Mapping[str, str]) -> bytes:
    """Return the names of a customer, to be sealed."""
    return msgspec.json.encode(dict(names))


def unpack_names(packed: bytes) -> dict[str, str]:
    """Return what was packed."""
    return msgspec.json.decode(packed, type=dict[str, str])
