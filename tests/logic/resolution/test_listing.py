"""Only what the tracking plan lists is collected."""

from typing import Any

import msgspec
import pytest

from flows.logic.fields.identifiers import PRIVACY
from flows.logic.resolution.listing import Listing, Shape, within
from schemas.wire.events import RawEvent

ORDER: Shape = {"total": None, "products": {"sku": None, "brand": {"name": None}}}
LISTING = Listing(
    {"Order Completed": ORDER, "page": {"url": None}},
    ["firstName", "address"],
    ["userId", "anonymousId", "traits.email", "context.device.id"],
    depth=8,
)


def listed(event: dict[str, Any], source: str = "web") -> Any:
    raw = RawEvent(msgspec.json.encode(event), 1, source)
    found = LISTING.of(raw)
    assert (found.received_ms, found.source) == (1, source)
    return msgspec.json.decode(found.value)


def test_of_an_event_only_what_its_plan_names_is_left() -> None:
    event = {
        "type": "track",
        "event": "Order Completed",
        "messageId": "m",
        "userId": "ana",
        "timestamp": "2026-01-01T00:00:00Z",
        "secret": 1,
        "properties": {
            "total": 5,
            "note": "x",
            "products": [{"sku": "a", "price": 2, "brand": {"name": "b", "owner": "c"}}, "loose"],
        },
        "context": {"ip": "192.0.2.1", "locale": "zh-CN", "device": {"id": "d", "model": "x"}, "gpc": True},
    }
    assert listed(event) == {
        "type": "track",
        "event": "Order Completed",
        "messageId": "m",
        "userId": "ana",
        "timestamp": "2026-01-01T00:00:00Z",
        "properties": {"total": 5, "products": [{"sku": "a", "brand": {"name": "b"}}, "loose"]},
        "context": {"locale": "zh-CN", "device": {"id": "d"}, "gpc": True},
    }


@pytest.mark.parametrize(
    ("event", "properties"),
    [
        ({"type": "track", "event": "Other"}, {}),
        ({"type": "track", "event": "page"}, {"url": "u"}),
        ({"type": "page", "name": "Order Completed"}, {"url": "u"}),
        ({"type": "screen"}, {}),
    ],
)
def test_what_no_plan_names_has_no_properties(event: dict[str, Any], properties: dict[str, Any]) -> None:
    found = listed(event | {"properties": {"url": "u", "total": 1}})
    assert found == event | {"properties": properties}


def test_of_traits_only_those_that_are_listed_however_they_are_spelled_and_consent() -> None:
    traits = {
        "first_name": "Ana",
        "last_name": "Lee",
        "address": {"city": "x"},
        "email": "ana@example.org",
        "consent": {"sms": False},
        "consent.marketing": True,
        "consented": True,
    }
    kept = {name: traits[name] for name in traits if name not in ("last_name", "consented")}
    assert listed({"type": "identify", "traits": traits})["traits"] == kept
    context = {"type": "identify", "context": {"traits": traits}}
    # an address that identifies stands where `identity.namespace` looks for it
    del kept["email"]
    assert listed(context)["context"]["traits"] == kept


def test_our_own_word_for_a_customer_keeps_whom_it_names() -> None:
    named = {"namespace": "user_id", "hash": "00" * 12}
    event = {"type": "identify", "traits": {"consent.mode": "basic"}, "context": {"identifier": named}}
    assert listed(event, PRIVACY) == event


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b"\xff", b'{"type": "merge", "mergeProperties": [1]}', b'{"type": 1, "x": 2}'],
)
def test_what_is_no_event_stays_as_it_is_and_is_refused_later(value: bytes) -> None:
    raw = RawEvent(value, 1, "web")
    assert LISTING.of(raw) == raw


def test_a_shape_without_names_within_takes_all_and_depth_ends() -> None:
    assert within({"a": {"b": 1}}, {"a": None}, 4) == {"a": {"b": 1}}
    assert within([[[{"a": 1, "b": 2}]]], {"a": None}, 4) == [[[{"a": 1}]]]
    assert within([[[{"a": 1}]]], {"a": None}, 2) == [[None]]


def test_nothing_hides_in_what_is_always_kept() -> None:
    hidden = {"ssn": "UNLISTED"}
    event = {
        "type": "track",
        "event": "Order Completed",
        "userId": "ana",
        "name": hidden,
        "messageId": [hidden],
        "timestamp": hidden,
        "traits": {
            "consent": {"illness": "UNLISTED", "sms": "no", "mode": "basic"},
            "consent.note": "UNLISTED",
        },
        "context": {
            "locale": hidden,
            "device": {"id": hidden},
            "consent": {"categoryPreferences": {"ads": True}, "why": "UNLISTED"},
            "consentManagement": {"deniedConsentIds": ["x"], "more": "UNLISTED"},
            "identifier": "UNLISTED",
            "by": "UNLISTED",
        },
    }
    found = listed(event)
    assert "UNLISTED" not in repr(found)
    assert found["traits"] == {"consent": {"sms": "no", "mode": "basic"}}
    assert found["context"] == {
        "consent": {"categoryPreferences": {"ads": True}},
        "consentManagement": {"deniedConsentIds": ["x"]},
    }


def test_a_new_choice_is_heard_though_no_plan_names_it() -> None:
    chosen = {"consent": {"categoryPreferences": {"ads": False}}, "other": 1}
    event = {"type": "track", "event": "Segment Consent Preference Updated", "properties": chosen}
    assert listed(event)["properties"] == {"consent": chosen["consent"]}


def test_what_confirms_a_yes_is_kept_of_our_own_events_alone() -> None:
    context = {"identifier": {"namespace": "user_id", "hash": "00" * 12}, "confirmed": True, "by": "centre"}
    event = {"type": "identify", "traits": {"consent.sharing": True}, "context": context}
    assert listed(event, PRIVACY) == event
    assert listed(event)["context"] == {}
