"""The simulated shop, what is known to be true about it, and the parts that publish, receive, count and show."""

import itertools
import json
import subprocess
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import httpx
import networkx as nx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from connectors.gateway import build
from connectors.gateway.messages import Shared, keyed
from flows.demo.audit import Household, Ledger, audit, compare, identifiers
from flows.demo.faults import FAULTS
from flows.demo.figures import Figures, percentile, raw_lag
from flows.demo.follow import Follower
from flows.demo.publisher import Publisher
from flows.demo.receiver import Got, Receiver
from flows.demo.shop import WRITE_KEYS, Channel, Item, Shop
from flows.demo.stack import CONNECTOR, ORDERS, Stack, configuration, to_toml
from flows.logic.validate import Validator
from schemas import cloudevents
from schemas.config import Config, Gateway, Secret, WriteKey
from schemas.events import RawEvent, Reject
from schemas.toml import load, problems
from schemas.triggers import Receipt, Trigger

RUN = 1_700_000_000


def first(seconds: float, *, seed: int = 7, rate: float = 400) -> list[Item]:
    return list(itertools.takewhile(lambda item: item.at_s < seconds, Shop(seed, RUN, rate).items()))


LONG = first(120)


# --- the shop --------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_life() -> None:
    assert first(5) == first(5)
    assert first(5) != first(5, seed=8)


def test_another_run_shares_no_identifier_and_no_message_id() -> None:
    others = itertools.islice(Shop(7, RUN + 60, 400).items(), 3_000)
    assert not seen(LONG[:3_000]) & seen(others)


def seen(items: Any) -> set[Any]:
    good = [item.message for item in items if item.valid]
    return {message["messageId"] for message in good} | {identifier for message in good for identifier in identifiers(message)}


def test_items_come_in_the_order_of_their_sending() -> None:
    assert [item.at_s for item in LONG] == sorted(item.at_s for item in LONG)


@pytest.mark.parametrize("rate", [100, 400, 1_000])
def test_the_rate_is_what_was_asked_for(rate: float) -> None:
    late = [item for item in first(60, rate=rate) if item.at_s > 20]
    assert len(late) / 40 == pytest.approx(rate, rel=0.15)


def test_all_channels_languages_and_kinds_of_event_occur() -> None:
    good = [item for item in LONG if item.valid]
    assert {item.channel for item in good} == set(get_args(Channel)) == set(WRITE_KEYS)
    assert {item.message["type"] for item in good} == {"track", "identify", "page", "screen"}
    events = {item.message.get("event") for item in good}
    assert {
        "Product Viewed",
        "Product Added",
        "Checkout Started",
        "Order Completed",
        "Order Refunded",
        "Ticket Opened",
        "Ticket Rated",
    } <= events
    names = [item.message["traits"]["name"] for item in good if item.message["type"] == "identify"]
    assert any(name.isascii() for name in names)
    assert any(not name.isascii() for name in names)


def test_every_valid_item_can_be_recognised_and_is_sent_once_or_marked_as_a_repeat() -> None:
    ids: dict[str, dict[str, Any]] = {}
    for item in LONG:
        if not item.valid:
            continue
        assert {namespace for namespace, _ in identifiers(item.message)} & {"user_id", "anonymous"}
        if item.duplicate:
            assert ids[item.message["messageId"]] == item.message
        else:
            assert item.message["messageId"] not in ids
            ids[item.message["messageId"]] = item.message
    assert any(item.duplicate for item in LONG)


def test_a_repeat_happened_when_the_first_one_did() -> None:
    happened = {item.message["messageId"]: item.at_s * 1000 - item.age_ms for item in LONG if item.valid and not item.duplicate}
    for item in LONG:
        if item.duplicate:
            assert item.at_s * 1000 - item.age_ms == pytest.approx(happened[item.message["messageId"]], abs=2)


def test_every_kind_of_fault_occurs_and_is_rare() -> None:
    faults = Counter(item.fault for item in LONG if item.fault)
    assert {reason for reason, _ in FAULTS} | {"not_json"} == set(faults)
    assert faults.total() < len(LONG) * 0.03


def test_the_engine_judges_each_item_as_the_shop_says() -> None:
    """The gateway's own look and the validation of `resolve`, in a row."""
    validator = Validator(Config(), b"k" * 32, {})
    now_ms = RUN * 1_000
    shared = Shared("web", now_ms, int(Config().gateway.event_bytes))
    for item in LONG:
        if isinstance(item.message, dict):
            stamp = datetime.fromtimestamp((now_ms - item.age_ms) / 1_000, UTC).isoformat(timespec="milliseconds")
            _, raw = keyed(json.dumps({"timestamp": stamp, **item.message}).encode(), shared)
            verdict = validator.check(raw)
            assert (verdict.reason if isinstance(verdict, Reject) else None) == item.fault


def test_some_events_are_late_and_some_out_of_order() -> None:
    ages = [item.age_ms for item in LONG]
    assert any(age > 3_600_000 for age in ages)
    assert any(0 < age < 5_000 for age in ages)


def test_families_share_a_device_and_logins_connect_visits() -> None:
    ledger = Ledger()
    for item in LONG:
        if item.valid and not item.duplicate:
            ledger.sent(item.message, 0)
    houses = ledger.households()
    assert any(house.users > 1 for house in houses)
    assert any(house.users == 1 and sum(namespace == "anonymous" for namespace, _ in house.identifiers) > 1 for house in houses)
    assert any(house.users == 0 for house in houses)
    assert max(len(house.identifiers) for house in houses) < 60


# --- the audit -------------------------------------------------------------------------------------------------------

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
    assert sorted(map(sorted, (house.identifiers for house in houses))) == sorted(map(sorted, nx.connected_components(graph)))
    assert sum(house.events for house in houses) == len(sent)
    for house in houses:
        assert house.events == sum(not house.identifiers.isdisjoint(identifiers(message)) for message in sent)


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
        (TWO, {("user_id", "u1"): ("c1", 3), ("user_id", "u2"): ("c2", 2), ("anonymous", "a1"): ("c2", 2)}, (0, 0, False)),
        (TWO, {("user_id", "u1"): ("c1", 3), ("user_id", "u2"): ("c2", 1), ("anonymous", "a1"): ("c2", 1)}, (1, 0, False)),
    ],
)
def test_a_household_is_compared_with_its_profiles(house: Household, state: Any, expected: tuple[int, int, bool]) -> None:
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


# --- the publisher ---------------------------------------------------------------------------------------------------


class MemoryLog:
    """A raw log that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[RawEvent] = []

    async def append(self, events: Any) -> None:
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
    with gateway() as (url, log), Publisher(shop, url, ledger, lambda item, at_ms: watched.append((item, at_ms))) as publisher:
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
    assert ledger.totals() == (len(ids), 0)
    assert {event.source for event in log.events} == {item.channel for item, _ in watched if isinstance(item.message, dict)}
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


def test_a_publisher_that_breaks_says_so() -> None:
    def broken() -> Iterator[Item]:
        yield LONG[0]
        raise ValueError("the shop is on fire")

    with gateway() as (url, _), Publisher(broken(), url, Ledger(), lambda *_: None) as publisher:
        time.sleep(0.3)
        with pytest.raises(ValueError, match="on fire"):
            publisher.check()


@pytest.fixture
def unused_url() -> str:
    with Receiver(lambda _: None) as receiver:
        return receiver.url.removesuffix("/triggers")


# --- the receiver ----------------------------------------------------------------------------------------------------


def trigger(trigger_id: str, cause: str = "m1") -> Trigger:
    receipt = Receipt(event_ms=900, received_ms=1_000, resolved_ms=1_010, applied_ms=1_020, emitted_ms=1_043)
    return Trigger(trigger_id, "c" * 24, "rule", "act", "mail", "service", [CONNECTOR], cause, {"total": 9}, {}, {}, receipt)


def post(receiver: Receiver, one: Trigger, secret: str | None = None) -> int:
    body = cloudevents.structured(one, "/millrace/demo", {}).decode()
    now = datetime.now(UTC)
    signature = Webhook(secret or receiver.secret).sign(one.id, now, body)
    headers = {"webhook-id": one.id, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
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


# --- the stack's configuration ---------------------------------------------------------------------------------------

values = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text('abc-_ ."', min_size=1), values, max_size=5))
def test_toml_is_written_as_it_was_read(document: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(document)) == document


def test_the_demo_configuration_is_valid_and_shows_everything_within_seconds(tmp_path: Path) -> None:
    file = tmp_path / "demo.toml"
    with Receiver(lambda _: None) as receiver:
        text = to_toml(configuration(None, tmp_path / "data", receiver))
    assert problems(text) == []
    file.write_text(text)
    config = load(file)
    assert config.data.folder == str(tmp_path / "data")
    assert {key.key: key.source for key in config.gateway.write_keys} == {key: channel for channel, key in WRITE_KEYS.items()}
    assert all(CONNECTOR in rule.to for rule in config.trigger)
    assert ORDERS in {rule.name for rule in config.trigger}
    assert all(rule.on.within is None or rule.on.within <= 5_000 for rule in config.trigger)
    assert config.churn.horizon <= 8_000


def test_demos_that_start_at_the_same_moment_have_ports_of_their_own(tmp_path: Path) -> None:
    """None of them listens yet, and all would like the same one."""
    code = (
        "import pathlib, sys\n"
        "from flows.demo.receiver import Receiver\n"
        "from flows.demo.stack import configuration\n"
        "with Receiver(lambda _: None) as receiver:\n"
        "    print(configuration(None, pathlib.Path(sys.argv[1]), receiver)['gateway']['listen'], flush=True)\n"
        "    sys.stdin.read()\n"
    )
    demos = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        addresses = [demo.stdout.readline() for demo in demos if demo.stdout]
        assert len(set(addresses)) == 3
        assert "" not in addresses
    finally:
        for demo in demos:
            demo.communicate("")


def test_a_gateway_of_somebody_else_is_not_taken_for_ours(tmp_path: Path) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server, Receiver(lambda _: None) as receiver:
        threading.Thread(target=server.serve_forever).start()
        try:
            document = configuration(None, tmp_path, receiver)
            document["gateway"]["listen"] = f"127.0.0.1:{server.server_port}"
            assert not Stack(document)._ready()
        finally:
            server.shutdown()


def test_a_configuration_of_the_users_own_keeps_its_paths_keys_and_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "own.toml"
    base.write_text(
        """
        data.folder = "here"
        [gateway]
        write_keys = [{key = "${SHOP_KEY}", source = "shop"}, {key = "demo", source = "other"}]
        [[validate.plan]]
        event = "Order Completed"
        schema = "plan/order.json"
        """
    )
    with Receiver(lambda _: None) as receiver:
        document = configuration(base, None, receiver)
    assert document["data"]["folder"] == str(tmp_path / "here")
    assert document["validate"]["plan"][0]["schema"] == str(tmp_path / "plan" / "order.json")
    assert [entry["key"] for entry in document["gateway"]["write_keys"]] == ["${SHOP_KEY}", *WRITE_KEYS.values()]
    assert problems(to_toml(document), {"SHOP_KEY": "k"}) == []


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_the_lag_of_the_raw_log_is_that_of_its_readers() -> None:
    samples = ['{flow="profile",of="3"} 2.0', '{flow="resolve",of="events/0"} 5.0', '{flow="resolve",of="events/1"} 1.0']
    text = "\n".join(["# TYPE millrace_lag gauge", *("millrace_lag" + sample for sample in samples), "other 9", ""])
    assert raw_lag(text) == 6


def test_figures_are_those_since_an_earlier_look_but_tags_are_as_of_now() -> None:
    before = Figures.of({"applied": 10, "triggers:a": 1, "tag:vip": 3, "united": 2}, {})
    now = Figures.of({"applied": 15, "triggers:a": 4, "tag:vip": 2, "united": 2, "rejected:too_deep": 1}, {"resolve": 3})
    since = now.since(before)
    assert (since.applied, since.emitted, since.united, since.rejects) == (5, 3, 0, 1)
    assert (since.tags, since.lag) == ({"vip": 2}, {"resolve": 3})


@pytest.mark.parametrize(
    ("values_", "part", "expected"), [([], 0.5, None), ([7], 0.99, 7), (list(range(1, 101)), 0.5, 50), (list(range(1, 101)), 0.99, 99)]
)
def test_percentiles_by_nearest_rank(values_: list[int], part: float, expected: int | None) -> None:
    assert percentile(values_, part) == expected


def test_the_follower_tells_one_customers_story_from_the_first_page_to_the_trigger() -> None:
    follower = Follower()
    story = [item for item in LONG if item.journey == "story"]
    hero = story[0].person
    for item in first(25):
        follower.published(item, 1_000_000 + round(item.at_s * 1000))
    order = next(item for item in story if item.person == hero and item.valid and item.message.get("event") == "Order Completed")
    receipt = {"received_ms": 1, "emitted_ms": 2}
    follower.delivered(Got("t1", "c" * 24, "thanks", order.message["messageId"], {}, receipt, 1_000_000 + round(order.at_s * 1000) + 150))
    follower.delivered(Got("t2", "c" * 24, "thanks", "a stranger's", {}, receipt, 0))
    profile = {
        "customer": "ab" * 12,
        "events": 9,
        "segment": "high",
        "stage": "new",
        "tags": {"vip": 1},
        "identifiers": {"email": "m***@example.com", "products.0.name": "***"},
    }
    lines = [(where, what) for _, where, what in follower.look(lambda *_: profile, 2_000_000)]
    assert lines[0][0] == "web"
    assert lines[0][1].startswith("somebody unknown: page")
    assert any(what.startswith("logs in as") for _, what in lines)
    assert ("trigger", "thanks delivered, 150 ms after the event") in lines
    assert ("profile", "tag vip") in lines
    assert ("profile", "segment high") in lines
    assert ("profile", "9 events; email m***@example.com") in lines
    assert follower.look(lambda *_: profile, 2_000_001) == follower.look(lambda *_: profile, 2_000_002)
