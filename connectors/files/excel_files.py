"""Rows of one sheet of an Excel file, as the file has them: `openpyxl`'s own reader of cells, below its
sheets.

A sheet of `openpyxl` believes the range that the file states (WPS writes `A1` for any), and keeps of a cell
its value alone. What is needed here is more: which rows there really are, what is an error, and which formula
was saved without having been computed.
"""

import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, time
from functools import partial
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError
from zipfile import BadZipFile, ZipFile

from openpyxl import load_workbook
from openpyxl.styles.numbers import BUILTIN_FORMATS, BUILTIN_FORMATS_MAX_SIZE
from openpyxl.workbook import Workbook
from openpyxl.worksheet._read_only import ReadOnlyWorksheet
from openpyxl.worksheet._reader import FORMULA_TAG, VALUE_TAG, WorkSheetParser

from connectors.files.cells import MARKS, Broken, cell_of
from schemas.errors import ConfigError

_DIGITS_MAX: Final = 10**15  # a cell holds 15 digits; the rest of a longer number is gone
# a character that XML does not hold (ECMA-376, ST_Xstring)
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DAMAGED: Final = (BadZipFile, ParseError, zlib.error, EOFError, KeyError, IndexError, ValueError, TypeError)
_STRICT: Final = b"http://purl.oclc.org/ooxml/spreadsheetml/main"
# of a number format: texts, colours, languages, blanks
_NO_CODE: Final = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')
# Formats that Chinese, Japanese and Korean editions have without saying them (ECMA-376, 18.8.30): dates, and
# times of the day.
_EASTERN: Final = frozenset((*range(27, 37), *range(50, 59)))
_EASTERN_TIMES: Final = frozenset((32, 33, 34, 35, 55, 56))
_ZEROS: Final = re.compile(r"0{2,}")
_NOT_COMPUTED: Final = Broken(
    "not_computed", "a formula saved without its value: open the file in a spreadsheet, and save it there"
)

Cells = dict[int, Any]  # column, from 1 -> value, of those that have one


class ExcelSheet:
    """`with ExcelSheet(...) as sheet: for number, cells in sheet.rows()`. `share()` says how much is read,
    from 0 to 1."""

    def __init__(self, path: Path, name: str | None) -> None:
        """`name` of the sheet; without it the first that is not hidden. Raises `ConfigError`."""
        try:
            with warnings.catch_warnings(action="ignore"):  # about styles, which do not concern us
                self._book: Workbook = load_workbook(path, read_only=True, data_only=True)
        except (*_DAMAGED, AttributeError) as error:
            raise ConfigError(f"{path.name} is no Excel file, or not a whole one: {error}") from None
        self._path = path
        self._sheet = self._chosen(name)
        self._source: Any = None

    def _chosen(self, name: str | None) -> ReadOnlyWorksheet:
        tables = {sheet.title: sheet for sheet in self._book.worksheets}
        if name in tables or (name is None and tables):
            shown = (title for title, sheet in tables.items() if sheet.sheet_state == "visible")
            return tables[name or next(shown, next(iter(tables)))]
        self._book.close()
        if not self._book.sheetnames and _is_strict(self._path):
            raise ConfigError(
                f"{self._path.name} is a Strict Open XML workbook: save it as an ordinary Excel workbook"
                " (.xlsx)"
            )
        there = f"but {', '.join(tables)}" if tables else "nor any other"
        if name in self._book.sheetnames or name is None:
            what = "no sheet with rows" if name is None else f"no rows in {name!r}, which is a chart"
            raise ConfigError(f"{self._path.name} has {what}, {there}")
        raise ConfigError(f"{self._path.name} has no sheet {name!r}, {there}")

    def rows(self) -> Iterator[tuple[int, Cells | Broken]]:
        """Yield those that the file has, with their own numbers, empty ones too."""
        shown = 0
        with self._sheet._get_source() as self._source:  # there is no other way below the stated range
            parser = _Cells(
                self._source,
                self._sheet,
                stale=bool(self._book.calculation and self._book.calculation.fullCalcOnLoad),
            )
            try:
                for number, cells in parser.parse():
                    if number > shown:  # one that comes again is a defect of its writer
                        shown = number
                        yield (
                            number,
                            {cell["column"]: cell["value"] for cell in cells if cell["value"] is not None},
                        )
            except _DAMAGED:
                yield shown + 1, Broken("not_xlsx", "the file is damaged from here on")

    def share(self) -> float:
        """Return how far it is, by the bytes of the sheet, as they are unpacked."""
        if self._source is None:
            return 0.0
        size = self._book._archive.getinfo(self._sheet._worksheet_path).file_size  # as above
        return 1.0 if self._source.closed else min(1.0, self._source.tell() / max(1, size))

    def __enter__(self) -> "ExcelSheet":
        return self

    def __exit__(self, *_: object) -> None:
        self._book.close()


class _Cells(WorkSheetParser):  # type: ignore[misc]  # openpyxl has no types
    """Cells whose value is a text, a number, a time, or `Broken`."""

    def __init__(self, source: Any, sheet: ReadOnlyWorksheet, stale: bool) -> None:
        """`stale`: the book asks to be computed when it is opened; who could not compute it left zeros."""
        book = sheet.parent
        eastern = {place for place, style in enumerate(book._cell_styles) if style.numFmtId in _EASTERN}
        super().__init__(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats | eastern,
            timedelta_formats=book._timedelta_formats,
        )
        self._stale = stale
        self._shown = _shown_as(book)

    def parse_cell(self, element: Element) -> dict[str, Any]:
        """Read a cell as `openpyxl` does, and what it leaves out."""
        try:
            cell: dict[str, Any] = super().parse_cell(element)
        except (ValueError, IndexError, TypeError) as error:
            return {
                "column": self.col_counter,
                "value": Broken("cell_error", f"cannot be read: {type(error).__name__}"),
            }
        value, kind = cell["value"], cell["data_type"]
        if element.find(FORMULA_TAG) is not None and self._is_missing(element, value, kind):
            cell["value"] = _NOT_COMPUTED
        elif kind == "e" and value is not None:
            cell["value"] = Broken("cell_error", value)
        elif type(value) is str:
            cell["value"] = _text(value)
        elif kind == "n" and value is not None and abs(value) >= _DIGITS_MAX:
            # as the spreadsheet shows it: no digits that are not there
            cell["value"] = f"{float(value):.15G}"
        elif (shown := self._shown.get(cell["style_id"])) is not None and value is not None:
            cell["value"] = shown(value)
        return cell

    def _is_missing(self, element: Element, value: Any, kind: str) -> bool:
        if value is None:
            return kind != "str" or element.find(VALUE_TAG) is None  # a text may be empty
        return self._stale and kind == "n" and value == 0


def _shown_as(book: Workbook) -> dict[int, Callable[[Any], Any]]:
    """By style, where the format of a number says what it is: what the same table holds as CSV, saved by the
    same program."""
    found: dict[int, Callable[[Any], Any]] = {}
    for place, style in enumerate(book._cell_styles):
        number = style.numFmtId
        own = number - BUILTIN_FORMATS_MAX_SIZE
        code = (
            book._number_formats[own]
            if 0 <= own < len(book._number_formats)
            else BUILTIN_FORMATS.get(number, "General")
        )
        plain = _NO_CODE.sub("", code)
        if _ZEROS.fullmatch(plain):
            found[place] = partial(_with_zeros, len(plain))
        elif "%" in plain:
            found[place] = _percent
        elif number in _EASTERN - _EASTERN_TIMES or (
            place in book._date_formats and not set("hHsS") & set(plain)
        ):
            found[place] = _day
    return found


def _with_zeros(width: int, value: Any) -> Any:
    """A number that is a code, such as 0044 under the format `0000`."""
    return str(value).zfill(width) if type(value) is int and value >= 0 else value


def _percent(value: Any) -> Any:
    """12.5 for 12.5 %, as everywhere."""
    return float(f"{value * 100:.15G}") if type(value) in (int, float) else value


def _day(value: Any) -> Any:
    return value.date() if type(value) is datetime and value.time() == time() else value


def _is_strict(path: Path) -> bool:
    """Whether it was saved in the form of ISO 29500 Strict, which has names of its own for everything:
    `openpyxl` finds no sheets."""
    with ZipFile(path) as archive:
        return _STRICT in archive.read("xl/workbook.xml")


def _text(value: str) -> str | Broken:
    if "_x" in value:
        value = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value)
        # halves of a pair may stand one by one
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return cell_of(value) if value[:1] in MARKS else value
