"""Phone numbers: E.164 by the numbering plans of all countries (`phonenumbers`), and what a number tells.

The tables of regions and carriers take about 100 MB; they are loaded with the first number that is to be completed.
"""

from functools import cache
from typing import Any, Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat

from flows.logic.entry.places import split_region
from flows.logic.entry.values import TEXT_MAX, Bad, Checked, Good, plain

_FIXED: Final = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE)
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
        """A number without its country code is of the first country where it is valid."""
        if len(value) > TEXT_MAX:
            return Bad("too_long")
        text = plain(value)
        if text.startswith("00"):
            text = f"+{text[2:]}"
        reason = ""
        for country in (None,) if text.startswith("+") else countries or (None,):
            try:
                number = phonenumbers.parse(text, country)
            except NumberParseException as error:
                reason = reason or _WHY[error.error_type]
                continue
            if phonenumbers.is_valid_number(number):
                return Good(phonenumbers.format_number(number, PhoneNumberFormat.E164), self._says(number))
            reason = reason or _shape(number)
        return Bad(reason)

    def _says(self, number: PhoneNumber) -> dict[str, str]:
        if not self._complete:
            return {}
        carrier, geocoder, timezone = _tables()
        country = phonenumbers.region_code_for_number(number)
        says = {"country": country or ""}
        language = "zh" if country == "CN" else "en"
        region = geocoder.description_for_number(number, language, region=None if country == "CN" else country)
        if country == "CN":
            says |= split_region(region)
        elif region and phonenumbers.number_type(number) in _FIXED:
            says["region"] = region
        says["carrier"] = carrier.safe_display_name(number, language) or carrier.name_for_number(number, language)
        zones = timezone.time_zones_for_number(number)
        if len(zones) == 1 and zones[0] != timezone.UNKNOWN_TIMEZONE:
            says["time_zone"] = zones[0]
        return {what: said for what, said in says.items() if said}


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
