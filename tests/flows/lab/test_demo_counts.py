"""What the demo counts: it publishes, receives and compares the profiles with what it knows."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import networkx as nx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from connectors.gateway import build
from connectors.sinks.sink import DELIVERED, Outcome, Retry
from connectors.sinks.webhook import WebhookSink
from flows.lab.demo.audit import Household, Ledger, audit, compare, identifiers
from flows.lab.demo.publisher import Publisher
from flows.lab.demo.shop import WRITE_KEYS, Item, Shop
from flows.lab.demo.stack import CONNECTOR
from flows.lab.demo.trigger_receiver import ODDITIES, Got, Receiver
from schemas.config import Gateway, Secret, WebhookConnector, WriteKey
from schemas.wire import cloudevents
from schemas.wire.events import RawEvent
from schemas.wire.triggers import Receipt, Trigger
from tests.deliveries import delivery
from tests.demo_life import LONG, RUN
from tests.waiting import eventually

# --- the audit ------------------------------------------------------------------------------------

messages = st.lists(
    st.builds(
        lambda user, anonymous, phone: {
            "messageId": "m",
            **({"userId": user} if user else {}),
            **({"anonymousId": anonymous} if anonymous or not user else {}),
            **({"context": {"traits": {"phone": phone}}} if phone else {}),
        },
        st.sampled_from(["", "u1", "u2", "u3"]),
        st.sampled_from(["a1", "a2", "a3", "a4"]),
        st.sampled_from(["", "+1 555 01", "+1 555 02"]),
    ),
    max_size=20,
)


@given(messages)
def test_households_are_the_connected_components(sent: list[dict[str, Any]]) -> None:
    ledger, graph = Ledger(), nx.Graph()
    for message in sent:
        ledger.sent(message, 0)
        known = identifiers(message)
        nx.add_path(graph, known)
        graph.add_nodes_from(known)
    houses = ledger.households()
    assert sorted(map(sorted, (house.identifiers for house in houses))) == sorted(
        map(sorted, nx.connected_components(graph))
    )
    assert sum(house.events for house in houses) == len(sent)
    for house in houses:
        assert house.events == sum(not house.identifiers.isdisjoint(identifiers(message)) for message in sent)


def test_who_is_erased_has_nothing_and_begins_anew() -> None:
    ledger = Ledger()
    for name in ("m1", "m2"):
        ledger.sent({"messageId": name, "userId": "ana", "anonymousId": "phone"}, 0)
    ledger.sent({"messageId": "m3", "userId": "bea"}, 0)
    assert ledger.erased([("user_id", "ana")]) == 2, "and all that was connected with it"
    ledger.sent({"messageId": "m4", "anonymousId": "phone"}, 0)
    houses = {frozenset(house.identifiers): house for house in ledger.households()}
    assert {names: house.events for names, house in houses.items()} == {
        frozenset([("user_id", "ana")]): 0,
        frozenset([("anonymous", "phone")]): 1,
        frozenset([("user_id", "bea")]): 1,
    }
    assert ledger.totals() == (4, 0)
    left = {("user_id", "ana"): ("c1", 2), ("anonymous", "phone"): ("c1", 2)}
    found = [compare(house, reader(left)) for house in houses.values()]
    assert sum(one.doubled for one in found) == 3, "what is still there is as wrong as what is there twice"


def test_what_an_erasure_under_way_has_left_yet_is_no_fault_either_way() -> None:
    ledger = Ledger()
    ledger.sent({"messageId": "m1", "userId": "ana"}, 0)
    ledger.undecided([("user_id", "ana")])
    [house] = ledger.households()
    assert compare(house, reader({})).right
    assert compare(house, reader({("user_id", "ana"): ("c1", 1)})).right
    assert not compare(house, reader({("user_id", "ana"): ("c1", 2)})).right


def reader(state: dict[tuple[str, str], tuple[str, int]]) -> Any:
    def read(namespace: str, value: str) -> dict[str, Any] | None:
        found = state.get((namespace, value))
        return {"customer": found[0], "events": found[1]} if found else None

    return read


ONE = Household({("user_id", "u1"), ("anonymous", "a1"), ("email", "x@example.com")}, events=5)
TWO = Household({("user_id", "u1"), ("user_id", "u2"), ("anonymous", "a1")}, events=5)


@pytest.mark.parametrize(
    ("house", "state", "expected"),
    [
        (ONE, {("user_id", "u1"): ("c1", 5), ("anonymous", "a1"): ("c1", 5)}, (0, 0, False)),
        (ONE, {("user_id", "u1"): ("c1", 4), ("anonymous", "a1"): ("c1", 4)}, (1, 0, False)),
        (ONE, {("user_id", "u1"): ("c1", 7), ("anonymous", "a1"): ("c1", 7)}, (0, 2, False)),
        (ONE, {("user_id", "u1"): ("c1", 3), ("anonymous", "a1"): ("c2", 2)}, (0, 0, True)),
        (ONE, {}, (5, 0, False)),
        (
            TWO,
            {("user_id", "u1"): ("c1", 3), ("user_id", "u2"): ("c2", 2), ("anonymous", "a1"): ("c2", 2)},
            (0, 0, False),
        ),
        (
            TWO,
            {("user_id", "u1"): ("c1", 3), ("user_id", "u2"): ("c2", 1), ("anonymous", "a1"): ("c2", 1)},
            (1, 0, False),
        ),
    ],
)
def test_a_household_is_compared_with_its_profiles(
    house: Household, state: Any, expected: tuple[int, int, bool]
) -> None:
    found = compare(house, reader(state))
    assert (found.lost, found.doubled, found.split) == expected


def test_an_event_in_doubt_is_neither_lost_nor_doubled() -> None:
    ledger = Ledger()
    message = {"messageId": "m1", "userId": "u1", "type": "track", "event": "Order Completed"}
    ledger.sent(message, 0)
    ledger.sent({**message, "messageId": "m2"}, 0)
    ledger.doubt(message)
    assert ledger.orders.keys() == {"m2"}
    for events in (1, 2):
        assert compare(ledger.households()[0], reader({("user_id", "u1"): ("c1", events)})).right


def test_the_audit_looks_again_at_what_is_still_on_its_way_and_sees_strangers_that_were_mixed() -> None:
    looks = Counter[str]()

    def read(_namespace: str, value: str) -> dict[str, Any]:
        looks[value] += 1
        return {"customer": "c1", "events": 1 if value == "a1" or looks[value] > 1 else 0}

    houses = [Household({("anonymous", name)}, events=1) for name in ("a1", "a2")]
    verdict = audit(houses, read, time.monotonic() + 10)
    assert (verdict.lost, verdict.doubled, verdict.split, verdict.mixed) == (0, 0, 0, 1)
    assert looks == {"a1": 1, "a2": 2}


def test_the_audit_gives_up_at_its_deadline() -> None:
    verdict = audit([Household({("anonymous", "a1")}, events=3)], lambda *_: None, time.monotonic())
    assert (verdict.households, verdict.lost) == (1, 3)


def test_the_audit_of_many_ends_at_its_deadline_and_judges_what_it_has_read() -> None:
    def read(_namespace: str, value: str) -> dict[str, Any]:
        time.sleep(0.01)
        return {"customer": value, "events": 1}

    told = list[tuple[int, int]]()
    houses = [Household({("anonymous", f"a{number}")}, events=1) for number in range(5_000)]
    began = time.monotonic()
    verdict = audit(houses, read, began + 0.3, lambda *said: told.append(said))
    assert time.monotonic() - began < 2
    assert 0 < verdict.households < 5_000
    assert (verdict.lost, verdict.split, told[-1]) == (0, 0, (verdict.households, 5_000))


def test_a_profile_that_cannot_be_read_is_not_judged_where_somebody_waits_and_ends_it_otherwise() -> None:
    def read(_namespace: str, value: str) -> dict[str, Any]:
        if value == "a1":
            raise httpx.ReadTimeout("slow")
        return {"customer": value, "events": 1}

    houses = [Household({("anonymous", name)}, events=1) for name in ("a1", "a2")]
    assert audit(houses, read, time.monotonic() + 5, hurried=True).households == 1
    with pytest.raises(httpx.ReadTimeout):
        audit(houses, read, time.monotonic() + 5)


# --- the publisher --------------------------------------------------------------------------------


class MemoryLog:
    """A raw log that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[RawEvent] = []
        self.held = threading.Event()  # while it is set nothing is stored

    async def append(self, events: Any) -> None:
        while self.held.is_set():
            await asyncio.sleep(0.01)
        self.events += [event for _, event in events]

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


@contextmanager
def gateway() -> Iterator[tuple[str, MemoryLog]]:
    log = MemoryLog()
    keys = tuple(WriteKey(key=Secret(key), source=channel) for channel, key in WRITE_KEYS.items())
    app = build(Gateway(write_keys=keys), log, lambda *_: None)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", log
    finally:
        server.should_exit = True
        thread.join(10)


def test_what_the_publisher_counts_as_accepted_is_what_the_log_holds() -> None:
    ledger, watched = Ledger(), []
    shop = Shop(7, RUN, 600).items()
    with (
        gateway() as (url, log),
        Publisher(shop, url, ledger, lambda item, at_ms: watched.append((item, at_ms))) as publisher,
    ):
        while publisher.published < 1_000:
            time.sleep(0.05)
        publisher.check()
        assert publisher.stop(10)
    assert publisher.pending == publisher.failed == publisher.misread == 0
    assert publisher.accepted == len(log.events) == publisher.published - publisher.unreadable
    assert publisher.published == len(watched)
    stored = [json.loads(event.value) for event in log.events if event.fault is None]
    ids = Counter(
        message["messageId"]
        for message in stored
        if message["messageId"] in {item.message["messageId"] for item, _ in watched if item.valid}
    )
    assert ids.total() - len(ids) == publisher.duplicates > 0
    assert ledger.totals() == (len(ids), sum(item.refusable and not item.duplicate for item, _ in watched))
    assert {event.source for event in log.events} == {
        item.channel for item, _ in watched if isinstance(item.message, dict)
    }
    at = {item.message["messageId"]: at_ms - item.age_ms for item, at_ms in watched if item.valid}
    for message in stored:
        if message["messageId"] in at:
            happened_ms = datetime.fromisoformat(message["timestamp"]).timestamp() * 1000
            assert happened_ms == pytest.approx(at[message["messageId"]], abs=2)


def test_an_unreachable_gateway_is_told_apart_from_success(unused_url: str) -> None:
    ledger = Ledger()
    with Publisher(Shop(7, RUN, 200).items(), unused_url, ledger, lambda *_: None) as publisher:
        while publisher.published < 20:
            time.sleep(0.05)
        assert not publisher.stop(1)
    assert publisher.accepted == 0
    sent, unsure = ledger.totals()
    assert unsure == sent > 0, "what was never acknowledged is not missed"
    assert publisher.unanswered == publisher.published - publisher.unreadable > 0


def test_what_a_slow_gateway_has_not_answered_when_it_ends_is_in_doubt_and_the_end_does_not_wait_for_it() -> (
    None
):
    ledger = Ledger()
    with (
        gateway() as (url, log),
        Publisher(Shop(7, RUN, 600).items(), url, ledger, lambda *_: None) as publisher,
    ):
        while publisher.accepted < 100:
            time.sleep(0.01)
        log.held.set()  # from here on nothing is answered
        while publisher.pending < 500:
            time.sleep(0.01)
        began, told = time.monotonic(), list[int]()
        assert not publisher.stop(0.5, told.append)
        assert time.monotonic() - began < 3
        assert told
        sent, unsure = ledger.totals()
        answered, malformed = publisher.accepted, publisher.malformed
        log.held.clear()
    assert 100 <= answered <= len(log.events)
    assert sent - unsure <= answered < publisher.published - 400
    assert publisher.unanswered >= 400
    assert malformed <= sum(event.fault is not None or b"messageId" in event.value for event in log.events)


def test_a_closed_shop_publishes_what_it_is_given_and_nothing_of_its_own() -> None:
    ledger = Ledger()
    with (
        gateway() as (url, log),
        Publisher(Shop(7, RUN, 600).items(), url, ledger, lambda *_: None) as publisher,
    ):
        eventually(lambda: publisher.published > 20)
        publisher.close()
        message = {"type": "page", "name": "Home", "anonymousId": "late", "messageId": "late-1"}
        publisher.besides(Item(at_s=0.0, channel="web", message=message, person=1, journey="rights", step=0))
        eventually(lambda: any(house.identifiers == {("anonymous", "late")} for house in ledger.households()))
        published = publisher.published
        time.sleep(0.3)
        assert publisher.published == published
        assert publisher.stop(10.0)
        assert any(b"late-1" in event.value for event in log.events)


def test_a_publisher_that_breaks_says_so() -> None:
    def broken() -> Iterator[Item]:
        yield LONG[0]
        raise ValueError("the shop is on fire")

    with (
        gateway() as (url, _),
        Publisher(broken(), url, Ledger(), lambda *_: None) as publisher,
        pytest.raises(ValueError, match="on fire"),
    ):
        eventually(publisher.check)


@pytest.fixture
def unused_url() -> str:
    with Receiver(lambda _: None) as receiver:
        return receiver.url.removesuffix("/triggers")


# --- the receiver ---------------------------------------------------------------------------------


def trigger(trigger_id: str, cause: str = "m1") -> Trigger:
    receipt = Receipt(event_ms=900, received_ms=1_000, resolved_ms=1_010, applied_ms=1_020, emitted_ms=1_043)
    return Trigger(
        trigger_id,
        "c" * 24,
        "rule",
        "act",
        "mail",
        "service",
        [CONNECTOR],
        cause,
        {"total": 9},
        {},
        {},
        receipt,
    )


def post(receiver: Receiver, one: Trigger, secret: str | None = None) -> int:
    body = cloudevents.structured(one, "/millrace/demo", {}).decode()
    now = datetime.now(UTC)
    signature = Webhook(secret or receiver.secret).sign(one.id, now, body)
    headers = {
        "webhook-id": one.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    return httpx.post(receiver.url, content=body, headers=headers).status_code


def test_the_receiver_takes_signed_triggers_and_tells_repeats_from_doubles() -> None:
    watched: list[Got] = []
    with Receiver(watched.append) as receiver:
        assert post(receiver, trigger("t1")) == 204
        assert post(receiver, trigger("t1")) == 204
        assert post(receiver, trigger("t2", cause="m2")) == 204
        assert (len(receiver.got), receiver.repeats, receiver.twice()) == (2, 1, 0)
        assert post(receiver, trigger("t3", cause="m2")) == 204
        assert receiver.twice() == 1
        assert post(receiver, trigger("t4", cause="timer:cart:m1")) == 204
    assert [got.id for got in watched] == ["t1", "t2", "t3", "t4"]
    assert receiver.latencies_ms() == [43, 43, 43]


def test_a_forged_trigger_is_refused() -> None:
    with Receiver(lambda _: None) as receiver:
        assert post(receiver, trigger("t1"), secret="whsec_" + "A" * 43 + "=") == 401
        assert httpx.post(receiver.url, content=b"{}").status_code == 401
        assert (receiver.forged, receiver.got) == (2, {})


def test_a_receiver_that_answers_oddly_takes_nothing_then_and_what_is_sent_again_counts_once() -> None:
    """Each oddity once, to the connector that deliver uses."""
    with Receiver(lambda _: None, odd_every=2) as receiver:
        hook = WebhookConnector(
            name=CONNECTOR,
            url=receiver.url,
            secrets=(Secret(receiver.secret),),
            allow_private=True,
        )

        async def send(numbers: Iterable[int]) -> list[Outcome]:
            sink = WebhookSink(hook, "/millrace/demo")
            try:
                return [outcome for number in numbers for outcome in await sink.deliver([delivery(number)])]
            finally:
                await sink.close()

        left, refused = list(range(2 * len(ODDITIES))), 0
        while left:
            outcomes = asyncio.run(send(left))
            assert {type(outcome) for outcome in outcomes} <= {type(DELIVERED), Retry}, (
                "none of it is for good"
            )
            left = [number for number, outcome in zip(left, outcomes, strict=True) if outcome != DELIVERED]
            refused += len(left)
        assert refused >= receiver.refused >= len(ODDITIES), "each of them, at least once"
        assert (len(receiver.got), receiver.twice()) == (2 * len(ODDITIES), 0)
