"""Phone numbers: E.164 by the numbering plans of all countries (`phonenumbers`), and what a number tells.

An extension is part of the number, `+8675526012345;ext=801` (RFC 3966): colleagues share what stands before
it.

The tables of regions and carriers take about 100 MB; they are loaded with the first number that is to be
completed.
"""

import re
from functools import cache
from typing import Any, Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat

from flows.logic.fields.places import split_region
from flows.logic.fields.values import TEXT_MAX, Bad, Checked, Good, plain

_FIXED: Final = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE)
_EXTENSION_MAX: Final = 7  # digits; more are a second number
_EXTENSION_HAN: Final = re.compile(r"[\s,(]*(?:转接?|轉接?|分机号?|分機號?|内线|內線)[\s:.]*(\d+)\)?$")
_EXTENSION_DASHED: Final = re.compile(
    r"(\(?(?:\+86[ -]*)?\(?0?\d{2,3}\)?[ -]*\d{7,8})-(\d{1,6})"
)  # as it is written in China
_WHY: Final = {
    NumberParseException.INVALID_COUNTRY_CODE: "country_unknown",
    NumberParseException.NOT_A_NUMBER: "not_a_number",
    NumberParseException.TOO_SHORT_AFTER_IDD: "too_short",
    NumberParseException.TOO_SHORT_NSN: "too_short",
    NumberParseException.TOO_LONG: "too_long",
}


class Phones:
    """`complete`: also look up region, carrier and time zone."""

    def __init__(self, complete: bool) -> None:
        self._complete = complete

    def check(self, value: str, countries: tuple[str, ...]) -> Checked:
        """Check a number; one without its country code is of the first country where it is valid."""
        if len(value) > TEXT_MAX:
            return Bad("too_long")
        text = plain(value)
        if text.startswith("00"):
            text = f"+{text[2:]}"
        text = _EXTENSION_HAN.sub(r" ext. \1", text)
        reason = ""
        for country in (None,) if text.startswith("+") else countries or (None,):
            chinese = country == "CN" or text.startswith("+86")
            try:
                number = phonenumbers.parse(_dashed(text) if chinese else text, country)
            except NumberParseException as error:
                reason = reason or _WHY[error.error_type]
                continue
            if len(number.extension or "") > _EXTENSION_MAX:
                reason = reason or "too_long"
                continue
            if phonenumbers.is_valid_number(number):
                return Good(_normal(number), self._says(number))
            reason = reason or _shape(number)
        return Bad(reason)

    def _says(self, number: PhoneNumber) -> dict[str, str]:
        if not self._complete:
            return {}
        carrier, geocoder, timezone = _tables()
        country = phonenumbers.region_code_for_number(number)
        says = {"country": country or ""}
        language = "zh" if country == "CN" else "en"
        region = geocoder.description_for_number(
            number, language, region=None if country == "CN" else country
        )
        if country == "CN":
            says |= split_region(region)
        elif region and phonenumbers.number_type(number) in _FIXED:
            says["region"] = region
        says["carrier"] = carrier.safe_display_name(number, language) or carrier.name_for_number(
            number, language
        )
        zones = timezone.time_zones_for_number(number)
        if len(zones) == 1 and zones[0] != timezone.UNKNOWN_TIMEZONE:
            says["time_zone"] = zones[0]
        return {what: said for what, said in says.items() if said}


def _dashed(text: str) -> str:
    """`0755-26012345-801` with its extension named."""
    match = _EXTENSION_DASHED.fullmatch(text)
    return f"{match[1]} ext. {match[2]}" if match else text


def _normal(number: PhoneNumber) -> str:
    main: str = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return f"{main};ext={number.extension}" if number.extension else main


def _shape(number: PhoneNumber) -> str:
    match phonenumbers.is_possible_number_with_reason(number):
        case phonenumbers.ValidationResult.TOO_SHORT:
            return "too_short"
        case phonenumbers.ValidationResult.TOO_LONG:
            return "too_long"
        case _:
            return "unassigned"


@cache
def _tables() -> tuple[Any, Any, Any]:
    from phonenumbers import carrier, geocoder, timezone

    return carrier, geocoder, timezone
