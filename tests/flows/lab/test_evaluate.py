"""`millrace eval` on histories that are made here, with a truth that is known."""

import gzip
import json
import math
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score
from typer.testing import CliRunner

from flows.lab.evaluate import evaluation
from flows.lab.evaluate.baselines import BgNbd
from flows.lab.evaluate.input_table import read
from flows.lab.evaluate.judge import figures
from flows.lab.evaluate.purchases import is_of_one, purchases_of
from flows.lab.evaluate.spans import as_option, in_words, rounded, span_of
from schemas.errors import Unusable
from tests.evaluating import Run, write

START = datetime(2025, 1, 1, tzinfo=UTC)


def last_line(out: str) -> dict[str, Any]:
    return json.loads(out.strip().splitlines()[-1])


@pytest.fixture
def purchases(tmp_path: Path) -> Path:
    """Customers who buy at a rate of their own and leave one day."""
    luck, rows = random.Random(1), []
    for customer in range(250):
        rate, at, left = luck.gammavariate(1.0, 0.1), luck.uniform(0, 60), luck.expovariate(1 / 150)
        begun = at
        while at < 400 and at - begun < left:
            rows.append(
                (f"c{customer}", (START + timedelta(days=int(at))).date(), round(luck.uniform(5, 50), 2))
            )
            at += luck.expovariate(rate)
    return write(tmp_path / "purchases.csv", ("customer", "date", "value"), rows)


def table(tmp_path: Path, count: int = 1_500) -> Path:
    """A label that hangs on a number, on a word and on whether a value is missing."""
    luck, rows = random.Random(2), []
    for at in range(count):
        number, word = luck.gauss(0, 1), luck.choice("abcd")
        other = luck.choice(["", luck.gauss(0, 1)])
        logit = 1.5 * number + (2.0 if word == "a" else -1.0) + (1.0 if other == "" else 0.0)
        rows.append((at * 60, number, word, other, int(luck.random() < 1 / (1 + math.exp(-logit)))))
    return write(tmp_path / "table.csv", ("time", "number", "word", "other", "label"), rows)


class TestChurn:
    def test_it_does_as_well_as_the_batch_model_and_says_what_it_guessed(
        self, run: Run, purchases: Path, tmp_path: Path
    ) -> None:
        report = tmp_path / "report.html"
        code, out, _ = run("churn", purchases, "--horizon", "30d", "--step", "5d", "--json", "--html", report)
        found = last_line(out)
        assert code == 0
        assert set(found["baselines"]) == {"recency", "batch_lr", "bg_nbd"}
        assert found["auc"] > 0.75
        assert found["auc"] > found["baselines"]["batch_lr"]["auc"] - 0.01
        assert found["log_loss"] < found["baselines"]["recency"]["log_loss"] + 0.005
        assert found["ece"] < 0.06
        assert sum(period["count"] for period in found["periods"]) == found["count"]
        assert "--customer customer --time date --value value" in found["notes"][0]
        page = report.read_text()
        assert page.count("<figure>") == 4
        assert "http" not in page

    def test_the_terminal_shows_tables(self, run: Run, purchases: Path) -> None:
        code, out, _ = run("churn", purchases, "--horizon", "60d", "--step", "20d")
        assert code == 0
        assert "batch_lr" in out
        assert "by period" in out

    def test_an_answer_is_not_used_before_it_could_be_known(self, run: Run, purchases: Path) -> None:
        """What happens after the last question's horizon changes nothing; what happens at the end of it
        does."""
        arguments = ("--horizon", "60d", "--step", "20d", "--json")
        _, out, _ = run("churn", purchases, *arguments)
        rows = purchases.read_text().splitlines()
        later = [row for row in rows[1:] if row.split(",")[1] < "2025-11-01"]
        purchases.write_text("\n".join([rows[0], *later]))
        _, cut, _ = run("churn", purchases, *arguments)
        shared = len(last_line(cut)["periods"]) - 1
        assert shared >= 3
        for a, b in zip(last_line(out)["periods"][:shared], last_line(cut)["periods"][:shared], strict=True):
            if a["since"] == b["since"] and a["count"] == b["count"]:
                assert a["figures"]["model"] == pytest.approx(b["figures"]["model"])

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (("--customer", "custmer"), "has no column 'custmer'; did you mean 'customer'?"),
            (("--value", "customer"), "line 2: customer is no number"),
            (("--horizon", "soon"), "--horizon: expected a duration"),
            (("--horizon", "900d"), "try a shorter --horizon"),
            (
                ("--horizon", "30d", "--step", "60d"),
                "a --step of 60 days is longer than a --horizon of 30 days",
            ),
        ],
    )
    def test_wrong_arguments_are_one_line(
        self, run: Run, purchases: Path, arguments: tuple[str, ...], complaint: str
    ) -> None:
        code, _, error = run("churn", purchases, *arguments)
        assert code == 1
        assert len(error.strip().splitlines()) == 1
        assert error.startswith("millrace: ")
        assert complaint in error

    def test_nobody_who_ever_leaves_is_an_error(self, run: Run, tmp_path: Path) -> None:
        days = [(f"c{c}", (START + timedelta(days=day)).date()) for day in range(100) for c in range(3)]
        code, _, error = run(
            "churn", write(tmp_path / "all.csv", ("user", "day"), days), "--horizon", "10d", "--step", "1d"
        )
        assert (code, "nothing to tell apart" in error) == (1, True)


class TestPropensity:
    def test_words_and_gaps_are_learnt(self, run: Run, tmp_path: Path) -> None:
        code, out, _ = run(
            "propensity",
            table(tmp_path),
            "--label",
            "label",
            "--time",
            "time",
            "--label-delay",
            "1h",
            "--json",
        )
        found = last_line(out)
        assert code == 0
        assert found["auc"] > 0.78
        assert found["log_loss"] < found["baselines"]["batch_lr"]["log_loss"] + 0.02

    def test_batch_models_know_that_what_they_have_not_seen_yet_may_be(
        self, run: Run, tmp_path: Path
    ) -> None:
        """The first bad ones come just after a first fit that a careless analyst would have made."""
        luck, bad = random.Random(5), {40, *range(82, 130, 6), *range(130, 1_500, 40)}
        rows = [
            (at * 60, luck.gauss(6.0 * (at in bad), 1), luck.gauss(0, 1), int(at in bad))
            for at in range(1_500)
        ]
        file = write(tmp_path / "rare.csv", ("time", "x", "noise", "label"), rows)
        code, out, _ = run("propensity", file, "--label-delay", "25m", "--json")
        found = last_line(out)
        assert code == 0
        assert set(found["baselines"]) == {"batch_lr", "batch_gbt"}
        assert found["baselines"]["batch_lr"]["log_loss"] < 0.03
        assert found["periods"][0]["figures"]["batch_gbt"]["log_loss"] < 0.5, "no certainty that was wrong"

    def test_batch_trees_find_what_a_line_cannot(self, run: Run, tmp_path: Path) -> None:
        luck = random.Random(6)
        pairs = [(luck.gauss(0, 1), luck.gauss(0, 1)) for _ in range(900)]
        rows = [(at * 60, a, b, int(a * b > 0)) for at, (a, b) in enumerate(pairs)]
        _, out, _ = run(
            "propensity",
            write(tmp_path / "cross.csv", ("time", "a", "b", "label"), rows),
            "--label-delay",
            "1h",
            "--json",
        )
        baselines = last_line(out)["baselines"]
        assert baselines["batch_lr"]["auc"] < 0.6
        assert baselines["batch_gbt"]["auc"] > 0.85

    def test_labels_of_the_delay_are_not_known(self, run: Run, tmp_path: Path) -> None:
        """With labels that turn around in the middle, whoever peeks is right at once."""
        rows = [(at * 60, (-1) ** at, int((at % 2 == 0) == (at < 600))) for at in range(900)]
        file = write(tmp_path / "turn.csv", ("time", "x", "label"), rows)
        _, out, _ = run("propensity", file, "--label-delay", "200m", "--json")
        turned = [period for period in last_line(out)["periods"] if period["figures"]["model"]["auc"] < 0.5]
        assert sum(period["count"] for period in turned) >= 150

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (("--label", "word"), "has 4 values, expected two"),
            (("--features", "number,nmber"), "did you mean 'number'?"),
            (("--features", "label"), "that is the label or the time"),
            (("--time", "word"), "word is no date or time"),
            (("--label-delay", "400d"), "try a shorter --label-delay"),
        ],
    )
    def test_wrong_arguments_are_one_line(
        self, run: Run, tmp_path: Path, arguments: tuple[str, ...], complaint: str
    ) -> None:
        code, _, error = run("propensity", table(tmp_path, 300), *arguments)
        assert code == 1
        assert complaint in error
        assert len(error.strip().splitlines()) == 1

    def test_one_class_is_an_error(self, run: Run, tmp_path: Path) -> None:
        file = write(tmp_path / "one.csv", ("time", "x", "label"), [(at, at, 1) for at in range(300)])
        code, _, error = run("propensity", file)
        assert (code, "in every row" in error) == (1, True)


def test_anomalies_are_found_before_there_are_labels_and_better_with_them(run: Run, tmp_path: Path) -> None:
    luck, rows = random.Random(4), []
    for at in range(1_500):
        bad = luck.random() < 0.08
        rows.append((at, *(luck.gauss(3.0 * bad * (n == 0), 1 + bad) for n in range(4)), int(bad)))
    file = write(tmp_path / "cards.csv", ("time", "a", "b", "c", "d", "fraud"), rows)
    code, out, _ = run("anomaly", file, "--time", "time", "--label", "fraud", "--json")
    found = last_line(out)
    assert code == 0
    assert found["baselines"]["half_space_trees"]["auc"] > 0.7
    assert found["auc"] > found["baselines"]["half_space_trees"]["auc"]


class TestTable:
    def test_delimiters_and_gzip(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("\ufeffx;y\n1;a\n2;\n")
        (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"x\ty\n1\ta\n2\t\n"))
        for name in ("a.csv", "b.csv.gz"):
            found = read(tmp_path / name)
            assert found.numbers("x").tolist() == [1.0, 2.0]
            assert found.column("y") == ["a", ""]

    @pytest.mark.parametrize(
        ("texts", "expected"),
        [
            (["1970-01-02", "1970-01-02T00:00:01Z"], [86_400_000, 86_401_000]),
            (["86400", "86401.5"], [86_400_000, 86_401_500]),
            (["1700000000000"], [1_700_000_000_000]),
            (["19700102"], [86_400_000]),
            (["1/2/1970 01:00"], [90_000_000]),
            (
                ["1970-01-01 23:59:59.9999999", "1970-01-01T23:59:59.9996Z"],
                [86_399_999, 86_399_999],
            ),  # cut: still that day
            (["01.01.1970 23:59:59.9999999"], [86_399_999]),
            (["1969-12-31T23:59:59.9996Z"], [-1]),
        ],
    )
    def test_times(self, tmp_path: Path, texts: list[str], expected: list[int]) -> None:
        assert (
            read(write(tmp_path / "t.csv", ("t", "x"), [(text, 1) for text in texts])).times("t").tolist()
            == expected
        )

    @pytest.mark.parametrize(
        ("texts", "expected"),
        [
            ("1 0 1", [1, 0, 1]),
            ("yes no no", [1, 0, 0]),
            ("good bad good", [0, 1, 0]),
            ("True False False", [1, 0, 0]),
        ],
    )
    def test_labels(self, tmp_path: Path, texts: str, expected: list[int]) -> None:
        assert (
            read(write(tmp_path / "t.csv", ("l", "x"), [(text, 1) for text in texts.split()]))
            .labels("l")
            .tolist()
            == expected
        )

    @pytest.mark.parametrize(
        ("body", "complaint"),
        [
            (b"", "no rows"),
            (b"a,b\n", "no rows"),
            (b"a,a\n1,2\n", "two columns"),
            (b"a,b\n1\n", "has 1 values"),
            (b"\xff\xfe\x00", "no text in UTF-8"),
            (b"a,b\n\x81,\xff\n", "no text in UTF-8"),
            (b'a,b\n1,"x\n2,y\n', "a quote that opens in line 2 swallows lines 2 to 3"),
        ],
    )
    def test_what_is_no_table_is_unusable(self, tmp_path: Path, body: bytes, complaint: str) -> None:
        (tmp_path / "x.csv").write_bytes(body)
        with pytest.raises(Unusable, match=complaint):
            read(tmp_path / "x.csv")

    def test_what_excel_exports_in_germany(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_bytes("Größe;Käufer\r\n1,5;Jürgen\r\n2;Zoë\r\n".encode("cp1252"))
        assert read(tmp_path / "x.csv").columns == {"Größe": ["1,5", "2"], "Käufer": ["Jürgen", "Zoë"]}

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
    @pytest.mark.parametrize("packed", [False, True])
    def test_what_spreadsheets_in_china_export(self, tmp_path: Path, encoding: str, packed: bool) -> None:
        body = 'sep=;\r\n会员;城市\r\n="0044";深圳\r\n\'0045;#N/A\r\n'.encode(encoding)
        (tmp_path / "x.csv").write_bytes(gzip.compress(body) if packed else body)
        assert read(tmp_path / "x.csv").columns == {"会员": ["0044", "0045"], "城市": ["深圳", ""]}


def test_figures_are_those_of_scikit_learn() -> None:
    luck = np.random.default_rng(1)
    said = np.round(luck.random(500), 2)
    answers = luck.random(500) < said
    found = figures(answers, said)
    assert found["auc"] == pytest.approx(roc_auc_score(answers, said))
    assert found["log_loss"] == pytest.approx(log_loss(answers, np.clip(said, 1e-15, 1 - 1e-15)))


def test_bg_nbd_finds_the_silence_of_a_simulated_trade() -> None:
    """Customers as the model has them: what it says of the next ten weeks is what then happens."""
    luck = np.random.default_rng(3)
    x, last, age, silent = [], [], [], []
    for _ in range(3_000):
        rate, leaves, at, count, there = luck.gamma(0.8, 1 / 6.0), luck.beta(0.8, 2.5), 0.0, 0, True
        next_one, seen = 0.0, 0.0
        while there:
            next_one = at + luck.exponential(1 / rate)
            if next_one > 50:
                break
            at, seen, count = next_one, next_one, count + 1
            there = luck.random() > leaves
        x.append(count)
        last.append(seen)
        age.append(50.0)
        silent.append(not (there and next_one <= 60))
    model = BgNbd()
    model.fit(np.array(x, float), np.array(last), np.array(age))
    said = model.silent(np.array(x, float), np.array(last), np.array(age), 10.0)
    assert figures(np.array(silent), said)["ece"] < 0.04
    assert figures(np.array(silent), said)["auc"] > 0.7


class TestBadCells:
    @pytest.mark.parametrize(
        ("texts", "expected"),
        [
            (
                ["1,620.00", "¥620", "￥ 1,000", "40.90元", "CNY 7", "(5)", "12%"],
                [1620, 620, 1000, 40.9, 7, -5, 12],
            ),
            (["1,620", "1,000"], [1620, 1000]),
            (["1,620", "40,90", "1.000,5"], [1.62, 40.9, 1000.5]),
        ],
    )
    def test_numbers_are_read_as_figures_read_them(
        self, tmp_path: Path, texts: list[str], expected: list[float]
    ) -> None:
        found = read(write(tmp_path / "t.csv", ("n", "x"), [(text, 1) for text in texts]))
        assert found.numbers("n").tolist() == expected
        assert found.notes == []

    def test_one_bad_cell_is_missing_and_told_by_line(self, tmp_path: Path) -> None:
        texts = ["7", "6_20", "8", "9", "10"]
        found = read(write(tmp_path / "t.csv", ("n", "x"), [(text, 1) for text in texts]))
        assert found.is_numeric("n")
        assert np.nan_to_num(found.numbers("n")).tolist() == [7, 0, 8, 9, 10]
        assert [note.en for note in found.notes] == [
            "1 value of n is no number and counts as missing: line 3 '6_20'"
        ]

    def test_lines_are_those_of_the_file_when_rows_were_left_out(self, tmp_path: Path) -> None:
        rows = [("", 1), ("a", 2), ("b", "many"), ("c", 3), ("d", 4), ("e", 5)]
        table, left_out = read(write(tmp_path / "t.csv", ("who", "n"), rows)).known("who")
        table.numbers("n")
        assert left_out == 1
        assert [note.en for note in table.notes] == [
            "1 value of n is no number and counts as missing: line 4 'many'"
        ]

    def test_more_than_a_few_are_still_an_error(self, tmp_path: Path) -> None:
        found = read(
            write(
                tmp_path / "t.csv",
                ("n", "x"),
                [("7", 1), ("red", 1), ("8", 1), ("blue", 1), ("9", 1), ("10", 1)],
            )
        )
        assert not found.is_numeric("n")
        with pytest.raises(Unusable, match="line 3: n is no number: 'red'"):
            found.numbers("n")

    def test_a_purchase_with_a_bad_value_or_date_does_not_refuse_the_file(
        self, run: Run, purchases: Path
    ) -> None:
        lines = purchases.read_text().splitlines()
        lines[4] = lines[4].rsplit(",", 1)[0] + ",6_20"
        lines[9] = f"c1,someday,{lines[9].rsplit(',', 1)[1]}"
        purchases.write_text("\n".join(lines) + "\n")
        code, out, err = run("churn", purchases, "--json")
        assert code == 0, err
        notes = last_line(out)["notes"]
        assert "1 value of value is no number and counts as missing: line 5 '6_20'" in notes
        assert "1 value of date is no date or time and its row is left out: line 10 'someday'" in notes


class TestOtherPeoplesTables:
    @pytest.mark.parametrize(
        ("customer", "time", "value"),
        [
            ("客户编号", "下单时间", "实付金额"),
            ("会员卡号", "日期", "金额（元）"),
            ("Kunde", "Datum", "Betrag"),
            ("Kundennummer", "Bestelldatum", "Umsatz"),
            ("Customer ID", "Order Date", "Total"),
            ("N° client", "Date de commande", "Montant TTC"),
            ("Cliente", "Fecha", "Importe"),
        ],
    )
    def test_columns_of_purchases_are_guessed(
        self, run: Run, purchases: Path, customer: str, time: str, value: str
    ) -> None:
        lines = purchases.read_text().splitlines()
        purchases.write_text("\n".join([f"{customer},{time},{value}", *lines[1:]]))
        code, out, err = run("churn", purchases, "--horizon", "90d", "--step", "45d", "--json")
        assert code == 0, err
        assert last_line(out)["notes"][0] == f"guessed: --customer {customer} --time {time} --value {value}"

    @pytest.mark.parametrize(
        ("label", "time", "yes", "no"),
        [
            ("是否流失", "时间", "是", "否"),
            ("Ergebnis", "Zeitpunkt", "ja", "nein"),
            ("标签", "日期", "1", "0"),
        ],
    )
    def test_labels_are_guessed_and_read(
        self, run: Run, tmp_path: Path, label: str, time: str, yes: str, no: str
    ) -> None:
        """Most are true, so that the rarer one is not."""
        rows = [(START + timedelta(minutes=at), at % 7, yes if at % 7 > 1 else no) for at in range(400)]
        code, out, err = run(
            "propensity", write(tmp_path / "t.csv", (time, "n", label), rows), "--label-delay", "1h", "--json"
        )
        assert code == 0, err
        assert last_line(out)["base_rate"] == pytest.approx(5 / 7, abs=0.02)

    @pytest.mark.parametrize("command", ["churn", "propensity", "anomaly", "identity", "bandit"])
    def test_every_command_takes_an_encoding(self, run: Run, tmp_path: Path, command: str) -> None:
        """Big5 is none of those that are guessed."""
        luck = random.Random(1)
        rows = [
            (
                f"客{luck.expovariate(0.03):.0f}",
                START + timedelta(hours=at),
                luck.random(),
                int(luck.random() < 0.5),
                1,
            )
            for at in range(600)
        ]
        body = "\n".join(
            ",".join(map(str, row)) for row in [("顧客", "時間", "收益甲", "收益乙", "標籤"), *rows]
        )
        (tmp_path / "t.csv").write_bytes(body.encode("big5"))
        more = {
            "churn": [
                "--customer",
                "顧客",
                "--time",
                "時間",
                "--value",
                "收益甲",
                "--horizon",
                "3d",
                "--step",
                "1d",
            ],
            "propensity": ["--label", "收益乙", "--time", "時間"],
            "anomaly": ["--label", "收益乙", "--time", "時間"],
            "identity": ["--truth", "顧客", "--map", "標籤=full_name", "--seeds", 1],
            "bandit": ["--arms", "收益甲,收益乙", "--context", "標籤"],
        }[command]
        if command == "bandit":
            assert (
                CliRunner()
                .invoke(evaluation, [command, str(tmp_path / "t.csv"), *more, "--encoding", "big5"])
                .exit_code
                == 0
            )
            return
        code, _, err = run(command, tmp_path / "t.csv", *more, "--encoding", "big5")
        assert code == 0, err
        code, _, err = run(command, tmp_path / "t.csv", *more, "--encoding", "big55")
        assert (code, "--encoding big55: no encoding that Python knows" in err) == (1, True)

    def test_percent_signs_are_read(self, run: Run, tmp_path: Path) -> None:
        luck = random.Random(2)
        rows = [
            (at * 60, f"{at % 50}{sign}", int(luck.random() < at % 50 / 50))
            for at, sign in zip(range(800), ["%", " %", "％"] * 300, strict=False)
        ]
        code, out, _ = run(
            "propensity",
            write(tmp_path / "t.csv", ("time", "rebate", "label"), rows),
            "--label-delay",
            "1h",
            "--json",
        )
        assert (code, last_line(out)["auc"] > 0.75) == (0, True)

    def test_rows_without_a_time_are_taken_as_they_stand_when_asked(self, run: Run, tmp_path: Path) -> None:
        luck = random.Random(3)
        rows = [(x := luck.gauss(0, 1), int(luck.random() < 1 / (1 + math.exp(-2 * x)))) for _ in range(700)]
        file = write(tmp_path / "t.csv", ("x", "label"), rows)
        code, _, err = run("propensity", file)
        assert (code, "or --file-order if the rows stand in order of time" in err) == (1, True)
        code, out, _ = run("propensity", file, "--file-order", "--json")
        found = last_line(out)
        assert code == 0
        assert found["auc"] > 0.75
        assert "--label-delay 35" in found["notes"][0]
        assert "rows were taken in the order of the file" in found["notes"]
        assert found["periods"][0]["since"].startswith("#")
        assert run("anomaly", file, "--file-order", "--label-delay", "100", "--json")[0] == 0

    def test_labels_are_as_late_as_that_many_rows(self, run: Run, tmp_path: Path) -> None:
        """With labels that turn around in the middle, whoever peeks is right at once."""
        rows = [((-1) ** at, int((at % 2 == 0) == (at < 600))) for at in range(900)]
        _, out, _ = run(
            "propensity",
            write(tmp_path / "t.csv", ("x", "label"), rows),
            "--file-order",
            "--label-delay",
            "200",
            "--json",
        )
        turned = [period for period in last_line(out)["periods"] if period["figures"]["model"]["auc"] < 0.5]
        assert sum(period["count"] for period in turned) >= 150

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (("--time", "time"), "--time goes without --file-order"),
            (("--label-delay", "7d"), "with --file-order expected a number of rows, such as 200"),
        ],
    )
    def test_what_does_not_go_with_the_order_of_the_file(
        self, run: Run, tmp_path: Path, arguments: tuple[str, ...], complaint: str
    ) -> None:
        code, _, err = run("propensity", table(tmp_path, 300), "--file-order", *arguments)
        assert (code, complaint in err) == (1, True)

    def test_a_file_that_was_sorted_by_label_is_told(self, run: Run, tmp_path: Path) -> None:
        file = write(tmp_path / "t.csv", ("x", "label"), [(at % 9, int(at < 200)) for at in range(400)])
        code, _, err = run("propensity", file, "--file-order")
        assert (code, "sorted by label" in err) == (1, True)


class TestReturns:
    def test_a_negative_quantity_is_no_purchase(self, run: Run, purchases: Path) -> None:
        lines = purchases.read_text().splitlines()
        sold = [f"{line},{2 if number % 2 else 1}" for number, line in enumerate(lines[1:])]
        purchases.write_text("\n".join([lines[0] + ",quantity", *sold]))
        arguments = ("--horizon", "90d", "--step", "45d", "--json")
        whole = last_line(run("churn", purchases, *arguments)[1])
        back = [f"c{customer},2025-12-{customer % 28 + 1:02d}T12:00,-9.5,-1" for customer in range(100)]
        purchases.write_text("\n".join([lines[0] + ",quantity", *sold, *back]))
        found = last_line(run("churn", purchases, *arguments)[1])
        assert "100 returns (no quantity above 0) left out: nobody bought" in found["notes"]
        assert (found["count"], found["base_rate"]) == (whole["count"], whole["base_rate"])

    def test_without_quantities_a_negative_sum_is_one_but_not_a_rebate_on_a_purchase(
        self, run: Run, purchases: Path
    ) -> None:
        arguments = ("--horizon", "90d", "--step", "45d", "--json")
        whole = last_line(run("churn", purchases, *arguments)[1])
        day = purchases.read_text().splitlines()[1].split(",")
        with purchases.open("a") as more:
            more.write(f"{day[0]},{day[1]},-1.5\nc3,2025-12-05,-20.0\n")
        found = last_line(run("churn", purchases, *arguments)[1])
        assert "1 return (a negative value) left out: nobody bought" in found["notes"]
        assert (found["count"], found["base_rate"]) == (whole["count"], whole["base_rate"])

    def test_a_price_of_one_is_multiplied(self, tmp_path: Path) -> None:
        rows = [("a", "2025-01-01", 3, 2.5), ("a", "2025-01-01", 1, 1.0), ("b", "2025-01-02", 2, 4.0)]
        lines = read(write(tmp_path / "t.csv", ("CustomerID", "InvoiceDate", "Quantity", "UnitPrice"), rows))
        assert purchases_of(lines, "CustomerID", "InvoiceDate", "UnitPrice", "Quantity").values.tolist() == [
            8.5,
            8.0,
        ]
        assert lines.notes[0].en == "UnitPrice is the price of one: multiplied by Quantity"

    @pytest.mark.parametrize(
        ("heading", "is_so"),
        [
            ("UnitPrice", 1),
            ("unit_price", 1),
            ("单价（元）", 1),
            ("Einzelpreis", 1),
            ("Opportunity value", 0),
        ],
    )
    def test_which_prices_are_of_one(self, heading: str, is_so: int) -> None:
        assert is_of_one(heading) == bool(is_so)


class TestSpans:
    def test_how_many_snapshots_could_be_judged_and_steps_as_a_person_writes_them(
        self, run: Run, purchases: Path
    ) -> None:
        _, out, _ = run("churn", purchases, "--horizon", "75d", "--json")
        notes = last_line(out)["notes"]
        assert "--step 6d" in notes[0]
        assert "every 6 days, for the first time after 75 days; answers 75 days late" in notes[-1]
        asked, judged = map(int, re.search(r"of (\d+) snapshots (\d+) could be judged", notes[-1]).groups())  # type: ignore[union-attr]
        assert 0 < judged < asked
        assert "ms" not in notes[-1]

    @pytest.mark.parametrize(
        ("span_ms", "option", "english"),
        [
            (2_592_000_000, "30d", "30 days"),
            (7_862_400_000, "13w", "13 weeks"),
            (86_400_000, "1d", "1 day"),
            (8_640_000, "2.4h", "2.4 hours"),
            (5_400_000, "1.5h", "1.5 hours"),
            (61_000, "61s", "61 seconds"),
        ],
    )
    def test_a_span_is_said_in_its_unit_and_can_be_typed(
        self, span_ms: int, option: str, english: str
    ) -> None:
        assert as_option(span_ms) == option
        assert in_words(span_ms).en == english
        assert span_of("--step", option) == span_ms

    @given(st.integers(1_000, 10**12))
    def test_a_rounded_span_is_near_and_short(self, span_ms: int) -> None:
        found = rounded(span_ms)
        assert abs(found - span_ms) <= 0.1 * span_ms
        assert len(as_option(found)) <= 8
        assert span_of("--step", as_option(found)) == found
