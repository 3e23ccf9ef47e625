"""Text files of rows: which encoding they have, and the records of a CSV file (RFC 4180, strictly).

A quote that is opened and never meant makes one cell of many lines, and what follows it another customer's.
Such a record is `Broken` and says which lines it took.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import BinaryIO, Final, TextIO

from connectors.files.cells import Broken

LINE_MAX: Final = 1 << 20  # bytes of a line that is looked at
_CHUNK: Final = 1 << 20
GUESSES: Final = {"gb18030": "GB 18030", "cp1252": "Windows-1252"}  # what is no UTF-8
_DELIMITERS: Final = ",;\t|"
# A first line by which Excel is told; who fills lines up to the number of columns puts separators behind it.
_SEPARATOR: Final = re.compile(r'"?sep=([^\r\n])"?[,;\t| ]*[\r\n]*', re.IGNORECASE)
_LOOKED_AT: Final = 12  # lines below the first that may say what separates cells, where it is a title
_RUN: Final = re.compile(rb"[\x80-\xff]+")
_QUOTED: Final = re.compile(r'"[^"]*"')
_BYTE_ORDERS: Final = (  # the longer ones first: one begins with another
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

Records = Iterator[tuple[int, list[str] | Broken]]


def looked_through(file: BinaryIO, lines: bool) -> tuple[str, str]:
    """Return the hash of the bytes, and their encoding, where lines are looked at: by its mark, else UTF-8
    unless most lines with other letters than ASCII are none. A few bad ones do not make it another
    encoding. Then it is GB 18030, where a letter takes two bytes, unless most such bytes stand alone
    among ASCII, as ü and é do: Windows-1252, which Excel writes in the west."""
    hashed, foreign, bad = blake2b(digest_size=12), 0, 0
    runs = alone = 0
    marked: str | None = None
    at_start = True
    while part := file.readline(LINE_MAX) if lines else file.read(_CHUNK):
        hashed.update(part)
        if at_start:
            marked, at_start = (
                next((name for mark, name in _BYTE_ORDERS if part.startswith(mark)), None),
                False,
            )
        if lines and not part.isascii():
            foreign += 1
            if not _is_utf8(part):
                bad += 1
                found = _RUN.findall(part)
                runs += len(found)
                alone += sum(len(run) == 1 for run in found)
    if marked or bad * 2 <= foreign:
        return hashed.hexdigest(), marked or "utf-8-sig"
    return hashed.hexdigest(), "cp1252" if alone * 2 > runs else "gb18030"


def records(text: TextIO, quoted: bool = True, skip_blanks: bool = False) -> Records:
    """Yield each record with the number that a person sees: the headings, which come first, are 1. `text` is
    open with `newline=""`.

    A record of nothing (an empty line) is left out, but counts. `quoted`: whether a quote at the beginning of
    a cell holds it together; `skip_blanks`: whether blanks before a cell are none of it.
    """
    first = text.readline(LINE_MAX)
    told = _SEPARATOR.fullmatch(first)
    if told is None:
        delimiter = _delimiter([first, *(text.readline(LINE_MAX) for _ in range(_LOOKED_AT))])
        text.seek(0)
    else:
        delimiter = told[1]
    lines = _Lines(text)
    quoting: Final = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(
        lines, delimiter=delimiter, strict=True, quoting=quoting, skipinitialspace=skip_blanks
    )
    before, number, width = int(told is not None), 0, 0
    while True:
        lines.seen.clear()
        line, number = before + reader.line_num + 1, number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield (
                number,
                _swallowed(line, lines.seen)
                if len(lines.seen) > 1
                else Broken("not_csv", f"line {line}: {error}"),
            )
            number += len(lines.seen) - 1
            continue
        if width and len(lines.seen) > 1 and _are_records(lines.seen, delimiter, width):
            yield number, _swallowed(line, lines.seen)
            number += len(lines.seen) - 1
            continue
        width = width if width > 1 else len(cells)  # a title of one cell may stand above the headings
        if cells:
            yield number, cells


def _delimiter(lines: list[str]) -> str:
    """The commonest of the first line; where that has none and is a title, of the first line below from which
    on most have it."""
    bare = [line for line in (_QUOTED.sub("", line) for line in lines) if line.strip()]
    for at, line in enumerate(bare):
        found = max(_DELIMITERS, key=line.count)
        if found in line:
            below = bare[at + 1 :]
            if at == 0 or (line.count(found) > 1 and 2 * sum(found in other for other in below) > len(below)):
                return found
            break
    return _DELIMITERS[0]


class _Lines:
    """Remembers the lines of the record that is being read."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.seen: list[str] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self.seen.append(line)
        return line


def _are_records(lines: list[str], delimiter: str, width: int) -> bool:
    """Whether lines that quotes make one record of are each one by themselves: the first and the last both
    have all columns, and most of their cells are alike. (A text of several lines may have as many commas by
    chance.)"""
    first, last = (_QUOTED.sub("", line).split(delimiter) for line in (lines[0], lines[-1]))
    if not len(first) == len(last) == width:
        return False
    return 2 * sum(_look(one) == _look(other) for one, other in zip(first, last, strict=True)) > width


def _look(cell: str) -> tuple[bool, bool, bool]:
    """Whether it has letters, digits, an @."""
    return any(map(str.isalpha, cell)), any(map(str.isdigit, cell)), "@" in cell


def _swallowed(line: int, lines: list[str]) -> Broken:
    last = line + len(lines) - 1
    told = f"a quote that opens in line {line} swallows lines {line} to {last}"
    return Broken("quote", f"{told}: mend it, or say --quote none where quotes are plain letters")


def _is_utf8(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError:
        return False
    return True
