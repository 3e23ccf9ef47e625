"""Countries, provinces and cities, postal codes, locales and time zones.

Chinese places are those of `python-stdnum` (GB/T 2260), names of countries and their time zones those of
`phonenumbers`.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Final
from zoneinfo import available_timezones

import phonenumbers
from phonenumbers import PhoneNumber, timezone
from stdnum import numdb

from flows.logic.fields.values import TEXT_MAX, Bad, Checked, Good, plain

_LANGUAGES: Final = ("en", "zh")  # in which countries are known by name
_LOCALE: Final = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|\d{3}))?(?:[.@-].*)?")
_POSTAL_ANY: Final = re.compile(r"[A-Z0-9](?:[A-Z0-9 -]{1,8})[A-Z0-9]")
_POSTAL: Final = {  # of countries whose form is simple; others by the general one
    **dict.fromkeys(("CN", "IN", "SG", "VN", "RU", "KZ"), re.compile(r"[0-9]{6}")),
    **dict.fromkeys(
        ("DE", "FR", "IT", "ES", "US", "MY", "TH", "KR", "ID", "TR", "MX"),
        re.compile(r"[0-9]{5}(-[0-9]{4})?"),
    ),
    **dict.fromkeys(("AT", "CH", "BE", "AU", "DK", "NO", "NZ", "HU"), re.compile(r"[0-9]{4}")),
    "JP": re.compile(r"[0-9]{3}-?[0-9]{4}"),
    "CA": re.compile(r"[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]"),
    "GB": re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}"),
}
_SINCE: Final = re.compile(r"^\[\d{4}-\]")  # of a division that has not always been one
_ENDED: Final = re.compile(r"^\[\d{0,4}-\d{4}\]")  # of one that has ended
_SUFFIX: Final = re.compile(
    r"(特别行政区|特別行政區|壮族自治区|回族自治区|维吾尔自治区|自治区|自治州|地区|省|市|盟)$"
)
_APART_NAMES: Final = {"香港": "HK", "澳门": "MO", "澳門": "MO", "台湾": "TW", "台灣": "TW", "臺灣": "TW"}
_MORE_COUNTRIES: Final = {
    "usa": "US",
    "uk": "GB",
    "prc": "CN",
    "chn": "CN",
    "中华人民共和国": "CN",
    **{f"{front}{name}": code for front in ("", "中国", "中國") for name, code in _APART_NAMES.items()},
}
_OWN_ZONES: Final = {"HK": "Asia/Hong_Kong", "MO": "Asia/Macau", "TW": "Asia/Taipei"}
_TRADITIONAL: Final = {
    "香港特別行政區": "香港特别行政区",
    "澳門特別行政區": "澳门特别行政区",
}  # as the table writes them
_TAIWAN: Final = ("台灣", "臺灣")
_APART: Final = {
    "香港特别行政区": "HK",
    "澳门特别行政区": "MO",
    "台湾省": "TW",
}  # with a country code and a time zone of their own
_NO_CITY: Final = frozenset(("市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划", "市"))


def country(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check a country, and write it as ISO 3166 alpha-2, from the code or the name in English or Chinese.
    Tells its time zone where it has only one."""
    if len(value) > TEXT_MAX:
        return Bad("too_long")
    text = plain(value)
    code = (
        text.upper() if text.upper() in phonenumbers.SUPPORTED_REGIONS else _country_codes().get(text.lower())
    )
    if code is None:
        return Bad("unknown")
    zone = zone_of(code)
    return Good(code, {"time_zone": zone} if zone else {})


def city(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check a city: any name; a Chinese one tells its province (not where two cities have the name)."""
    if len(value) > TEXT_MAX:
        return Bad("too_long")
    text = plain(value)
    if not any(map(str.isalpha, text)):
        return Bad("no_letters")
    province = _cities().get(short(text))
    return Good(
        text, {"province": province, "country": "CN", "time_zone": "Asia/Shanghai"} if province else {}
    )


def province(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check a province: any name; a Chinese one in its full form."""
    if len(value) > TEXT_MAX:
        return Bad("too_long")
    text = plain(value)
    if not any(map(str.isalpha, text)):
        return Bad("no_letters")
    known = _provinces().get(short(text))
    return Good(known, _of_province(known)) if known else Good(text)


def _of_province(name: str) -> dict[str, str]:
    country = _APART.get(name, "CN")
    return {"country": country, "time_zone": _OWN_ZONES.get(country, "Asia/Shanghai")}


def province_of(code: str) -> str:
    """Return the province by the first two digits of a division's code; nothing where there is none."""
    return next(
        (plainly(says["province"]) for _, says in numdb.get("cn/loc").info(code) if "province" in says), ""
    )


def plainly(name: str) -> str:
    """Return a province as it is written on the mainland."""
    return _TRADITIONAL.get(name, name)


def postal_code(value: str, countries: tuple[str, ...]) -> Checked:
    """Check by the form of the likeliest country, else by what is common to all."""
    if len(value) > TEXT_MAX:
        return Bad("too_long")
    text = plain(value).upper()
    form = _POSTAL.get(countries[0], _POSTAL_ANY) if countries else _POSTAL_ANY
    return Good(text) if form.fullmatch(text) and any(map(str.isdigit, text)) else Bad("format")


def locale(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check a locale, and write it as BCP 47 (`zh-Hans-CN`), from that or from the POSIX form. Tells the
    language, and the country where it names one."""
    match = _LOCALE.fullmatch(plain(value)[:TEXT_MAX])
    if match is None:
        return Bad("format")
    language, script, region = match[1].lower(), (match[2] or "").title(), (match[3] or "").upper()
    says = {"language": language}
    if region in phonenumbers.SUPPORTED_REGIONS:
        says["country"] = region
    return Good("-".join(filter(None, (language, script, region))), says)


def time_zone(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check that it is a name of the IANA database."""
    text = plain(value)[:TEXT_MAX]
    return Good(text) if text in _zones() else Bad("unknown")


def split_region(text: str) -> dict[str, str]:
    """Return `广东省深圳市` as province and city; {} where there is no known province in front."""
    for name in _province_names():
        for form in (name, short(name)):
            if text.startswith(form):
                rest = text[len(form) :].lstrip("省市")
                return {"province": name, "city": rest} if rest else {"province": name}
    return {}


def short(name: str) -> str:
    """Return one name for `深圳市` and `深圳`."""
    return _SUFFIX.sub("", name) or name


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


@cache
def _country_codes() -> dict[str, str]:
    """By name in small letters. (The names come with the tables of regions; so they are loaded only for a
    country that is no code.)"""
    from phonenumbers.geodata.locale import LOCALE_DATA

    codes: dict[str, str] = {}
    for region, names in sorted(LOCALE_DATA.items()):
        for language in _LANGUAGES:
            name = names.get(language, "")
            name = names.get(name[1:], "") if name.startswith("*") else name
            if name and region in phonenumbers.SUPPORTED_REGIONS:
                codes.setdefault(name.lower(), region)
    return _MORE_COUNTRIES | codes


@cache
def zone_of(region: str) -> str | None:
    """Return the time zone of a country that has only one; None for any other, and for what is not a
    country."""
    if region in _OWN_ZONES:
        return _OWN_ZONES[region]
    code = phonenumbers.country_code_for_region(region)
    if phonenumbers.region_code_for_country_code(code) != region:  # it shares the code with a larger one
        return None
    zones = timezone.time_zones_for_geographical_number(PhoneNumber(country_code=code, national_number=0))
    return zones[0] if len(zones) == 1 and zones[0] != timezone.UNKNOWN_TIMEZONE else None


def divisions() -> Iterator[tuple[str, str, str]]:
    """(province, last four digits of its code, name) of each division that there is today."""
    for _, _low, _high, properties, counties in numdb.get("cn/loc").prefixes:
        province_name = plainly(properties.get("province", ""))
        yield province_name, "0000", province_name
        for _, code, _high, of_county, _ in counties:
            name = of_county.get("county", "").rpartition(",")[2]  # the last of the names that it has had
            if not _ENDED.match(name):
                yield province_name, code, _SINCE.sub("", name)


@cache
def _province_names() -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name, _, _ in divisions() if name))


@cache
def _provinces() -> dict[str, str]:
    found = {short(name): name for name in _province_names()}
    return (
        found
        | {short(traditional): name for traditional, name in _TRADITIONAL.items()}
        | dict.fromkeys(_TAIWAN, "台湾省")
    )


@cache
def _cities() -> dict[str, str]:
    """Prefectures and cities of a county's rank -> province. A prefecture's name is its own; else two of a
    name are none."""
    great: dict[str, set[str]] = {short(name): {name} for name in _province_names() if name.endswith("市")}
    small: dict[str, set[str]] = {}
    for province_name, code, name in divisions():
        if name in _NO_CITY or not name:
            continue
        if code.endswith("00") and code != "0000":
            great.setdefault(short(name), set()).add(province_name)
        elif name.endswith("市"):
            small.setdefault(short(name), set()).add(province_name)
    found = {name: of for name, of in [*small.items(), *great.items()] if len(of) == 1}
    return {name: next(iter(of)) for name, of in found.items()}
