"""Dates in many forms as `YYYY-MM-DD`. Nothing is guessed: a date without its year, or with two digits of it,
is bad.

A moment (Unix time, or one in UTC) is the day that it was where the customer is: clients send local midnight
so. Midnight in UTC is the day itself, as programs write a day that has no time. What has another offset
states its day.

Year first, in any writing, is read here; the rest by `dateutil`, which fills what is missing from a default:
so it is asked with two, and what comes out differently was not stated.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from dateutil import parser

from flows.logic.fields.places import zone_of
from flows.logic.fields.values import Bad, Check, Checked, Good, plain

LENGTH_MAX: Final = 64
_YEAR_FIRST: Final = re.compile(r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*[日号]?(?:[T ].*)?")
_DIGITS: Final = re.compile(r"(\d{4})(\d{2})(\d{2})")
_NUMBER: Final = re.compile(r"-?\d{9,13}")
_IN_UTC: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(?:\.\d+)?\s*(?:Z|UTC|GMT|[+-]00:?00)", re.IGNORECASE
)
_MILLISECONDS: Final = 100_000_000_000  # from here on a number of seconds would lie after the year 5000
# stand-ins for what is missing, no moments
_A, _B = datetime(2000, 1, 1), datetime(2004, 2, 2)  # noqa: DTZ001
_YEARS: Final = (1850, 2200)


class _Strict(parser.parserinfo):  # type: ignore[misc]  # the library has no types
    """Says no to two digits of a year (the library would ask the clock for the century)."""

    def convertyear(self, year: int, century_specified: bool = False) -> int:
        if year < 100 and not century_specified:
            raise ValueError("two digits of a year")
        return year


def dates(day_first: bool) -> Check:
    """Return a check; `day_first`: 03/04/2020 is in April. Its places are countries or IANA time zones, the
    likeliest first."""
    strict = parser.parser(_Strict(dayfirst=day_first))

    def check(value: str, places: tuple[str, ...] = ()) -> Checked:
        if len(value) > LENGTH_MAX:
            return Bad("too_long")
        text = plain(value)
        try:
            moment = _moment(text)
            found = _year_first(text) if moment is None else _day(moment, places)
            if found is None:
                first, second = strict.parse(text, default=_A), strict.parse(text, default=_B)
                found = first.date()
                if found != second.date():
                    return Bad("incomplete")
        except (
            ValueError,
            OverflowError,
            TypeError,
            AttributeError,
        ):  # the last two: what dateutil raises on some nonsense
            return Bad("not_a_date")
        return Good(found.isoformat()) if _YEARS[0] <= found.year < _YEARS[1] else Bad("out_of_range")

    return check


def _year_first(text: str) -> date | None:
    if match := _YEAR_FIRST.fullmatch(text) or _DIGITS.fullmatch(text):
        return date(*map(int, match.groups()))
    return None


def _moment(text: str) -> datetime | None:
    if _NUMBER.fullmatch(text):
        seconds = int(text) / 1000 if abs(int(text)) >= _MILLISECONDS else int(text)
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    if match := _IN_UTC.fullmatch(text):
        return datetime.fromisoformat(match[1].replace(" ", "T")).replace(tzinfo=UTC)
    return None


def _day(moment: datetime, places: tuple[str, ...]) -> date:
    """In the first of the places that has one time zone; in UTC where none has."""
    if moment.time() == time():
        return moment.date()
    zone = next((zone for place in places if (zone := place if "/" in place else zone_of(place))), None)
    return moment.astimezone(ZoneInfo(zone)).date() if zone else moment.date()
