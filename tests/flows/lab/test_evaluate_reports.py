"""The verdict in words, what it rests on, and the charts of the reports."""

import re
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.lab.evaluate import agreement, evaluation
from flows.lab.evaluate.agreement import f1_apart, united
from flows.lab.evaluate.exact import exact
from flows.lab.evaluate.tops import SHARES, listed, tops
from flows.services.pages.charts import gains, intervals, lines, nice
from tests.evaluating import Run, write
from tests.logic.matching.people import people


def leads(path: Path, count: int, strength: float) -> Path:
    """A label that hangs on a number as strongly as that."""
    luck, rows = Random(8), []
    for at in range(count):
        number = luck.gauss(0, 1)
        rows.append((at * 60, number, int(luck.random() < 1 / (1 + np.exp(-strength * number)))))
    return write(path, ("time", "number", "label"), rows)


class TestTops:
    def test_the_list_is_a_tenth_of_each_group_and_ties_at_its_edge_share_the_room(self) -> None:
        groups = np.repeat([0, 1], [10, 20])
        said = np.array([0.1] * 9 + [0.9] + [0.5] * 20)
        on = listed(groups, said)
        assert on[:10].tolist() == [0] * 9 + [1]
        assert on[10:] == pytest.approx([0.1] * 20)

    def test_the_intervals_hold_the_truth_as_often_as_they_say(self) -> None:
        luck = np.random.default_rng(1)

        def draw(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            x = luck.normal(size=count)
            answers = luck.random(count) < 1 / (1 + np.exp(1 - 2 * x))
            return x + 0.7 * luck.normal(size=count), x + 0.9 * luck.normal(size=count), answers

        def rate(said: np.ndarray, answers: np.ndarray) -> float:
            return float(answers[said > np.quantile(said, 0.9)].mean())

        one, other, answers = draw(1_000_000)
        apart, over = rate(one, answers) - rate(other, answers), rate(one, answers) - answers.mean()
        held = []
        for _ in range(200):
            one, other, answers = draw(1_500)
            said = {"model": one, "other": other}
            found = tops(np.repeat(np.arange(12), 125), np.arange(1_500), answers, said, said)
            behind, chance = found["other"].behind, found["model"].over_chance
            assert behind is not None
            held.append((behind.low <= apart <= behind.high, chance.low <= over <= chance.high))
        assert 0.90 < np.mean([a for a, _ in held]) < 0.99
        assert 0.90 < np.mean([b for _, b in held]) < 0.99

    def test_predictions_of_one_customer_are_one_unit(self) -> None:
        """The same thousand predictions a second time add nothing to what is known."""
        luck = np.random.default_rng(2)
        said = luck.random(1_000)
        answers = luck.random(1_000) < said
        once = tops(np.zeros(1_000, int), np.arange(1_000), answers, {"model": said}, {})["model"].over_chance
        twice = tops(
            np.repeat([0, 1], 1_000),
            np.tile(np.arange(1_000), 2),
            np.tile(answers, 2),
            {"model": np.tile(said, 2)},
            {},
        )["model"].over_chance
        assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high))

    def test_gains_rise_from_nothing_to_all_and_by_lot_are_a_straight_line(self) -> None:
        answers = np.tile([True, False, False, False], 50)
        found = tops(
            np.zeros(200, int),
            np.arange(200),
            answers,
            {"model": answers.astype(float), "lot": np.zeros(200)},
            {"model": np.zeros(200), "lot": np.zeros(200)},
        )
        assert found["model"].gains[:6] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
        assert found["lot"].gains == pytest.approx(list(SHARES))


class TestVerdict:
    def test_a_strong_signal_is_worth_acting_on(self, run: Run, tmp_path: Path) -> None:
        code, out, _ = run("propensity", leads(tmp_path / "leads.csv", 1_500, 2.5), "--label-delay", "1h")
        plain = " ".join(out.split())
        assert code == 0
        assert plain.startswith("Act on millrace's list")
        found = re.search(
            r"Of every 100 of them, ([\d.]+) turned out label = 1; of 100 drawn by lot it would be ([\d.]+)",
            plain,
        )
        assert found is not None
        right, chance = map(float, found.groups())
        assert right > 85 > 55 > chance > 45
        assert "The simple way is batch_lr" in plain
        assert "Is there enough data to say? Yes" in plain

    def test_noise_is_not(self, run: Run, tmp_path: Path) -> None:
        _, out, _ = run("propensity", leads(tmp_path / "leads.csv", 600, 0.0), "--label-delay", "1h")
        assert out.startswith("Do not act on this list")
        assert "Is there enough data to say? No." in " ".join(out.split())

    def test_a_dozen_cases_tell_nothing(self, run: Run, tmp_path: Path) -> None:
        rows = [(at * 60, at % 40 + at / 1e4, int(at % 40 == 0)) for at in range(600)]
        _, out, _ = run(
            "anomaly", write(tmp_path / "few.csv", ("time", "x", "fraud"), rows), "--label-delay", "1h"
        )
        assert out.startswith("There is too little data to say anything.")
        assert "At least 30 of each are needed" in " ".join(out.split())

    def test_it_is_also_said_in_chinese(self, run: Run, tmp_path: Path) -> None:
        file, page = leads(tmp_path / "leads.csv", 900, 2.5), tmp_path / "report.html"
        code, out, _ = run("propensity", file, "--label-delay", "1h", "--lang", "zh", "--html", page)
        assert code == 0
        assert out.startswith("可以按 millrace 的名单行动")
        shown = page.read_text()
        assert '<html lang="zh">' in shown
        for text in re.findall(r"<(?:h1|h2|dt|dd|p)[^>]*>([^<]+)", shown):
            assert re.search(r"[一-鿿]", text), f"not in Chinese: {text}"

    def test_every_chart_and_table_has_a_sentence_that_explains_it(self, run: Run, tmp_path: Path) -> None:
        page = tmp_path / "report.html"
        run("propensity", leads(tmp_path / "leads.csv", 900, 2.5), "--label-delay", "1h", "--html", page)
        shown = page.read_text()
        assert shown.index('class="verdict"') < shown.index("<figure>")
        sections = shown.split("<h2>")[1:-1]  # the last holds notes
        assert len(sections) == 6
        for section in sections:
            assert re.match(r"[^<]+</h2><p>[^<]{60,}</p><(figure|div)", section), section[:200]

    @pytest.mark.parametrize("as_json", [False, True])
    def test_where_the_report_is_is_said(self, run: Run, tmp_path: Path, as_json: bool) -> None:
        page = tmp_path / "report.html"
        more = ["--json"] if as_json else []
        code, out, err = run(
            "propensity",
            leads(tmp_path / "leads.csv", 600, 2.0),
            "--label-delay",
            "1h",
            "--html",
            page,
            *more,
        )
        assert code == 0
        assert f"report: {page}" in err
        assert not as_json or out.splitlines()[-1].startswith("{")

    def test_a_report_that_cannot_be_written_is_one_line(self, run: Run, tmp_path: Path) -> None:
        code, _, err = run(
            "propensity",
            leads(tmp_path / "leads.csv", 600, 2.0),
            "--label-delay",
            "1h",
            "--html",
            tmp_path / "no" / "r.html",
        )
        assert code == 1
        assert "cannot be written" in err


class TestBandit:
    def rounds(self, path: Path, informs: bool) -> Path:
        luck, rows = Random(3), []
        for _ in range(600):
            x = luck.gauss(0, 1)
            best = (0 if x > 0 else 1) if informs else luck.randrange(2)
            rows.append((x, int(best == 0), int(best == 1)))
        return write(path, ("x", "a", "b"), rows)

    @pytest.mark.parametrize(
        ("informs", "says"), [(True, "Let millrace choose"), (False, "No difference can be told")]
    )
    def test_whether_to_let_it_choose(self, tmp_path: Path, informs: bool, says: str) -> None:
        file, page = self.rounds(tmp_path / "rounds.csv", informs), tmp_path / "report.html"
        found = CliRunner().invoke(
            evaluation, ["bandit", str(file), "--context", "x", "--arms", "a,b", "--html", str(page)]
        )
        assert found.exit_code == 0
        assert says in found.stdout
        assert f"report: {page}" in found.output
        assert says in page.read_text()

    def test_without_a_context_it_says_what_policies_see(self, tmp_path: Path) -> None:
        file = self.rounds(tmp_path / "rounds.csv", True)
        found = CliRunner().invoke(evaluation, ["bandit", str(file), "--arms", "a,b"])
        assert "no --context: every column beside the rewards was taken for it (x)" in found.stdout

    def test_nor_does_a_log_without_one_hide_it(self, tmp_path: Path) -> None:
        luck = Random(4)
        rows = [(luck.choice("ab"), int(luck.random() < 0.3), "50%", luck.random()) for _ in range(800)]
        file = write(tmp_path / "log.csv", ("action", "reward", "p", "age"), rows)
        arguments = [
            "bandit",
            str(file),
            "--logged",
            "--action",
            "action",
            "--reward",
            "reward",
            "--propensity",
            "p",
        ]
        found = CliRunner().invoke(evaluation, arguments)
        assert found.exit_code == 0, "a propensity of 50% is one of .5"
        assert "no --context: the policies see nothing of the customer" in found.stdout
        said = CliRunner().invoke(evaluation, [*arguments, "--lang", "zh"]).stdout
        assert "未指定 --context" in said
        assert "无法判断" in said


class TestIdentity:
    def test_a_verdict_and_a_page(self, run: Run, tmp_path: Path) -> None:
        rows, truth = people(3, 120)
        fields = list(dict.fromkeys(field for row in rows for field in row))
        table = [
            [*(row.get(field, "") for field in fields), customer]
            for row, customer in zip(rows, truth, strict=True)
        ]
        file, page = write(tmp_path / "people.csv", [*fields, "cluster"], table), tmp_path / "report.html"
        code, out, err = run("identity", file, "--truth", "cluster", "--seeds", 1, "--html", page)
        assert code == 0
        assert f"report: {page}" in err
        assert f"The {len(rows):,} rows are {len(set(truth)):,} customers." in " ".join(out.split())
        assert "The simple way is to unite rows with the same mail address" in " ".join(out.split())
        assert page.read_text().count("<figure>") == 1

    def test_the_simple_way(self) -> None:
        rows = [
            {"name": "Ana Li", "mail": "ana@example.org", "born": "1990-01-02"},
            {"name": "A. Li", "mail": "Ana@example.org", "born": ""},
            {"name": "ana li", "mail": "", "born": "1990-01-02"},
            {"name": "Ana Li", "mail": "", "born": "1991-01-02"},
            {"name": "", "mail": "", "born": "1990-01-02"},
        ]
        found = exact(rows, {"name": "full_name", "mail": "email", "born": "date_of_birth"})
        assert len({found[0], found[1], found[2]}) == 1
        assert len({found[0], found[3], found[4]}) == 3

    def test_the_difference_of_two_f1_is_theirs_and_counts_what_each_customer_brings(self) -> None:
        luck = np.random.default_rng(5)
        truth = [int(t) for t in luck.integers(0, 80, 300)]
        good = [t if luck.random() < 0.9 else 1_000 + n for n, t in enumerate(truth)]
        poor = [t if luck.random() < 0.5 else 1_000 + n for n, t in enumerate(truth)]
        assert united(good, truth).sum(axis=1)[0] == sum(
            a == b and s == t
            for n, (a, s) in enumerate(zip(good, truth, strict=True))
            for b, t in zip(good[:n], truth[:n], strict=True)
        )
        edge = f1_apart(united(good, truth), united(poor, truth))
        assert edge.value == pytest.approx(
            agreement.pairwise(good, truth).f1 - agreement.pairwise(poor, truth).f1
        )
        assert 0.0 < edge.low < edge.value < edge.high


class TestCharts:
    @pytest.mark.parametrize(
        ("low", "high", "ends"),
        [
            (0.307, 0.382, (0.3, 0.4)),
            (0.0, 1.0, (0.0, 1.0)),
            (0.5, 0.5, (0.5, 0.6)),
            (-3.0, 11.0, (-5.0, 15.0)),
            (0.0, 20_000.0, (0.0, 20_000.0)),
        ],
    )
    def test_axes_begin_and_end_with_round_values_around_what_is_shown(
        self, low: float, high: float, ends: tuple[float, float]
    ) -> None:
        ticks = nice(low, high)
        assert (ticks[0], ticks[-1]) == pytest.approx(ends)
        assert 2 <= len(ticks) <= 8

    def test_one_bad_line_does_not_flatten_the_others_and_is_told(self) -> None:
        shown = lines(
            ["a", "b", "c"], {"ours": [0.30, 0.32, 0.31], "good": [0.33, 0.31, 0.30], "bad": [14.0, 2.0, 0.9]}
        )
        heights = [
            float(place.split(",")[1])
            for line in re.findall(r'points="([^"]+)"', shown)[-1:]
            for place in line.split()
        ]
        assert max(heights) - min(heights) > 50, "ours moves"
        assert "bad leaves the chart: it goes from 0.9 to 14" in shown
        assert "good leaves" not in shown

    def test_labels_do_not_run_into_each_other_nor_over_the_edge(self) -> None:
        shown = lines(
            [f"2026-01-{day:02d}" for day in range(1, 29)], {"ours": [float(day) for day in range(28)]}
        )
        labels = [
            (float(x), end)
            for x, end in re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="(\w+)">2026', shown)
        ]
        assert 3 <= len(labels) <= 6
        assert (labels[0][1], labels[-1][1]) == ("start", "end")
        assert min(b - a for (a, _), (b, _) in pairwise(labels)) > 80

    def test_names_are_escaped_and_stand_below(self) -> None:
        shown = lines(["a", "b"], {"<ours>": [1.0, 2.0], "R&D": [1.0, 2.0]})
        assert "&lt;ours&gt;" in shown.partition("<figcaption>")[2]
        assert "<ours>" not in shown

    def test_an_endless_interval_is_cut_and_told(self) -> None:
        shown = intervals({"a": (0.1, 0.05, 0.15), "b": (0.1, -float("inf"), float("inf"))}, 0.1, "log")
        assert "b leaves the chart" in shown
        assert "nan" not in shown
        assert "inf" not in shown.partition("<figcaption>")[0]

    def test_gains_reach_the_corner(self) -> None:
        shown = gains(SHARES, {"ours": [min(1.0, 2 * share) for share in SHARES]}, 0.1)
        assert ">100%<" in shown
        assert "polyline" in shown
