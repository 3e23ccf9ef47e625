"""CSV as Excel, R, pandas and shop systems export it; quotes that nobody meant; encodings by their mark."""

from pathlib import Path
from typing import Any

import pytest

from connectors.files.cells import Broken
from connectors.files.table_rows import TableFile
from schemas.errors import ConfigError


def found(path: Path, body: str | bytes, **options: Any) -> list[tuple[int, Any]]:
    path = path / "rows.csv"
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return list(TableFile(path, **options).rows())


def said(rows: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    return [
        (
            number,
            (row.reason, row.detail.partition(":")[0]) if isinstance(row, Broken) else list(row.values()),
        )
        for number, row in rows
    ]


SWALLOWS = "a quote that opens in line {} swallows lines {} to {}"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # closed by the next stray one: as RFC 4180 has it this is one record of three columns, and Ann has
        # Cat's phone
        (
            ["id,name,phone", '1,"Ann,111', "2,Bob,222", '3,Cat",333', "4,Dan,444"],
            [(2, ("quote", SWALLOWS.format(2, 2, 4))), (5, ["4", "Dan", "444"])],
        ),
        (  # closed by the quote that opens the next quoted cell
            ["id,name,phone", '1,"Ann,111', "2,Bob,222", '3,"Cat",333', "4,Dan,444"],
            [(2, ("quote", SWALLOWS.format(2, 2, 4))), (5, ["4", "Dan", "444"])],
        ),
        (  # in the last column, beside a cell that is quoted for its comma
            ["id,name,phone", '1,"Smith, Ann","111', "2,Bob,222", '3,Cat,333"', "4,Dan,444"],
            [(2, ("quote", SWALLOWS.format(2, 2, 4))), (5, ["4", "Dan", "444"])],
        ),
        (  # never closed
            ["id,name,phone", "1,Ann,111", '2,"Bob,222', "3,Cat,333"],
            [(2, ["1", "Ann", "111"]), (3, ("quote", SWALLOWS.format(3, 3, 4)))],
        ),
        (  # of one column there is no other sign than the lines themselves
            ["id", '"1', '2"', "3"],
            [(2, ("quote", SWALLOWS.format(2, 2, 3))), (4, ["3"])],
        ),
        (  # within one line
            ["id,name", '1,"Ann" Lee', "2,Bob"],
            [(2, ("not_csv", "line 2")), (3, ["2", "Bob"])],
        ),
    ],
)
def test_a_stray_quote_mixes_no_customers(
    tmp_path: Path, end: str, lines: list[str], expected: list[tuple[int, Any]]
) -> None:
    assert said(found(tmp_path, end.join(lines))) == expected


def test_cells_that_are_meant_to_have_several_lines_do(tmp_path: Path) -> None:
    body = 'id,address,note\n1,"Main St 5\nBerlin","said ""yes"", twice"\n2,"a, b\n\nc, d",\n3,5" pipe,x\n'
    assert found(tmp_path, body) == [
        (2, {"id": "1", "address": "Main St 5\nBerlin", "note": 'said "yes", twice'}),
        (3, {"id": "2", "address": "a, b\n\nc, d", "note": ""}),
        (4, {"id": "3", "address": '5" pipe', "note": "x"}),
    ]
    assert found(tmp_path, 'id,note\n1,"Dear Ann\nthanks, Bob"\n') == [
        (2, {"id": "1", "note": "Dear Ann\nthanks, Bob"})
    ]


def test_quotes_may_be_plain_letters(tmp_path: Path) -> None:
    rows = found(tmp_path, 'id,name\n1,"Ann\n2,"Bob" Lee\n3,Cat"\n', quoted=False)
    assert said(rows) == [(2, ["1", '"Ann']), (3, ["2", '"Bob" Lee']), (4, ["3", 'Cat"'])]


def test_headings_that_a_quote_swallows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its headings cannot be read: a quote that opens in line 1"):
        found(tmp_path, 'id,"name\n1,Ann\n')


@pytest.mark.parametrize("first", ["sep=|", "SEP=|", '"sep=|"', "sep=|\r", "sep=|;;", "sep=|  "])
def test_a_first_line_may_name_the_separator(tmp_path: Path, first: str) -> None:
    assert found(tmp_path, f"{first}\nid|a,b,c\n1|x,y\n") == [(2, {"id": "1", "a,b,c": "x,y"})]


def test_the_separator_that_is_named_may_be_a_tab(tmp_path: Path) -> None:
    assert found(tmp_path, "sep=\t\r\nid\tprice\r\n1\t2,5\r\n") == [(2, {"id": "1", "price": "2,5"})]


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp1252", ["Jürgen Groß", "Zoë Müller", "Chloé Lefèvre", "Peña", "Anne"]),
        ("gbk", ["张伟", "李娜", "Jürgen 王芳", "陈静", "Anne"]),
        ("gb18030", ["镕基", "喆", "Chloé 王", "𠮷田", "Anne"]),
    ],
)
def test_what_excel_writes_in_the_west_and_in_china_without_a_mark(
    tmp_path: Path, encoding: str, names: list[str]
) -> None:
    names = [name for name in names if name.encode(encoding, "ignore").decode(encoding) == name]
    assert len(names) > 3
    body = "".join(f"{name};{at}\r\n" for at, name in enumerate(names))
    rows = found(tmp_path, f"name;at\r\n{body}".encode(encoding))
    assert rows == [(at + 2, {"name": name, "at": str(at)}) for at, name in enumerate(names)]


def test_separators_within_quoted_headings_do_not_count(tmp_path: Path) -> None:
    assert found(tmp_path, '"id, or number, or both";name\n1;Ann\n') == [
        (2, {"id, or number, or both": "1", "name": "Ann"})
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_mark_tells_the_encoding(tmp_path: Path, encoding: str, delimiter: str) -> None:
    body = "\r\n".join(delimiter.join(cells) for cells in (("会员", "城市"), ("u1", "深圳"), ("u2", "上海")))
    rows = [(2, {"会员": "u1", "城市": "深圳"}), (3, {"会员": "u2", "城市": "上海"})]
    assert found(tmp_path, body.encode(encoding)) == rows
    if encoding == "utf-16":
        assert found(tmp_path, b"\xfe\xff" + body.encode("utf-16-be")) == rows
    assert not TableFile(tmp_path / "rows.csv").guessed


def test_letters_of_two_bytes_without_a_mark_are_told(tmp_path: Path) -> None:
    body = "id,name\n1,Ann\n".encode("utf-16-le")
    with pytest.raises(ConfigError, match="--encoding utf-16-le"):
        found(tmp_path, body)
    assert found(tmp_path, body, encoding="utf-16-le") == [(2, {"id": "1", "name": "Ann"})]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_json_lines_have_marks_too(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"城市": "深圳\u0a0a"}\n\n[1]\n{"n": 1}'.encode(encoding))
    assert list(TableFile(path).rows()) == [
        (1, {"城市": "深圳\u0a0a"}),
        (3, Broken("not_an_object", "the line is no JSON object")),
        (4, {"n": 1}),
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'440305199003071234", "440305199003071234"),
        ("'44030519900307123X", "44030519900307123X"),
        ("'+86 138 0013 8000", "+86 138 0013 8000"),
        ("'@ann", "@ann"),
        ('="0440305"', "0440305"),
        ('"=""0440305"""', "0440305"),
        ("'t Hooft", "'t Hooft"),
        ("'90s kid", "'90s kid"),
        ("=1+1", "=1+1"),
        ("E-mail", "E-mail"),
        ("#1", "#1"),
        ("#SPILL!", Broken("cell_error", "#SPILL!")),
        ("Err:502", Broken("cell_error", "Err:502")),
    ],
)
def test_forms_by_which_spreadsheets_keep_texts(tmp_path: Path, written: str, meant: Any) -> None:
    assert found(tmp_path, f"id,name\n1,{written}\n") == [(2, {"id": "1", "name": meant})]
