"""Bad input through the log's side: each message is accepted, or rejected with a stable reason; nothing
raises."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.fields.group_traits import is_one, shown
from flows.logic.message import Checked
from flows.logic.resolution.validation import Validator
from schemas.config import Config, Gateway, Kafka, Secret, Validate, WriteKey
from schemas.wire.events import RawEvent, Reject, RejectReason
from tests.world import DAY, HOUR, START_MS

CONFIG = Config()
BASE = {"type": "track", "event": "Bought", "userId": "ana", "messageId": "m1"}


def text(time_ms: int) -> str:
    return (
        datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def validator(plan: Any = None, **limits: Any) -> Validator:
    return Validator(msgspec.structs.replace(CONFIG, validate=Validate(**limits)), b"k" * 32, plan or {})


def check(value: bytes | dict[str, Any], made: Validator | None = None) -> Checked | Reject:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return (made or validator()).check(RawEvent(raw, START_MS, "web"))


def message(**changes: Any) -> dict[str, Any]:
    """A good one with other fields; `...` takes a field out."""
    return {name: value for name, value in (BASE | changes).items() if value is not ...}


def accepted(value: bytes | dict[str, Any], made: Validator | None = None) -> Checked:
    found = check(value, made)
    assert isinstance(found, Checked), found
    return found


def reason(value: bytes | dict[str, Any], made: Validator | None = None) -> str:
    found = check(value, made)
    assert isinstance(found, Reject), found
    assert found.detail
    return found.reason


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


BAD: list[tuple[RejectReason, bytes | dict[str, Any]]] = [
    ("empty", b""),
    ("empty", b" \n"),
    ("not_json", b"type=track"),
    ("not_json", b'{"type":"track","event":"Bou'),
    ("not_json", b'{"type":"track"} {"type":"track"}'),
    ("not_json", b'{"type":"track","event":"x","userId":"a","properties":{"n":NaN}}'),
    ("not_json", b'{"type":"track","event":"x","userId":"a","properties":{"n":Infinity}}'),
    ("not_json", b'{"type":"track","event":"\\ud800","userId":"a"}'),
    ("not_json", b'{"type":"track","event":"x","userId":"a","properties":{"\\udfff":1}}'),
    ("not_json", b'{"type":"track","event":"x\xff","userId":"a"}'),
    ("not_json", b'{"type":"track","event":"\xed\xa0\x80","userId":"a"}'),
    ("not_json", b"\x1f\x8b\x08\x00truncated"),
    ("not_json", b"\x00\x00\x00\x00\x07avro"),
    ("not_an_object", b"[]"),
    ("not_an_object", b'"track"'),
    ("not_an_object", b"null"),
    ("too_large", message(properties={"x": "y" * 33 * 1024})),
    ("too_deep", message(properties=nested(100))),
    ("too_deep", b"[" * 30_000),
    ("too_deep", b'{"a":' * 6_000 + b"1" + b"}" * 2_000),
    ("too_deep", message(context=nested(30))),
    (
        "number_out_of_range",
        b'{"type":"track","event":"x","userId":"a","properties":{"n":1180591620717411303424}}',
    ),
    (
        "number_out_of_range",
        b'{"type":"track","event":"x","userId":"a","properties":{"n":[{"m":-9223372036854775809}]}}',
    ),
    ("number_out_of_range", b'{"type":"identify","userId":"a","traits":{"n":18446744073709551616}}'),
    (
        "number_out_of_range",
        b'{"type":"identify","userId":"a","context":{"traits":{"n":18446744073709551616}}}',
    ),
    ("number_out_of_range", b'{"type":"track","event":"x","userId":"a","properties":{"n":1e400}}'),
    ("too_many_properties", message(properties={f"p{n}": 1 for n in range(1_001)})),
    (
        "too_many_properties",
        b'{"type":"track","event":"x","userId":"a","properties":{'
        + b",".join(b'"p%d" : 1' % n for n in range(1_200))
        + b"}}",
    ),
    ("too_many_properties", message(properties={"a": {"b": [{f"p{n}": 1} for n in range(1_001)]}})),
    (
        "too_many_properties",
        {"type": "identify", "userId": "a", "context": {"traits": {f"p{n}": 1 for n in range(1_001)}}},
    ),
    ("type_unknown", message(type=...)),
    ("type_unknown", message(type="delete")),
    ("type_unknown", message(type=["track"])),
    ("type_unknown", message(type=None)),
    ("event_missing", message(event=...)),
    ("event_missing", message(event="")),
    ("event_missing", message(event=None)),
    ("field_invalid", message(event=5)),
    ("field_invalid", message(event="x" * 257)),
    ("field_invalid", message(properties=[1])),
    ("field_invalid", {"type": "identify", "userId": "a", "traits": "x"}),
    ("field_invalid", {"type": "page", "userId": "a", "properties": 1}),
    ("field_invalid", {"type": "page", "userId": "a", "name": {"x": 1}}),
    ("id_missing", message(userId=...)),
    ("id_missing", message(userId=None, anonymousId=None)),
    ("id_blocked", message(userId="")),
    ("id_blocked", message(userId=" ")),
    ("id_blocked", message(userId="null")),
    ("id_blocked", message(userId="GUEST", anonymousId="00000000-0000-0000-0000-000000000000")),
    ("id_invalid", message(userId={"id": 1})),
    ("id_invalid", message(userId=["a"])),
    ("id_invalid", message(userId=True)),
    ("id_invalid", message(userId=1.5)),
    ("id_invalid", message(userId="x" * 10_240)),
    ("id_invalid", message(userId=..., anonymousId="x" * 257)),
    ("id_invalid", message(userId=..., anonymousId=False)),
    ("id_invalid", message(userId={"id": 1}, anonymousId="v1")),
    ("id_invalid", message(userId="x" * 257, anonymousId="v1")),
    ("id_invalid", {"type": "identify", "traits": {"email": {"x": 1}}}),
    ("id_invalid", {"type": "alias", "userId": "a", "previousId": ["v1"]}),
    ("id_invalid", {"type": "group", "userId": "a", "groupId": {"x": 1}}),
    ("message_id_invalid", message(messageId=["m"])),
    ("message_id_invalid", message(messageId="x" * 101)),
    ("timestamp_invalid", message(timestamp="yesterday")),
    ("timestamp_invalid", message(timestamp="2026-13-45T00:00:00Z")),
    ("timestamp_invalid", message(timestamp={"at": 1})),
    ("timestamp_invalid", message(timestamp=True)),
    ("timestamp_invalid", message(timestamp=1e300)),
    ("timestamp_invalid", message(timestamp="yesterday", originalTimestamp="")),
    ("timestamp_invalid", message(originalTimestamp="yesterday", timestamp=[])),
    ("timestamp_out_of_range", message(timestamp="1970-01-01T00:00:00Z")),
    ("timestamp_out_of_range", message(timestamp=0)),
    ("timestamp_out_of_range", message(timestamp="2090-01-01T00:00:00Z")),
    ("timestamp_out_of_range", message(timestamp="1899-12-30T00:00:00Z")),
    ("timestamp_out_of_range", message(timestamp="2090-01-01T00:00:00Z", sentAt="2030-01-01T00:00:00Z")),
    ("timestamp_out_of_range", message(timestamp="9999-12-31T23:59:59.999999-23:59")),
]


@pytest.mark.parametrize(("expected", "value"), BAD, ids=[f"{n}-{name}" for n, (name, _) in enumerate(BAD)])
def test_bad_input_has_a_stable_reason(expected: str, value: bytes | dict[str, Any]) -> None:
    assert reason(value) == expected


@pytest.mark.parametrize(
    "fault", ["gzip_invalid", "schema_unknown", "avro_invalid", "cloudevent_invalid", "seal_broken"]
)
def test_what_the_edge_knew_to_be_bad_keeps_its_reason(fault: RejectReason) -> None:
    assert validator().check(RawEvent(b"\x00broken", START_MS, "t", fault, "why")) == Reject(fault, "why")


@pytest.mark.parametrize(
    "value",
    [
        message(messageId=...),
        message(messageId=""),
        message(userId=12345),
        message(userId=2**70),
        message(userId="", anonymousId="v1"),
        message(properties=None, context=None, traits=None),
        message(properties={"n": 2**63, "m": -(2**63), "digits": "1180591620717411303424", "f": 1.5e300}),
        message(unheard_of={"x": [1]}),
        message(event="☕ «Größe» \\u0000 \U0001f600"),
        message(properties={"text": "[" * 500 + '"{'}),
        {"type": "group", "userId": "a", "groupId": 7},
        {"type": "alias", "userId": "a", "previousId": "v1"},
        {"type": "page", "anonymousId": "v1"},
        {"type": "screen", "anonymousId": "v1", "name": "Start"},
    ],
)
def test_unusual_input_is_accepted_and_fits_the_log(value: dict[str, Any]) -> None:
    found = accepted(value)
    msgspec.msgpack.encode([found.properties, found.traits, found.name, found.message])
    assert 0 < len(found.message) <= 100


@pytest.mark.parametrize(
    "auxiliary",
    [
        {"context": 1},
        {"context": "x", "traits": "x", "name": {"x": 1}},
        {"context": [], "properties": [], "traits": []},  # PHP's empty objects
        {"properties": ""},
        {"anonymousId": False},
        {"anonymousId": "x" * 257},
        {"anonymousId": {"id": 1}, "previousId": True, "groupId": 1.5},
        {"context": {"device": {"id": [1]}, "traits": {"email": {"x": 1}, "phone": 1.5}}},
    ],
)
def test_what_is_only_auxiliary_refuses_no_event(auxiliary: dict[str, Any]) -> None:
    found = accepted(message(**auxiliary))
    assert (found.name, found.time_ms, found.message, len(found.identifiers)) == ("Bought", START_MS, "m1", 1)
    assert found.properties == {}


def test_a_bad_identifier_beside_the_user_id_is_a_bad_field_like_any_other() -> None:
    found = accepted(
        {
            "type": "identify",
            "userId": "a",
            "traits": {"email": {"x": 1}, "phone": 13800138000.5, "plan": "gold"},
        }
    )
    assert [identifier.strength for identifier in found.identifiers] == [0]
    assert found.traits == {"plan": "gold", "$quality.email": "type", "$quality.phone": "type"}


def test_a_number_as_message_id_is_its_text() -> None:
    assert accepted(message(messageId=5)).message == "5"


@given(value=st.binary(max_size=300))
def test_no_bytes_raise(value: bytes) -> None:
    check(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    "type event name userId anonymousId previousId groupId messageId timestamp originalTimestamp sentAt"
    " properties traits context".split()
)


@given(changes=st.dictionaries(fields, json_values, max_size=4))
def test_no_json_raises_and_what_is_accepted_fits_the_log(changes: dict[str, Any]) -> None:
    found = check(message(**changes))
    if isinstance(found, Checked):
        msgspec.msgpack.encode(msgspec.structs.astuple(found)[9:11])
        assert START_MS - CONFIG.validate.past <= found.time_ms <= START_MS


def test_a_missing_message_id_is_made_of_the_bytes_and_the_receipt() -> None:
    value = message(messageId=...)
    assert accepted(value).message == accepted(value).message
    assert accepted(value).message != accepted(value | {"event": "Other"}).message


# --- time


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({}, START_MS),
        ({"timestamp": text(START_MS - HOUR)}, START_MS - HOUR),
        ({"timestamp": "2025-12-31T23:00:00"}, START_MS - HOUR),
        ({"timestamp": "2025-12-31"}, START_MS - DAY),
        ({"timestamp": "2026-01-01T01:00:00+02:00"}, START_MS - HOUR),
        ({"timestamp": (START_MS - HOUR) // 1000}, START_MS - HOUR),
        ({"timestamp": START_MS - HOUR}, START_MS - HOUR),
        ({"timestamp": text(START_MS + HOUR)}, START_MS),  # a little ahead: the time of receipt
        ({"originalTimestamp": text(START_MS - HOUR), "timestamp": text(START_MS - DAY)}, START_MS - HOUR),
        ({"sentAt": text(START_MS - DAY)}, START_MS),
        ({"timestamp": ""}, START_MS),
        ({"timestamp": "0001-01-01T00:00:00Z"}, START_MS),  # Go's and .NET's way to say that there is none
        ({"timestamp": "0001-01-01T00:00:00", "originalTimestamp": text(START_MS - HOUR)}, START_MS - HOUR),
        ({"timestamp": text(START_MS - HOUR), "originalTimestamp": "Invalid Date"}, START_MS - HOUR),
        ({"timestamp": text(START_MS - HOUR), "originalTimestamp": ""}, START_MS - HOUR),
    ],
)
def test_when_it_happened(times: dict[str, Any], expected: int) -> None:
    assert accepted(message(**times)).time_ms == expected


@pytest.mark.parametrize(
    ("source", "stated", "expected"),
    [
        ("till", "2026-01-01T07:00:00", START_MS - HOUR),  # eight hours ahead of UTC
        ("shop.orders", "2025-12-31T23:00:00+00:00", START_MS - HOUR),  # it says its own
        ("shop.orders", "2025-12-31 18:00:00", START_MS - HOUR),
        ("web", "2025-12-31T23:00:00", START_MS - HOUR),
    ],
)
def test_a_time_without_a_zone_has_that_of_its_source(source: str, stated: str, expected: int) -> None:
    keys = (
        WriteKey(key=Secret("k"), source="till", zone="Asia/Shanghai"),
        WriteKey(key=Secret("w"), source="web"),
    )
    kafka = Kafka(topics=("shop.orders",), zones={"shop.orders": "America/New_York"})
    config = msgspec.structs.replace(CONFIG, gateway=Gateway(write_keys=keys), kafka=kafka)
    found = Validator(config, b"k" * 32, {}).check(
        RawEvent(json.dumps(message(timestamp=stated)).encode(), START_MS, source)
    )
    assert isinstance(found, Checked)
    assert found.time_ms == expected


@pytest.mark.parametrize("digits", ["9999999", "9999995", "99999999999", "999", "9994"])
@pytest.mark.parametrize("zone", ["Z", "+00:00", ""])
@pytest.mark.parametrize("field", ["timestamp", "originalTimestamp"])
def test_a_time_is_cut_and_never_ends_the_day_before_its_end(digits: str, zone: str, field: str) -> None:
    when = {field: f"2025-12-31T23:59:59.{digits}{zone}"}
    assert accepted(message(**when)).time_ms == START_MS - 1
    assert accepted(message(**when, sentAt=text(START_MS))).time_ms == START_MS - 1
    assert accepted(message(**when, groupId=[])).time_ms == START_MS - 1  # read leniently


def test_a_property_keeps_all_its_digits() -> None:
    stated = {"at": "2025-12-31T23:59:59.9999999Z"}
    assert accepted(message(timestamp=stated["at"], properties=stated)).properties == stated


@pytest.mark.parametrize("skew", [-400 * DAY, -HOUR, 0, HOUR, 30 * 365 * DAY])
def test_a_wrong_clock_is_corrected_by_when_it_was_sent(skew: int) -> None:
    times = {"timestamp": text(START_MS + skew - 5 * HOUR), "sentAt": text(START_MS + skew)}
    assert accepted(message(**times)).time_ms == START_MS - 5 * HOUR


UNREAD = ["", " ", "Invalid Date", "x", True, {}, [], 1e300]
IMPOSSIBLE = ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "1970-01-01T00:00:00Z", 0, -1, "2099-01-01"]


@pytest.mark.parametrize("sent_at", UNREAD + IMPOSSIBLE)
def test_a_bad_time_of_sending_corrects_nothing(sent_at: Any) -> None:
    times = {"timestamp": text(START_MS - HOUR), "sentAt": sent_at}
    assert accepted(message(**times)).time_ms == START_MS - HOUR
    assert accepted(message(sentAt=sent_at)).time_ms == START_MS


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"backfill": True}, True),
        ({"backfill": False}, False),
        ({"backfill": "yes"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_an_event_says_that_it_is_history(context: Any, expected: bool) -> None:
    assert accepted(message(context=context)).backfill is expected


# --- personal data --------------------------------------------------------------------------------


def unmarked(traits: dict[str, Any]) -> dict[str, Any]:
    """Without what the check of fields adds."""
    return {name: value for name, value in traits.items() if not name.startswith("$quality.")}


def test_personal_traits_are_set_apart_however_they_are_spelled() -> None:
    traits = {
        "First-Name": "Ana",
        "first_name": "Ana",
        "$email": "a@x.de",
        "plan": "gold",
        "address": {"city": "Köln"},
        "phone": "",
        "Last Name": None,
    }
    found = accepted({"type": "identify", "userId": "a", "traits": traits})
    assert unmarked(found.traits) == {"plan": "gold"}
    assert found.sensitive == {
        "First-Name": "Ana",
        "first_name": "Ana",
        "$email": "a@x.de",
        "address": {"city": "Köln"},
    }


@pytest.mark.parametrize(
    ("traits", "general", "sensitive"),
    [
        ({"company": {"vat": 1, "email": "x"}}, {"company": {"vat": 1}}, {"company.email": "x"}),
        ({"kids": [{"age": 3, "firstName": "Bo"}]}, {"kids": [{"age": 3}]}, {"kids.0.firstName": "Bo"}),
        ({"kids": [1, {"firstName": "Bo"}]}, {"kids": [1, {}]}, {"kids.1.firstName": "Bo"}),
        ({"kids": [[{"firstName": "Bo"}]]}, {"kids": [[{}]]}, {"kids.0.0.firstName": "Bo"}),
        ({"user.email": "x@y.de"}, {}, {"user.email": "x@y.de"}),
    ],
)
def test_personal_traits_are_found_wherever_they_lie(traits: Any, general: Any, sensitive: Any) -> None:
    found = accepted({"type": "identify", "userId": "a", "traits": traits})
    assert (unmarked(found.traits), found.sensitive) == (general, sensitive)


def test_traits_of_the_context_count_too() -> None:
    found = accepted(message(context={"traits": {"email": "a@x.de", "plan": "gold"}}))
    assert (unmarked(found.traits), found.sensitive) == ({"plan": "gold"}, {"email": "a@x.de"})


def test_the_consent_that_a_browser_stamps_on_events_is_kept() -> None:
    """As `@segment/analytics-consent-tools` writes it on every event, and in one of its own when the visitor
    decides again."""
    stamp = {"consent": {"categoryPreferences": {"Advertising": False, "Functional": True}}}
    for changes in (
        {"context": stamp},
        {"context": stamp, "event": "Segment Consent Preference Updated", "properties": {}},
    ):
        found = accepted(message(**changes))
        assert found.stamps == {"consent.Advertising": False, "consent.Functional": True}
        assert found.said == {"Advertising": False, "Functional": True}
        assert found.traits == {}


def test_a_tcf_string_is_a_trait_and_no_stamp() -> None:
    found = accepted(message(context={"consent": {"tcString": "C" + "x" * 30}}))
    assert (found.traits, found.stamps, found.said) == ({"tcf_string": "C" + "x" * 30}, {}, {})


def test_a_banner_that_calls_a_category_by_a_name_is_cleaned() -> None:
    found = accepted(message(context={"consent": {"categoryPreferences": {"ana@example.org": True}}}))
    assert "ana@example.org" not in repr((found.stamps, found.said, found.traits))


@pytest.mark.parametrize(
    "thing", ["email", "phone", "name", "marketing.email", "marketing.city", "mail.address"]
)
@pytest.mark.parametrize("word", [False, True, "denied", "同意", 0])
def test_a_word_on_a_channel_is_no_value_of_the_field_that_is_called_so(thing: str, word: Any) -> None:
    granted = word in (True, "同意")
    found = accepted(message(type="identify", traits={f"consent.{thing}": word, "email": "a@x.de"}))
    assert found.said == {thing: granted}
    assert unmarked(found.traits) == {f"consent.{thing}": word}
    assert found.sensitive == {"email": "a@x.de"}
    inside: Any = word
    for name in reversed(thing.split(".")):
        inside = {name: inside}
    assert accepted(message(type="identify", traits={"consent": inside})).said == {thing: granted}


@pytest.mark.parametrize("name", ["consent.email", "consent.contact.email"])
def test_personal_data_called_a_consent_is_sealed_all_the_same(name: str) -> None:
    found = accepted(message(type="identify", traits={name: "a@x.de", "consent.sms": False}))
    assert (unmarked(found.traits), found.sensitive) == ({"consent.sms": False}, {name: "a@x.de"})


def test_personal_data_in_properties_is_not_kept_but_a_products_name_is() -> None:
    found = accepted(
        message(properties={"name": "Tee", "email": "a@x.de", "lines": [[{"card": "4111"}]], "total": 3})
    )
    assert found.properties == {"name": "Tee", "lines": [[{}]], "total": 3}
    assert found.sensitive == {}


COMPANY = {
    "name": "Acme",
    "email": "office@acme.example",
    "phone": "0755-26012345",
    "address": {"street": "Main St 1", "city": "Köln"},
    "contact": {"firstName": "Bo", "floor": 3},
    "plan": "gold",
    "employees": 12,
}


def test_what_a_group_call_states_identifies_and_describes_nobody() -> None:
    found = accepted({"type": "group", "userId": "a", "groupId": "acme", "traits": COMPANY})
    assert [identifier.strength for identifier in found.identifiers] == [0]
    assert (found.sensitive, found.record) == ({}, {})
    held = {name: (1, value) for name, value in found.traits.items()}
    assert shown(held) == {"acme": {"name": "Acme", "plan": "gold", "employees": 12, "contact": {"floor": 3}}}
    assert {name: value for name, value in found.traits.items() if not is_one(name)} == {"group_id": "acme"}


def test_traits_of_the_context_are_the_customers_own_in_a_group_call_too() -> None:
    context = {"traits": {"email": "ana@x.de", "plan": "free"}}
    found = accepted({"type": "group", "userId": "a", "groupId": 7, "traits": COMPANY, "context": context})
    assert [identifier.strength for identifier in found.identifiers] == [0, 2]
    assert (found.sensitive, found.traits["plan"], found.traits["group_id"]) == (
        {"email": "ana@x.de"},
        "free",
        "7",
    )


def test_who_is_known_by_the_address_of_his_company_only_is_nobody() -> None:
    assert reason({"type": "group", "groupId": "acme", "traits": COMPANY}) == "id_missing"


@pytest.mark.parametrize("group", [{}, {"groupId": ""}, {"groupId": None, "traits": COMPANY}])
def test_a_group_call_without_a_group_states_nothing(group: dict[str, Any]) -> None:
    assert accepted({"type": "group", "userId": "a", **group}).traits == {}


def test_no_client_writes_what_only_we_may_write_about_groups() -> None:
    assert accepted(
        {"type": "identify", "userId": "a", "traits": {"$group.acme": True, "plan": "x"}}
    ).traits == {"plan": "x"}


def test_details_of_a_reject_hold_no_values() -> None:
    for value in (
        message(userId={"email": "a@secret"}),
        message(timestamp="a@secret"),
        message(event=["a@secret"]),
        b'{"a@secret',
    ):
        found = check(value)
        assert isinstance(found, Reject)
        assert "secret" not in found.detail


def test_a_rounded_number_is_marked_and_compared_with_nobodys() -> None:
    found = accepted(
        {
            "type": "identify",
            "userId": "a",
            "traits": {"phone": "8.80012E+15", "name": "Ana Lee", "city": "Köln"},
        }
    )
    assert found.traits["$quality.phone"] == "rounded"
    assert found.sensitive["$invalid.phone"] == "8.80012E+15"
    assert "phone" not in found.record
    assert "city" in found.record


# --- the tracking plan ----------------------------------------------------------------------------

PLAN = {"Bought": lambda properties: None if "total" in properties else "`total` is missing"}


def test_planned_events_must_keep_to_their_plan() -> None:
    made = validator(PLAN)
    assert accepted(message(properties={"total": 1}), made).properties == {"total": 1}
    found = check(message(properties={}), made)
    assert found == Reject("plan_violation", "`total` is missing")


@pytest.mark.parametrize(
    ("policy", "outcome"), [("accept", {}), ("flag", {"$unplanned": True}), ("reject", "plan_unknown_event")]
)
def test_events_that_no_plan_names(policy: str, outcome: Any) -> None:
    found = check(message(event="Other"), validator(PLAN, unknown_events=policy))
    assert (found.properties if isinstance(found, Checked) else found.reason) == outcome
    without = validator({}, unknown_events=policy)
    assert accepted(message(event="Other"), without).properties == {}  # no plan at all: nothing is unknown
    assert isinstance(
        check({"type": "page", "userId": "a"}, validator(PLAN, unknown_events=policy)), Checked
    )  # plans are for tracks
