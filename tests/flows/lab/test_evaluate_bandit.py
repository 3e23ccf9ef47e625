"""`millrace eval bandit` on files that the test writes."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.lab.evaluate import evaluation


def write(path: Path, names: list[str], rows: list[list[object]]) -> Path:
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(evaluation, ["bandit", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def full(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    x = chance.standard_normal((1_500, 3))
    y = (np.column_stack((x[:, 0], x[:, 1], -x[:, 0])) + 0.3 * chance.standard_normal((1_500, 3))).argmax(
        axis=1
    )
    rows = [
        [*map(str, row.round(4)), *(int(arm == best) for arm in range(3))]
        for row, best in zip(x, y, strict=True)
    ]
    return write(tmp_path / "full.csv.gz", ["x0", "x1", "x2", "r_a", "r_b", "r_c"], rows)


@pytest.mark.parametrize("columns", ["x*", "x0:x2", "x0,x1,x2", ""])
def test_full_information(full: Path, tmp_path: Path, columns: str) -> None:
    page = tmp_path / "report.html"
    code, output = run(full, "--context", columns, "--arms", "r_*", "--json", "--html", page)
    assert code == 0
    figures = json.loads(output.splitlines()[-1])
    assert figures["mean_reward"] == figures["policies"]["logistic_ucb"]["mean_reward"]
    assert (
        figures["best_constant"] + 0.2
        < figures["mean_reward"]
        < figures["ceiling"]
        <= figures["oracle"]
        == 1.0
    )
    assert set(figures["policies"]) == {
        "logistic_ucb",
        "logistic_thompson",
        "linucb",
        "linear_thompson",
        "epsilon_greedy",
    }
    text = page.read_text()
    assert text.count("<polyline") == 7, "five policies, the best single action, the ceiling"
    assert "src=" not in text
    assert "href=" not in text


def test_rewards_in_money_take_the_linear_policies(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = [[x, 20 * x + e, -20 * x] for x, e in chance.standard_normal((400, 2)).tolist()]
    code, output = run(
        write(tmp_path / "money.csv", ["x", "a", "b"], rows), "--context", "x", "--rewards", "a,b", "--json"
    )
    assert code == 0
    figures = json.loads(output.splitlines()[-1])
    assert figures["default"] == "linucb"
    assert figures["mean_reward"] > 10.0


def log(path: Path, n: int, rates: list[float]) -> Path:
    chance = np.random.default_rng(4)
    arms = chance.integers(len(rates), size=n)
    rows = [
        [f"item{arm}", int(chance.random() < rates[arm]), 1 / len(rates), chance.choice(["m", "f"])]
        for arm in arms
    ]
    return write(path, ["item", "click", "p", "sex"], rows)


LOGGED = ("--logged", "--action", "item", "--reward", "click", "--propensity", "p")


def test_a_log_of_few_clicks_tells_nothing(tmp_path: Path) -> None:
    code, output = run(log(tmp_path / "log.csv", 3_000, [0.005] * 20), *LOGGED, "--context", "sex")
    assert code == 0
    assert output.count("cannot tell: ") == 3
    assert "verdict                  cannot tell" in output


def test_a_clear_log_tells(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    code, output = run(
        log(tmp_path / "log.csv", 6_000, [0.1, 0.2, 0.5]),
        *LOGGED,
        "--context",
        "sex",
        "--json",
        "--html",
        page,
    )
    assert code == 0
    figures = json.loads(output.splitlines()[-1])
    assert figures["policies"]["best_constant"]["verdict"] == "better"
    assert figures["policies"]["uniform"]["verdict"] == "cannot tell"
    assert figures["policies"]["best_constant"]["dr"][1] < 0.5 < figures["policies"]["best_constant"]["dr"][2]
    assert "<svg" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--context", "x*"], "--rewards"),
        (["--context", "nope", "--rewards", "r_*"], "names no column"),
        (["--rewards", "x0,r_a", "--logged"], "--logged goes with"),
        (["--rewards", "r_a"], "expected 2 to"),
        (["--logged", "--action", "r_a", "--reward", "r_b", "--propensity", "x0"], "propensity"),
    ],
)
def test_wrong_usage_is_said(full: Path, arguments: list[str], message: str) -> None:
    code, output = run(full, *arguments)
    assert code == 2
    assert message in output


def test_a_row_without_a_reward_is_left_out_and_told(full: Path, tmp_path: Path) -> None:
    rows = list(csv.reader(gzip.decompress(full.read_bytes()).decode().splitlines()))
    rows[3][4] = "6_20"
    code, output = run(
        write(tmp_path / "odd.csv", rows[0], rows[1:]), "--context", "x*", "--arms", "r_*", "--json"
    )
    assert code == 0
    notes = json.loads(output.splitlines()[-1])["notes"]
    assert notes == [
        "1 value of r_b is no number and counts as missing: line 4 '6_20'",
        "1 row without a number in r_a, r_b, r_c left out",
    ]
