"""Numbers that are written as text: one reading for figures, rules and evaluations, since cells of a table
are all text.

A value is read by itself: `1,620` is grouped by thousands and `40,90` has a decimal comma. Who has a whole
column knows more (`flows.services.importing.column_values`) and says so.
"""

import re
from functools import lru_cache
from math import isfinite
from typing import Any, Final

LENGTH_MAX: Final = 64  # characters of a text that may be a number

_INTEGER_DIGITS: Final = 18
_WIDE: Final = {place: place - 0xFEE0 for place in range(0xFF01, 0xFF5F)} | {
    **{ord(wide): usual for wide, usual in zip("￥￡￦−’", "¥£₩-'", strict=True)},
    **dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u3000"), " "),
}
_CURRENCY: Final = r"(?:[A-Z]{0,3}[$€£¥₽₹₩]|USD|EUR|GBP|CNY|RMB|JPY|HKD|TWD|CHF|人民币|元|圆|圓|円)"
_DRESSED: Final = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[+-]?)\s*{_CURRENCY}?\s*(?P<inner>[+-]?)"
    rf"(?P<digits>\d[\d.,' ]*|\.\d+)(?P<power>E[+-]?\d+)?\s*{_CURRENCY}?\s*%?\s*(?P<close>\))?",
    re.IGNORECASE,
)
_PLAIN: Final = re.compile(r"\d+(\.\d*)?|\.\d+")
_GROUPED: Final = re.compile(r"\d{1,3}([, '])\d{3}(\1\d{3})*(\.\d*)?")  # 1,234,567.89
_GROUPED_BY_POINTS: Final = re.compile(r"\d{1,3}(\.\d{3}){2,}")
_GROUPED_BY_A_POINT: Final = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")  # 1.620, where a comma is decimal
_DECIMAL_COMMA: Final = re.compile(r"(\d+|\d{1,3}([. '])\d{3}(\2\d{3})*),\d*")  # 1.234.567,89
_SEPARATORS: Final = str.maketrans("", "", ", '")


def number_of(value: Any) -> int | float | None:
    """Return a number, or the number that a text is; None for anything else. Truth values are not numbers,
    nor is `6_20`."""
    kind = value.__class__
    if kind is int or kind is float:
        return value  # type: ignore[no-any-return]
    if kind is str:
        return _known(value) if len(value) <= LENGTH_MAX else None
    return value if isinstance(value, (int, float)) and kind is not bool else None


def read(text: str, *, decimal_comma: bool = False) -> int | float | None:
    """Return the number that a text is: digits, or as people and spreadsheets write them; None if it is not a
    number or not finite.

    `decimal_comma`: a comma is one, also where it might stand between thousands; then a point stands between
    thousands where it can.
    """
    if len(text) > LENGTH_MAX:
        return None
    if text.isdecimal() and len(text) <= _INTEGER_DIGITS:
        return int(text)
    if "_" in text:  # Python's way to write numbers, nobody else's
        return None
    try:
        number = float(text)
    except ValueError:
        return _dressed(text, decimal_comma)
    if decimal_comma and _GROUPED_BY_A_POINT.fullmatch(text.strip()):
        return _dressed(text, decimal_comma)
    return number if isfinite(number) else None


_known: Final = lru_cache(8192)(read)  # the same few words and prices come again and again


def _dressed(text: str, decimal_comma: bool) -> int | float | None:
    match = _DRESSED.fullmatch(text.translate(_WIDE).strip())
    if (
        match is None
        or (match["open"] is None) != (match["close"] is None)
        or (match["sign"] and match["inner"])
    ):
        return None
    digits = _bare(match["digits"].strip(), decimal_comma)
    if digits is None:
        return None
    number = float(digits + (match["power"] or ""))
    if match["open"] or "-" in (match["sign"], match["inner"]):
        number = -number
    return number if isfinite(number) else None


def _bare(digits: str, decimal_comma: bool) -> str | None:
    """Without separators of thousands, with a decimal point."""
    if decimal_comma and _GROUPED_BY_A_POINT.fullmatch(digits):
        return digits.replace(".", "")
    if _PLAIN.fullmatch(digits):
        return digits
    comma_is_decimal = _DECIMAL_COMMA.fullmatch(digits) is not None
    if _GROUPED.fullmatch(digits) and not (decimal_comma and comma_is_decimal):
        return digits.translate(_SEPARATORS)
    if comma_is_decimal:
        whole, _, part = digits.rpartition(",")
        return f"{whole.translate(_SEPARATORS).replace('.', '')}.{part}"
    return digits.replace(".", "") if _GROUPED_BY_POINTS.fullmatch(digits) else None


def may_have_decimal_comma(text: str) -> bool:
    """Return whether a comma in it may be decimal, as in `1.234,5`, `40,90` and `1,620`."""
    match = _DRESSED.fullmatch(text.translate(_WIDE).strip())
    return match is not None and _DECIMAL_COMMA.fullmatch(match["digits"].strip()) is not None


def may_be_grouped(text: str) -> bool:
    """Return whether a comma in it may stand between thousands, as in `1,620`."""
    match = _DRESSED.fullmatch(text.translate(_WIDE).strip())
    return match is not None and _GROUPED.fullmatch(match["digits"].strip()) is not None
