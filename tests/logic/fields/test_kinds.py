"""Each kind of field: what is good in which form, what is bad for which reason, and what it tells."""

from datetime import date, timedelta
from typing import Any

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.fields.check import checks
from flows.logic.fields.values import Bad, Good, plain
from schemas.config import Entry, FieldKind
from tests.logic.fields.made import resident_id

CHECKS = checks(Entry())
CN = ("CN",)


def value(kind: FieldKind, stated: str, countries: tuple[str, ...] = CN) -> str:
    """The normal form, or `!` and the reason."""
    found = CHECKS[kind](stated, countries)
    return found.value if isinstance(found, Good) else f"!{found.reason}"


def says(kind: FieldKind, stated: str, countries: tuple[str, ...] = CN) -> dict[str, str]:
    found = CHECKS[kind](stated, countries)
    assert isinstance(found, Good), found
    return found.says


SWITCHBOARD = "+8675526012345"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("0755-26012345", SWITCHBOARD),
        ("0755-26012345 ext. 801", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345 EXT 801", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345x801", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345 #801", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345转801", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345 轉 801", f"{SWITCHBOARD};ext=801"),
        ("０７５５－２６０１２３４５（转８０１）", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345分机801", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345 分机号：801", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345 内线801", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345-801", f"{SWITCHBOARD};ext=801"),
        ("(0755)26012345-801", f"{SWITCHBOARD};ext=801"),
        ("+86-755-26012345-801", f"{SWITCHBOARD};ext=801"),
        ("tel:+86-755-26012345;ext=801", f"{SWITCHBOARD};ext=801"),
        (f"{SWITCHBOARD};ext=801", f"{SWITCHBOARD};ext=801"),
        ("0755-26012345 ext. 802", f"{SWITCHBOARD};ext=802"),
        (
            "0571-8765432-1",
            "!unassigned",
        ),  # seven digits and an extension: not the number of eight digits that it would make
        ("13800138000;13900139000", "!too_long"),  # two numbers, and whose are they
    ],
)
def test_an_extension_is_part_of_the_number(stated: str, expected: str) -> None:
    assert value("phone", stated) == expected


@pytest.mark.parametrize(
    ("kind", "stated", "expected"),
    [
        ("phone", "138 0013-8000", "+8613800138000"),
        ("phone", "＋８６ １３８００１３８０００", "+8613800138000"),
        ("phone", "0086 13800138000", "+8613800138000"),
        ("phone", "(0755) 8888-1234", "+8675588881234"),
        ("phone", "+1 (415) 555-2671", "+14155552671"),
        ("phone", "1380013", "!unassigned"),
        ("phone", "12345678901", "!unassigned"),
        ("phone", "110", "!too_short"),
        ("phone", "1" * 40, "!too_long"),
        ("phone", "call me", "!not_a_number"),
        ("phone", "+999 123456", "!country_unknown"),
        ("email", " Ana@Shop.DE ", "Ana@shop.de"),
        ("email", "mailto:ana@shop.de", "ana@shop.de"),
        ("email", "ana＠shop.de", "ana@shop.de"),
        ("email", "用户@例子.中国", "用户@例子.中国"),
        ("email", "ana+shop@shop.de", "ana+shop@shop.de"),
        ("email", "ana", "!no_at_sign"),
        ("email", "@shop.de", "!no_name"),
        ("email", "ana@shop", "!domain"),
        ("email", "a..na@shop.de", "!syntax"),
        ("email", "a na@shop.de", "!syntax"),
        ("email", "x@mailinator.com", "!disposable"),
        ("email", "x@eu.mailinator.com", "!disposable"),
        ("email", "x" * 300 + "@shop.de", "!too_long"),
        ("name", "张 三", "张三"),
        ("name", "阿卜杜拉 · 艾则孜", "阿卜杜拉·艾则孜"),
        ("name", "  Ａｎａ   Maria ", "Ana Maria"),
        ("name", "محمد علي", "محمد علي"),
        ("name", "\u202eAna\u200b", "Ana"),
        ("name", "😀", "!no_letters"),
        ("name", "x" * 10_240, "!too_long"),
        ("birthday", "1990-03-07", "1990-03-07"),
        ("birthday", "1990/3/7", "1990-03-07"),
        ("birthday", "19900307", "1990-03-07"),
        ("birthday", "１９９０年３月７日", "1990-03-07"),
        ("birthday", "1990-03-07T23:59:59+08:00", "1990-03-07"),
        ("birthday", "7 March 1990", "1990-03-07"),
        ("birthday", "07.03.1990", "1990-03-07"),
        ("birthday", "636768000", "1990-03-07"),
        ("birthday", "March 1990", "!incomplete"),
        ("birthday", "1990", "!incomplete"),
        ("birthday", "07/03/90", "!not_a_date"),
        ("birthday", "1990-02-30", "!not_a_date"),
        ("birthday", "spring", "!not_a_date"),
        ("birthday", "0190-02-03", "!out_of_range"),
        ("gender", "先生", "male"),
        ("gender", "F", "female"),
        ("gender", "nonbinary", "nonbinary"),
        ("city", "深圳 市", "深圳 市"),
        ("province", "广东", "广东省"),
        ("province", "内蒙古", "内蒙古自治区"),
        ("province", "Bavaria", "Bavaria"),
        ("country", "中国", "CN"),
        ("country", "germany", "DE"),
        ("country", "Narnia", "!unknown"),
        ("postal_code", "５１８０００", "518000"),
        ("postal_code", "51800", "!format"),
        ("locale", "zh_CN.UTF-8", "zh-CN"),
        ("locale", "zh-hans-cn", "zh-Hans-CN"),
        ("locale", "?", "!format"),
        ("time_zone", "Asia/Shanghai", "Asia/Shanghai"),
        ("time_zone", "Mars/Base", "!unknown"),
        (
            "id_number",
            resident_id("110101", date(1990, 3, 7), 13),
            resident_id("110101", date(1990, 3, 7), 13),
        ),
        ("id_number", "123", "!length"),
        ("id_number", resident_id("110101", date(1990, 3, 7), 13)[:-1] + "*", "!checksum"),
        ("id_number", "x" * 18, "!format"),
        ("id_number", resident_id("990101", date(1990, 3, 7), 13), "!region"),
        ("id_number", "110101199002300137", "!birth_date"),
        ("credit_code", "91110000600037341L", "91110000600037341L"),
        ("credit_code", "91110000600037342L", "!checksum"),
        ("passport", "e1234 5678", "E12345678"),
        ("passport", "EA1234567", "EA1234567"),
        ("passport", "abcdefgh", "!format"),
        ("passport", "E1", "!length"),
        ("bank_card", "4111-1111 1111 1111", "4111111111111111"),
        ("bank_card", "4111111111111112", "!checksum"),
        ("bank_card", "0000000000000000", "!checksum"),
        ("bank_card", "41111", "!length"),
        ("bank_card", "4111x", "!format"),
    ],
)
def test_forms_and_reasons(kind: FieldKind, stated: str, expected: str) -> None:
    assert value(kind, stated) == expected


def test_a_number_without_a_country_is_of_the_likeliest_where_it_is_valid() -> None:
    assert value("phone", "030 901820", ("DE", "CN")) == "+4930901820"
    assert value("phone", "13800138000", ("DE", "CN")) == "+8613800138000"
    assert value("phone", "13800138000", ()) == "!country_unknown"


def test_postal_codes_have_the_form_of_their_country() -> None:
    assert value("postal_code", "sw1a 1aa", ("GB",)) == "SW1A 1AA"
    assert value("postal_code", "10115", ("DE",)) == "10115"
    assert value("postal_code", "518000", ("DE",)) == "!format"


def test_what_phones_tell() -> None:
    told = says("phone", "13912345678")
    assert told == {
        "country": "CN",
        "province": "江苏省",
        "city": "常州市",
        "carrier": "中国移动",
        "time_zone": "Asia/Shanghai",
    }
    assert says("phone", "+49 30 901820") == {
        "country": "DE",
        "region": "Berlin",
        "time_zone": "Europe/Berlin",
    }


def test_what_cities_tell() -> None:
    assert says("city", "深圳市")["province"] == says("city", "深圳")["province"] == "广东省"
    assert says("city", "海口")["province"] == "海南省"  # of Guangdong until 1988
    assert says("city", "大连")["province"] == "辽宁省"  # 旅大 until 1980
    assert says("city", "昆山")["province"] == "江苏省"
    assert says("city", "上海")["province"] == "上海市"
    assert says("city", "Köln") == {}


def test_what_countries_and_locales_tell() -> None:
    assert says("country", "CN") == {"time_zone": "Asia/Shanghai"}
    assert says("country", "US") == {}  # it has several
    assert says("locale", "de_AT") == {"language": "de", "country": "AT"}


days = st.dates(date(1900, 1, 1), date(2025, 12, 31))
areas = st.sampled_from(
    [("110105", "北京市", "朝阳区"), ("440305", "广东省", "南"), ("650102", "新疆维吾尔自治区", "天山区")]
)


@given(area=areas, born=days, number=st.integers(0, 999))
def test_a_resident_id_tells_birth_date_sex_and_region(
    area: tuple[str, str, str], born: date, number: int
) -> None:
    code, province, county = area
    stated = resident_id(code, born, number)
    told = says("id_number", f" {stated[:6]} {stated[6:]} ")
    assert told["birthday"] == born.isoformat()
    assert told["gender"] == ("male" if number % 2 else "female")
    assert told["province"] == province
    assert told["county"].startswith(county)  # 南山区 was 南头区 before 1990


@given(area=areas, born=days, number=st.integers(0, 999), at=st.integers(0, 16), step=st.integers(1, 9))
def test_one_wrong_digit_of_a_resident_id_is_always_noticed(
    area: Any, born: date, number: int, at: int, step: int
) -> None:
    good = resident_id(area[0], born, number)
    wrong = good[:at] + str((int(good[at]) + step) % 10) + good[at + 1 :]
    assert isinstance(CHECKS["id_number"](wrong, CN), Bad)


@given(born=days)
def test_dates_come_back_whatever_their_form(born: date) -> None:
    for form in ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%Y年%m月%d日", "%d %B %Y", "%d.%m.%Y", "%a, %d %b %Y"):
        assert value("birthday", born.strftime(form)) == born.isoformat()


texts = st.text(max_size=40) | st.from_regex(r"[+0-9 ()\-xX@.a-z年月日／：]{0,25}", fullmatch=True)


@given(stated=texts, kind=st.sampled_from(sorted(CHECKS)), country=st.sampled_from([(), CN, ("DE", "US")]))
def test_nothing_raises_and_a_normal_form_is_its_own(
    stated: str, kind: FieldKind, country: tuple[str, ...]
) -> None:
    found = CHECKS[kind](stated, country)
    if isinstance(found, Good):
        again = CHECKS[kind](found.value, country)
        assert isinstance(again, Good)
        assert again.value == found.value
        assert found.value
    else:
        assert found.reason.replace("_", "").isalpha()


@given(number=st.integers(13_000_000_000, 13_999_999_999))
def test_phones_are_one_however_they_are_written(number: int) -> None:
    digits = str(number)
    forms = (
        digits,
        f"+86{digits}",
        f"0086 {digits}",
        f"{digits[:3]} {digits[3:7]}-{digits[7:]}",
        digits.translate(WIDE),
    )
    assert len({value("phone", form) for form in forms}) == 1


WIDE = {ord(digit): chr(ord(digit) + 0xFEE0) for digit in "0123456789"}


@given(stated=st.text(max_size=60))
def test_plain_is_its_own_form(stated: str) -> None:
    assert plain(plain(stated)) == plain(stated)


@given(born=days)
def test_a_day_is_a_day_later_than_the_one_before(born: date) -> None:
    earlier = born - timedelta(days=1)
    assert value("birthday", earlier.isoformat()) < value("birthday", born.isoformat())


parts = st.text("abcXYZ019.-_+'ü@ ", max_size=12)


@given(
    local=parts | st.sampled_from(["info", "INFO", "a" * 64, "a" * 65]),
    domain=st.sampled_from(
        [
            "x.de",
            "X.de",
            "a.b.co",
            "x",
            "x..de",
            "-x.de",
            "x.test",
            "xn--fsqu00a.xn--fiqs8s",
            "1.2.3.4",
            "x.1",
        ]
    ),
)
def test_the_short_way_for_simple_addresses_says_what_the_library_says(local: str, domain: str) -> None:
    stated = plain(f"{local}@{domain}")
    try:
        expected: str | None = validate_email(stated, check_deliverability=False).normalized
    except EmailNotValidError:
        expected = None
    found = CHECKS["email"](stated, CN)
    assert (found.value if isinstance(found, Good) else None) == expected


SHANGHAI_BIRTH = ("1990-03-06T16:00:00.000Z", "1990-03-06 16:00:00+00:00", "636739200", "636739200000")


@pytest.mark.parametrize("stated", SHANGHAI_BIRTH)
@pytest.mark.parametrize(
    ("places", "day"),
    [
        (("CN",), "1990-03-07"),
        (("Asia/Shanghai", "DE"), "1990-03-07"),
        (("America/New_York", "CN"), "1990-03-06"),
        (("US", "CN"), "1990-03-07"),  # a country of several zones does not tell
        ((), "1990-03-06"),
    ],
)
def test_a_birthday_as_a_moment_is_the_day_that_it_was_there(
    stated: str, places: tuple[str, ...], day: str
) -> None:
    assert value("birthday", stated, places) == day
    assert value("date", stated, places) == day


@pytest.mark.parametrize(
    ("stated", "zone", "day"),
    [
        ("1990-06-30T15:00:00Z", "Asia/Shanghai", "1990-07-01"),  # summer time, as clocks had it
        ("1990-07-01T00:00:00Z", "America/New_York", "1990-07-01"),  # midnight in UTC is a day without a time
        ("1990-07-01T01:00:00+08:00", "America/New_York", "1990-07-01"),  # an offset states its own day
        ("-157795200", "Asia/Shanghai", "1965-01-01"),
    ],
)
def test_which_day_a_moment_is(stated: str, zone: str, day: str) -> None:
    assert value("birthday", stated, (zone,)) == day


BORN = date(1990, 3, 7)


@pytest.mark.parametrize(
    ("area", "told"),
    [
        ("810000", {"province": "香港特别行政区"}),
        ("820000", {"province": "澳门特别行政区"}),
        ("830000", {"province": "台湾省"}),
        ("931156", {"province": "上海市"}),
        ("911840", {"province": "北京市"}),
    ],
)
def test_permits_and_cards_of_those_from_elsewhere(area: str, told: dict[str, str]) -> None:
    expected = {"birthday": "1990-03-07", "gender": "female", "country": "CN", **told}
    assert says("id_number", resident_id(area, BORN, 12)) == expected


@pytest.mark.parametrize("area", ["990156", "911000", "830001", "840000"])
def test_other_first_digits_are_of_no_region(area: str) -> None:
    assert value("id_number", resident_id(area, BORN, 12)) == "!region"


@pytest.mark.parametrize(
    ("stated", "country", "province", "zone"),
    [
        ("澳门", "MO", "澳门特别行政区", "Asia/Macau"),
        ("澳門", "MO", "澳门特别行政区", "Asia/Macau"),
        ("台湾", "TW", "台湾省", "Asia/Taipei"),
        ("臺灣", "TW", "台湾省", "Asia/Taipei"),
        ("香港", "HK", "香港特别行政区", "Asia/Hong_Kong"),
    ],
)
def test_names_of_what_has_a_code_of_its_own(stated: str, country: str, province: str, zone: str) -> None:
    assert (value("country", stated), value("country", f"中国{stated}")) == (country, country)
    assert value("province", stated) == province
    assert says("province", stated) == {"country": country, "time_zone": zone}
    assert says("country", stated) == {"time_zone": zone}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("王\ue81e", "王\u9fb4"),  # where old tables of GBK had it, and where Unicode has it
        ("张\ue863", "张\u4dae"),
        ("李 \ue000 明", "李\ue000明"),  # somebody's own letter stays
    ],
)
def test_rare_han_are_not_lost(stated: str, expected: str) -> None:
    assert value("name", stated) == expected
