"""What of a birth may stand in the open: its year and month, and its month and day. Never guessed.

Partial dates, as other programs export them, tell what they hold: `1988-02`, `1988`, `1988-02-00`, `02-29`,
`--02-29`, `2月29日`; 1604 and 0000 are the years of contacts that know only the day. `03/04` may be March or
April and tells nothing, as does a date of the lunar calendar. Neither do the days that stand for no date
where a program has no empty field.
"""

import re
from calendar import isleap
from datetime import date
from typing import Final

import msgspec

from flows.logic.fields.values import TEXT_MAX, plain

YEARS_MAX: Final = 120  # who would be older is nobody's birth date
_NO_DATE: Final = frozenset(("1970-01-01", "1900-01-01"))
_DECEMBER: Final = 12  # of a year alone: so nobody is taken for older than they are
_LEAP: Final = 2000
DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_LUNAR: Final = re.compile(r"[农農阴陰旧舊]历|[农農陰舊]曆|闰|閏|正月|[冬腊臘]月|初[一二三四五六七八九十]|廿")
_YEAR_MONTH: Final = re.compile(r"(\d{4}) ?[-/.年] ?(\d{1,2})(?:-00| ?月份?)?")
_YEAR: Final = re.compile(r"(\d{4})(?:-00-00| ?年)?")
_MONTH_DAY: Final = re.compile(r"(?:--|0000-|1604-)?(\d{1,2})-(\d{1,2})|(\d{1,2}) ?月 ?(\d{1,2}) ?[日号]?")


class Birth(msgspec.Struct, frozen=True):
    """`1988-02` and `02-29`; empty where it is not known."""

    year_month: str = ""
    month_day: str = ""


UNKNOWN: Final = Birth()


def of_date(day: str, received_ms: int) -> Birth:
    """Return what a date (`YYYY-MM-DD`) tells."""
    if day in _NO_DATE:
        return UNKNOWN
    return Birth(_possible(int(day[:4]), int(day[5:7]), received_ms), day[5:])


def of_partial(text: str, received_ms: int) -> Birth:
    """Return what a text tells that is no whole date."""
    if len(text) > TEXT_MAX or _LUNAR.search(text):
        return UNKNOWN
    stated = plain(text)
    if match := _YEAR.fullmatch(stated):
        return Birth(_possible(int(match[1]), _DECEMBER, received_ms, to_come=True))
    if match := _YEAR_MONTH.fullmatch(stated):
        return Birth(_possible(int(match[1]), int(match[2]), received_ms))
    if match := _MONTH_DAY.fullmatch(stated):
        return Birth(month_day=_month_day(int(match[1] or match[3]), int(match[2] or match[4])))
    return UNKNOWN


def month_number(year_month: str) -> int:
    """Return the month as a count of months, in which differences are ages.

    >>> month_number("2023-03") - month_number("1988-02")
    421
    """
    return int(year_month[:4]) * 12 + int(year_month[5:]) - 1


def month_of(ms: int) -> int:
    """Return the same of a moment, UTC."""
    day = date.fromordinal(_EPOCH + ms // DAY_MS)
    return day.year * 12 + day.month - 1


def month_begins(number: int) -> int:
    """Return when such a month begins, UTC, in Unix milliseconds."""
    return (date(number // 12, number % 12 + 1, 1).toordinal() - _EPOCH) * DAY_MS


def birthday_ms(month_day: str, year: int) -> int:
    """Return when the birthday of a year begins, UTC; of 29 February in a common year that is the 28th."""
    month, day = int(month_day[:2]), int(month_day[3:])
    if (month, day) == (2, 29) and not isleap(year):
        day = 28
    return (date(year, month, day).toordinal() - _EPOCH) * DAY_MS


def _month_day(month: int, day: int) -> str:
    try:
        return date(_LEAP, month, day).isoformat()[5:]
    except ValueError:
        return ""


def _possible(year: int, month: int, received_ms: int, *, to_come: bool = False) -> str:
    """The month, unless there is none, it is still to come where it begins first, or it is too long ago.
    `to_come`: only its year must have begun."""
    if not 1 <= month <= _DECEMBER:
        return ""
    now = month_of(received_ms + DAY_MS)
    months = now - (year * 12 + month - 1)
    if months > YEARS_MAX * 12 or (year > now // 12 if to_come else months < 0):
        return ""
    return f"{year:04}-{month:02}"
