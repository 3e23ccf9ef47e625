"""Rows of real files of each kind; what is broken in them is told in its place, and the rest is read."""

import datetime
from pathlib import Path
from typing import Any

import fastavro
import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from connectors.files.cells import Broken
from connectors.files.table_rows import TableFile
from schemas.errors import ConfigError

ROWS: list[dict[str, Any]] = [{"user": f"u{n}", "城市": "深圳", "n": n} for n in range(2_500)]


def csv_of(path: Path, encoding: str = "utf-8", delimiter: str = ",") -> None:
    lines = [delimiter.join(("user", "城市", "n")), *(delimiter.join(map(str, row.values())) for row in ROWS)]
    path.write_bytes("\r\n".join(lines).encode(encoding))


def excel_of(path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for values in (ROWS[0].keys(), *(row.values() for row in ROWS)):
        sheet.append(list(values))
    book.create_sheet("other").append(["x"])
    book.save(path)


def avro_of(path: Path) -> None:
    fields = [
        {"name": name, "type": kind} for name, kind in (("user", "string"), ("city", "string"), ("n", "long"))
    ]
    with path.open("wb") as file:
        records = [{"user": row["user"], "city": row["城市"], "n": row["n"]} for row in ROWS]
        fastavro.writer(
            file, fastavro.parse_schema({"type": "record", "name": "Row", "fields": fields}), records
        )


def found(path: Path, **options: Any) -> list[tuple[int, Any]]:
    table = TableFile(path, **options)
    rows = list(table.rows())
    assert table.progress() <= 1
    return rows


@pytest.mark.parametrize(
    ("encoding", "delimiter", "guessed"),
    [("utf-8", ",", False), ("utf-8-sig", ";", False), ("gb18030", "\t", True), ("gbk", "|", True)],
)
def test_csv_in_its_encodings_and_delimiters(
    tmp_path: Path, encoding: str, delimiter: str, guessed: bool
) -> None:
    path = tmp_path / "rows.csv"
    csv_of(path, encoding, delimiter)
    rows = found(path)
    assert [number for number, _ in rows] == list(range(2, 2_502))
    assert [row for _, row in rows] == [{name: str(value) for name, value in row.items()} for row in ROWS]
    assert TableFile(path).guessed is guessed


def test_excel(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    excel_of(path)
    assert found(path) == list(enumerate(ROWS, 2))
    assert found(path, sheet="other") == []
    with pytest.raises(ConfigError, match="no sheet 'gone', but Sheet, other"):
        found(path, sheet="gone")


def test_avro_with_the_newest_logical_types(tmp_path: Path) -> None:
    fields = [
        {"name": name, "type": {"type": "long", "logicalType": name}}
        for name in ("timestamp-nanos", "local-timestamp-nanos")
    ]
    schema = {
        "type": "record",
        "name": "Row",
        "fields": [{**field, "name": f"n{at}"} for at, field in enumerate(fields)],
    }
    with (tmp_path / "rows.avro").open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), [{"n0": 1, "n1": 1}])
    assert found(tmp_path / "rows.avro") == [
        (1, {"n0": "1970-01-01T00:00:00.000000001Z", "n1": "1970-01-01T00:00:00.000000001"})
    ]


def test_avro_and_parquet(tmp_path: Path) -> None:
    avro_of(tmp_path / "rows.avro")
    assert [(number, row["n"]) for number, row in found(tmp_path / "rows.avro")] == [
        (n + 1, n) for n in range(2_500)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    assert found(tmp_path / "rows.parquet") == list(enumerate(ROWS, 1))


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"a": 1}\n\n[1]\n{"a": \n{"a": "' + b"x" * (1 << 20) + b'"}\n{"a": {"b": [2]}}'
    )
    rows = found(path)
    assert [(number, row.reason if isinstance(row, Broken) else row) for number, row in rows] == [
        (1, {"a": 1}),
        (3, "not_an_object"),
        (4, "not_json"),
        (5, "too_large"),
        (6, {"a": {"b": [2]}}),
    ]


def test_broken_rows_of_a_csv_are_told_and_the_next_ones_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    huge = b"x" * 200_000
    path.write_bytes(
        "a,b\n1,2\n3\n\n中,文\n".encode()
        + b"5,\xff\xfe\n"
        + huge
        + b',1\n7,8,9\n"x\ny",0\n'.replace(b"huge", huge)
    )
    rows = found(path)
    assert [row.reason if isinstance(row, Broken) else row["a"] for _, row in rows] == [
        *("1", "columns", "中", "encoding", "not_csv", "columns", "x\ny")
    ]
    assert not TableFile(path).guessed  # one bad row does not make it another encoding


def test_damaged_files_say_so(tmp_path: Path) -> None:
    for suffix in (".xlsx", ".avro", ".parquet"):
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(b"this is not what it says")
        with pytest.raises(ConfigError, match="bad"):
            found(path)
    avro_of(tmp_path / "cut.avro")
    whole = (tmp_path / "cut.avro").read_bytes()
    (tmp_path / "cut.avro").write_bytes(whole[: len(whole) // 2])
    rows = found(tmp_path / "cut.avro")
    assert isinstance(rows[-1][1], Broken)
    assert all(isinstance(row, dict) for _, row in rows[:-1])


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no headings"), ("a,a\n1,2", "more than one column 'a'"), (" , \n1,2", "no headings")],
)
def test_headings_must_name_the_columns(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ConfigError, match=words):
        found(tmp_path / "rows.csv")


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.doc").write_text("")
    with pytest.raises(ConfigError, match=r"\.csv, \.tsv, \.txt, \.xlsx"):
        TableFile(tmp_path / "rows.doc")


def test_excel_cells_keep_their_types_and_errors_are_told(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for line in (["a", "b"], [datetime.date(1990, 3, 7), 13800138000], ["#N/A", 1], [None, None], ["x", 1.5]):
        book.active.append(line)
    book.save(tmp_path / "rows.xlsx")
    assert found(tmp_path / "rows.xlsx") == [
        (2, {"a": datetime.date(1990, 3, 7), "b": 13800138000}),
        (3, {"a": Broken("cell_error", "#N/A"), "b": 1}),
        (5, {"a": "x", "b": 1.5}),
    ]
