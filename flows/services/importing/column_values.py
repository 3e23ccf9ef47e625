"""What the texts of somebody else's column mean: numbers, times and labels in many forms, one form for a
whole column."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import nan

import numpy as np
from dateutil import parser as dates
from numpy.typing import NDArray

from flows.logic.expressions.numbers import may_be_grouped, may_have_decimal_comma
from flows.logic.expressions.numbers import read as read_number

# Compared in lower case.
MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "nat", "null", "none", "?", "-", "\\n"))
YES = frozenset(
    ("1", "1.0", "true", "yes", "y", "t", "ja", "wahr", "oui", "vrai", "sí", "si", "是", "真", "有")
)
NO = frozenset(
    (
        "0",
        "0.0",
        "-1",
        "-1.0",
        "false",
        "no",
        "n",
        "f",
        "nein",
        "falsch",
        "non",
        "faux",
        "否",
        "不是",
        "假",
        "无",
    )
)

_MILLISECONDS_MIN, _MICROSECONDS_MIN, _NANOSECONDS_MIN = 1e11, 1e14, 1e17  # smaller: seconds (until 5000)
_NO_DAY = datetime(1970, 1, 1, tzinfo=UTC)  # what a date leaves out
_MILLISECOND = timedelta(milliseconds=1)
_LOOKED_AT = 1_000  # texts that tell whether a column is of dates
_INFINITE = frozenset(("inf", "infinity"))
_BAD_EACH = 20  # values for one that may be none in a column of numbers or times
_BAD_ONE = 3  # with more good ones than these a single one may
_CHINESE = str.maketrans({"年": "-", "月": "-", "日": " ", "时": ":", "分": ":", "秒": ""})
_DAY = re.compile(
    r"(\d{1,4})([-/. ])(\d{1,2})\2(\d{1,4})"  # in whatever order
    r"(?:[T,\s]+(上午|下午|[ap]m)?\s*(\d{1,2}):(\d{1,2})(?::(\d{1,2})([.,]\d+)?)?:?\s*(?:uhr)?([ap]\.?m\.?)?)?\s*(z|utc)?",
    re.IGNORECASE,
)
_AFTERNOON = ("p", "下")
_DATE_LIKE = re.compile(
    r"\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4}|\d{1,2}[-\s,]+[a-z]{3,9}|[a-z]{3,9}[-\s,]+\d{1,2}\b"
    r"|\d{4}-?\d{2}-?\d{2}t",
    re.IGNORECASE,
)
FULL_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")
_DAYS = re.compile(r"(19|20)\d\d(0[1-9]|1[012])(0[1-9]|[12]\d|3[01])")  # 20260131


def is_missing(text: str) -> bool:
    return text.strip().lower() in MISSING


def numbers(texts: Sequence[str]) -> NDArray[np.float64] | None:
    """Return numbers, NaN where missing or infinite; None if any is neither a number nor missing, or all are
    missing.

    Texts are read as figures and rules read them (`flows.logic.expressions.numbers`), with a decimal comma
    where the whole column may have one.
    """
    found, bad = read(texts)
    return None if bad or np.isnan(found).all() else found


def mostly_numbers(texts: Sequence[str]) -> tuple[NDArray[np.float64], list[int]] | None:
    """Return the same, with the places of the few that are neither numbers nor missing (NaN as well): one in
    twenty at most, or a single one among five. None if there are more."""
    found, bad = read(texts)
    good = int((~np.isnan(found)).sum())
    return (found, bad) if good and are_few(len(bad), good) else None


def read(texts: Sequence[str]) -> tuple[NDArray[np.float64], list[int]]:
    """Return numbers, NaN where a value is missing, infinite or no number; and the places of those that are
    no numbers."""
    try:
        found = np.array(texts, float)  # the common case, at once
        if any("_" in text for text in texts):
            raise ValueError
        return np.where(np.isfinite(found), found, nan), []
    except ValueError:
        known = [
            (place, text)
            for place, text in enumerate(texts)
            if not is_missing(text) and text.strip("+- ").lower() not in _INFINITE
        ]
    decimal_comma = has_decimal_comma([text for _, text in known])
    found, bad = np.full(len(texts), nan), []
    for place, text in known:
        number = read_number(text, decimal_comma=decimal_comma)
        if number is None:
            bad.append(place)
        else:
            found[place] = number
    return found, bad


def has_decimal_comma(texts: Sequence[str]) -> bool:
    """Return whether a comma is one in a column of such numbers."""
    commas = [text for text in texts if "," in text or "，" in text]
    return bool(commas) and all(map(may_have_decimal_comma, commas)) and not all(map(may_be_grouped, commas))


def are_few(bad: int, good: int) -> bool:
    """Return whether a column is of a kind although some of its values are not."""
    return bad <= max((good + bad) // _BAD_EACH, int(good > _BAD_ONE))


def are_times(texts: Sequence[str]) -> bool:
    """Return whether these are dates (not numbers, but for days such as 20260131)."""
    known = [text for text in texts[:_LOOKED_AT] if not is_missing(text)]
    if not known:
        return False
    if numbers(known) is not None:
        return _are_days(known)
    try:
        times(known)
    except ValueError:
        return False
    return all(is_date_like(text) for text in known)


def times(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return Unix milliseconds: of dates in any usual form (UTC where none is said), or of numbers (seconds;
    if large milli-, micro- or nanoseconds). Where 3/4 may be either, the column decides: a 13 in the first
    place says that days come first, else points between say so. Raises `ValueError` with the first text that
    is none."""
    found = numbers(texts)
    if found is not None and not np.isnan(found).any() and not _are_days(texts):
        largest = float(np.abs(found).max(initial=0.0))
        units = ((_NANOSECONDS_MIN, 1e-6), (_MICROSECONDS_MIN, 1e-3), (_MILLISECONDS_MIN, 1.0))
        return np.asarray(found * next((unit for least, unit in units if largest > least), 1000.0)).astype(
            np.int64
        )
    different = dict.fromkeys(texts)
    plain = {text: spelt(text) for text in different}
    day_first = day_first_in(list(plain.values()))
    known = {text: _time(plainly, day_first) for text, plainly in plain.items()}
    return np.array([known[text] for text in texts], np.int64)


def no_times(texts: Sequence[str]) -> list[int]:
    """Return the places of the few texts that are no times where the others are; none where there are more
    (`times` then says which)."""
    found = mostly_numbers(texts)
    if found is not None:
        return found[1]
    plain = {text: spelt(text) for text in dict.fromkeys(texts)}
    day_first = day_first_in(list(plain.values()))
    unread = {text for text, plainly in plain.items() if not _is_time(plainly, day_first)}
    bad = [place for place, text in enumerate(texts) if text in unread]
    return bad if are_few(len(bad), len(texts) - len(bad)) else []


def _is_time(text: str, day_first: bool) -> bool:
    try:
        _time(text, day_first)
    except ValueError:
        return False
    return True


def _are_days(texts: Sequence[str]) -> bool:
    return all(map(_DAYS.fullmatch, texts[:_LOOKED_AT]))


def is_date_like(text: str) -> bool:
    """Return whether it looks like a date, and not like a number that might be one."""
    return _DATE_LIKE.search(spelt(text)) is not None


def spelt(text: str) -> str:
    """Return the text with the signs between year, month and day that are read."""
    return text.translate(_CHINESE).strip()


def says_order(texts: Sequence[str]) -> bool:
    """Return whether a column of dates tells which of 3/4 comes first."""
    parts = [match.groups() for match in map(_DAY.match, texts) if match is not None and len(match[1]) < 3]
    return any(int(first) > 12 or int(second) > 12 or between == "." for first, between, second, *_ in parts)


def day_first_in(texts: Sequence[str]) -> bool:
    parts = [match.groups() for match in map(_DAY.match, texts) if match is not None and len(match[1]) < 3]
    if any(int(first) > 12 for first, *_ in parts):
        return True
    if any(int(second) > 12 for _, _, second, *_ in parts):
        return False
    return bool(parts) and parts[0][1] == "."


def _time(text: str, day_first: bool) -> int:
    moment = moment_of(text, day_first)
    try:
        return (
            (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _NO_DAY
        ) // _MILLISECOND  # cut: no day ends before its time
    except OverflowError:
        raise ValueError(text) from None


def moment_of(text: str, day_first: bool) -> datetime:
    """Return a date or time in any usual form, with a zone only if it states one. Raises `ValueError`."""
    try:
        moment = _day(text, day_first) or (datetime.fromisoformat(text) if _DAYS.fullmatch(text) else None)
        return (
            moment
            or _iso(text)
            or dates.parse(text, default=_NO_DAY.replace(tzinfo=None), dayfirst=day_first)
        )
    except (ValueError, OverflowError):
        raise ValueError(text) from None


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text[:4].isdigit() and text[4:5] == "-" else None
    except ValueError:
        return None


def _day(text: str, day_first: bool) -> datetime | None:
    """The commonest forms at once: dateutil takes a tenth of a millisecond for each."""
    match = _DAY.fullmatch(text)
    if match is None:
        return None
    a, _, b, c, before, hour, minute, second, fraction, behind, zone = match.groups()
    if len(a) == 4:
        year, month, day = int(a), int(b), int(c)
    elif len(c) in (2, 4):
        day, month = (int(a), int(b)) if day_first else (int(b), int(a))
        year = int(c) if len(c) == 4 else _century(int(c))
    else:
        return None
    hours = int(hour or 0)
    if half := before or behind:
        hours = hours % 12 + (12 if half.lower().startswith(_AFTERNOON) else 0)
    micros = int((fraction or ".")[1:7].ljust(6, "0"))
    stated = UTC if zone else None
    return datetime(year, month, day, hours, int(minute or 0), int(second or 0), micros, stated)


def _century(year: int) -> int:
    """The year that two digits stand for."""
    return year + (2000 if year < 69 else 1900)


def labels(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return true and false, from 1/0, true/false, yes/no or any two values, of which the rarer one is true.

    Raises `ValueError` saying why not.
    """
    plain = [text.strip().lower() for text in texts]
    values = sorted(set(plain))
    if len(values) <= 2:
        values.sort(key=plain.count)
    if len(values) == 1:
        raise ValueError(f"is {values[0]!r} in every row; there is nothing to tell apart")
    if len(values) > 2:
        raise ValueError(f"has {len(values)} values, expected two such as 0 and 1")
    yes = values[0]
    if any(value in NO for value in values):
        yes = next((value for value in values if value in YES), yes)
    return np.array([text == yes for text in plain])
