"""Numbers on documents and cards, each by its published check: GB 11643 (resident ID), GB 32100 (credit
code), Luhn, ICAO 9303.

Checks by `python-stdnum`. Only the form of a passport can be checked: its number has no check digit outside
its own page.
"""

import re
from datetime import date
from typing import Any, Final

from stdnum import luhn, numdb
from stdnum.cn import ric, uscc
from stdnum.exceptions import InvalidChecksum, InvalidComponent, InvalidLength, ValidationError

from flows.logic.fields.places import province_of
from flows.logic.fields.values import TEXT_MAX, Bad, Checked, Good, plain

_SEPARATORS: Final = re.compile(r"[\s\-.·_/]+")
_PASSPORT: Final = re.compile(r"(?=(?:[A-Z]*\d){4})[A-Z0-9]{6,9}")
_CHINESE_PASSPORT: Final = re.compile(r"[DEGPS]\d{8}|E[A-HJ-NP-Z]\d{7}|[DPS]E\d{7}|1[45]\d{7}")

_TAIWAN_RESIDENTS: Final = "830000"
FOREIGNER: Final = "9"

_DATED: Final = re.compile(r"\[(\d*)-(\d*)\](.+)")


def resident_id(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check the 18 digits by one scheme. Tells the birth date, sex and where the number was registered.

    Besides resident IDs of the mainland these are permits for residents of Hong Kong (810000), Macau (820000)
    and Taiwan (830000), and cards of foreign permanent residents since 2023 (GA 2102: 9, two digits for the
    province where it was applied for, three for the nationality).

    (`ric.validate` also wants the county to have existed at birth. But a number is given when somebody is
    registered: people born in 1975 carry the code of a county of 1990.)
    """
    number = _compact(value)
    if number is None:
        return Bad("too_long")
    if len(number) != 18:
        return Bad("length")
    if not (number.isascii() and number[:-1].isdigit()):
        return Bad("format")
    if number[-1] != ric.calc_check_digit(number):
        return Bad("checksum")
    try:
        birthday: date = ric.get_birth_date(number)
    except InvalidComponent:
        return Bad("birth_date")
    place = _registered(number[:6], birthday.year)
    if not place.get("province"):
        return Bad("region")
    return Good(
        number,
        {
            "birthday": birthday.isoformat(),
            "gender": "male" if int(number[16]) % 2 else "female",
            "country": "CN",
            **place,
        },
    )


def _registered(code: str, year: int) -> dict[str, str]:
    if code == _TAIWAN_RESIDENTS:
        return {"province": "台湾省"}
    if code[0] == FOREIGNER:
        return {"province": province_of(f"{code[1:3]}0000")} if code[3:] != "000" else {}
    province = province_of(code)
    listed = next((says["county"] for _, says in numdb.get("cn/loc").info(code) if "county" in says), "")
    county = _county(listed, year)
    return (
        {"province": province, "county": county} if county not in ("", province) else {"province": province}
    )


def credit_code(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check the unified social credit code of an organisation, 18 characters."""
    number = _compact(value)
    return Bad("too_long") if number is None else _by(uscc, number)


def passport(value: str, countries: tuple[str, ...]) -> Checked:
    """Check six to nine letters and digits, at least four of them digits; where Chinese is the likeliest, its
    own series is told."""
    number = _compact(value)
    if number is None:
        return Bad("too_long")
    if not _PASSPORT.fullmatch(number):
        return Bad("length" if not 6 <= len(number) <= 9 else "format")
    chinese = countries[:1] == ("CN",) and _CHINESE_PASSPORT.fullmatch(number)
    return Good(number, {"nationality": "CN"} if chinese else {})


def bank_card(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check by ISO/IEC 7812: 12 to 19 digits with a Luhn check digit, not one digit over and over."""
    number = _compact(value)
    if number is None:
        return Bad("too_long")
    if not (number.isascii() and number.isdigit()):
        return Bad("format")
    if not 12 <= len(number) <= 19:
        return Bad("length")
    return Good(number) if len(set(number)) > 1 and luhn.is_valid(number) else Bad("checksum")


def _by(module: Any, number: str) -> Checked:
    try:
        return Good(module.validate(number))
    except InvalidLength:
        return Bad("length")
    except InvalidChecksum:
        return Bad("checksum")
    except InvalidComponent:
        return Bad("component")
    except ValidationError:
        return Bad("format")


def _compact(value: str) -> str | None:
    return None if len(value) > TEXT_MAX else _SEPARATORS.sub("", plain(value)).upper()


def _county(listed: str, year: int) -> str:
    """Of the names that a code has had, such as `[1983-1990]南头区办事处,[1990-]南山区`: the one of this
    year, or the first after it."""
    for entry in listed.split(","):
        match = _DATED.fullmatch(entry)
        if match is None:
            return entry
        if not match[2] or year <= int(match[2]):
            return match[3]
    return ""
