"""The simulated shop, and what is known to be true about it."""

import itertools
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from connectors.gateway.messages import Shared, keyed
from flows.lab.demo import RATE, SEED
from flows.lab.demo.audit import Ledger, identifiers
from flows.lab.demo.malformed import FAULTS, Defective
from flows.lab.demo.oddities import KINDS
from flows.lab.demo.shop import _MADE_UP, WRITE_KEYS, Channel, Shop
from flows.logic.message import Checked
from flows.logic.resolution.validation import Validator
from schemas.config import Config
from schemas.wire.events import RawEvent, Reject
from tests.demo_life import LONG, RUN, first

ORDER = {namespace.name: strength for strength, namespace in enumerate(Config().identity.namespace)}


def test_the_same_seed_gives_the_same_life() -> None:
    assert first(5) == first(5)
    assert first(5) != first(5, seed=8)


def test_another_run_shares_no_identifier_and_no_message_id() -> None:
    others = itertools.islice(Shop(7, RUN + 60, 400).items(), 3_000)
    assert not seen(LONG[:3_000]) & seen(others)


def seen(items: Any) -> set[Any]:
    good = [item.message for item in items if item.valid]
    return {message["messageId"] for message in good} | {
        identifier for message in good for identifier in identifiers(message)
    }


def test_items_come_in_the_order_of_their_sending() -> None:
    assert [item.at_s for item in LONG] == sorted(item.at_s for item in LONG)


@pytest.mark.parametrize("rate", [100, 400, 1_000])
def test_the_rate_is_what_was_asked_for(rate: float) -> None:
    late = [item for item in first(60, rate=rate) if item.at_s > 20]
    assert len(late) / 40 == pytest.approx(rate, rel=0.15)


def test_all_channels_languages_and_kinds_of_event_occur() -> None:
    good = [item for item in LONG if item.valid]
    assert {item.channel for item in good} == set(get_args(Channel)) == set(WRITE_KEYS)
    assert {item.message["type"] for item in good} == {
        "track",
        "identify",
        "page",
        "screen",
        "group",
        "alias",
    }
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
    names = [item.message["traits"].get("name", "") for item in good if item.message["type"] == "identify"]
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
    happened = {
        item.message["messageId"]: item.at_s * 1000 - item.age_ms
        for item in LONG
        if item.valid and not item.duplicate
    }
    for item in LONG:
        if item.duplicate:
            assert item.at_s * 1000 - item.age_ms == pytest.approx(happened[item.message["messageId"]], abs=2)


def test_every_kind_of_fault_occurs_and_is_rare() -> None:
    faults = Counter(item.fault for item in LONG if item.fault)
    assert {reason for reason, _ in FAULTS} | {"not_json"} == set(faults)
    assert faults.total() < len(LONG) * 0.03


def test_the_engine_judges_each_item_as_the_shop_says() -> None:
    """The gateway's own look and the validation of `resolve`, in a row."""
    validator = Defective(Validator(Config(), b"k" * 32, {}))
    now_ms = RUN * 1_000
    shared = Shared("web", now_ms, int(Config().gateway.event_bytes))
    for item in LONG:
        if isinstance(item.message, dict):
            stamp = datetime.fromtimestamp((now_ms - item.age_ms) / 1_000, UTC).isoformat(
                timespec="milliseconds"
            )
            _, raw = keyed(json.dumps({"timestamp": stamp, **item.message}).encode(), shared)
            if item.fault == "poison":
                assert raw.fault is None
                with pytest.raises(ArithmeticError):
                    validator.check(raw)
                continue
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
    assert any(
        house.users == 1 and sum(namespace == "anonymous" for namespace, _ in house.identifiers) > 1
        for house in houses
    )
    assert any(house.users == 0 for house in houses)
    sizes = sorted(len(house.identifiers) for house in houses)
    assert sizes[-2] < 60 < _MADE_UP < sizes[-1], (
        "one alone has a client that makes up an anonymous id for each call"
    )


def test_each_kind_of_odd_event_is_published_within_twenty_seconds_of_the_demo_and_all_are_few() -> None:
    soon = first(20, seed=SEED, rate=RATE)
    odd = Counter(item.odd for item in soon if item.odd)
    assert set(odd) == set(KINDS)
    assert min(odd.values()) >= 5
    assert odd.total() < len(soon) * 0.1


def test_the_engine_knows_people_by_what_the_shop_says_they_are_known_by() -> None:
    """However it is spelled; and nobody by a placeholder, by a number that a spreadsheet rounded, or by what
    is a company's."""
    validator = Validator(Config(), b"k" * 32, {})
    named: dict[tuple[str, str], set[bytes]] = {}
    hashed: dict[bytes, set[tuple[str, str]]] = {}
    for item in LONG:
        if item.valid and not item.refusable:
            checked = validator.check(RawEvent(json.dumps(item.message).encode(), RUN * 1_000, item.channel))
            assert type(checked) is Checked
            said = sorted(identifiers(item.message), key=lambda known: ORDER[known[0]])
            assert [identifier.strength for identifier in checked.identifiers] == [
                ORDER[namespace] for namespace, _ in said
            ], item
            for ours, theirs in zip(said, checked.identifiers, strict=True):
                named.setdefault(ours, set()).add(theirs.hash)
                hashed.setdefault(theirs.hash, set()).add(ours)
    assert max(map(len, named.values())) == max(map(len, hashed.values())) == 1
