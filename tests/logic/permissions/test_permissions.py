"""What customers say, and what follows."""

import pytest

from flows.logic.fields.stated import stated_at
from flows.logic.permissions.categories import Categories
from flows.logic.permissions.permissions import Permissions
from flows.logic.permissions.statements import (
    AGAIN_MS,
    WORDS_MAX,
    Stated,
    Words,
    says_nothing_new,
    stated,
    take,
    together,
)
from flows.logic.permissions.withholding import WITHHELD, rewritten
from schemas.config import ATTRIBUTES, Category, Consent, Purpose
from schemas.records.consents import MARK_BYTES, Consents, Word, packed, unpacked

NOW_MS = 1_767_225_600_000
A, B, C = (letter * 12 for letter in (b"a", b"b", b"c"))
CATEGORIES = Categories(
    (Category(name="hobby", fields=("favouriteSport",), events=("Match Seen",)),), {}, ("Order",)
)


def permissions(**options: object) -> Permissions:
    return Permissions(Consent(**options), CATEGORIES.names)  # type: ignore[arg-type]


def word(granted: bool, seconds: int, over: tuple[bytes, ...] = ()) -> Word:
    moment = stated_at(NOW_MS + 1_000 * seconds, b"any")
    return Word(granted=granted, moment=moment, source="web", version="", proof="m", over=over)


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        ({"consent.version": "1", "consent.sms": True}, {"sms": True}),
        ({"consent": {"version": 0, "sms": True}}, {"sms": True}),
        ({"consent.sms": "denied"}, {"sms": False}),
        ({"consent": {"email": {"news": "yes", "offers": 0}}}, {"email.news": True, "email.offers": False}),
        ({"consent.marketing": "同意", "consent.push": "拒绝"}, {"marketing": True, "push": False}),
        ({"consent.mode": "basic"}, dict.fromkeys(("marketing", "sales", "personalisation"), False)),
        (
            {"consent.mode": "Basic + personalised"},
            {"marketing": False, "sales": False, "personalisation": True},
        ),
        (
            {"consent": {"mode": "basic+marketing"}},
            {"marketing": True, "sales": True, "personalisation": False},
        ),
        ({"consent.mode": "whatever"}, {}),
        ({"consent.sms": "perhaps", "consent.push": None, "consent.list": [True]}, {}),
        ({"consented": True, "plan": "gold"}, {}),
    ],
)  # fmt: skip
def test_what_traits_say(traits: dict[str, object], said: Stated) -> None:
    assert stated(traits) == said


@pytest.mark.parametrize(
    ("said", "purpose", "channel", "allowed"),
    [
        ({}, "marketing", "sms", True),
        ({"marketing": False}, "marketing", "sms", False),
        ({"sms": False}, "marketing", "sms", False),
        ({"sms": False}, "marketing", "email", True),
        ({"marketing.sms": False, "sms": True, "marketing": True}, "marketing", "sms", False),
        ({"marketing": False, "marketing.sms": True}, "marketing", "sms", False),
        ({"marketing": False}, "service", "sms", True),
        ({"sms": False}, "service", "sms", True),
        ({"recommendation": False}, "personalisation", "", False),
        ({}, "sharing", "", False),
        ({"sale_or_sharing": True}, "sharing", "", True),
        ({"sale_or_sharing": True, "sharing": False}, "sharing", "", False),
        ({"marketing": True}, "unheard of", "sms", False),
    ],
)
def test_contact_without_a_word_is_allowed_until_a_no(
    said: Stated, purpose: str, channel: str, allowed: bool
) -> None:
    assert permissions().may_contact(Words(said), purpose, channel) == allowed


def test_contact_without_a_word_is_refused_where_a_yes_is_needed() -> None:
    asked = permissions(before="opt_in")
    assert not asked.may_contact(Words({}), "marketing", "sms")
    assert asked.may_contact(Words({"marketing.sms": True}), "marketing", "sms")
    assert not asked.may_contact(Words({"marketing.sms": True}), "marketing", "email")
    assert asked.may_contact(Words({"marketing": True}), "marketing", "email")
    assert not asked.may_contact(Words({"email": True}), "marketing", "email")
    assert asked.refusal(Words({}), "marketing", "sms") == "the customer has not agreed to marketing by sms"
    assert (
        asked.refusal(Words({"sms": False}), "marketing", "sms")
        == "the customer has refused marketing by sms"
    )


def test_before_any_word_the_country_decides() -> None:
    by_country = permissions(before="opt_out", regions={"CN": "opt_in"})
    assert by_country.may_contact(Words({}, "US"), "marketing", "sms")
    assert not by_country.may_contact(Words({}, "CN"), "marketing", "sms")
    assert by_country.may_contact(Words({"marketing": True}, "CN"), "marketing", "sms")


def test_data_is_kept_while_some_purpose_may_use_it() -> None:
    asked = permissions()
    assert asked.denied(Words({})) == frozenset()
    assert asked.denied(Words({"marketing": False})) == frozenset()
    both = asked.denied(Words({"marketing": False, "personalisation": False}))
    assert both == {"behaviour", "location", "demographic", "social", "biometric", "hobby"}
    assert asked.denied(Words({"location": False})) == {"location"}
    assert asked.denied(Words({"contact": False})) == frozenset()  # the service needs it


def test_a_purpose_has_the_categories_that_it_names() -> None:
    asked = permissions(
        purpose=(
            Purpose(name="service", required=True, data=("contact",)),
            Purpose(name="ads", data=("social",)),
        )
    )
    assert "behaviour" in asked.unspoken
    assert asked.may_use(Words({}), "ads", "social")
    assert not asked.may_use(Words({}), "ads", "contact")
    assert not asked.may_use(Words({"ads.social": False}), "ads", "social")
    assert asked.serves(Words({"ads.social": False}), "ads")
    assert not asked.serves(Words({"ads": False}), "ads")


def test_within_an_origin_the_last_word_counts() -> None:
    record = Consents()
    assert take(record, {"sms": False}, word(True, 5))
    assert not take(record, {"sms": True}, word(True, 4))
    assert take(record, {"sms": False}, word(True, 6))  # a no moves each time that it is said
    assert take(record, {"sms": True}, word(True, 7))
    assert record.words["sms"] == word(True, 7)
    assert take(record, {"sms": False}, word(True, 7))
    assert not take(record, {"sms": True}, word(True, 7))  # of two at once the no counts


def test_between_origins_a_no_wins() -> None:
    one, other = Consents({"sms": word(False, 1)}), Consents({"sms": word(True, 9), "push": word(True, 9)})
    assert together({A: one, B: other}).said == {"sms": False, "push": True}


def test_who_is_one_customer_speaks_for_all_origins_while_it_is_one() -> None:
    one, other = Consents({"sms": word(False, 1)}), Consents({"sms": word(True, 9, (A,))})
    assert together({A: one, B: other}).said == {"sms": True}
    assert together({A: one}).said == {"sms": False}
    later = Consents({"sms": word(False, 10)})
    assert together({A: later, B: other}).said == {"sms": False}
    assert together({A: one, B: other, C: Consents({"sms": word(False, 2)})}).said == {"sms": False}


def test_a_record_begins_with_a_mark_of_what_it_says() -> None:
    one = Consents({"sms": word(False, 1), "push": word(True, 1)})
    same = Consents({"push": word(True, 1), "sms": word(False, 1)})
    assert packed(one) == packed(same)
    assert unpacked(packed(one)) == same
    assert packed(one)[:MARK_BYTES] != packed(Consents({"sms": word(True, 1)}))[:MARK_BYTES]


def test_what_is_derived_of_a_customer_belongs_to_its_category_unless_the_file_says_another() -> None:
    def of(categories: Categories) -> list[str]:
        return [categories.of_field(f"$attribute.{name}.stated") for name in ATTRIBUTES]

    assert of(CATEGORIES) == [*["demographic"] * 4, "location", "location"]
    told = Categories((Category(name="hobby", fields=("occupation", "ageBand")),), {}, ())
    assert of(told) == ["hobby", "demographic", "demographic", "hobby", "location", "location"]


def test_the_archive_keeps_an_event_without_what_is_denied() -> None:
    value = b"""{"type": "track", "event": "Seen", "userId": "u", "messageId": "m", "timestamp": "2026-01-01",
        "properties": {"favouriteSport": "golf", "sku": 1, "inner": [{"favourite_sport": 2, "n": 3}]},
        "context": {"ip": "1.2.3.4", "device": {"id": "d", "model": "x"}, "traits": {"city": "x"},
        "consent": {"categoryPreferences": {"Ads": false}}}}"""
    fields = rewritten(CATEGORIES, value, frozenset({"hobby"}), whole=False, message="m")
    assert b"golf" not in fields
    assert b'"sku":1' in fields
    assert b'"n":3' in fields
    assert b'"event":"Seen"' in fields
    whole = rewritten(CATEGORIES, value, frozenset({"behaviour", "location"}), whole=True, message="m")
    assert WITHHELD.encode() in whole
    assert b'"userId":"u"' in whole
    assert b'"Ads":false' in whole
    assert not any(said in whole for said in (b"Seen", b"golf", b"sku", b"1.2.3.4", b"model"))
    assert rewritten(CATEGORIES, b"not json", frozenset({"hobby"}), whole=False, message="m") == b""


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("favourite_sport", "hobby"),
        ("homeCity", ""),
        ("location", "location"),
        ("$original.latitude", "location"),
        ("$attribute.age_band.stated", "demographic"),
        ("$attribute.city.phone", "location"),
        ("plan", ""),
    ],
)
def test_the_category_of_a_field(name: str, category: str) -> None:
    assert CATEGORIES.of_field(name) == category


def like(ms: int, granted: bool = True) -> Word:
    return Word(granted, stated_at(ms, b"mmm"), "web", "", f"m{ms}")


def test_a_yes_from_before_a_no_that_was_said_again_comes_too_late() -> None:
    record = Consents()
    assert take(record, {"marketing": False}, like(1_000))
    assert take(record, {"marketing": False}, like(3_000))
    assert not take(record, {"marketing": True}, like(2_000))
    assert together({b"a": record}).said == {"marketing": False}
    assert take(record, {"marketing": True}, like(4_000))
    assert not take(record, {"marketing": True}, like(5_000))  # a yes does not move


def test_a_no_of_a_banner_is_new_after_an_hour() -> None:
    record = Consents()
    take(record, {"ads": False}, like(1_000))
    assert says_nothing_new(record, {"ads": False}, "", (), 1_000 + AGAIN_MS)
    assert not says_nothing_new(record, {"ads": False}, "", (), 1_001 + AGAIN_MS)


def test_a_no_has_room_though_an_origin_has_said_too_much() -> None:
    record = Consents()
    for number in range(WORDS_MAX):
        assert take(record, {f"id{number}": number > 0}, like(1_000 + number))
    assert not take(record, {"more": True}, like(9_000))
    assert take(record, {"marketing": False}, like(9_000))
    assert record.words["marketing"].granted is False
    assert "id1" not in record.words  # the oldest yes
    assert len(record.words) == WORDS_MAX
