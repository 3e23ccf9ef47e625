"""Rows of a file, one after the other in bounded memory: CSV, Excel, JSON lines, Avro, Parquet.

A row that cannot be read is a `Broken` in its place, and the next one follows. Row numbers are those that a person sees: in CSV and
Excel the headings are row 1, of JSON lines the line counts, in Avro and Parquet the first record is 1.

The libraries for Excel, Avro and Parquet are imported with the first such file.
"""

import csv
import io
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from schemas.errors import ConfigError

SUFFIXES: Final = (".csv", ".xlsx", ".jsonl", ".avro", ".parquet")
LINE_MAX: Final = 1 << 20  # bytes of a line that is looked at
BATCH_ROWS: Final = 1_000
_CHUNK: Final = 1 << 20
_DELIMITERS: Final = ",;\t|"
_CELL_ERRORS: Final = ("#N/A", "#VALUE!", "#REF!", "#DIV/0!", "#NUM!", "#NAME?", "#NULL!")
_json = msgspec.json.Decoder().decode

Row = dict[str, Any]


class Broken(msgspec.Struct, frozen=True):
    """A row that cannot be read: a stable reason, and words without the row's data."""

    reason: str
    detail: str = ""


Rows = Iterator[tuple[int, Row | Broken]]


class TableFile:
    """One file. `rows()` may be iterated once; `progress()` says meanwhile how much of it is read, from 0 to 1.

    `encoding` of a text file: UTF-8, unless most lines with other letters than ASCII are none: then GB 18030 (`guessed` is true).
    """

    def __init__(self, path: Path, sheet: str | None = None, encoding: str | None = None) -> None:
        """Raises `ConfigError` for a kind of file that we do not know; `OSError`."""
        self.path = path
        self.kind = path.suffix.lower()
        if self.kind not in SUFFIXES:
            raise ConfigError(f"{path.name}: expected a file that ends in {', '.join(SUFFIXES)}")
        self._sheet = sheet
        self._size = max(1, path.stat().st_size)
        self._file: BinaryIO | None = None
        self._share = 0.0
        self.digest, utf8 = _looked_through(path, self.kind in (".csv", ".jsonl") and encoding is None)
        self.encoding = encoding or ("utf-8-sig" if utf8 else "gb18030")
        self.guessed = not utf8

    def progress(self) -> float:
        return min(1.0, self._file.tell() / self._size) if self._file is not None and not self._file.closed else self._share

    def rows(self) -> Rows:
        """Raises `ConfigError` where the file as a whole is not of its kind."""
        match self.kind:
            case ".csv":
                return self._csv()
            case ".jsonl":
                return self._json_lines()
            case ".xlsx":
                return self._excel()
            case ".avro":
                return self._avro()
            case _:
                return self._parquet()

    def _csv(self) -> Rows:
        with self.path.open("rb") as self._file:
            try:
                text = io.TextIOWrapper(self._file, self.encoding, errors="surrogateescape", newline="")
            except LookupError:
                raise ConfigError(f"{self.encoding!r} is no encoding that Python knows") from None
            first = text.readline(LINE_MAX)
            delimiter = max(_DELIMITERS, key=first.count)
            text.seek(0)
            reader = csv.reader(text, delimiter=delimiter)
            headings = self._headings(next(reader, []))
            number = 1
            while True:
                number += 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield number, Broken("not_csv", str(error))
                    continue
                if len(cells) != len(headings):
                    if not cells:  # an empty line
                        continue
                    yield number, Broken("columns", f"expected {len(headings)} columns, got {len(cells)}")
                elif not _decoded("".join(cells)):
                    yield number, Broken("encoding", f"not {self.encoding}")
                else:
                    yield number, dict(zip(headings, cells, strict=True))

    def _json_lines(self) -> Rows:
        with self.path.open("rb") as self._file:
            number, whole = 0, True
            while line := self._file.readline(LINE_MAX):
                number += whole
                was_whole, whole = whole, line.endswith(b"\n")
                if not was_whole:  # the rest of a line that was too long
                    continue
                if not whole and len(line) == LINE_MAX:
                    yield number, Broken("too_large", f"the line has more than {LINE_MAX:,} bytes")
                elif line.strip():
                    yield number, _object(line, self.encoding)

    def _excel(self) -> Rows:
        from zipfile import BadZipFile

        from openpyxl import load_workbook

        try:
            book = load_workbook(self.path, read_only=True, data_only=True)
        except (BadZipFile, KeyError, ValueError) as error:
            raise ConfigError(f"{self.path.name} is no Excel file: {error}") from None
        try:
            if self._sheet is not None and self._sheet not in book.sheetnames:
                raise ConfigError(f"{self.path.name} has no sheet {self._sheet!r}, but {', '.join(book.sheetnames)}")
            sheet = book[self._sheet] if self._sheet is not None else book.worksheets[0]
            lines = sheet.iter_rows(values_only=True)
            headings = self._headings(["" if cell is None else str(cell) for cell in next(lines, ())])
            last = sheet.max_row or 1
            for number, cells in enumerate(lines, 2):
                self._share = min(1.0, number / max(last, number))
                if all(cell is None for cell in cells):
                    continue
                if wrong := next((cell for cell in cells if isinstance(cell, str) and cell in _CELL_ERRORS), None):
                    yield number, Broken("cell_error", wrong)
                else:
                    yield number, dict(zip(headings, cells, strict=False))
        finally:
            book.close()

    def _avro(self) -> Rows:
        import fastavro
        from fastavro.read import SchemaResolutionError

        with self.path.open("rb") as self._file:
            number = 0
            try:
                for number, record in enumerate(fastavro.reader(self._file), 1):
                    yield number, record if isinstance(record, dict) else Broken("not_an_object", "the record is no object")
            except (ValueError, EOFError, SchemaResolutionError, IndexError, KeyError, UnicodeDecodeError) as error:
                if number == 0:
                    raise ConfigError(f"{self.path.name} is no Avro file: {error}") from None
                yield number + 1, Broken("not_avro", "the file is damaged from here on")

    def _parquet(self) -> Rows:
        import pyarrow
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.ParquetFile(self.path, memory_map=True)
        except (pyarrow.ArrowException, OSError) as error:
            raise ConfigError(f"{self.path.name} is no Parquet file: {str(error).splitlines()[0]}") from None
        with table:
            number, total = 0, max(1, table.metadata.num_rows)
            try:
                for batch in table.iter_batches(batch_size=BATCH_ROWS):
                    for record in batch.to_pylist():
                        number += 1
                        yield number, record
                    self._share = number / total
            except (pyarrow.ArrowException, OSError):
                yield number + 1, Broken("not_parquet", "the file is damaged from here on")

    def _headings(self, cells: list[str]) -> list[str]:
        headings = [cell.strip() for cell in cells]
        if not any(headings):
            raise ConfigError(f"{self.path.name} has no headings in its first row")
        named = [heading for heading in headings if heading]
        if twice := sorted({heading for heading in named if named.count(heading) > 1}):
            raise ConfigError(f"{self.path.name} has more than one column {', '.join(map(repr, twice))}")
        return headings


def _object(line: bytes, encoding: str) -> Row | Broken:
    try:
        value = _json(line if encoding.startswith("utf-8") and line[:3] != b"\xef\xbb\xbf" else line.decode(encoding))
    except UnicodeDecodeError:
        return Broken("encoding", f"not {encoding}")
    except (msgspec.DecodeError, RecursionError) as error:
        return Broken("not_json", str(error) if isinstance(error, msgspec.DecodeError) else "nested too deeply")
    return value if isinstance(value, dict) else Broken("not_an_object", "the line is no JSON object")


def _looked_through(path: Path, lines: bool) -> tuple[str, bool]:
    """Hash of the bytes; and whether they are UTF-8, where lines are looked at: a few bad ones do not make it another encoding."""
    hashed, foreign, bad = blake2b(digest_size=12), 0, 0
    with path.open("rb") as file:
        while part := file.readline(LINE_MAX) if lines else file.read(_CHUNK):
            hashed.update(part)
            if lines and not part.isascii():
                foreign += 1
                bad += not _is_utf8(part)
    return hashed.hexdigest(), bad * 2 <= foreign


def _is_utf8(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(text: str) -> bool:
    return text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text)
