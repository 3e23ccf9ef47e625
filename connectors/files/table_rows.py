"""Rows of a file, one after the other in bounded memory: CSV, Excel, JSON lines, Avro, Parquet.

A row that cannot be read is a `Broken` in its place, and the next one follows. Row numbers are those that a
person sees: in CSV and Excel the headings are row 1, of JSON lines the line counts, in Avro and Parquet the
first record is 1.

The libraries for Excel, Avro and Parquet are imported with the first such file.
"""

import codecs
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from connectors.files.cells import MARKS, Broken, Row, cell_of
from connectors.files.csv_files import GUESSES, LINE_MAX, looked_through, records
from connectors.files.shape import shaped
from schemas.errors import ConfigError

SUFFIXES: Final = (".csv", ".tsv", ".txt", ".xlsx", ".jsonl", ".avro", ".parquet")
BATCH_ROWS: Final = 1_000
_CSV: Final = (".csv", ".tsv", ".txt")  # as the last one Excel saves "Unicode text"
_TEXTS: Final = (*_CSV, ".jsonl")
_WIDE: Final = ("utf-16", "utf-32", "utf_16", "utf_32")  # a line's end is not one byte there
_json = msgspec.json.Decoder().decode

Rows = Iterator[tuple[int, Row | Broken]]


class TableFile:
    """One file. `rows()` may be iterated once; `progress()` says meanwhile how much of it is read, from 0 to
    1.

    `columns` are known once `rows()` has begun, where the file names them at all (JSON lines do not). A value
    in a row may be `Broken`: the row holds if nobody needs that one. `encoding` of a text file: by its mark,
    else UTF-8, unless most lines with other letters than ASCII are none: then one of `GUESSES` (and `guessed`
    is true).
    """

    def __init__(
        self,
        path: Path,
        sheet: str | None = None,
        encoding: str | None = None,
        quoted: bool = True,
        kind: str | None = None,
    ) -> None:
        """`kind`: one of `SUFFIXES`, where the name does not say it. `quoted`: whether quotes hold a cell of
        a CSV file together.

        Raises `ConfigError` for a kind of file that we do not know; `OSError`."""
        self.path = path
        self.kind = kind or path.suffix.lower()
        if self.kind not in SUFFIXES:
            raise ConfigError(f"{path.name}: expected a file that ends in {', '.join(SUFFIXES)}")
        self.columns: list[str] | None = None
        self.heading_row = 1  # known with them
        self._sheet = sheet
        self._quoted = quoted
        self._size = max(1, path.stat().st_size)
        self._file: BinaryIO | None = None
        self._share: Callable[[], float] = lambda: 0.0
        with path.open("rb") as file:
            self.digest, found = looked_through(file, self.kind in _TEXTS and encoding is None)
        self.encoding = encoding or found
        self.guessed = encoding is None and found in GUESSES

    @property
    def is_text(self) -> bool:
        """Return whether its cells may be texts that stand for something else, as people type them."""
        return self.kind in _CSV or self.kind == ".xlsx"

    def progress(self) -> float:
        if self._file is None or self._file.closed:
            return self._share()
        return min(1.0, self._file.tell() / self._size)

    def rows(self) -> Rows:
        """Yield the rows. Raises `ConfigError` where the file as a whole is not of its kind."""
        if self.kind in _CSV:
            return self._csv()
        match self.kind:
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
            found = shaped(records(self._text(self._file), self._quoted), list)
            self.heading_row, first = next(found, (1, []))
            if isinstance(first, Broken):
                raise ConfigError(f"{self.path.name}: its headings cannot be read: {first.detail}")
            if any("\0" in cell for cell in first):
                raise ConfigError(
                    f"{self.path.name} has letters of two bytes and no mark that says so: try --encoding"
                    " utf-16-le"
                )
            headings = self._headings(first)
            for number, cells in found:
                if isinstance(cells, Broken):
                    yield number, cells
                    continue
                while len(cells) > len(headings) and not cells[-1]:
                    cells.pop()
                if len(cells) != len(headings):
                    yield number, Broken("columns", f"expected {len(headings)} columns, got {len(cells)}")
                elif not _decoded("".join(cells)):
                    yield number, Broken("encoding", f"not {self.encoding}")
                else:
                    values = [cell_of(cell) if cell[:1] in MARKS else cell for cell in cells]
                    yield number, dict(zip(headings, values, strict=True))

    def _text(self, file: BinaryIO) -> io.TextIOWrapper:
        try:
            return io.TextIOWrapper(file, self.encoding, errors="surrogateescape", newline="")
        except LookupError:
            raise ConfigError(f"{self.encoding!r} is no encoding that Python knows") from None

    def _json_lines(self) -> Rows:
        with self.path.open("rb") as self._file:
            number, whole, encoding = 0, True, self.encoding
            lines: BinaryIO | codecs.StreamRecoder = self._file
            if encoding.lower().startswith(_WIDE):
                lines, encoding = (
                    codecs.EncodedFile(self._file, "utf-8", encoding, "surrogateescape"),
                    "utf-8",
                )
            while line := lines.readline(LINE_MAX):
                number += whole
                was_whole, whole = whole, line.endswith(b"\n")
                if not was_whole:  # the rest of a line that was too long
                    continue
                if not whole and len(line) == LINE_MAX:
                    yield number, Broken("too_large", f"the line has more than {LINE_MAX:,} bytes")
                elif line.strip():
                    yield number, _object(line, encoding)

    def _excel(self) -> Rows:
        from connectors.files.excel_files import ExcelSheet

        with ExcelSheet(self.path, self._sheet) as sheet:
            self._share = sheet.share
            found = shaped(sheet.rows(), _in_columns)
            self.heading_row, top = next(found, (1, dict[int, object]()))
            if isinstance(top, Broken):
                raise ConfigError(f"{self.path.name} is no Excel file: {top.detail}")
            headings = self._headings([_heading(top.get(at)) for at in range(1, max(top, default=0) + 1)])
            named = [(at, heading) for at, heading in enumerate(headings, 1) if heading]
            for number, cells in found:
                if isinstance(cells, Broken):
                    yield number, cells
                else:
                    yield number, {heading: cells.get(at) for at, heading in named}

    def _avro(self) -> Rows:
        import fastavro
        from fastavro.read import SchemaResolutionError

        from connectors.wire import avro_types

        avro_types.install()

        with self.path.open("rb") as self._file:
            number = 0
            try:
                reader = fastavro.reader(self._file)
                schema = reader.writer_schema
                if isinstance(schema, dict):
                    self.columns = [field["name"] for field in schema.get("fields", ())]
                for number, record in enumerate(reader, 1):
                    yield (
                        number,
                        record
                        if isinstance(record, dict)
                        else Broken("not_an_object", "the record is no object"),
                    )
            except (
                ValueError,
                EOFError,
                SchemaResolutionError,
                IndexError,
                KeyError,
                UnicodeDecodeError,
            ) as error:
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
            self.columns = list(table.schema_arrow.names)
            self._share = lambda: number / total
            try:
                for batch in table.iter_batches(batch_size=BATCH_ROWS):
                    for record in batch.to_pylist():
                        number += 1
                        yield number, record
            except (pyarrow.ArrowException, OSError):
                yield number + 1, Broken("not_parquet", "the file is damaged from here on")

    def _headings(self, cells: list[str]) -> list[str]:
        headings = [cell.strip() for cell in cells]
        if not any(headings):
            raise ConfigError(f"{self.path.name} has no headings in its first row with cells")
        named = [heading for heading in headings if heading]
        if twice := sorted({heading for heading in named if named.count(heading) > 1}):
            raise ConfigError(f"{self.path.name} has more than one column {', '.join(map(repr, twice))}")
        self.columns = named
        return headings


def _in_columns(cells: dict[int, object]) -> list[object]:
    return [cells[at] for at in sorted(cells)]


def _heading(cell: object) -> str:
    """A cell that says nothing is no heading: its column is not read."""
    return "" if cell is None or isinstance(cell, Broken) else str(cell)


def _object(line: bytes, encoding: str) -> Row | Broken:
    try:
        value = _json(
            line if encoding.startswith("utf-8") and line[:3] != b"\xef\xbb\xbf" else line.decode(encoding)
        )
    except UnicodeDecodeError:
        return Broken("encoding", f"not {encoding}")
    except (msgspec.DecodeError, RecursionError) as error:
        return Broken(
            "not_json", str(error) if isinstance(error, msgspec.DecodeError) else "nested too deeply"
        )
    return value if isinstance(value, dict) else Broken("not_an_object", "the line is no JSON object")


def _decoded(text: str) -> bool:
    return text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text)
