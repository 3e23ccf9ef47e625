"""What rules may see of sealed data: coarse, never guessed, and of the best source."""

import random
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.fields import births, regions
from flows.logic.fields.attributes import (
    CATEGORIES,
    PREFIX,
    age_band,
    category_of,
    held,
    is_one,
    labels,
    next_band_ms,
    shown,
)
from flows.logic.fields.births import Birth
from flows.logic.fields.check import Entry
from flows.logic.fields.places import divisions
from flows.logic.fields.regions import Place, of_text
from flows.logic.message import Checked
from flows.logic.profile.fragments import add_traits, join_traits
from flows.logic.resolution.validation import Validator
from schemas.config import ATTRIBUTES, Config, Privacy
from schemas.config import Entry as EntryConfig
from tests.logic.fields.made import resident_id
from tests.logic.fields.test_check import KEY, NOW, checked

EVERY = tuple(ATTRIBUTES)
VALIDATOR = Validator(Config(privacy=Privacy(attributes=EVERY)), KEY, {})  # type: ignore[arg-type]


def told(traits: dict[str, Any], *wanted: str, **options: Any) -> dict[str, str]:
    found = Entry(EntryConfig(**options), KEY, wanted or EVERY).take(traits, None, NOW)
    assert found is not None
    return {name.removeprefix(PREFIX): value for name, value in found.attributes.items()}


def births_of(stated: Any) -> dict[str, str]:
    return told({"birthday": stated}, "age_band", "birth_month_day")


# --- births


@pytest.mark.parametrize(
    ("stated", "month", "day"),
    [
        ("1988-02-29", "1988-02", "02-29"),
        ("1988年2月29日", "1988-02", "02-29"),
        ("1988/2/29 0:00:00", "1988-02", "02-29"),
        ("19880229", "1988-02", "02-29"),
        ("1988-02-28T16:00:00.000Z", "1988-02", "02-29"),  # midnight where the customer is
        ("2025-12-31", "2025-12", "12-31"),
    ],
)
def test_a_date_tells_its_month_and_its_day(stated: str, month: str, day: str) -> None:
    assert births_of(stated) == {"age_band.stated": month, "birth_month_day.stated": day}


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("1988-02", {"age_band.partial": "1988-02"}),
        ("1988年2月", {"age_band.partial": "1988-02"}),
        ("1988年2月份", {"age_band.partial": "1988-02"}),
        ("1988.2", {"age_band.partial": "1988-02"}),
        ("1988-02-00", {"age_band.partial": "1988-02"}),
        ("1988-00-00", {"age_band.partial": "1988-12"}),
        (1988, {"age_band.partial": "1988-12"}),
        ("1988年", {"age_band.partial": "1988-12"}),
        ("2026", {"age_band.partial": "2026-12"}),  # a year that has begun
        ("02-29", {"birth_month_day.partial": "02-29"}),
        ("--02-29", {"birth_month_day.partial": "02-29"}),
        ("1604-02-29", {"birth_month_day.partial": "02-29"}),
        ("0000-02-29", {"birth_month_day.partial": "02-29"}),
        ("2月29日", {"birth_month_day.partial": "02-29"}),
        ("２月９号", {"birth_month_day.partial": "02-09"}),
    ],
)
def test_a_part_of_a_date_tells_that_part(stated: Any, found: dict[str, str]) -> None:
    assert births_of(stated) == found


@pytest.mark.parametrize(
    "stated",
    [
        "1988年2月30日", "1988-02-30", "1989-02-29", "02-30", "13-01", "1988-13",
        "88年2月", "88-02-03", "03/04", "8802",
        "农历1988年二月初三", "農曆二月初三", "阴历2月3日", "正月初一", "闰2月3日", "腊月廿三",
        "2030-01-01", "2030-05", "2027", "2026-03", "1850-01", "1899-12-31", "1800",
        "0001-01-01", "1900-01-01", "1970-01-01",
        "未知", "保密", "N/A", "-", "0", 0, "30岁", "属龙", "80后",
        "x" * 300, True, 1988.5, {"year": 1988}, ["1988"],
    ],
)  # fmt: skip
def test_what_is_no_date_of_birth_tells_nothing(stated: Any) -> None:
    found = births_of(stated)
    assert {name for name in found if name.startswith("age_band")} == set(), found
    # a day is a day, however long ago
    assert set(found.values()) <= {"12-31"} or found == {}, found


def test_an_id_tells_the_birth_as_well_and_a_part_comes_behind_it() -> None:
    number = resident_id("330106", date(1990, 3, 7), 12)
    traits = {"birthday": "1991", "idNumber": number}
    entries = {PREFIX + name: (1, value) for name, value in told(traits).items()}
    assert shown(entries, (18, 35, 36), NOW) == {
        "age_band": "35",
        "birth_month_day": "03-07",
        "gender": "female",
        "region": "浙江省",
        "city": "杭州市",
    }


# --- ages


def months_later(born: date, years: int) -> int:
    """The moment of the first day of the month after the birthday."""
    total = (born.year + years) * 12 + born.month
    return int(datetime(total // 12, total % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000)


@given(
    born=st.dates(date(1910, 1, 1), date(2025, 12, 31)),
    now=st.datetimes(datetime(2026, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    bands=st.sets(st.integers(1, 120), min_size=1, max_size=8).map(sorted),
)
def test_a_band_is_never_too_old_and_at_most_a_month_late(
    born: date, now: datetime, bands: list[int]
) -> None:
    traits = {f"{PREFIX}age_band.stated": (1, born.isoformat()[:7])}
    today = now.date()
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    names = labels(bands)
    exact = names[sum(band <= age for band in bands)]
    found = age_band(traits, bands, int(now.timestamp() * 1000))
    if (today.month, today.year) == (born.month, today.year):
        assert found in (exact, names[max(0, names.index(exact) - 1)])
        assert (
            found == names[sum(band < age or (band == age and today.month != born.month) for band in bands)]
        )
    else:
        assert found == exact


@given(
    born=st.dates(date(1910, 1, 1), date(2025, 12, 31)),
    bands=st.sets(st.integers(1, 120), min_size=1).map(sorted),
)
def test_the_next_band_begins_when_it_is_said_to(born: date, bands: list[int]) -> None:
    traits = {f"{PREFIX}age_band.stated": (1, born.isoformat()[:7])}
    now, seen = NOW, [age_band(traits, bands, NOW)]
    while (due := next_band_ms(traits, bands, now)) is not None:
        assert due > now
        assert age_band(traits, bands, due - 1) == seen[-1]
        seen.append(age_band(traits, bands, due))
        assert due == months_later(born, bands[labels(bands).index(str(seen[-1])) - 1])
        now = due
    assert seen == [*labels(bands)[labels(bands).index(str(seen[0])) :]]


def test_bands_have_names() -> None:
    assert labels((14, 18, 19)) == ("0-13", "14-17", "18", "19+")
    assert labels((1,)) == ("0", "1+")


# --- genders, occupations


CODES = ("0", 0, "1", 1, "2", "9", "未知", "Unknown", "?", True)


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        *((word, {"gender.stated": "female"}) for word in ("女", "女性", "F", "female", "Ms.", "女士")),
        *((word, {"gender.stated": "male"}) for word in ("男", "M", " male ", "先生")),
        *((word, {"gender.stated": "other"}) for word in ("保密", "non-binary", "X", "其他")),
        *((word, {"gender.unclear": "unknown"}) for word in CODES),
        ("", {}),
        (None, {}),
    ],
)  # fmt: skip
def test_a_gender_is_one_of_four_words(stated: Any, found: dict[str, str]) -> None:
    assert told({"sex": stated}, "gender") == found


def test_what_is_unclear_comes_behind_an_id_and_never_takes_a_statement_back() -> None:
    number = resident_id("440305", date(1990, 3, 7), 12)
    traits: dict[str, Any] = {}
    for moment, stated in enumerate(
        ({"gender": 1}, {"gender": 1, "idNumber": number}, {"gender": "男"}, {"gender": 0})
    ):
        add_traits(traits, {PREFIX + name: (moment, value) for name, value in told(stated).items()})
        now = held(traits, "gender")
        assert now == ("unknown", "female", "male", "male")[moment]


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("教师", "教师"),
        (" 软件　工程师 ", "软件工程师"),
        ("Nurse", "Nurse"),
        ("未知", None),
        ("x" * 65, None),
        (7, None),
    ],
)
def test_an_occupation_is_as_stated_and_short(stated: Any, found: str | None) -> None:
    assert told({"职业": stated}).get("occupation.stated") == found


# --- places


STREETS = ("北京东路668号", "南京西路1266号", "重庆路12号", "上海路", "中山路1号", "海南州")
VAGUE = ("西湖区", "朝阳区建国路", "Hangzhou, Zhejiang", "", "中国", "家", "12345")


@pytest.mark.parametrize(
    ("text", "region", "city"),
    [
        ("浙江省杭州市西湖区文三路123号", "浙江省", "杭州市"),
        ("中国 浙江省 杭州市 西湖区", "浙江省", "杭州市"),
        ("310000 浙江-杭州", "浙江省", "杭州市"),
        ("杭州西湖区", "浙江省", "杭州市"),
        ("义乌市稠城街道", "浙江省", "金华市"),
        ("北京朝阳区建国路1号", "北京市", "北京市"),
        ("重庆市渝中区", "重庆市", "重庆市"),
        ("内蒙古呼和浩特", "内蒙古自治区", "呼和浩特市"),
        ("新疆维吾尔自治区石河子市", "新疆维吾尔自治区", "石河子市"),
        ("海南藏族自治州共和县", "青海省", "海南藏族自治州"),
        ("海南省三亚市", "海南省", "三亚市"),
        ("吉林市船营区", "吉林省", "吉林市"),
        ("大连市中山区", "辽宁省", "大连市"),
        ("湖北省仙桃市", "湖北省", "仙桃市"),
        ("廣東省廣州市", "广东省", "广州市"),
        ("臺灣", "台湾省", ""),
        ("香港特別行政區九龍", "香港特别行政区", ""),
        *((street, "", "") for street in STREETS),
        *((vague, "", "") for vague in VAGUE),
    ],
)
def test_a_text_tells_where_it_is(text: str, region: str, city: str) -> None:
    assert of_text(text) == Place(region, city)


def test_every_division_is_found_where_its_province_and_name_stand() -> None:
    provinces = {province for province, _, _ in divisions() if province}
    for province, _code, name in divisions():
        if (
            province
            and name not in provinces
            and not name.startswith(("市辖区", "县", "省直辖", "自治区直辖"))
        ):
            assert of_text(f"{province}{name}幸福路1号").region == province, (province, name)


@given(st.text(max_size=80))
def test_any_text_is_a_known_place_or_none(text: str) -> None:
    place = of_text(text)
    assert place.region == "" or of_text(place.region).region == place.region


@pytest.mark.parametrize(
    ("traits", "region", "city"),
    [
        ({"address": {"province": "浙江", "city": "杭州", "street": "北京东路1号"}}, "浙江省", "杭州市"),
        ({"address": {"street": "浙江省杭州市文三路1号"}}, "浙江省", "杭州市"),
        ({"address": {"state": "广东省", "city": "深圳市", "country": "CN"}}, "广东省", "深圳市"),
        ({"address": {"state": "California", "country": "US"}}, "US", None),
        ({"province": "浙江省", "city": "深圳"}, "浙江省", None),  # which one is right nobody knows
        ({"city": "Hangzhou", "country": "China"}, None, None),
        ({"country": "香港"}, "香港特别行政区", None),
        ({"地址": "杭州市西湖区", "country": "CN"}, "浙江省", "杭州市"),
        ({"address": ["浙江省"], "city": {"name": "杭州"}}, None, None),
        ({"address": {}, "province": ""}, None, None),
        ({"idNumber": resident_id("210203", date(1990, 3, 7), 12)}, "辽宁省", "大连市"),
        ({"idNumber": resident_id("830000", date(1990, 3, 7), 12)}, "台湾省", None),
        ({"idNumber": resident_id("953156", date(1990, 3, 7), 12)}, "云南省", None),  # of a foreigner
        ({"phone": "0571-88888888"}, "浙江省", "杭州市"),
        ({"phone": "010-62345678"}, "北京市", "北京市"),
        ({"phone": "13800138000"}, None, None),  # bought somewhere, used anywhere
        ({"phone": "+1 650 253 0000"}, None, None),
    ],
)
def test_a_region_is_told_by(traits: dict[str, Any], region: str | None, city: str | None) -> None:
    entries = {PREFIX + name: (1, value) for name, value in told(traits).items()}
    assert (held(entries, "region"), held(entries, "city")) == (region, city)


def test_where_somebody_lives_comes_before_an_area_code_and_before_the_place_of_birth() -> None:
    number = resident_id("440305", date(1990, 3, 7), 12)
    steps = ({"idNumber": number}, {"phone": "010-62345678"}, {"city": "杭州"}, {"idNumber": number})
    traits: dict[str, Any] = {}
    found = []
    for moment, stated in enumerate(steps):
        add_traits(traits, {PREFIX + name: (moment, value) for name, value in told(stated).items()})
        found.append(held(traits, "region"))
    assert found == ["广东省", "北京市", "浙江省", "浙江省"]


# --- the whole


def test_nothing_is_derived_but_what_is_named() -> None:
    traits = {"birthday": "1988-02-29", "sex": "女", "address": "浙江省杭州市", "职业": "教师"}
    taken = Entry(EntryConfig(), KEY).take(traits, None, NOW)
    assert taken is not None
    assert taken.attributes == {}
    for name in EVERY:
        assert {one.partition(".")[0] for one in told(traits, name)} == {name}


def test_the_event_carries_them_in_the_open_and_the_rest_sealed() -> None:
    traits = {"birthday": "1988-02-29", "address": "浙江省杭州市西湖区文三路1号", "gender": "女"}
    found = checked(traits, VALIDATOR)
    derived = {name.removeprefix(PREFIX): value for name, value in found.traits.items() if is_one(name)}
    assert derived == {
        "age_band.stated": "1988-02",
        "birth_month_day.stated": "02-29",
        "gender.stated": "female",
        "region.stated": "浙江省",
        "city.stated": "杭州市",
    }
    assert {"birthday", "address"} <= found.sensitive.keys()
    assert "文三路" not in repr(found.traits)


def test_nobody_else_may_write_them() -> None:
    found = checked({f"{PREFIX}gender.stated": "male", "plan": "gold"}, VALIDATOR)
    assert found.traits == {"plan": "gold"}


def test_an_occupation_that_is_a_phone_number_is_sealed() -> None:
    found = checked({"职业": "司机 +86 138 0013 8000"}, VALIDATOR)
    assert "13800138000" not in repr(found.traits).replace(" ", "")


def test_each_belongs_to_a_category() -> None:
    assert CATEGORIES.keys() == ATTRIBUTES.keys()
    found: Checked = checked({"birthday": "1988-02-29", "city": "杭州"}, VALIDATOR)
    kinds = {category_of(name) for name in found.traits if is_one(name)}
    assert kinds == {"demographic", "location"}


STATEMENTS: list[dict[str, Any]] = [
    {"birthday": "1988-02-29"},
    {"birthday": "1989"},
    {"gender": "女"},
    {"gender": "男"},
    {"gender": 1},
    {"city": "杭州"},
    {"idNumber": resident_id("440305", date(1990, 3, 7), 12)},
    {"phone": "010-62345678"},
    {"职业": "教师"},
    {"职业": "医生"},
]


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(STATEMENTS)), max_size=12), st.integers(0, 999))
def test_of_statements_in_any_order_and_fragments_the_last_of_the_best_source_counts(
    stated: list[tuple[int, dict[str, Any]]], seed: int
) -> None:
    entries = [
        {PREFIX + name: (moment, value) for name, value in told(traits).items()} for moment, traits in stated
    ]
    whole: dict[str, Any] = {}
    for entry in entries:
        add_traits(whole, entry)
    luck = random.Random(seed)
    luck.shuffle(entries)
    parts: list[dict[str, Any]] = [{}, {}, {}]
    for entry in entries:
        add_traits(luck.choice(parts), entry)
    united: dict[str, Any] = {}
    for part in parts:
        join_traits(united, part)
    assert shown(united, (18, 35), NOW) == shown(whole, (18, 35), NOW)


def test_parts_of_dates_are_read_within_their_limits() -> None:
    assert births.of_partial("1988-02" * 100, NOW) == Birth()
    assert regions.of_text("浙江省" + "x" * 100_000).region == "浙江省"
