"""`millrace eval identity` on tables that the test writes."""

import csv
import gzip
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench import registers
from flows.cli import main
from flows.lab.evaluate import matching_trial
from tests.logic.matching.people import people

HEADINGS = {
    "given_name": "First Name",
    "family_name": "surname",
    "date_of_birth": "dob",
    "city": "town",
    "postcode": "zip",
    "email": "e-mail",
}


def write(path: Path, customers: int = 120, seed: int = 3) -> Path:
    rows, truth = people(seed, customers)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rec_id", *HEADINGS.values(), "cluster"])
        for number, (row, customer) in enumerate(zip(rows, truth, strict=True)):
            writer.writerow([f"r{number}", *(row.get(field, "") for field in HEADINGS), customer])
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millrace", "eval", "identity", *map(str, arguments)])
        code = main.main()
        out, err = capsys.readouterr()
        return code, out, err

    return called


def test_the_figures_have_the_shape_that_was_promised(run: Any, tmp_path: Path) -> None:
    code, out, _ = run(
        write(tmp_path / "people.csv"), "--id", "rec_id", "--truth", "cluster", "--seeds", 1, "--json"
    )
    assert code == 0
    figures = json.loads(out)
    for found in (figures, *figures["at"].values()):
        for kind in ("pairwise", "bcubed"):
            assert set(found[kind]) == {"precision", "recall", "f1"}
    assert list(figures["at"]) == ["25%", "50%", "75%", "100%"]
    assert figures["at"]["100%"]["pairwise"] == figures["pairwise"]
    assert figures["comparisons"] > 0 < figures["seconds"]
    assert figures["pairwise"]["f1"] > 0.9
    assert set(figures["fields"].values()) == set(HEADINGS), "what was guessed"


def test_redis_gives_the_figures_of_the_twin_and_nothing_is_left_there(
    run: Any, tmp_path: Path, redis_url: str
) -> None:
    import redis

    arguments = (
        write(tmp_path / "people.csv"),
        "--id",
        "rec_id",
        "--truth",
        "cluster",
        "--seeds",
        2,
        "--json",
    )
    on_twin, on_redis = (json.loads(run(*arguments, *more)[1]) for more in ((), ("--redis", redis_url)))
    for measured in ("seconds", "microseconds_per_record"):
        del on_twin[measured], on_redis[measured]
    assert on_twin == on_redis
    assert redis.Redis.from_url(redis_url).dbsize() == 0


def test_only_the_mapped_columns_are_compared(run: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "people.csv")
    code, out, _ = run(
        file,
        "--truth",
        "cluster",
        "--map",
        "e-mail=email",
        "--map",
        "surname=family_name",
        "--seeds",
        1,
        "--json",
    )
    assert (code, json.loads(out)["fields"]) == (0, {"e-mail": "email", "surname": "family_name"})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--truth", "nobody"], "no column 'nobody'; the table has rec_id"),
        (["--truth", "cluster", "--id", "nobody"], "no column 'nobody'"),
        (["--truth", "cluster", "--map", "nobody=email"], "no column 'nobody'"),
        (["--truth", "cluster", "--map", "surname"], "expected COLUMN=field"),
        (
            ["--truth", "cluster", "--map", "cluster=national_id"],
            "cluster is --truth, which holds the answer",
        ),
        (
            ["--truth", "cluster", "--id", "rec_id", "--map", "rec_id=national_id"],
            "rec_id is --id, which holds the answer",
        ),
        (["--truth", "cluster", "--map", "surname=famly_name"], "did you mean family_name?"),
        (["--truth", "cluster", "--map", "surname=surname"], "no field is called 'surname'"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(run: Any, tmp_path: Path, more: list[str], says: str) -> None:
    code, out, err = run(write(tmp_path / "people.csv", 5), *more)
    assert (code, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "says"), [("", "no column 'cluster'"), ("a,cluster\n", "no rows"), (None, "cannot be read")]
)
def test_an_empty_or_absent_file_is_said_in_one_line(
    run: Any, tmp_path: Path, content: str | None, says: str
) -> None:
    file = tmp_path / "people.csv"
    if content is not None:
        file.write_text(content)
    code, _, err = run(file, "--truth", "cluster")
    assert code == 1
    assert says in err
    assert err.count("\n") == 1


def test_a_stray_quote_is_said_and_mixes_nobody(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text('name,phone,cluster\n"Ann,111,a\nBob,222,b\nCat",333,c\n')
    code, _, err = run(file, "--truth", "cluster")
    assert code == 1
    assert "row 2 cannot be read: a quote that opens in line 2 swallows lines 2 to 4" in err


def test_tables_that_are_not_utf8(run: Any, tmp_path: Path) -> None:
    rows = [["姓名", "城市", "出生日期", "cluster"]]
    rows += [
        [f"王小{'明红刚丽'[n % 4]}", "深圳" if n % 2 else "上海", f"1990-01-{n % 28 + 1:02d}", f"c{n // 2}"]
        for n in range(40)
    ]
    said = []
    for encoding in ("utf-8", "gbk", "utf-16"):
        (tmp_path / "people.csv").write_text("\n".join(map(",".join, rows)), encoding=encoding)
        code, out, _ = run(tmp_path / "people.csv", "--truth", "cluster", "--seeds", 1, "--json")
        assert code == 0
        said.append(json.loads(out)["fields"])
    assert said[0]
    assert said == said[:1] * 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_packed_tables(run: Any, tmp_path: Path, encoding: str, delimiter: str) -> None:
    plain = write(tmp_path / "people.csv", 30)
    packed = tmp_path / "people.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_text().replace(",", delimiter).encode(encoding)))
    said = [
        json.loads(run(file, "--id", "rec_id", "--truth", "cluster", "--seeds", 1, "--json")[1])
        for file in (plain, packed)
    ]
    assert said[0]["pairwise"] == said[1]["pairwise"]
    assert said[0]["fields"] == said[1]["fields"]


def test_a_broken_archive_is_one_line(run: Any, tmp_path: Path) -> None:
    whole = gzip.compress(write(tmp_path / "people.csv", 30).read_bytes())
    (tmp_path / "half.csv.gz").write_bytes(whole[: len(whole) // 2])
    code, _, err = run(tmp_path / "half.csv.gz", "--truth", "cluster")
    assert (code, err.count("\n")) == (1, 1)
    assert "cannot be unpacked" in err


def test_rows_without_a_truth_are_left_out_and_counted(run: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "people.csv", 60)
    whole = json.loads(run(file, "--id", "rec_id", "--truth", "cluster", "--seeds", 1, "--json")[1])
    with file.open("a") as more:
        more.writelines(
            f"x{n},Ann{n},Unlike{n},19{n:02d}-01-01,Nowhere{n},{n},,{'NA' if n % 2 else ''}\n"
            for n in range(10, 50)
        )
    code, out, _ = run(file, "--id", "rec_id", "--truth", "cluster", "--seeds", 1, "--json")
    found = json.loads(out)
    assert (code, found["rows"], found["left_out"]) == (0, whole["rows"], 40)
    assert found["pairwise"] == whole["pairwise"]
    assert (
        "40 rows without a truth were left out"
        in run(file, "--id", "rec_id", "--truth", "cluster", "--seeds", 1)[1]
    )


def test_a_long_run_says_how_far_it_is(tmp_path: Path) -> None:
    headings, rows = matching_trial.read(write(tmp_path / "people.csv", 60))
    said: list[str] = []
    matching_trial.evaluate(headings, rows, "cluster", ["rec_id"], None, 2, show=said.append)
    assert said[0].startswith("order 1 of 2: row ")
    assert f"order 2 of 2: row {len(rows)} of {len(rows)}" in said


def test_a_table_that_says_of_nobody_who_he_is_is_said_first(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text(
        "ware,town,cluster\n" + "".join(f"wort{n % 3} und,Ort{n % 3},c{n // 2}\n" for n in range(40))
    )
    code, out, _ = run(file, "--truth", "cluster", "--seeds", 1)
    assert (code, out.startswith("no column is known as the customer's own")) == (0, True)
    known = run(file, "--truth", "cluster", "--map", "ware=organisation", "--seeds", 1)[1]
    assert "no column is known" not in known
    assert "compared: ware = organisation" in known


def test_a_heading_in_no_known_language_unites_as_well_as_a_known_one(run: Any, tmp_path: Path) -> None:
    made = [{**row, "name": row["name"].replace(".", "")} for row in registers.rows("organisations", 150, 5)]
    figures = []
    for heading in ("name", "bezeichner"):
        file = tmp_path / f"{heading}.csv"
        with file.open("w", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow([heading if field == "name" else field for field in made[0]])
            writer.writerows(row.values() for row in made)
        figures.append(json.loads(run(file, "--truth", "entity", "--id", "row", "--seeds", 1, "--json")[1]))
    assert figures[1]["pairwise"] == figures[0]["pairwise"]
    assert (figures[0]["warnings"], figures[1]["fields"]["bezeichner"]) == ([], "organisation")
    out = run(file, "--truth", "entity", "--id", "row", "--seeds", 1)[1]
    assert out.startswith(
        "no heading is known as the customer's own: bezeichner is taken for organisation, by its values."
    )
    assert "--map bezeichner=FIELD" in out


def test_broken_rows_are_borne(run: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "people.csv")
    lines = file.read_text().splitlines()
    luck = Random(1)
    for at in luck.sample(range(1, len(lines)), len(lines) // 100 + 2):
        lines[at] = luck.choice(
            ["", "\x00\ufffd,\x1b", ",".join(["x"] * 40), lines[at][: len(lines[at]) // 2], "🙂" * 5_000]
        )
    file.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\xfa,\xff\n")
    code, out, _ = run(file, "--id", "rec_id", "--truth", "cluster", "--seeds", 1, "--json")
    assert code == 0
    assert json.loads(out)["pairwise"]["f1"] > 0.85
