"""A CSV file of somebody else's: columns by name, and one clear line for what is wrong. What texts mean
stands in `values`."""

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import chain, compress, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.files.cells import MARKS, Broken, cell_of
from connectors.files.csv_files import looked_through, records
from connectors.files.shape import FOOTER, shaped
from connectors.files.table_rows import TableFile
from flows.services.importing import column_values
from schemas.bilingual import Words
from schemas.errors import ConfigError, Unusable

Lines = Iterator[tuple[int, list[str] | Broken]]
_ZIP = b"PK\x03\x04"
_DAY_MS = 86_400_000
_MARK = "\ufeff"  # of the byte order, where an encoding that was named leaves it
_SHOWN = 5  # values that are named in a note
_WORD_LEAST = 4  # letters; `y` is in many words
_WORD_LEAST_HAN = 2
_TIMES_EACH = 50  # rows of one moment, at most on average, for numbers to be taken for times unasked


class Table:
    """All columns as text. `lines` says where in the file each row stands; `notes` collects what a reader of
    the result should know."""

    def __init__(
        self,
        name: str,
        columns: dict[str, list[str]],
        lines: Sequence[int] | None = None,
        notes: list[Words] | None = None,
    ) -> None:
        self.name = name
        self.columns = columns
        self.rows = len(next(iter(columns.values())))
        self.lines = range(2, self.rows + 2) if lines is None else lines
        self.notes = [] if notes is None else notes

    def column(self, name: str) -> list[str]:
        """Return the texts of a column. Raises `Unusable`."""
        if name not in self.columns:
            near = get_close_matches(name, self.columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self.columns)}"
            raise Unusable(f"{self.name} has no column {name!r}; {hint}")
        return self.columns[name]

    def guess(
        self, words: Sequence[str], but: Iterable[str] = (), fits: Callable[[str], bool] = lambda _: True
    ) -> str | None:
        """Return the column whose name says that it is one of `words`, the first word first: the same, or one
        that has it among its own words, or within them if it is not too short to mean something. It must be
        one that `fits`."""
        names = [name for name in self.columns if name not in but]
        for word in words:
            for match in (_is, has_word, _contains):
                found = next((name for name in names if match(name, word) and fits(name)), None)
                if found is not None:
                    return found
        return None

    def times(self, name: str) -> NDArray[np.int64]:
        """Return Unix milliseconds: see `values.times`. Raises `Unusable`."""
        texts = self.column(name)
        try:
            return column_values.times(texts)
        except ValueError as error:
            text = str(error)
            line, form = self.lines[texts.index(text)], "2026-01-31 or 2026-01-31T12:00:00Z"
            raise Unusable(
                f"{self.name} line {line}: {name} is no date or time: {text!r}; expected one such as {form}"
            ) from None

    def days(self, name: str) -> NDArray[np.float64]:
        """Return dates as days since 1970; NaN where there is none. Raises `Unusable`."""
        texts = self.column(name)
        dated = iter(
            Table(self.name, {name: [text for text in texts if not column_values.is_missing(text)]})
            .times(name)
            .tolist()
        )
        return np.array(
            [np.nan if column_values.is_missing(text) else next(dated) / _DAY_MS for text in texts]
        )

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return numbers, NaN where a value is missing. A few that are no numbers are noted and missing too;
        raises `Unusable` where there are more."""
        texts = self.column(name)
        found = column_values.mostly_numbers(texts)
        if found is None:
            first = next(iter(column_values.read(texts)[1]), 0)
            raise Unusable(f"{self.name} line {self.lines[first]}: {name} is no number: {texts[first]!r}")
        numbers, bad = found
        if bad:
            self._note(
                Words(f"of {name} is no number and counts as missing", f"“{name}”不是数字，按缺失处理"),
                texts,
                bad,
            )
        return numbers

    def _note(self, what: Words, texts: Sequence[str], rows: Sequence[int]) -> None:
        count, more = len(rows), len(rows) - _SHOWN
        shown = [(self.lines[row], texts[row]) for row in rows[:_SHOWN]]
        english = ", ".join(f"line {line} {text!r}" for line, text in shown) + (
            f" and {more} more" if more > 0 else ""
        )
        chinese = "、".join(f"第 {line} 行 {text!r}" for line, text in shown) + (
            f"，另有 {more} 个" if more > 0 else ""
        )
        note = Words(
            f"{count} {'value' if count == 1 else 'values'} {what.en}: {english}",
            f"有 {count} 个值{what.zh}：{chinese}",
        )
        if note not in self.notes:
            self.notes.append(note)

    def is_numeric(self, name: str) -> bool:
        return column_values.mostly_numbers(self.column(name)) is not None

    def measured(self, *names: str) -> "Table":
        """Return the rows that have a number in all of these columns; what was left out is noted. Raises
        `Unusable`."""
        whole = np.asarray(~np.isnan(np.column_stack([self.numbers(name) for name in names])).any(axis=1))
        if whole.all():
            return self
        left_out = int((~whole).sum())
        rows, which = "row" if left_out == 1 else "rows", ", ".join(names)
        self.notes.append(
            Words(
                f"{left_out} {rows} without a number in {which} left out",
                f"有 {left_out} 行在 {which} 中没有数字，未计入",
            )
        )
        return self._only(whole.tolist())

    def dated(self, name: str) -> "Table":
        """Return the table without the few rows in which this is no time; they are noted."""
        texts = self.column(name)
        bad = column_values.no_times(texts)
        if not bad:
            return self
        self._note(
            Words(
                f"of {name} is no date or time and its row is left out",
                f"“{name}”不是日期或时间，所在行未计入",
            ),
            texts,
            bad,
        )
        left_out = set(bad)
        return self._only([row not in left_out for row in range(self.rows)])

    def _only(self, whole: Sequence[bool]) -> "Table":
        columns = {name: list(compress(column, whole)) for name, column in self.columns.items()}
        return Table(self.name, columns, list(compress(self.lines, whole)), self.notes)

    def is_time(self, name: str) -> bool:
        """Return whether it holds dates."""
        return column_values.are_times(self.column(name))

    def may_be_time(self, name: str) -> bool:
        """Return whether it holds dates, or numbers of which so many differ that they may be moments."""
        if self.is_time(name):
            return True
        found = column_values.numbers(self.column(name))
        return (
            found is not None
            and not np.isnan(found).any()
            and len(np.unique(found)) > self.rows / _TIMES_EACH
        )

    def has_two_values(self, name: str) -> bool:
        return (
            len({text.strip().lower() for text in self.column(name) if not column_values.is_missing(text)})
            == 2
        )

    def labels(self, name: str) -> NDArray[np.bool_]:
        """Return true and false: see `values.labels`. Raises `Unusable`."""
        try:
            return column_values.labels(self.column(name))
        except ValueError as error:
            raise Unusable(f"{self.name}: {name} {error}") from None

    def known(self, *names: str) -> "tuple[Table, int]":
        """Return the rows that have a value in all of these columns, and how many have not. Raises `Unusable`
        where none is left."""
        columns = [self.column(name) for name in names]
        whole = [not any(map(column_values.is_missing, row)) for row in zip(*columns, strict=True)]
        left_out = whole.count(False)
        if not left_out:
            return self, 0
        if left_out == self.rows:
            raise Unusable(f"{self.name}: no row has a value in {' and '.join(names)}")
        return self._only(whole), left_out


def is_book(path: Path) -> bool:
    """Return whether it is an Excel file, whatever it is called. Raises `Unusable`."""
    return unpacked(path).startswith(_ZIP)


def unpacked(path: Path) -> bytes:
    """Return what a file holds; also `.gz`, whatever it is called. Raises `Unusable`."""
    try:
        body = path.read_bytes()
        return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    except FileNotFoundError:
        raise Unusable(f"{path} cannot be read: it does not exist") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Unusable(f"{path} cannot be unpacked: {error}") from None
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None


def text_of(path: Path, encoding: str | None, errors: str = "strict") -> str:
    """Return the text of a file, also of a packed one, in its `encoding`: without it by its mark, or what it
    looks like. Raises `Unusable`."""
    body = unpacked(path)
    found = encoding or looked_through(io.BytesIO(body), lines=True)[1]
    try:
        return body.decode(found, errors).removeprefix(_MARK)
    except LookupError:
        raise Unusable(
            f"--encoding {found}: no encoding that Python knows; expected "
            "one such as utf-8, gb18030 or cp1252"
        ) from None
    except UnicodeDecodeError as error:
        told = (
            f"{encoding}, as --encoding says"
            if encoding
            else "UTF-8, nor in another encoding that we look for"
        )
        raise Unusable(f"{path} is no text in {told}: {error}") from None


def read(path: Path, encoding: str | None = None) -> Table:
    """Read a table with a header: an Excel file, or CSV in `encoding`, else in UTF-8, GB 18030 or what its
    mark says; also `.gz`, and with `;`, tab or `|` between columns. What stands above the header and below
    the last row is left out, the latter with a note. Raises `Unusable`."""
    try:
        header, rows = _of_book(path) if is_book(path) else _of_text(path, encoding)
    except ConfigError as error:
        raise Unusable(f"{path} cannot be read: {error}") from None
    kept: list[list[str]] = []
    lines: list[int] = []
    below: list[int] = []
    for number, cells in rows:
        if isinstance(cells, Broken):
            if cells.reason != FOOTER.reason:
                raise Unusable(f"{path} is no table: row {number}: {cells.detail}")
            below.append(number)
        elif len(cells) != len(header) and any(cells[len(header) :] or ["too few"]):
            raise Unusable(f"{path} row {number} has {len(cells)} values, the header has {len(header)}")
        else:
            lines.append(number)
            kept.append([_value(cell) for cell in cells[: len(header)]])
    if not kept:
        raise Unusable(f"{path} holds no rows below a header")
    twice = next((name for place, name in enumerate(header) if name in header[:place]), None)
    if twice is not None:
        raise Unusable(f"{path} has two columns {twice!r}")
    table = Table(path.name, dict(zip(header, map(list, zip(*kept, strict=True)), strict=True)), lines)
    if below:
        told = ", ".join(map(str, below))
        rows_left = f"{len(below)} {'row' if len(below) == 1 else 'rows'}"
        table.notes.append(
            Words(
                f"{rows_left} below the table left out, a total or a note: line {told}",
                f"略去表格下方的 {len(below)} 行（合计或备注）：第 {told} 行",
            )
        )
    return table


def _of_text(path: Path, encoding: str | None) -> tuple[list[str], Lines]:
    text = text_of(path, encoding)
    found = shaped(records(io.StringIO(text, newline="")), list)
    _, header = next(found, (1, []))
    if isinstance(header, Broken):
        raise Unusable(f"{path} is no CSV file: {header.detail}")
    return [name.strip() or f"column_{place}" for place, name in enumerate(header, 1)], found


def _of_book(path: Path) -> tuple[list[str], Lines]:
    """The first sheet that is not hidden, its cells as texts."""
    book = TableFile(path, kind=".xlsx")
    rows = book.rows()
    first = list(islice(rows, 1))  # the columns are known with it
    header = book.columns or []
    return header, (
        (number, row if isinstance(row, Broken) else [_text(row[name]) for name in header])
        for number, row in chain(first, rows)
    )


def _text(cell: Any) -> str:
    """A cell of a spreadsheet as CSV has it."""
    if cell is None or isinstance(cell, Broken):
        return ""
    return str(cell) if isinstance(cell, str | int | float) else str(cell.isoformat())


def _value(cell: str) -> str:
    """Without what a spreadsheet puts around it; nothing for its errors."""
    if cell[:1] not in MARKS:
        return cell
    value = cell_of(cell)
    return "" if isinstance(value, Broken) else value


def _is(name: str, word: str) -> bool:
    """`Customer ID` and `customer-id` are `customer_id`."""
    return _bare(name) == _bare(word)


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def has_word(name: str, word: str) -> bool:
    """Return whether a word is in a name: `order_date` and `OrderDate` have `date`."""
    return word in re.split(r"[\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def _contains(name: str, word: str) -> bool:
    """A Chinese word says more in fewer signs, and is not taken apart by blanks."""
    return len(word) >= (_WORD_LEAST if word.isascii() else _WORD_LEAST_HAN) and word in name.lower()


def chosen(
    table: Table,
    given: str | None,
    what: str,
    words: Sequence[str],
    told: Callable[[str], None],
    but: Iterable[str] = (),
    fits: Callable[[str], bool] = lambda _: True,
    hint: str = "",
) -> str:
    """Return the column that was named, or the one that its name gives away (which is `told`). Raises
    `Unusable`, with the `hint`."""
    if given is not None:
        table.column(given)
        return given
    found = table.guess(words, but, fits) or table.guess(words, but)
    if found is None:
        raise Unusable(
            f"{table.name}: which column is the {what}? Say --{what} COLUMN{hint}; it has "
            f"{', '.join(table.columns)}"
        )
    told(f"--{what} {found}")
    return found


def guesses(options: Sequence[str]) -> list[Words]:
    """Return a note of what was not said and had to be guessed."""
    return [Words(f"guessed: {' '.join(options)}", f"自动判断：{' '.join(options)}")] if options else []
