"""Where a table begins and ends in its file: titles above, totals and notes below, and customers who only
look like them."""

from pathlib import Path
from typing import Any

import openpyxl
import pytest

from connectors.files.cells import Broken
from connectors.files.shape import FOOTER
from connectors.files.table_rows import TableFile


def found(folder: Path, *lines: str, between: str = ",") -> tuple[int, list[tuple[int, Any]]]:
    """The row of the headings, and what is below, by its first cell."""
    path = folder / "rows.csv"
    path.write_text("\n".join(line.replace(",", between) for line in lines))
    table = TableFile(path)
    rows = [
        (number, row if isinstance(row, Broken) else next(iter(row.values()))) for number, row in table.rows()
    ]
    return table.heading_row, rows


@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize(
    "title", [["Customers"], ["Customers", ""], ["Customers,,", ",,"], ["As of 2026-01-31", "", "by Ann,,"]]
)
def test_titles_are_left_out(tmp_path: Path, title: list[str], between: str) -> None:
    at = len(title) + 1
    expected = at, [(at + 1, "u1"), (at + 2, "u2"), (at + 3, "u3")]
    assert (
        found(tmp_path, *title, "id,name,phone", "u1,Ann,1", "u2,Bob,2", "u3,Cat,3", between=between)
        == expected
    )


@pytest.mark.parametrize("word", ["Total", "合计", "总计：", "Summe", "Gesamtsumme", "Grand Total:", "TOTAL"])
def test_a_total_at_the_end_is_no_customer(tmp_path: Path, word: str) -> None:
    _, rows = found(tmp_path, "id,name,paid", "u1,Ann,10", "u2,Bob,5", f"{word},,¥15.00")
    assert rows == [(2, "u1"), (3, "u2"), (4, FOOTER)]


def test_notes_below_an_empty_row_are_no_customers(tmp_path: Path) -> None:
    _, rows = found(
        tmp_path, "id,name,paid", "u1,Ann,10", "", "Total,,10", "", "Copyright by Acme", "Confidential,,"
    )
    assert rows == [(2, "u1"), (4, FOOTER), (6, FOOTER), (7, FOOTER)]


@pytest.mark.parametrize(
    "line",
    [
        "Total,,10",  # a customer of that name, since others follow
        ",,10",
        "u9,,",
    ],
)
def test_what_others_follow_is_a_row(tmp_path: Path, line: str) -> None:
    _, rows = found(tmp_path, "id,name,paid", "u1,Ann,10", "", line, "u2,Bob,5")
    assert [number for number, row in rows if row != FOOTER] == [2, 4, 5]


@pytest.mark.parametrize("line", ["Total,France,10", "Total,SA,", "Totally Fine,,10", "u2,,"])
def test_a_customer_in_the_last_row_is_a_row(tmp_path: Path, line: str) -> None:
    _, rows = found(tmp_path, "id,name,paid", "u1,Ann,10", line)
    assert [number for number, _ in rows if not isinstance(_, Broken)] == [2, 3]


def test_narrow_tables_have_no_titles(tmp_path: Path) -> None:
    assert found(tmp_path, "id", "u1", "u2") == (1, [(2, "u1"), (3, "u2")])
    path = tmp_path / "rows.xlsx"
    book = openpyxl.Workbook()
    for line in (["id"], ["u1", "a note"], ["u2"]):
        book.active.append(line)
    book.save(path)
    table = TableFile(path)
    assert list(table.rows()) == [(2, {"id": "u1"}), (3, {"id": "u2"})]


def test_few_headings_above_many_columns_are_headings(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    book = openpyxl.Workbook()
    for line in (["id", "name"], ["u1", "Ann", "x", "y", 1], ["u2", "Bob", "x", "y", 2]):
        book.active.append(line)
    book.save(path)
    table = TableFile(path)
    assert list(table.rows()) == [(2, {"id": "u1", "name": "Ann"}), (3, {"id": "u2", "name": "Bob"})]


def test_empty_cells_behind_the_last_heading_are_none(tmp_path: Path) -> None:
    _, rows = found(tmp_path, "id,name,paid", "u1,Ann,10,,", ",,,,", "u2,Bob,5,x")
    assert [number for number, row in rows if not isinstance(row, Broken)] == [2]
    assert rows[-1] == (4, Broken("columns", "expected 3 columns, got 4"))
