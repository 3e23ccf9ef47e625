"""A CSV file of somebody else's: columns by name, and one clear line for what is wrong. What texts mean stands in `values`."""

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connectors.table_cells import MARKS, Broken, cell_of
from connectors.table_csv import looked_through, records
from flows.evaluate import values
from schemas.errors import Unusable

_DAY_MS = 86_400_000
_WORD_LEAST = 4  # letters; `y` is in many words
_TIMES_EACH = 50  # rows of one moment, at most on average, for numbers to be taken for times unasked


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

    def guess(self, words: Sequence[str], but: Iterable[str] = (), fits: Callable[[str], bool] = lambda _: True) -> str | None:
        """The column whose name says that it is one of `words`, the first word first: the same, or one that has it among its own
        words, or within them if it is not too short to mean something. It must be one that `fits`."""
        names = [name for name in self.columns if name not in but]
        for word in words:
            for match in (_is, _has, _contains):
                found = next((name for name in names if match(name, word) and fits(name)), None)
                if found is not None:
                    return found
        return None

    def times(self, name: str) -> NDArray[np.int64]:
        """Unix milliseconds: see `values.times`. Raises `Unusable`."""
        texts = self.column(name)
        try:
            return values.times(texts)
        except ValueError as error:
            text = str(error)
            line, form = texts.index(text) + 2, "2026-01-31 or 2026-01-31T12:00:00Z"
            raise Unusable(f"{self.name} line {line}: {name} is no date or time: {text!r}; expected one such as {form}") from None

    def days(self, name: str) -> NDArray[np.float64]:
        """Dates as days since 1970; NaN where there is none. Raises `Unusable`."""
        texts = self.column(name)
        dated = iter(Table(self.name, {name: [text for text in texts if not values.is_missing(text)]}).times(name).tolist())
        return np.array([np.nan if values.is_missing(text) else next(dated) / _DAY_MS for text in texts])

    def numbers(self, name: str) -> NDArray[np.float64]:
        """NaN where a value is missing. Raises `Unusable` for any other text."""
        texts = self.column(name)
        found = values.numbers(texts)
        if found is None:
            row, text = next(((row, text) for row, text in enumerate(texts, 2) if values.numbers([text, "0"]) is None), (2, texts[0]))
            raise Unusable(f"{self.name} line {row}: {name} is no number: {text!r}")
        return found

    def is_numeric(self, name: str) -> bool:
        return values.numbers(self.column(name)) is not None

    def is_time(self, name: str) -> bool:
        """Whether it holds dates."""
        return values.are_times(self.column(name))

    def may_be_time(self, name: str) -> bool:
        """Dates, or numbers of which so many differ that they may be moments."""
        if self.is_time(name):
            return True
        found = values.numbers(self.column(name))
        return found is not None and not np.isnan(found).any() and len(np.unique(found)) > self.rows / _TIMES_EACH

    def has_two_values(self, name: str) -> bool:
        return len({text.strip().lower() for text in self.column(name) if not values.is_missing(text)}) == 2

    def labels(self, name: str) -> NDArray[np.bool_]:
        """True and false: see `values.labels`. Raises `Unusable`."""
        try:
            return values.labels(self.column(name))
        except ValueError as error:
            raise Unusable(f"{self.name}: {name} {error}") from None

    def known(self, *names: str) -> "tuple[Table, int]":
        """The rows that have a value in all of these columns, and how many have not. Raises `Unusable` where none is left."""
        columns = [self.column(name) for name in names]
        whole = [not any(map(values.is_missing, row)) for row in zip(*columns, strict=True)]
        left_out = whole.count(False)
        if not left_out:
            return self, 0
        if left_out == self.rows:
            raise Unusable(f"{self.name}: no row has both {' and '.join(names)}")
        return Table(self.name, {name: list(compress(column, whole)) for name, column in self.columns.items()}), left_out


def unpacked(path: Path) -> bytes:
    """What a file holds; also `.gz`, whatever it is called. Raises `Unusable`."""
    try:
        body = path.read_bytes()
        return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    except FileNotFoundError:
        raise Unusable(f"{path} cannot be read: it does not exist") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Unusable(f"{path} cannot be unpacked: {error}") from None
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None


def read(path: Path) -> Table:
    """A CSV file with a header, in UTF-8, GB 18030 or what its mark says; also `.gz`, and with `;`, tab or `|` between columns. Raises
    `Unusable`."""
    body = unpacked(path)
    try:
        _, encoding = looked_through(io.BytesIO(body), lines=True)
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unusable(f"{path} is no text in UTF-8, nor in another encoding that we look for: {error}") from None
    header: list[str] = []
    rows: list[list[str]] = []
    for number, cells in records(io.StringIO(text, newline="")):
        if isinstance(cells, Broken):
            raise Unusable(f"{path} is no CSV file: {cells.detail}")
        if not header:
            header = [name.strip() or f"column_{place}" for place, name in enumerate(cells, 1)]
        elif len(cells) != len(header):
            raise Unusable(f"{path} row {number} has {len(cells)} values, the header has {len(header)}")
        else:
            rows.append([_value(cell) for cell in cells])
    if not rows:
        raise Unusable(f"{path} holds no rows below a header")
    twice = next((name for place, name in enumerate(header) if name in header[:place]), None)
    if twice is not None:
        raise Unusable(f"{path} has two columns {twice!r}")
    return Table(path.name, dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)))


def _value(cell: str) -> str:
    """Without what a spreadsheet puts around it; nothing for its errors."""
    if cell[:1] not in MARKS:
        return cell
    value = cell_of(cell)
    return "" if isinstance(value, Broken) else value


def _is(name: str, word: str) -> bool:
    return name.lower() == word


def _has(name: str, word: str) -> bool:
    """`order_date` and `OrderDate` have `date`."""
    return word in re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def _contains(name: str, word: str) -> bool:
    return len(word) >= _WORD_LEAST and word in name.lower()


def chosen(
    table: Table,
    given: str | None,
    what: str,
    words: Sequence[str],
    told: Callable[[str], None],
    but: Iterable[str] = (),
    fits: Callable[[str], bool] = lambda _: True,
) -> str:
    """The column that was named, or the one that its name gives away (which is `told`). Raises `Unusable`."""
    if given is not None:
        table.column(given)
        return given
    found = table.guess(words, but, fits) or table.guess(words, but)
    if found is None:
        raise Unusable(f"{table.name}: which column is the {what}? Say --{what} COLUMN; it has {', '.join(table.columns)}")
    told(f"--{what} {found}")
    return found
