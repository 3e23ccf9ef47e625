"""Where a table begins and ends within a sheet or a text file: people put titles above it, programs put
totals and notes below it.

A row above the headings is left out. A row below the last one is `Broken("footer")` in its place, so that who
reads the table can say which rows were none.
"""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from connectors.files.cells import Broken

_LOOKED_AT: Final = 12  # rows among which the headings are
# filled cells of the widest of them; in a narrower table nobody can tell a title from a heading
_WIDTH: Final = 3
_FOOT_MAX: Final = 12  # rows; more are no footer
# What the first cell of a row of totals says.
_TOTAL: Final = re.compile(
    r"(?:grand |sub)?totals?|sum|(?:gesamt|zwischen)?summe|gesamt|insgesamt"
    r"|总计|合计|共计|小计|总和|汇总|總計|合計|小計"
    r"|total g[ée]n[ée]ral|somme|totale|suma",
    re.IGNORECASE,
)
_AMOUNT: Final = re.compile(r"[^A-Za-z]{0,3}\s*(?:[A-Za-z]{3})?\s*[^A-Za-z]*\d[^A-Za-z]*(?:[A-Za-z]{3})?")
FOOTER: Final = Broken("footer", "below the table: a total, or a note of the program that wrote the file")

Row = tuple[int, Any]  # its number, and its cells (a list, or values by column) or `Broken`
Cells = Callable[[Any], list[Any]]  # the cells of a row, empty ones too or not


def shaped(rows: Iterator[Row], cells: Cells) -> Iterator[Row]:
    """Yield the headings and the rows below them, with their own numbers; rows of nothing are left out."""
    found = _below_titles(rows, cells)
    head = next(found, None)
    if head is None:
        return
    yield head
    width = 0 if isinstance(head[1], Broken) else len(_filled(cells(head[1])))
    yield from _above_footer(found, cells, width, head[0])


def _below_titles(rows: Iterator[Row], cells: Cells) -> Iterator[Row]:
    """Without the first rows that fill less than half of what others do."""
    first: list[Row] = []
    for row in rows:
        first.append(row)
        if isinstance(row[1], Broken) or len(first) == _LOOKED_AT:
            break
    widths = [0 if isinstance(row, Broken) else len(_filled(cells(row))) for _, row in first]
    widest, titles = max(widths, default=0), 0
    if widest >= _WIDTH:
        titles = next(
            (
                at
                for at, width in enumerate(widths)
                if 2 * width >= widest or isinstance(first[at][1], Broken)
            ),
            0,
        )
        if titles and not _are_headings(first[titles][1], cells):
            titles = 0  # a table of few headings, most of whose columns have none
    return chain(first[titles:], rows)


def _are_headings(row: Any, cells: Cells) -> bool:
    """Whether each cell is a text with a letter in it, as no row of customers is that has a number, a date or
    a phone."""
    return not isinstance(row, Broken) and all(
        isinstance(cell, str) and any(map(str.isalpha, cell)) for cell in _filled(cells(row))
    )


def _above_footer(rows: Iterator[Row], cells: Cells, width: int, last: int) -> Iterator[Row]:
    """Rows that may be a footer are held back until it is known whether the table goes on."""
    held: list[Row] = []
    for number, row in rows:
        filled = [] if isinstance(row, Broken) else _filled(cells(row))
        if not filled and not isinstance(row, Broken):
            continue
        apart, last = number > last + 1, number
        if (
            width >= _WIDTH
            and len(held) < _FOOT_MAX
            and (_is_total(filled, width) or (len(filled) == 1 and (apart or held)))
        ):
            held.append((number, row))
            continue
        yield from held
        held.clear()
        yield number, row
    yield from ((number, FOOTER) for number, _ in held)


def _is_total(filled: list[Any], width: int) -> bool:
    """A word for a total, and then nothing but amounts; not all columns."""
    if (
        not 0 < len(filled) < width
        or not isinstance(filled[0], str)
        or not _TOTAL.fullmatch(filled[0].strip(" \t:：*"))
    ):
        return False
    return all(not isinstance(cell, str) or _AMOUNT.fullmatch(cell.strip()) for cell in filled[1:])


def _filled(cells: list[Any]) -> list[Any]:
    return [cell for cell in cells if cell is not None and not (isinstance(cell, str) and not cell.strip())]
