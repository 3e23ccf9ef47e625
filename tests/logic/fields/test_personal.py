"""Personal data in events: what is recognised, by names and by values, and what must be left alone."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn
from stdnum.cn import ric

from flows.logic.fields.personal import may_hold
from flows.logic.message import Checked
from flows.logic.resolution.validation import Validator
from schemas.config import Config
from schemas.config.toml import load
from schemas.wire.events import RawEvent

NOW_MS = 1_795_000_000_000
ID = "44030519900307123" + ric.calc_check_digit("44030519900307123?")
CHILD = "44030520200307123" + ric.calc_check_digit("44030520200307123?")
ID_X = next(
    number for n in range(100, 999) if (number := f"44030519900307{n}X")[-1] == ric.calc_check_digit(number)
)
CARD = "4111111111111111"
UNIONPAY = "62220200000000000" + luhn.calc_check_digit("62220200000000000")
URL = "https://shop.example/checkout"


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator(load(None), b"k" * 32, {})


def checked(validator: Validator, **fields: Any) -> Checked:
    message = {"type": "track", "event": "Bought", "userId": "u1", "messageId": "m1", **fields}
    found = validator.check(RawEvent(msgspec.json.encode(message), NOW_MS, "web"))
    assert isinstance(found, Checked), found
    return found


def kept(validator: Validator, **properties: Any) -> dict[str, Any]:
    return checked(validator, properties=properties).properties


def test_the_numbers_of_these_tests_hold_their_checks() -> None:
    assert ric.is_valid(ID)
    assert ric.is_valid(CHILD)
    assert luhn.is_valid(CARD)
    assert luhn.is_valid(UNIONPAY)


# --- by the value ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("ann@example.com", "email"),
        ("Ann.Lee+news@mail.example.co.uk", "email"),
        ("王小明@例子.中国", "email"),
        ("ann＠example.com", "email"),
        ("ann%40example.com", "email"),
        ("+49 170 1234567", "phone"),
        ("+86 138-0013-8000", "phone"),
        ("+14155552671", "phone"),
        ("138-0013-8000", "phone"),
        ("138 0013 8000", "phone"),
        (ID, "id_number"),
        (ID_X, "id_number"),
        (ID_X.lower(), "id_number"),
        (int(ID), "id_number"),
        (CARD, "bank_card"),
        (int(CARD), "bank_card"),
        (float(CARD), "bank_card"),
        ("4111 1111 1111 1111", "bank_card"),
        ("4111-1111-1111-1111", "bank_card"),
        ("3782 822463 10005", "bank_card"),
        (UNIONPAY, "bank_card"),
    ],
)
def test_a_value_that_is_personal_by_itself_goes_whatever_its_name(
    validator: Validator, value: Any, kind: str
) -> None:
    found = checked(validator, properties={"field1": value, "total": 5})
    assert (found.properties, found.removed) == ({"total": 5}, {kind: 1})
    traits = checked(validator, type="identify", traits={"field1": value, "plan": "gold"})
    assert (traits.traits, traits.sensitive) == ({"plan": "gold"}, {"field1": value})


@pytest.mark.parametrize(
    "name", ["note", "receiver", "order_note", "q", "收货人", "备注", "customer", "contact"]
)
def test_a_bare_mobile_number_goes_where_a_person_or_free_text_stands(
    validator: Validator, name: str
) -> None:
    assert kept(validator, **{name: "13800138000"}) == {}
    assert kept(validator, **{name: 13800138000}) == {}
    assert kept(validator, **{name: 13800138000.0}) == {}
    assert kept(validator, **{name: "请打 13800138000 谢谢"}) == {name: "请打 (redacted) 谢谢"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("orderId", "13800138000"),
        ("order_no", 13800138000),
        ("sku", "13812345678"),
        ("订单号", "13800138000"),
        ("bytes", 13_800_138_000),
        ("order_id", CARD),
        ("trackingNumber", CARD),
        ("trackingNumber", int(CARD)),
        ("order_id", CHILD),  # as of a shop, a day and a sequence
        ("order_id", "202601311234567890"),
        ("order_id", "112-1234567-1234567"),
        ("parcel", "1Z999AA10123456784"),
        ("imei", "490154203237518"),
        ("ean", "4006381333931"),
        ("isbn", "978-3-16-148410-0"),
        ("timestamp", 1_795_000_000_000),
        ("ts", "1795000000000"),
        ("created", 1_795_000_000),
        ("at", "2026-01-31T12:00:00.123456+08:00"),
        ("micros", 1_795_000_000_000_000),
        ("field1", "1795000000000000"),
        ("field1", "550e8400-e29b-41d4-a716-446655440000"),
        ("field1", 175_928_847_299_117_063),  # a snowflake
        ("field1", "0.4111111111111111"),
        ("field1", "1234-138-0013-8000"),
        ("price", 99.5),
        ("version", "1.2.3.4"),
        ("size", "2 000 000 000 000"),
        ("image", "https://cdn.example/logo@2x.png"),
        ("package", "@scope/name@1.2.3"),
        ("handle", "@ann_lee"),
        ("map", "https://maps.example/@47.5,19.05,15z"),
        ("url", "https://shop.example/p/4111111111111111?variant=13800138000&utm_source=mail"),
        ("url", "https://shop.example/p/13800138000/"),
        ("hasEmail", True),
        ("isMobile", True),
        ("marketingEmail", "spring-sale"),
        ("emailCampaign", "spring"),
        ("email_sent_at", "2026-01-31"),
        ("phoneModel", "iPhone 15"),
        ("officePhone", "desk model"),
        ("giftCard", "birthday wishes"),
        ("cards", [{"title": "Hero", "place": 1}]),
        ("productName", "Tee"),
        ("name", "Tee"),
        ("companyName", "ACME"),
        ("clip", "x"),
        ("zip", "10115"),
        ("nothing", None),
    ],
)
def test_what_only_looks_like_it_stays(validator: Validator, name: str, value: Any) -> None:
    found = checked(validator, properties={name: value})
    assert (found.properties, found.removed) == ({name: value}, {})
    assert checked(validator, properties={"items": [{name: value}]}).properties == {"items": [{name: value}]}


# --- by the name ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("emails", ["ann@example.com"]),
        ("emails", [{"kind": "work", "value": "ann@localhost"}]),
        ("workEmail", "ann@localhost"),
        ("buyer_email", "ann@localhost"),
        ("BuyerEmailAddress", "ann@localhost"),
        ("email2", "ann@localhost"),
        ("phones", ["030 1234567"]),
        ("phoneNumber", "030 1234567"),
        ("contact_phone_number", "030 1234567"),
        ("workMobile", 301234567),
        ("收货人手机号", "030 1234567"),
        ("buyerFirstName", "Ann"),
        ("recipient_name", "Ann Lee"),
        ("shippingAddress", {"line1": "Main St 5"}),
        ("billing_street", "Main St 5"),
        ("收货地址", "深南大道 1 号"),
        ("姓名", "王小明"),
        ("fullName", "Ann Lee"),
        ("clientIp", "192.0.2.1"),
        ("client_ip_address", "2001:db8::1"),
        ("paymentCard", "5500 0000"),
        ("cardNumber", "5500 0000"),
        ("childsBirthday", "1990-03-07"),
    ],
)
def test_plurals_prefixes_and_words_behind_mean_the_same(validator: Validator, name: str, value: Any) -> None:
    for properties, left in (
        ({name: value}, {}),
        ({"items": [{name: value, "sku": "x"}]}, {"items": [{"sku": "x"}]}),
    ):
        found = checked(validator, properties=properties)
        assert (found.properties, found.removed) == (left, {"name": 1})
    traits = checked(validator, type="identify", traits={"profile": {name: value}}).sensitive
    assert traits == {f"profile.{name}": value}


# --- where it lies --------------------------------------------------------------------------------


def test_lists_and_objects_at_any_depth(validator: Validator) -> None:
    given = {
        "cart": {"lines": [[{"for": ["ann@example.com", "gold", CARD]}]], "ann@example.com": 1},
        "labels": ["vip", "+49 170 1234567"],
    }
    found = checked(validator, properties=given)
    assert found.properties == {"cart": {"lines": [[{"for": ["gold"]}]]}, "labels": ["vip"]}
    assert found.removed == {"email": 2, "bank_card": 1, "phone": 1}
    traits = checked(validator, type="identify", traits=given)
    assert traits.traits == found.properties
    assert traits.sensitive == {
        "cart.lines.0.0.for.0": "ann@example.com",
        "cart.lines.0.0.for.2": CARD,
        "cart.(redacted)": {"ann@example.com": 1},
        "labels.1": "+49 170 1234567",
    }


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ('{"phone": "13800138000", "n": 1}', '{"phone":"(redacted)","n":1}'),
        ('{"user": {"firstName": "Ann"}, "n": [1]}', '{"user":{"firstName":"(redacted)"},"n":[1]}'),
        ('{"customer": 13800138000, "id": 13800138000}', '{"customer":"(redacted)","id":13800138000}'),
        ('{"ann@example.com": {"note": "ring 138 0013 8000"}}', '{"(redacted)":{"note":"ring (redacted)"}}'),
        ('[{"收货人手机号": "13800138000"}]', '[{"收货人手机号":"(redacted)"}]'),
        ('{"in": "{\\"lastName\\": \\"Lee\\"}"}', '{"in":"{\\"lastName\\":\\"(redacted)\\"}"}'),
        ('{"phone": "13800138000", ', '{"phone": "13800138000", '),  # no JSON, and a bare number
        ('{"name": "Shirt", "hasEmail": true}', '{"name": "Shirt", "hasEmail": true}'),
        ("[13800138000] {", "[13800138000] {"),
    ],
)
@pytest.mark.parametrize("name", ["payload", "url"])
def test_json_in_a_text_is_taken_for_what_it_holds(
    validator: Validator, name: str, given: str, left: str
) -> None:
    found = checked(validator, properties={name: given, "total": 5})
    assert found.properties == {name: left, "total": 5}
    assert bool(found.removed) is (given != left)
    traits = checked(validator, type="identify", traits={name: given})
    assert (traits.traits, traits.sensitive) == (
        ({name: given}, {}) if given == left else ({}, {name: given})
    )
    asked = checked(validator, type="page", properties={"url": f"{URL}?data={quote(given)}"}).properties
    assert asked == {"url": f"{URL}?data={quote(given) if given == left else '(redacted)'}"}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (f"{URL}?email=ann@example.com&page=2", f"{URL}?email=(redacted)&page=2"),
        (f"{URL}?u=ann%40example.com#top", f"{URL}?u=(redacted)#top"),
        (f"{URL}?phone=0301234567", f"{URL}?phone=(redacted)"),
        (
            f"{URL}?user[email]=x%40y&first_name=Ann&sku=13800138000",
            f"{URL}?user[email]=(redacted)&first_name=(redacted)&sku=13800138000",
        ),
        (f"{URL}?q=13800138000", f"{URL}?q=(redacted)"),
        (f"{URL}?q=call+%2B49+170+1234567", f"{URL}?q=(redacted)"),
        (f"{URL}?next=https%3A%2F%2Fx.example%2F%3Femail%3Dann%2540example.com", f"{URL}?next=(redacted)"),
        (f"{URL}#/reset?mail=ann@example.com", f"{URL}#/reset?mail=(redacted)"),
        ("https://shop.example/users/ann@example.com/orders", "https://shop.example/users/(redacted)/orders"),
        ("https://shop.example/users/ann%40example.com/", "https://shop.example/users/(redacted)/"),
        (f"/u/{ID}/x", "/u/(redacted)/x"),
        ("?email=ann@example.com", "?email=(redacted)"),
        ("email=ann@example.com&a=1", "email=(redacted)&a=1"),
        ("Welcome ann@example.com!", "Welcome (redacted)!"),
        ('{"email":"ann@example.com","n":1}', '{"email":"(redacted)","n":1}'),
        (f"{URL}?mobile=1&card=hero&email=spring", f"{URL}?mobile=1&card=hero&email=spring"),
        (f"{URL}?utm_source=mail&id=42", f"{URL}?utm_source=mail&id=42"),
    ],
)
@pytest.mark.parametrize("name", ["url", "referrer", "path", "search", "title"])
def test_of_a_url_or_text_the_rest_stays(validator: Validator, name: str, given: str, left: str) -> None:
    found = checked(validator, type="page", properties={name: given})
    assert found.properties == {name: left}
    assert bool(found.removed) is (given != left)


def test_what_a_banner_calls_its_categories_is_looked_at_like_any_name(validator: Validator) -> None:
    said = {
        "consent": {"categoryPreferences": {"ann@example.com": True, "Advertising": False}},
        "consentManagement": {"allowedConsentIds": ["+49 170 1234567"], "deniedConsentIds": ["C0003"]},
    }
    found = checked(validator, type="page", context=said)
    assert found.stamps == {"consent.Advertising": False, "consent.C0003": False}
    assert found.sensitive == {
        "(redacted)": {"consent.ann@example.com": True, "consent.+49 170 1234567": True}
    }


def test_escaped_letters_hide_nothing(validator: Validator) -> None:
    body = msgspec.json.encode(
        {
            "type": "track",
            "event": "x",
            "userId": "u",
            "messageId": "m",
            "properties": {"a": "ann@x.de", "b": "/?phone=0301234567"},
        }
    )
    body = body.replace(b"@", rb"\u0040").replace(b"=", rb"\u003d")
    found = validator.check(RawEvent(body, NOW_MS, "web"))
    assert isinstance(found, Checked)
    assert found.properties == {"b": "/?phone=(redacted)"}


def test_names_of_events_pages_and_groups_and_message_ids(validator: Validator) -> None:
    assert checked(validator, event="Mail to ann@example.com").name == "Mail to (redacted)"
    assert (
        checked(validator, type="page", name=f"{URL}?email=ann@example.com").name == f"{URL}?email=(redacted)"
    )
    assert checked(validator, type="group", groupId="ann@example.com").traits["group_id"] == "(redacted)"
    one, again, other = (
        checked(validator, messageId=f"{who}@example.com-7").message for who in ("ann", "ann", "bob")
    )
    assert one == again != other
    assert "ann" not in one
    assert checked(validator, messageId="till-7-0815").message == "till-7-0815"


def test_the_page_of_the_context_is_not_kept_at_all(validator: Validator) -> None:
    page = {
        "url": f"{URL}?email=ann@example.com",
        "referrer": "https://x.example/?phone=0301234567",
        "path": "/ann@example.com",
    }
    found = checked(validator, context={"page": page, "traits": {"contact": "ann@example.com"}})
    assert found.sensitive == {"contact": "ann@example.com"}
    found.sensitive = {}
    said = msgspec.json.encode(found)
    assert b"ann@" not in said
    assert b"0301234567" not in said


# --- all that is made of these --------------------------------------------------------------------

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.text(max_size=12),
    st.sampled_from(["gold", "s-1", URL, "2026-01-31"]),
)
SECRETS = st.sampled_from(
    [
        "ann@secret.example",
        "x ann@secret.example y",
        f"{URL}?to=ann@secret.example",
        "ann%40secret.example",
        "ann＠secret.example",
    ]
)
TREES = st.recursive(
    st.one_of(LEAVES, SECRETS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12) | SECRETS, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=12), TREES, max_size=4), st.booleans())
def test_no_address_gets_through_wherever_it_lies(properties: dict[str, Any], escaped: bool) -> None:
    message = {
        "type": "track",
        "event": "x",
        "userId": "u",
        "messageId": "m",
        "properties": properties,
        "traits": properties,
    }
    body = msgspec.json.encode(message)
    if escaped:
        body = body.replace(b"@", b"\\u0040")
    found = CACHED.check(RawEvent(body, NOW_MS, "web"))
    assert isinstance(found, Checked)
    assert b"secret.example" not in msgspec.json.encode((found.properties, found.traits))


CACHED = Validator(Config(), b"k" * 32, {})


def test_hostile_texts_take_no_longer_than_their_length(validator: Validator) -> None:
    texts = [
        "a@" * 12_000,
        "@" * 24_000,
        "a" * 24_000 + "@",
        "+49 170 1234567 " * 1_500,
        f"{ID} " * 1_300,
        "1-" * 12_000,
        "a=b&" * 6_000,
        '{"a":' * 2_500 + "1" + "}" * 2_500,
        "[" * 15_000 + "]" * 15_000,
        "[" * 900 + '"ann@x.de"' + "]" * 900,
        f"[{','.join(['13800138000'] * 2_000)}]",
        msgspec.json.encode({f"k{n}": "ann@x.de" for n in range(1_400)}).decode(),
    ]
    for text in (*texts, "a.b-" * 6_000 + "@" + "a.b-" * 50, "%2540" * 4_000, "4111 1111 1111 1112 " * 1_100):
        began = time.process_time()
        checked(validator, properties={"note": text})
        assert time.process_time() - began < 0.5, text[:20]


def test_the_glance_at_an_event_sees_what_the_checks_would_find() -> None:
    values = [
        "ann@example.com",
        "ann%40x.de",
        "ann＠x.de",
        "+49 170 1234567",
        "%2B491701234567",
        "138-0013-8000",
        ID,
        CARD,
        "?phone=1",
        '{"firstName": "Ann"}',
        13800138000.0,
    ]
    for value in values:
        assert may_hold("m-17-3", "Bought", {"x": value})
        assert may_hold(value)
    assert not may_hold(
        "m-17-3", "Bought", {"at": "2026-01-31T12:00:00.123Z", "sku": "s-1", "total": 99.5, "深": ["圳"]}
    )


def test_names_that_an_operator_adds_count_in_all_their_forms(tmp_path: Path) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text('[privacy]\nsensitive = ["shoeSize", "traits.nick"]\n')
    own = Validator(load(file), b"k" * 32, {})
    found = checked(
        own, properties={"left_shoe_size": 42, "shoeSizes": [42], "nick": "x", "hasShoeSize": True}
    )
    assert found.properties == {"nick": "x", "hasShoeSize": True}
