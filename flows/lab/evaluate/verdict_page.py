"""The HTML report of a verdict: in words first, then tables and charts, in one file."""

import re
from html import escape

from flows.lab.evaluate.advice import METHODS, Advice, advice, between, per_hundred
from flows.lab.evaluate.judge import Figures, Verdict
from flows.lab.evaluate.tops import SHARE, SHARES
from flows.services.pages.charts import gains, lines, reliability
from flows.services.pages.document import OURS, document, notes, section, table
from schemas.bilingual import Lang, Words

_COLUMNS = ("auc", "log_loss", "brier", "ece")

_COUNTED = Words(
    "{count:,} predictions, {rate} of 100 of them true.", "共 {count:,} 次预测，每 100 次有 {rate} 次为“是”。"
)
_LIST = Words("If you act on the 10 % that are ranked first", "如果对排在最前的 10% 采取行动")
_LIST_TOLD = Words(
    "Each method draws up a list of its own. Right: of 100 on the list, so many. Found: of all there are, so "
    "many are on the list. The last column is by how many in 100 millrace's list is better (+) or worse (-), "
    "with its 95 % interval; where that has both signs, no difference can be told.",
    "每种方法各自列出名单。“对”：名单上每 100 个有多少个是对的。“覆盖”：全部此类中有多少在名单上。最后一列是 "
    "millrace 的名单每 100 个多对（+）或少对（-）多少，并附 95% 区间；区间两端符号不同，即无法分出高下。",
)
_LIST_HEADS = (
    Words("method", "方法"),
    Words("what it is", "说明"),
    Words("right, of 100", "对（每 100）"),
    Words("found", "覆盖"),
    Words("millrace against it", "millrace 相比"),
)
_OWN = Words("the model that would run live, learning as it goes", "上线后实际运行、边用边学的模型")
_LOT = Words("by lot", "随机挑选")
_GAINS = Words("How many are found, by how many are acted on", "行动的比例与覆盖的比例")
_GAINS_TOLD = Words(
    "Read it from below: acting on so many of the ranking (from left to right) finds so many of all there "
    "are (upwards). The higher the line, the better; the dashed diagonal is a list drawn by lot.",
    "从下往上看：按排名对多大比例采取行动（横向），就能覆盖全部中的多大比例（纵向）。线越高越好；虚线对角线是随机挑选。",
)
_FIGURES = Words("For analysts: the figures", "供分析人员：各项指标")
_FIGURES_TOLD = Words(
    "AUC: how often the model ranks somebody of whom it is true above somebody of whom it is not; .5 is "
    "chance, 1 is perfect. Log-loss and Brier score: how far the probabilities were from what came, lower is "
    "better. ECE: by how much the probabilities were off on average. Learners are those that millrace trains "
    "side by side; the best leads.",
    "AUC：把“是”的排在“否”的前面的频率，0.5 是随机，1 是完美。log-loss 与 Brier：给出的概率与结果相差多少，"
    "越低越好。ECE：概率平均偏差多少。learner 是 millrace 同时训练的几个模型，最好的一个起作用。",
)
_LOSS = Words("Log-loss by period", "各时期的 log-loss")
_LOSS_TOLD = Words(
    "How far the probabilities were from what came, from the beginning of the file to its end; lower is "
    "better. A line that climbs means that the past no longer explains the present.",
    "从文件开头到结尾，给出的概率与结果相差多少；越低越好。曲线上升说明过去的规律不再适用。",
)
_AUC = Words("AUC by period", "各时期的 AUC")
_AUC_TOLD = Words(
    "How well each method tells apart, over time; higher is better, .5 is chance.",
    "各方法在不同时期的区分能力；越高越好，0.5 是随机。",
)
_RELIABILITY = Words("Can the probabilities be taken at their word?", "概率可信吗？")
_RELIABILITY_TOLD = Words(
    "Each dot is a group to whom the model gave about the same probability (from left to right); upwards, of "
    "how many it really was true. On the dashed line it said what came; above it, it said too little; below "
    "it, too much. Larger dots are larger groups.",
    "每个圆点是模型给出相近概率的一组（横向），纵向是实际发生的比例。在虚线上说明说的与发生的一致；在上方说明说低了，"
    "在下方说明说高了。圆点越大人数越多。",
)


def page(verdict: Verdict, lang: Lang = "en") -> str:
    since = [period.since for period in verdict.periods]
    counted = _COUNTED.of(lang).format(count=verdict.count, rate=per_hundred(verdict.base_rate))
    curves = {OURS if name == "model" else name: top.gains for name, top in verdict.tops.items()}
    parts = [
        f"<h1>{escape(verdict.title.of(lang))}</h1><p>{counted}</p>",
        told(advice(verdict), lang),
        section(_LIST, _LIST_TOLD, _lists(verdict, lang), lang),
        section(_GAINS, _GAINS_TOLD, gains(SHARES, curves, SHARE, lang), lang),
        section(_FIGURES, _FIGURES_TOLD, _table(verdict), lang),
        section(_LOSS, _LOSS_TOLD, lines(since, _series(verdict, "log_loss"), lang), lang),
        section(_AUC, _AUC_TOLD, lines(since, _series(verdict, "auc"), lang), lang),
        section(_RELIABILITY, _RELIABILITY_TOLD, reliability(verdict.reliability, lang), lang),
        notes(verdict.notes, lang),
    ]
    return document(verdict.title.of(lang), parts, lang)


def told(advice: Advice, lang: Lang) -> str:
    """Return the verdict in words."""
    points = "".join(
        f"<dt>{escape(point.of(lang))}</dt><dd>{_coded(text.of(lang))}</dd>" for point, text in advice.points
    )
    headline = f'<p class="headline">{escape(advice.headline.of(lang))}</p>'
    return f'<div class="verdict">{headline}<dl>{points}</dl></div>'


def _coded(text: str) -> str:
    """What stands between back ticks is typed."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _lists(verdict: Verdict, lang: Lang) -> str:
    own = verdict.tops["model"]
    rows = []
    for name, top in verdict.tops.items():
        method = _OWN if name == "model" else METHODS[name]
        against = f"{100 * top.behind.value:+.1f} ({between(top.behind, '…')})" if top.behind else ""
        rows.append(
            [
                OURS if name == "model" else name,
                method.of(lang),
                per_hundred(top.rate),
                f"{top.found:.0%}",
                against,
            ]
        )
    over = own.over_chance
    chance = per_hundred(own.rate - over.value)
    rows.append(
        [_LOT.of(lang), "", chance, f"{SHARE:.0%}", f"{100 * over.value:+.1f} ({between(over, '…')})"]
    )
    return table([head.of(lang) for head in _LIST_HEADS], rows, words=(1,))


def _table(verdict: Verdict) -> str:
    rows: list[tuple[str, Figures]] = [(OURS, verdict.figures), *verdict.baselines.items()]
    rows += [(f"learner {name}", figures) for name, figures in verdict.learners.items()]
    written = [
        [name, *(f"{figures[column]:.4f}" if column in figures else "-" for column in _COLUMNS)]
        for name, figures in rows
    ]
    return table(("", *_COLUMNS), written)


def _series(verdict: Verdict, figure: str) -> dict[str, list[float | None]]:
    names = ("model", *verdict.baselines)
    return {
        OURS if name == "model" else name: [p.figures[name].get(figure) for p in verdict.periods]
        for name in names
    }
