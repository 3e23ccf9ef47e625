"""Reading a CSV file of somebody else's: columns by name, times, numbers and labels, and one clear line for what is wrong."""

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from math import isfinite, nan
from pathlib import Path

import numpy as np
from dateutil import parser as dates
from numpy.typing import NDArray

from schemas.errors import Unusable

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))  # compared in lower case
YES = frozenset(("1", "1.0", "true", "yes", "y", "t"))
NO = frozenset(("0", "0.0", "false", "no", "n", "f"))
_SECONDS_MAX = 1e11  # a larger number is of milliseconds (of seconds, it would lie beyond the year 5000)
_SAMPLE = 64 * 1024
_DELIMITERS = ",;\t|"


class Table:
    """All columns as text."""

    def __init__(self, name: str, columns: dict[str, list[str]]) -> None:
        self.name = name
        self.columns = columns
        self.rows = len(next(iter(columns.values())))

    def column(self, name: str) -> list[str]:
        """Raises `Unusable`."""
        if name not in self.columns:
            near = get_close_matches(name, self.columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self.columns)}"
            raise Unusable(f"{self.name} has no column {name!r}; {hint}")
        return self.columns[name]

    def guess(self, words: Sequence[str], but: Iterable[str] = ()) -> str | None:
        """The column whose name says that it is one of `words`: the same, or one that contains it, the first word first."""
        names = [name for name in self.columns if name not in but]
        for word in words:
            for match in (lambda name, word=word: name.lower() == word, lambda name, word=word: word in name.lower()):
                found = next(filter(match, names), None)
                if found is not None:
                    return found
        return None

    def times(self, name: str) -> NDArray[np.int64]:
        """Unix milliseconds: of dates in any usual form (UTC where none is said), or of numbers (seconds, or milliseconds if large)."""
        texts = self.column(name)
        numbers = _numbers(texts)
        if numbers is not None and not np.isnan(numbers).any() and not _looks_like_dates(texts):
            unit = 1.0 if np.abs(numbers).max() > _SECONDS_MAX else 1000.0
            return (numbers * unit).astype(np.int64)
        known: dict[str, int] = {}
        for row, text in enumerate(texts, 2):
            if text not in known:
                known[text] = self._time(name, row, text)
        return np.array([known[text] for text in texts], np.int64)

    def _time(self, name: str, row: int, text: str) -> int:
        for read in (datetime.fromisoformat, dates.parse):
            try:
                moment = read(text)
                return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
            except (ValueError, OverflowError):
                continue
        raise Unusable(
            f"{self.name} line {row}: {name} is no date or time: {text!r}; expected one such as 2026-01-31 or 2026-01-31T12:00:00Z"
        )

    def numbers(self, name: str) -> NDArray[np.float64]:
        """NaN where a value is missing. Raises `Unusable` for any other text."""
        texts = self.column(name)
        found = _numbers(texts)
        if found is None:
            row, text = next((row, text) for row, text in enumerate(texts, 2) if _number(text) is None)
            raise Unusable(f"{self.name} line {row}: {name} is no number: {text!r}")
        return found

    def is_numeric(self, name: str) -> bool:
        return _numbers(self.column(name)) is not None

    def labels(self, name: str) -> NDArray[np.bool_]:
        """True and false, from 1/0, true/false, yes/no or any two values, of which the rarer one is true. Raises `Unusable`."""
        texts = [text.strip().lower() for text in self.column(name)]
        values = sorted(set(texts), key=lambda value: (texts.count(value), value)) if len(set(texts)) <= 3 else sorted(set(texts))
        missing = [row for row, text in enumerate(texts, 2) if text in MISSING]
        if missing:
            raise Unusable(f"{self.name} line {missing[0]}: {name} is missing; every row needs a label")
        if len(values) == 1:
            raise Unusable(f"{self.name}: {name} is {values[0]!r} in every row; there is nothing to tell apart")
        if len(values) > 2:
            raise Unusable(f"{self.name}: {name} has {len(values)} values, expected two such as 0 and 1")
        yes = next((value for value in values if value in YES), None) if any(value in NO for value in values) else values[0]
        return np.array([text == (yes if yes is not None else values[0]) for text in texts])


def read(path: Path) -> Table:
    """A CSV file with a header; also `.gz`, and with `;`, tab or `|` between columns. Raises `Unusable`."""
    try:
        body = path.read_bytes()
        text = (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode("utf-8-sig")
    except FileNotFoundError:
        raise Unusable(f"{path} does not exist") from None
    except (IsADirectoryError, PermissionError) as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise Unusable(f"{path} is no UTF-8 text: {error}") from None
    head = text[:_SAMPLE].partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise Unusable(f"{path} is no CSV file: {error}") from None
    if len(rows) < 2:
        raise Unusable(f"{path} holds no rows below a header")
    header = [name.strip() or f"column_{place}" for place, name in enumerate(rows[0], 1)]
    twice = next((name for place, name in enumerate(header) if name in header[:place]), None)
    if twice is not None:
        raise Unusable(f"{path} has two columns {twice!r}")
    odd = next((line for line, row in enumerate(rows, 1) if len(row) != len(header)), None)
    if odd is not None:
        raise Unusable(f"{path} row {odd} has {len(rows[odd - 1])} values, the header has {len(header)}")
    return Table(path.name, dict(zip(header, map(list, zip(*rows[1:], strict=True)), strict=True)))


def chosen(table: Table, given: str | None, what: str, words: Sequence[str], told: Callable[[str], None], but: Iterable[str] = ()) -> str:
    """The column that was named, or the one that its name gives away (which is `told`). Raises `Unusable`."""
    if given is not None:
        table.column(given)
        return given
    found = table.guess(words, but)
    if found is None:
        raise Unusable(f"{table.name}: which column is the {what}? Say --{what} COLUMN; it has {', '.join(table.columns)}")
    told(f"--{what} {found}")
    return found


def _numbers(texts: Sequence[str]) -> NDArray[np.float64] | None:
    """None if any of them is neither a number nor missing, or all are missing."""
    try:
        return np.array(texts, float)  # the common case, at once
    except ValueError:
        found = [_number(text) for text in texts]
    if any(value is None for value in found) or all(value != value for value in found):
        return None
    return np.array(found, float)


def _number(text: str) -> float | None:
    if text.strip().lower() in MISSING:
        return nan
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else nan


def _looks_like_dates(texts: Sequence[str]) -> bool:
    """Whether numbers such as 20260131 are days."""
    return all(len(text) == 8 and text.isdigit() and "1900" <= text[:4] <= "2100" and "01" <= text[4:6] <= "12" for text in texts[:1000])
