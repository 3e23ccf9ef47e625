"""The verdict in words for who has to decide and need not know what an AUC is: what to do, who gains what, by
how much it is better than what everybody could do, and whether there is enough data to say."""

from math import ceil

import msgspec

from flows.lab.evaluate.judge import Kind, Verdict
from flows.lab.evaluate.tops import SHARE, Edge, Top
from schemas.bilingual import Words

UNITS_LEAST = 30  # of either answer: below it nothing is said
_MOST_TIMES = 100  # as much data: who would need more will not wait for it

METHODS = {
    "recency": Words("looking only at who has been away longest", "只看谁最久没来"),
    "batch_lr": Words(
        "a logistic regression, fitted anew again and again by an analyst", "分析人员反复重新拟合的逻辑回归"
    ),
    "batch_gbt": Words(
        "gradient boosting, fitted anew again and again by an analyst", "分析人员反复重新拟合的梯度提升树"
    ),
    "bg_nbd": Words("BG/NBD, the textbook model of who buys again", "教科书中的复购模型 BG/NBD"),
    "half_space_trees": Words(
        "looking for what is unusual, without any labels", "不用标签、只找不寻常的记录"
    ),
}
SIMPLEST: dict[Kind, str] = {"churn": "recency", "propensity": "batch_lr", "anomaly": "half_space_trees"}
_WHO: dict[Kind, Words] = {
    "churn": Words("customers", "客户"),
    "propensity": Words("cases", "记录"),
    "anomaly": Words("cases", "记录"),
}
_ACT: dict[Kind, Words] = {
    "churn": Words(
        "Write to, call, or offer something to the customers on the list, and leave every tenth of them "
        "alone on purpose: this report says who will stay away, not whom a message brings back. Only the "
        "comparison with those left alone will tell that.",
        "联系名单上的客户（短信、电话或优惠），并特意留出其中十分之一不联系：本报告说明谁会流失，不说明联系之后谁会回来。"
        "只有与未联系的人对比，才知道行动是否有用。",
    ),
    "propensity": Words(
        "Work on the cases on the list first, and leave every tenth of them alone on purpose: this report "
        "says which will turn out so, not which your action moves. Only "
        "the comparison with those left alone will tell that.",
        "优先处理名单上的记录，并特意留出其中十分之一不处理：本报告说明哪些会是，不说明行动改变了哪些。只有与未处理的对比，"
        "才知道行动是否有用。",
    ),
    "anomaly": Words(
        "Have the cases on the list looked at first, by hand, before anything is blocked: the others on it "
        "are in order, and their customers would be turned away for nothing.",
        "先由人工检查名单上的记录，再决定是否拦截：名单上其余的是正常的，直接拦截会误伤客户。",
    ),
}
DO = Words("What to do", "该做什么")
GAIN = Words("Who gains what", "能得到什么")
BETTER = Words("Is it better than a simple way?", "比简单做法好吗？")
ENOUGH = Words("Is there enough data to say?", "数据够下结论吗？")


class Advice(msgspec.Struct, frozen=True):
    """`points`: a question, and the answer to it."""

    headline: Words
    points: list[tuple[Words, Words]]


def advice(verdict: Verdict) -> Advice:
    own = verdict.tops["model"]
    others = {name: top for name, top in verdict.tops.items() if name != "model"}
    strongest = max(others, key=lambda name: others[name].rate)
    points = [
        (GAIN, _gain(verdict, own)),
        (BETTER, _better(verdict, others, strongest)),
        (ENOUGH, _enough(verdict, own, others[strongest])),
    ]
    if _few(verdict):
        return Advice(
            Words("There is too little data to say anything.", "数据太少，无法下结论。"), [points[2]]
        )
    if own.over_chance.low <= 0.0:
        return Advice(
            Words(
                "Do not act on this list: it cannot be told from one drawn by lot.",
                "不要按这份名单行动：它与随机挑选没有可辨的差别。",
            ),
            points,
        )
    return Advice(_headline(others[strongest], strongest), [(DO, _ACT[verdict.kind]), *points])


def _headline(strongest: Top, name: str) -> Words:
    assert strongest.behind is not None
    if strongest.behind.low > 0.0:
        return Words(
            "Act on millrace's list: it is right more often than that of any other method tried here.",
            "可以按 millrace 的名单行动：它比这里试过的任何其他方法都更准。",
        )
    if strongest.behind.high < 0.0:
        return Words(
            f"A list is worth acting on, but here that of {name} is better than millrace's.",
            f"名单值得一用，但在这份数据上 {name} 的名单比 millrace 的更准。",
        )
    return Words(
        "Act on millrace's list: it is far from chance, and as good as "
        f"the best other one tried here ({name}).",
        f"可以按 millrace 的名单行动：它明显好于随机，并与这里试过的最好的其他方法（{name}）不相上下。",
    )


def _few(verdict: Verdict) -> bool:
    return min(verdict.units_true, verdict.units_false) < UNITS_LEAST


def _gain(verdict: Verdict, own: Top) -> Words:
    who, base = _WHO[verdict.kind], verdict.base_rate
    rate, chance, over = per_hundred(own.rate), per_hundred(own.rate - own.over_chance.value), own.over_chance
    found, last = f"{own.found:.0%}", per_hundred(own.last_rate)
    english = (
        f"Say you act on the 10 % of {who.en} that millrace ranks first. Of every 100 of them, {rate} "
        f"{verdict.subject.en}; of 100 drawn by lot it would be {chance}. So {signed(over)} for each 100 "
        f"that you act on (95 % interval {between(over)}), and {found} of all such {who.en} are on the list. "
        f"Of 100 among the 10 % that it ranks last, it is {last}: there your effort would be spent worst."
    )
    chinese = (
        f"假设您对 millrace 排在最前的 10% {who.zh}采取行动：每 100 个中有 {rate} 个{verdict.subject.zh}；"
        f"随机挑 100 个则是 {chance} 个。即每行动 100 个多找对 {signed(over)} 个（95% 区间 "
        f"{between(over, '至')}），名单覆盖了全部此类{who.zh}的 {found}。排在最后的 10% 中，每 100 个只有 "
        f"{last} 个：在那里行动最不划算。"
    )
    if SHARE < base <= 0.5:
        english += f" (A list of that length that were right throughout would hold {SHARE / base:.0%}.)"
        chinese += f"（这么长的名单即使全对，也只能覆盖 {SHARE / base:.0%}。）"
    if base > 0.5:
        other, usual = per_hundred(1.0 - own.last_rate), per_hundred(1.0 - base)
        english += (
            f" Most are so anyway ({per_hundred(base)} of 100), so look at it from below too: of 100 ranked "
            f"last {other} are not so; by lot {usual}."
        )
        chinese += (
            f"本来大多数就是如此（每 100 个有 {per_hundred(base)} 个），所以也要反过来看："
            f"排在最后的每 100 个有 {other} 个不是，随机挑选只有 {usual} 个。"
        )
    return Words(english, chinese)


def _better(verdict: Verdict, others: dict[str, Top], strongest: str) -> Words:
    simplest = SIMPLEST[verdict.kind]
    told = [_against(simplest, others[simplest])]
    if strongest != simplest:
        told.append(_against(strongest, others[strongest], strongest=True))
    return Words(" ".join(one.en for one in told), "".join(one.zh for one in told))


def _against(name: str, top: Top, *, strongest: bool = False) -> Words:
    assert top.behind is not None
    edge, method = top.behind, METHODS[name]
    which = "The strongest rival" if strongest else "The simple way"
    english = (
        f"{which} is {name} ({method.en}): of 100 on its list it is right {per_hundred(top.rate)} times. "
    )
    chinese = (
        f"{'最强的对手' if strongest else '简单做法'}是 {name}（{method.zh}）：它的名单每 100 个对 "
        f"{per_hundred(top.rate)} 个。"
    )
    if not edge.is_clear:
        return Words(
            english
            + (
                f"No difference from millrace can be told: {signed(edge)} in 100, "
                f"which may be anything {ranging(edge)}."
            ),
            chinese
            + (
                f"与 millrace 没有可辨的差别：每 100 个相差 {signed(edge)} 个，"
                f"可能在 {between(edge, '至')} 之间。"
            ),
        )
    better = edge.value > 0.0
    return Words(
        english
        + (
            f"Millrace is {'better' if better else 'worse'} by {abs(100 * edge.value):.1f} in 100 (95 % "
            f"interval {between(edge)})."
        ),
        chinese
        + (
            f"millrace 每 100 个{'多' if better else '少'}对 {abs(100 * edge.value):.1f} 个（95% 区间 "
            f"{between(edge, '至')}）。"
        ),
    )


def _enough(verdict: Verdict, own: Top, strongest: Top) -> Words:
    who, data = _WHO[verdict.kind], verdict.data
    counts = Words(
        f"{verdict.units:,} {who.en} were judged: of {verdict.units_true:,} the answer was yes at some time, "
        f"of {verdict.units_false:,} no; {data.en}.",
        f"评判了 {verdict.units:,} 个{who.zh}：其中 {verdict.units_true:,} 个曾经为“是”，"
        f"{verdict.units_false:,} 个曾经为“否”；{data.zh}。",
    )
    if _few(verdict):
        return Words(
            f"No. {counts.en} At least {UNITS_LEAST} of each are needed: collect "
            "more, or try a shorter span.",
            f"不够。{counts.zh}两者各至少需要 {UNITS_LEAST} 个：请积累更多数据，或缩短时间跨度。",
        )
    if not own.over_chance.is_clear:
        more = _more(own.over_chance)
        return Words(
            f"No. {counts.en} To tell the list from chance {more.en}.",
            f"不够。{counts.zh}要与随机区分，{more.zh}。",
        )
    assert strongest.behind is not None
    if strongest.behind.is_clear:
        return Words(f"Yes. {counts.en}", f"够。{counts.zh}")
    more = _more(strongest.behind)
    return Words(
        f"Yes, to act on the list. {counts.en} To tell which of the two best methods is better {more.en}.",
        f"按名单行动是够的。{counts.zh}要区分最好的两种方法谁更好，{more.zh}。",
    )


def _more(edge: Edge) -> Words:
    """How much more data it would take: an interval is half as wide with four times as much."""
    times = ((edge.high - edge.low) / 2.0 / abs(edge.value)) ** 2 if edge.value else float("inf")
    if times > _MOST_TIMES:
        return Words(
            f"more than {_MOST_TIMES} times as much would be needed: in practice they are the same",
            f"需要 {_MOST_TIMES} 倍以上的数据：实际上没有差别",
        )
    return Words(f"about {ceil(times)} times as much would be needed", f"大约需要 {ceil(times)} 倍的数据")


def per_hundred(share: float) -> str:
    """Return a share as a number of 100, with a decimal where the whole number would hide it."""
    decimals = 0 if 0.1 <= share <= 0.9 or share in (0.0, 1.0) else 1
    return f"{100 * share:.{decimals}f}"


def signed(edge: Edge) -> str:
    return f"{100 * edge.value:+.1f}"


def between(edge: Edge, to: str = "to") -> str:
    return f"{100 * edge.low:+.1f} {to} {100 * edge.high:+.1f}"


def ranging(edge: Edge) -> str:
    return f"from {between(edge)}"
