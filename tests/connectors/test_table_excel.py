"""Sheets as other programs than ours write them: ranges that are not true, errors, formulas, escapes, long
numbers."""

import datetime
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.chart import BarChart, Reference

from connectors.files.cells import Broken
from connectors.files.table_rows import TableFile
from schemas.errors import ConfigError

SHEET = "xl/worksheets/sheet1.xml"


def book_of(path: Path, *lines: list[Any]) -> None:
    book = openpyxl.Workbook()
    for line in lines:
        book.active.append(line)
    book.save(path)


def rewritten(path: Path, change: Callable[[str], str], member: str = SHEET) -> None:
    """Change one part of the file, as another program would have written it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[member] = change(parts[member].decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def cell_written(path: Path, place: str, xml: str) -> None:
    """Put `xml` in the place of a cell."""

    def change(sheet: str) -> str:
        changed, n = re.subn(rf'<c r="{place}"[^>]*?(/>|>.*?</c>)', lambda _: xml, sheet)
        assert n == 1
        return changed

    rewritten(path, change)


def found(path: Path, sheet: str | None = None) -> list[tuple[int, Any]]:
    return list(TableFile(path, sheet).rows())


@pytest.mark.parametrize("stated", ["A1", "A1:B2", "A1:D3", "A1:XFD1048576", None])
def test_the_range_that_a_sheet_states_need_not_be_true(tmp_path: Path, stated: str | None) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id", "name", "phone"], *([f"u{n}", "Ann", 13800138000 + n] for n in range(5)))
    tag = "" if stated is None else f'<dimension ref="{stated}"/>'
    rewritten(path, lambda sheet: re.sub(r"<dimension [^>]*/>", tag, sheet))
    assert found(path) == [
        (n + 2, {"id": f"u{n}", "name": "Ann", "phone": 13800138000 + n}) for n in range(5)
    ]


def test_rows_keep_the_numbers_that_a_person_sees(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id", "", "name"], ["u1"], [None, None, None], ["u2", "beside", "Ann", "a note"])
    rewritten(path, lambda sheet: sheet.replace('r="4"', 'r="900000"').replace('4"', '900000"'))
    assert found(path) == [(2, {"id": "u1", "name": None}), (900_000, {"id": "u2", "name": "Ann"})]


def test_cells_without_their_places_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id", "name"], ["u1", "Ann"])
    rewritten(path, lambda sheet: re.sub(r'(<(?:c|row)) r="[A-Z0-9]+"', r"\1", sheet))
    assert found(path) == [(2, {"id": "u1", "name": "Ann"})]


@pytest.mark.parametrize("error", ["#SPILL!", "#CALC!", "#FIELD!", "#BUSY!", "#N/A", "#NEW_IN_2030!"])
def test_an_error_is_no_value_and_spoils_its_cell_alone(tmp_path: Path, error: str) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id", "name"], ["u1", 7], ["u2", "Ann"])
    cell_written(path, "B2", f'<c r="B2" t="e"><v>{error}</v></c>')
    assert found(path) == [
        (2, {"id": "u1", "name": Broken("cell_error", error)}),
        (3, {"id": "u2", "name": "Ann"}),
    ]


@pytest.mark.parametrize("error", ["#SPILL!", "#N/A", "Err:502"])
def test_the_text_of_an_error_is_one_too(tmp_path: Path, error: str) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id"], ["u1"])
    cell_written(path, "A2", f'<c r="A2" t="inlineStr"><is><t>{error}</t></is></c>')
    assert found(path) == [(2, {"id": Broken("cell_error", error)})]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('<c r="A2"><f>1+1</f><v>2</v></c>', 2),
        ('<c r="A2" t="str"><f>"u"&amp;1</f><v>u1</v></c>', "u1"),
        ('<c r="A2"><f>1+1</f></c>', "not_computed"),
        ('<c r="A2"><f>1+1</f><v/></c>', "not_computed"),
        ('<c r="A2" t="str"><f>A1</f></c>', "not_computed"),
        ('<c r="A2" t="str"><f>""</f><v></v></c>', None),
        ('<c r="A2" t="e"><f>1/0</f><v>#DIV/0!</v></c>', "cell_error"),
        ('<c r="A2" t="b"><v>perhaps</v></c>', "cell_error"),
        ('<c r="A2" t="s"><v>999</v></c>', "cell_error"),
    ],
)
def test_a_formula_is_its_value_or_says_that_it_has_none(tmp_path: Path, written: str, said: Any) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id", "name"], ["u1", "Ann"])
    rewritten(
        path, lambda book: re.sub(r"<calcPr [^>]*/>", '<calcPr calcId="191029"/>', book), "xl/workbook.xml"
    )
    cell_written(path, "A2", written)
    ((number, row),) = found(path)
    value = row["id"].reason if isinstance(row["id"], Broken) else row["id"]
    assert (number, value, row["name"]) == (2, said, "Ann")


def test_a_zero_in_a_book_that_is_to_be_computed_first_is_no_value(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["a", "b", "c"], [1, 2, 0])
    assert b'fullCalcOnLoad="1"' in zipfile.ZipFile(path).read("xl/workbook.xml")
    cell_written(path, "A2", '<c r="A2"><f>1+1</f><v>0</v></c>')
    cell_written(path, "B2", '<c r="B2"><f>1+1</f><v>2</v></c>')
    ((_, row),) = found(path)
    assert row["a"].reason == "not_computed"
    assert (row["b"], row["c"]) == (2, 0)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Main St 5_x000D_\nBerlin", "Main St 5\r\nBerlin"),
        ("a_x0009_b", "a\tb"),
        ("_x005F_x000D_", "_x000D_"),
        ("_xD83D__xDE00_", "😀"),
        ("_xD83D_", "\ufffd"),
        ("a_x000_b", "a_x000_b"),
        ("'0044", "0044"),
    ],
)
def test_escapes_of_characters_are_read(tmp_path: Path, written: str, meant: str) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id", "note_x000D_"], ["u1", written])
    assert found(path) == [(2, {"id": "u1", "note": meant})]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("8.80012345678901E+15", "8.80012345678901E+15"),
        ("8800123456789012", "8.80012345678901E+15"),
        ("440305199003071234", "4.40305199003071E+17"),
        ("880012345678901", 880_012_345_678_901),
        ("13800138000", 13_800_138_000),
    ],
)
def test_digits_beyond_those_that_a_cell_holds_are_not_made_up(
    tmp_path: Path, written: str, read: Any
) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id"], [1])
    cell_written(path, "A2", f'<c r="A2"><v>{written}</v></c>')
    assert found(path) == [(2, {"id": read})]


def test_a_chart_is_no_table(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["n"])
    book.active.append([1])
    chart = BarChart()
    chart.add_data(Reference(book.active, min_col=1, min_row=1, max_row=2))
    book.create_chartsheet("Chart1").add_chart(chart)
    book.save(tmp_path / "rows.xlsx")
    with pytest.raises(ConfigError, match="no rows in 'Chart1', which is a chart, but Sheet"):
        found(tmp_path / "rows.xlsx", "Chart1")
    assert found(tmp_path / "rows.xlsx") == [(2, {"n": 1})]
    lost = "xl/chartsheets/_rels/sheet1.xml.rels"
    with (
        zipfile.ZipFile(tmp_path / "rows.xlsx") as whole,
        zipfile.ZipFile(tmp_path / "part.xlsx", "w") as part,
    ):
        for name in whole.namelist():
            if name != lost:
                part.writestr(name, whole.read(name))
    with pytest.raises(ConfigError, match=r"part\.xlsx is no Excel file, or not a whole one"):
        found(tmp_path / "part.xlsx")


def test_what_is_read_before_the_damage_holds(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["n"], *([n] for n in range(50)))
    rewritten(path, lambda sheet: sheet[: sheet.index('<row r="40"') + 30])
    rows = found(path)
    assert rows[:-1] == [(n + 2, {"n": n}) for n in range(38)]
    assert rows[-1] == (40, Broken("not_xlsx", "the file is damaged from here on"))


def test_progress_is_that_of_the_bytes_whatever_the_range_says(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["n"], *([n] for n in range(20_000)))
    rewritten(path, lambda sheet: re.sub(r"<dimension [^>]*/>", '<dimension ref="A1"/>', sheet))
    table = TableFile(path)
    shares = [table.progress() for _ in table.rows()]
    assert shares == sorted(shares)
    assert shares[100] < 0.5 < shares[-1]
    assert table.progress() == 1


def test_an_error_is_no_heading(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id", "a", "b", "name"], ["u1", 1, 2, "Ann"])
    for place in ("B1", "C1"):
        cell_written(path, place, f'<c r="{place}" t="e"><v>#REF!</v></c>')
    assert found(path) == [(2, {"id": "u1", "name": "Ann"})]


def test_the_strict_form_of_a_workbook_is_told_from_one_without_sheets(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id"], ["u1"])
    usual, strict = "http://schemas.openxmlformats.org/", "http://purl.oclc.org/ooxml/"
    names = {
        f"{usual}spreadsheetml/2006/": f"{strict}spreadsheetml/",
        f"{usual}officeDocument/2006/": f"{strict}officeDocument/",
    }
    for member in ("_rels/.rels", "xl/workbook.xml", "xl/_rels/workbook.xml.rels", SHEET):
        for ours, theirs in names.items():
            rewritten(path, lambda part, ours=ours, theirs=theirs: part.replace(ours, theirs), member)
    with pytest.raises(ConfigError, match="is a Strict Open XML workbook: save it as"):
        found(path)


@pytest.mark.parametrize(
    ("value", "form", "meant"),
    [
        (0.125, "0.0%", 12.5),
        (0.07, "0%", 7.0),
        (44, "0000", "0044"),
        (44, '"Nr. "0000', "0044"),
        (44, "0", 44),
        (44, "#,##0.00", 44),
        (32938, "yyyy-mm-dd", datetime.date(1990, 3, 6)),
        (32938, "yyyy-mm-dd hh:mm", datetime.datetime(1990, 3, 6)),  # noqa: DTZ001  # Excel knows no zones
        (32938, '[$-804]yyyy"年"m"月"d"日"', datetime.date(1990, 3, 6)),
        (32938, "General", 32938),  # nothing says that it is a date
    ],
)
def test_what_a_format_shows_is_what_the_cell_says(tmp_path: Path, value: Any, form: str, meant: Any) -> None:
    path = tmp_path / "rows.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["id"])
    book.active.append([value])
    book.active["A2"].number_format = form
    book.save(path)
    assert found(path) == [(2, {"id": meant})]
    assert type(found(path)[0][1]["id"]) is type(meant)


@pytest.mark.parametrize("built_in", [27, 31, 36, 50, 58])
def test_dates_in_the_built_in_formats_of_chinese_editions_are_dates(tmp_path: Path, built_in: int) -> None:
    path = tmp_path / "rows.xlsx"
    book_of(path, ["id"], [datetime.date(1990, 3, 6)])
    rewritten(path, lambda styles: re.sub(r"<numFmts.*?</numFmts>", "", styles), "xl/styles.xml")
    rewritten(
        path, lambda styles: re.sub(r'numFmtId="(14|164)"', f'numFmtId="{built_in}"', styles), "xl/styles.xml"
    )
    assert found(path) == [(2, {"id": datetime.date(1990, 3, 6)})]


def test_a_hidden_sheet_is_not_the_first(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["list"])
    book.active.sheet_state = "hidden"
    book.create_sheet("b").append(["id"])
    book["b"].append(["u1"])
    book.active = 1
    book.save(path)
    assert found(path) == [(2, {"id": "u1"})]
    assert found(path, "Sheet") == []
