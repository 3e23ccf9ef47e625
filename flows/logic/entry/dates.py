"""Dates in many forms as `YYYY-MM-DD`. Nothing is guessed: a date without its year, or with two digits of it, is bad.

Year first, in any writing, is read here; the rest by `dateutil`, which fills what is missing from a default: so it is asked with
two, and what comes out differently was not stated.
"""

import re
from datetime import UTC, date, datetime
from typing import Final

from dateutil import parser

from flows.logic.entry.values import Bad, Check, Checked, Good, plain

LENGTH_MAX: Final = 64
_YEAR_FIRST: Final = re.compile(r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*[日号]?(?:[T ].*)?")
_DIGITS: Final = re.compile(r"(\d{4})(\d{2})(\d{2})")
_NUMBER: Final = re.compile(r"-?\d{9,13}")
_MILLISECONDS: Final = 100_000_000_000  # from here on a number of seconds would lie after the year 5000
_A, _B = datetime(2000, 1, 1), datetime(2004, 2, 2)  # noqa: DTZ001  # stand-ins for what is missing, no moments
_YEARS: Final = (1850, 2200)


class _Strict(parser.parserinfo):  # type: ignore[misc]  # the library has no types
    """Says no to two digits of a year (the library would ask the clock for the century)."""

    def convertyear(self, year: int, century_specified: bool = False) -> int:
        if year < 100 and not century_specified:
            raise ValueError("two digits of a year")
        return year


def dates(day_first: bool) -> Check:
    """A check; `day_first`: 03/04/2020 is in April."""
    strict = parser.parser(_Strict(dayfirst=day_first))

    def check(value: str, _countries: tuple[str, ...] = ()) -> Checked:
        if len(value) > LENGTH_MAX:
            return Bad("too_long")
        text = plain(value)
        try:
            found = _year_first(text)
            if found is None:
                first, second = strict.parse(text, default=_A), strict.parse(text, default=_B)
                found = first.date()
                if found != second.date():
                    return Bad("incomplete")
        except (ValueError, OverflowError, TypeError, AttributeError):  # the last two: what dateutil raises on some nonsense
            return Bad("not_a_date")
        return Good(found.isoformat()) if _YEARS[0] <= found.year < _YEARS[1] else Bad("out_of_range")

    return check


def _year_first(text: str) -> date | None:
    if match := _YEAR_FIRST.fullmatch(text) or _DIGITS.fullmatch(text):
        return date(*map(int, match.groups()))
    if _NUMBER.fullmatch(text):
        seconds = int(text) / 1000 if abs(int(text)) >= _MILLISECONDS else int(text)
        return datetime.fromtimestamp(seconds, UTC).date()
    return None
