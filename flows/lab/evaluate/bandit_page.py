"""The report of `millrace eval bandit`: one page that needs nothing else."""

from collections.abc import Sequence
from html import escape
from typing import Any

from flows.lab.evaluate.advice import Advice
from flows.lab.evaluate.bandit_advice import said_of
from flows.lab.evaluate.verdict_page import told
from flows.services.pages.charts import intervals, lines
from flows.services.pages.document import document, notes, section, table
from schemas.bilingual import Lang, Words

_TITLE = Words("Next best action: {file}", "最佳下一步动作：{file}")
_POLICIES = Words("The policies", "各策略")
_PLAYED = Words(
    "Each policy played the history in its order, and was shown the reward of the action that it chose and "
    "no other. Mean reward over all, and over the second half, when it had learnt.",
    "每种策略按历史的顺序逐次选择，只看到自己所选动作的收益。列出全程的平均收益，以及学习之后（后半段）的平均收益。",
)
_JUDGED = Words(
    "Each was learnt from the first half of the log and judged on the second (doubly robust), against what "
    "the log itself earned there.",
    "每种策略从日志的前一半学习，在后一半上评判（双重稳健估计），与日志自身的收益相比。",
)
_CURVES = Words("Mean reward so far", "截至当时的平均收益")
_CURVES_TOLD = Words(
    "From the first decisions to the last: the higher, the better. A line that still climbs is still "
    "learning. Flat lines: the best single action, known only afterwards, "
    "and a model that has seen all rewards (ceiling).",
    "从最初的决策到最后：越高越好。仍在上升的线说明仍在学习。水平线：事后才知道的最好的单一动作，以及看过全部收益的模型（ceiling）。",
)
_ESTIMATES = Words("What each policy would have earned in a decision", "每种策略每次决策的收益估计")
_ESTIMATES_TOLD = Words(
    "The dot is the estimate, the bar its 95 % interval, the dashed line what the log earned. A bar that "
    "crosses the dashed line says that it may be either.",
    "圆点是估计值，横线是 95% 区间，虚线是日志的收益。横线跨过虚线，说明更好或更差都有可能。",
)
_LOGGED = Words("what the log earned", "日志的收益")
_FIGURES = Words("For analysts: the figures", "供分析人员：各项指标")
_FIGURES_TOLD = Words(
    "Best_constant: the one action that was best over all. Uniform: by lot. Ceiling: a linear model that has "
    "seen all rewards of the other four fifths. Oracle: the best action in each row. Effective sample size: "
    "how many decisions of its own a log is worth to a policy.",
    "best_constant：整体最好的单一动作。uniform：随机。ceiling：看过其余五分之四全部收益的线性模型。oracle：每一行的最好动作。"
    "effective_sample_size：日志相当于该策略自己的多少次决策。",
)
_SHOWN_ELSEWHERE = ("policies", "curves", "context", "fractions", "verdict")
_BEFORE = 0.02  # of the rounds: the mean of so few says nothing


def page(file: str, figures: dict[str, Any], advice: Advice, said: Sequence[Words], lang: Lang = "en") -> str:
    """Return a whole HTML document."""
    title = _TITLE.of(lang).format(file=file)
    played = "curves" in figures
    shown = _curves(figures, lang) if played else _intervals(figures, lang)
    chart = (
        section(_CURVES, _CURVES_TOLD, shown, lang)
        if played
        else section(_ESTIMATES, _ESTIMATES_TOLD, shown, lang)
    )
    facts = [[name, _written(value)] for name, value in figures.items() if name not in _SHOWN_ELSEWHERE]
    parts = [
        f"<h1>{escape(title)}</h1>",
        told(advice, lang),
        chart,
        section(
            _POLICIES,
            _PLAYED if played else _JUDGED,
            _played(figures) if played else _logged(figures, lang),
            lang,
        ),
        section(_FIGURES, _FIGURES_TOLD, table(("", ""), facts), lang),
        notes(said, lang),
    ]
    return document(title, parts, lang)


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"{_figure(value[0])} ({_figure(value[1])} … {_figure(value[2])})"
    if isinstance(value, float):
        return _figure(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _figure(value: float) -> str:
    return f"{value:z.4f}"  # no -0.0000


def _played(figures: dict[str, Any]) -> str:
    rows = [
        [name, _figure(entry["mean_reward"]), _figure(entry["second_half"])]
        for name, entry in figures["policies"].items()
    ]
    return table(("", "mean reward", "second half"), rows, own=figures["default"])


def _logged(figures: dict[str, Any], lang: Lang) -> str:
    rows = [
        [
            name,
            _written(entry["dr"]),
            _written(entry["gain"]),
            f"{entry['effective_sample_size']:,.0f}",
            said_of(entry).of(lang),
        ]
        for name, entry in figures["policies"].items()
    ]
    return table(("", "dr", "gain", "effective sample", ""), rows, own="")


def _curves(figures: dict[str, Any], lang: Lang) -> str:
    """Mean reward until each round, one line for each policy, what decides first."""
    curves: dict[str, list[tuple[int, float]]] = figures["curves"]
    default = figures["default"]
    order = [default, *(name for name in curves if name != default)]
    first = next(place for place, (n, _) in enumerate(curves[default]) if n >= _BEFORE * figures["rounds"])
    series: dict[str, list[float | None]] = {
        name: [mean for _, mean in curves[name][first:]] for name in order
    }
    rounds = [n for n, _ in curves[default][first:]]
    for name in ("best_constant", "ceiling"):
        series[name] = [figures[name]] * len(rounds)
    return lines([], series, lang, rounds)


def _intervals(figures: dict[str, Any], lang: Lang) -> str:
    """The DR estimate of each policy with its interval, beside what the log earned."""
    entries = {
        name: (entry["dr"][0], entry["dr"][1], entry["dr"][2]) for name, entry in figures["policies"].items()
    }
    return intervals(entries, figures["second_half"], _LOGGED.of(lang), lang)
