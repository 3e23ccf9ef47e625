"""An event's traits on entry: what is kept, marked, derived and counted; and what is sealed of it."""

from datetime import date
from typing import Any

import msgspec
import pytest

from flows.logic.fields import completion, quality
from flows.logic.fields.check import Entry, Taken
from flows.logic.message import Checked
from flows.logic.resolution.validation import Validator
from flows.logic.rules.evaluation_context import EvaluationContext
from schemas.config import Config, Field, Identity, Namespace, Repeat
from schemas.config import Entry as EntryConfig
from schemas.records.customer_profile import Fragment
from schemas.wire.events import Fact, RawEvent, Reject
from tests.logic.fields.made import resident_id

KEY = b"k" * 32
NOW = 1_767_225_600_000  # 2026-01-01
ID = resident_id("440305", date(1990, 3, 7), 12)


def taken(traits: dict[str, Any], context: dict[str, Any] | None = None, **options: Any) -> Taken:
    found = Entry(EntryConfig(**options), KEY).take(traits, context, NOW)
    assert found is not None
    return found


def checked(traits: dict[str, Any], validator: Validator | None = None, **message: Any) -> Checked:
    event = {"type": "identify", "userId": "ana", "traits": traits, **message}
    found = (validator or Validator(Config(), KEY, {})).check(
        RawEvent(msgspec.json.encode(event), NOW, "web")
    )
    assert isinstance(found, Checked), found
    return found


def test_a_normal_form_keeps_the_original_beside_it() -> None:
    found = taken({"phone": "138 0013 8000", "email": "ana@x.de", "plan": "gold"})
    assert found.traits == {"phone": "+8613800138000", "email": "ana@x.de", "plan": "gold"}
    assert found.original == {"phone": "138 0013 8000"}
    assert found.invalid == {}


def test_a_bad_value_is_set_aside_with_its_reason() -> None:
    found = taken({"phone": "12345", "email": {"x": 1}, "birthday": "2030-01-01", "city": True})
    assert found.traits == {}
    assert found.invalid == {"phone": "12345", "email": {"x": 1}, "birthday": "2030-01-01", "city": True}
    assert found.quality == {"phone": "unassigned", "email": "type", "birthday": "future", "city": "type"}


@pytest.mark.parametrize("stated", ["1990-03-06T16:00:00.000Z", 636_739_200, 636_739_200_000])
def test_a_birthday_as_a_moment_is_the_day_where_the_customer_is(stated: Any) -> None:
    assert taken({"birthday": stated}).traits == {"birthday": "1990-03-07"}  # of `entry.country`
    assert taken({"birthday": stated}, country="").traits == {"birthday": "1990-03-06"}
    assert taken({"birthday": stated, "country": "DE"}).traits["birthday"] == "1990-03-06"
    assert taken({"birthday": stated}, {"timezone": "America/New_York"}).traits == {"birthday": "1990-03-06"}
    assert (
        taken({"birthday": stated, "timezone": "Asia/Tokyo"}, {"timezone": "America/New_York"}).traits[
            "birthday"
        ]
        == "1990-03-07"
    )


def test_what_is_empty_was_not_stated_and_other_traits_are_nobodys_business() -> None:
    assert taken({"phone": "", "email": None, "plan": "gold"}) == Taken(
        {"phone": "", "email": None, "plan": "gold"}, {}, {}, {}, {}
    )
    assert Entry(EntryConfig(), KEY).take({"plan": "gold"}, {"locale": "zh-CN"}, NOW) is None


def test_however_it_is_spelled_the_mark_has_the_configured_name() -> None:
    marks = taken({"Phone-Number": "13800138000", "手机号": "13800138000", "FIRST_NAME": "Ana"}).quality
    assert list(marks) == ["phoneNumber", "手机号", "firstName"]
    assert marks["phoneNumber"] == marks["手机号"]  # the same value of the same kind


def test_an_address_is_checked_by_parts() -> None:
    address = {"street": "南山 大道", "city": "深圳", "postalCode": "51", "country": "中国", "door": "5"}
    found = taken({"address": address})
    assert found.traits == {"address": {"street": "南山大道", "city": "深圳", "country": "CN", "door": "5"}}
    assert found.original == {"address": address}
    assert found.quality["postalCode"] == "format"
    assert found.derived["city"]["province"] == "广东省"


def test_the_country_comes_from_the_traits_then_the_configuration_then_the_locale() -> None:
    assert taken({"phone": "030 901820", "country": "Germany"}).traits["phone"] == "+4930901820"
    assert taken({"phone": "030 901820", "address": {"country": "DE"}}).traits["phone"] == "+4930901820"
    assert taken({"phone": "030 901820"}, {"locale": "de-DE"}, country="").traits["phone"] == "+4930901820"
    assert taken({"phone": "13800138000"}, {"locale": "en-US"}).traits["phone"] == "+8613800138000"


def test_what_is_missing_is_derived_with_its_source() -> None:
    found = taken({"phone": "13912345678", "idNumber": ID, "city": "深圳"}, {"locale": "zh-CN"})
    assert set(found.derived) == {"phone", "id_number", "city", "locale"}
    assert found.derived["id_number"]["gender"] == "female"
    assert taken({"phone": "13912345678"}, {"locale": "zh-CN"}, complete=False).derived == {}


def test_nobody_else_may_write_our_marks() -> None:
    found = checked(
        {
            "$quality.phone": "ok 00000000",
            "$derived.phone": {"country": "US"},
            "$original.city": "x",
            "$email": "a@x.de",
        }
    )
    assert [name for name in found.traits if name.startswith("$")] == ["$quality.email"]
    assert found.sensitive == {"$email": "a@x.de"}


def test_what_is_personal_is_sealed_with_all_that_is_kept_of_it() -> None:
    found = checked({"手机号": "138 0013 8000", "idNumber": f" {ID}", "passport": "x", "city": " 深圳 "})
    assert found.sensitive == {
        "手机号": "+8613800138000",
        "$original.手机号": "138 0013 8000",
        "idNumber": ID,
        "$original.idNumber": f" {ID}",
        "$invalid.passport": "x",
        "$derived.id_number.birthday": "1990-03-07",
    }
    assert found.traits["city"] == "深圳"
    assert found.traits["$original.city"] == " 深圳 "
    assert found.traits["$derived.id_number"] == {
        "gender": "female",
        "country": "CN",
        "province": "广东省",
        "county": "南山区",
    }
    assert found.traits["$quality.passport"] == "length"
    said = msgspec.json.encode(found.traits)
    assert ID.encode() not in said
    assert b"13800138000" not in said


def test_a_personal_kind_is_no_property_however_it_is_called() -> None:
    found = checked(
        {}, type="track", event="Signup", properties={"手机号": "13800138000", "身份证": ID, "name": "Tee"}
    )
    assert found.properties == {"name": "Tee"}


def test_a_bad_value_identifies_nobody() -> None:
    assert [
        identifier.strength for identifier in checked({"phone": "12345", "email": "ana@x"}).identifiers
    ] == [0]
    event = msgspec.json.encode({"type": "identify", "traits": {"phone": "12345678901"}})
    found = Validator(Config(), KEY, {}).check(RawEvent(event, NOW, "web"))
    assert isinstance(found, Reject)
    assert found.reason == "id_invalid"
    assert "12345678901" not in found.detail


@pytest.mark.parametrize(
    ("kind", "spellings", "bad"),
    [
        ("id_number", ("11010519491231002X", " 110105 19491231 002x "), "110105194912310021"),
        ("credit_code", ("91350100M000100Y43", "91350100m000100y43"), "91350100M000100Y44"),
        ("bank_card", ("4111111111111111", "4111 1111 1111 1111"), "4111111111111112"),
        ("passport", ("E12345678", " e12345678"), "E1"),
    ],
)
def test_numbers_of_documents_identify_only_where_they_hold(
    kind: Any, spellings: tuple[str, str], bad: str
) -> None:
    paper = Namespace(name="paper", paths=("traits.paper",), limit=3, normalize=kind)
    config = msgspec.structs.replace(Config(), identity=Identity(namespace=(*Identity().namespace, paper)))
    validator = Validator(config, KEY, {})
    found = [checked({"paper": paper}, validator).identifiers[1:] for paper in (*spellings, bad)]
    assert len(found[0]) == 1
    assert found == [found[0], found[0], []]


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({}, False),
        ({"ignore_plus_tags": True}, False),
        ({"ignore_plus_tags": True, "ignore_gmail_dots": True}, True),
    ],
)
def test_mailboxes_are_one_by_option(options: dict[str, bool], same: bool) -> None:
    validator = Validator(msgspec.structs.replace(Config(), entry=EntryConfig(**options)), KEY, {})
    stated = [
        checked({"email": email}, validator).identifiers[1]
        for email in ("a.na+x@gmail.com", "ANA@googlemail.com")
    ]
    assert (stated[0] == stated[1]) is same


def test_fields_are_configurable() -> None:
    config = msgspec.structs.replace(
        Config(), entry=EntryConfig(field=(Field(kind="bank_card", names=("Kartennummer",)),))
    )
    found = checked({"kartennummer": "4111 1111 1111 1111", "phone": "12345"}, Validator(config, KEY, {}))
    assert found.sensitive == {
        "kartennummer": "4111111111111111",
        "$original.kartennummer": "4111 1111 1111 1111",
        "phone": "12345",  # no field: as stated
    }


# --- completion -----------------------------------------------------------------------------------


def traits_of(found: Checked) -> dict[str, tuple[int, Any]]:
    return {name: (NOW, value) for name, value in found.traits.items()}


def test_the_surest_source_completes_and_a_stated_value_stays() -> None:
    found = completion.completed(traits_of(checked({"phone": "13912345678", "idNumber": ID, "city": "长沙"})))
    assert found["province"] == {"value": "湖南省", "source": "city", "confidence": 0.95}
    assert found["carrier"]["source"] == "phone"
    assert "city" not in found
    assert "birthday" not in found  # it is sealed
    assert "province" not in completion.completed(
        traits_of(checked({"phone": "13912345678", "province": "湖北"}))
    )


def test_expressions_see_what_was_derived_where_nothing_was_stated() -> None:
    view = EvaluationContext({})
    view.f = Fragment(traits=traits_of(checked({"phone": "13912345678"})))
    assert (view.trait("province"), view.trait("carrier"), view.trait("plan")) == ("江苏省", "中国移动", None)
    view.f = Fragment(traits=traits_of(checked({"phone": "13912345678", "province": "湖北"})))
    assert view.trait("province") == "湖北省"


# --- quality --------------------------------------------------------------------------------------


def fact(traits: dict[str, Any], source: str = "web", **message: Any) -> Fact:
    found = checked(traits, **message)
    return Fact(
        found.type,
        found.name,
        NOW,
        NOW,
        NOW,
        found.message,
        source,
        b"s" * 12,
        found.properties,
        found.traits,
        {},
    )


def test_what_sources_state_is_counted_by_field_and_outcome() -> None:
    counts: dict[str, int] = {}
    held = Fragment()
    for stated, source in (
        ({"phone": "13800138000", "email": "a@x.de"}, "web"),
        ({"phone": "13800138001"}, "store"),
        ({"phone": "138 0013 8001"}, "web"),
        ({"phone": "110"}, "web"),
        ({}, "web"),
    ):
        one = fact(stated, source)
        quality.stated(one, held, lambda name: counts.update({name: counts.get(name, 0) + 1}))
        held.traits.update({name: (NOW, value) for name, value in one.traits.items()})
    rows = {(row.source, row.field): row for row in quality.report(counts | {"applied": 5, "stage:new": 1})}
    phone = rows["web", "phone"]
    assert (phone.records, phone.stated, phone.valid, phone.conflicts, phone.bad) == (
        4,
        3,
        2,
        0,
        {"too_short": 1},
    )
    assert (phone.coverage, phone.validity, phone.conflict_rate) == (0.75, 2 / 3, 0.0)
    assert rows["store", "phone"].conflict_rate == 1.0
    assert rows["web", "email"].coverage == 0.25
    assert set(rows) == {("web", "phone"), ("web", "email"), ("store", "phone")}


def test_events_without_checked_fields_are_no_records() -> None:
    counts: list[str] = []
    assert quality.stated(fact({}, type="page"), Fragment(), counts.append) == []
    assert counts == []


# --- repeats --------------------------------------------------------------------------------------


def test_repeats_are_marked_only_where_a_rule_is() -> None:
    rule = Repeat(sources=("web",), events=("Paid", "identify"), within=msgspec.convert(10_000, int))  # type: ignore[arg-type]
    validator = Validator(msgspec.structs.replace(Config(), entry=EntryConfig(repeat=(rule,))), KEY, {})
    pays = {"type": "track", "event": "Paid", "properties": {"total": 3}}
    one, two = checked({}, validator, **pays, messageId="m1"), checked({}, validator, **pays, messageId="m2")
    assert one.content == two.content != b""
    assert checked({}, validator, **pays | {"properties": {"total": 4}}).content != one.content
    assert checked({}, validator, **pays, timestamp="2025-12-31T23:59:30Z").content[:6] not in one.content
    assert checked({}, validator, **pays, timestamp="2025-12-31T23:59:51Z").content[:6] in one.content
    assert checked({}, validator, **pays | {"event": "Viewed"}).content == b""
    assert checked({"email": "a@x.de"}, validator).content != b""
    assert checked({}, **pays).content == b""
