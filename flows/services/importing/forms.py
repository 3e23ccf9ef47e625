"""How the texts of a column are written: a table says 1.620 and 03/04/2020 once for all its rows, and each
row is an event of its own.

What a text says by itself is left to who reads the event. Only what the column alone can tell is said here,
before the row leaves it: that a comma is decimal, whether the day or the month comes first, and which word of
a spreadsheet is a truth value.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from flows.logic.expressions.numbers import read as read_number
from flows.logic.fields.check import folded
from flows.services.importing import column_values
from schemas.config import Config

Form = Callable[[str], Any]
# of spreadsheets, each in its own language; a word that means something else besides is none
_TRUTHS: Final = {
    **dict.fromkeys(("true", "wahr", "vrai", "verdadero", "vero"), True),
    **dict.fromkeys(("false", "falsch", "faux", "falso"), False),
}
_EPOCH: Final = re.compile(r"\d{9,10}|\d{12,13}")
_DAYS: Final = ("birthday", "date")


class Forms:
    """Of the columns of one file, by the first rows."""

    def __init__(
        self, places: Mapping[str, tuple[str, ...]], rows: Sequence[Mapping[str, Any]], config: Config
    ) -> None:
        """Take the `places` of the columns that are sent. Identifiers and fields that are checked on entry
        have their own readings."""
        self._of: dict[str, Form] = {}
        self.numeric: set[str] = set()  # columns of numbers, in which another text is reported
        kinds = {folded(name): field.kind for field in config.entry.field for name in field.names}
        identifying = {
            tuple(path.split(".")) for namespace in config.identity.namespace for path in namespace.paths
        }
        for column, path in places.items():
            texts = [
                text.strip()
                for row in rows
                if isinstance(text := row.get(column), str) and not column_values.is_missing(text)
            ]
            kind = kinds.get(folded(path[-1])) if path[0] == "traits" else None
            if not texts or path in identifying:
                continue
            if path == ("timestamp",):
                form = _epoch_form(texts) or _time_form(texts, config.entry.day_first)
            elif kind in _DAYS:
                form = _time_form(texts, config.entry.day_first)
            elif kind is None:
                form = (
                    _truth_form(texts)
                    or _time_form(texts, config.entry.day_first)
                    or self._number_form(column, texts)
                )
            else:
                form = None
            if form is not None:
                self._of[column] = form

    def read(self, column: str, value: Any) -> Any:
        """Return a cell as its column means it; what is no text, or none of its column's kind, is as it
        was."""
        form = self._of.get(column)
        return value if form is None or not isinstance(value, str) else form(value.strip())

    def _number_form(self, column: str, texts: Sequence[str]) -> Form | None:
        decimal_comma = column_values.has_decimal_comma(texts)
        bad = sum(read_number(text, decimal_comma=decimal_comma) is None for text in texts)
        if bad == len(texts) or not column_values.are_few(bad, len(texts) - bad):
            return None
        self.numeric.add(column)
        return partial(_number, decimal_comma) if decimal_comma else None


def _truth_form(texts: Sequence[str]) -> Form | None:
    return _truth if all(text.lower() in _TRUTHS for text in texts) else None


def _truth(text: str) -> Any:
    return _TRUTHS.get(text.lower(), text)


def _number(decimal_comma: bool, text: str) -> Any:
    number = read_number(text, decimal_comma=decimal_comma)
    return text if number is None else number


def _epoch_form(texts: Sequence[str]) -> Form | None:
    return _epoch if all(map(_EPOCH.fullmatch, texts)) else None


def _epoch(text: str) -> Any:
    """Unix seconds or milliseconds, which an event says as a number."""
    return int(text) if _EPOCH.fullmatch(text) else text


def _time_form(texts: Sequence[str], day_first: bool) -> Form | None:
    plain = [column_values.spelt(text) for text in texts]
    if column_values.says_order(plain):
        day_first = column_values.day_first_in(plain)
    good = sum(_moment(text, day_first) is not None for text in texts)
    return partial(_time, day_first) if good and column_values.are_few(len(texts) - good, good) else None


def _time(day_first: bool, text: str) -> str:
    moment = _moment(text, day_first)
    if moment is None or moment.tzinfo is not None:
        return text
    return moment.isoformat() if ":" in column_values.spelt(text) else moment.date().isoformat()


def _moment(text: str, day_first: bool) -> datetime | None:
    """None for what is not a date with all of its year."""
    plain = column_values.spelt(text)
    if not column_values.is_date_like(text) or not column_values.FULL_YEAR.search(plain):
        return None
    try:
        return column_values.moment_of(plain, day_first)
    except ValueError:
        return None
