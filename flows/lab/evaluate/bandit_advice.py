"""What `millrace eval bandit` found out, in words for who decides: let it choose, or not?"""

from math import ceil, isfinite
from typing import Any

from flows.lab.evaluate.advice import BETTER, DO, ENOUGH, GAIN, Advice
from flows.logic.bandit.offpolicy import REWARDED_LEAST, SAMPLE_LEAST
from schemas.bilingual import Words

_DECISIONS = 1_000  # that rewards of 0 to 1 are told for
_ROUNDS_LEAST = 200
_LIVE = Words(
    "Let millrace choose each time, and let it go on trying the others "
    "now and then: what earns most today may not tomorrow.",
    "让 millrace 每次来选，并让它偶尔继续尝试其他动作：今天最好的，明天未必。",
)
_CONSTANT = Words(
    "Always take the best single action for now, and come back with more decisions or with columns that say "
    "more about the customer.",
    "目前固定使用最好的那个动作；等有了更多决策，或有了更能说明客户的列之后再评估。",
)
_STAY = Words(
    "Change nothing on the strength of this log. Let a small share of decisions be drawn by lot, write down "
    "how probable each was, and ask again.",
    "不要仅凭这份日志做改变。让一小部分决策随机产生，记下每个动作的概率，之后再评估。",
)

_SIMPLE = {
    "uniform": Words("by lot", "随机选择"),
    "best_constant": Words(
        "always the one action that was best in the first half", "始终采用前一半中最好的动作"
    ),
}


def of_rounds(figures: dict[str, Any]) -> Advice:
    """Advise with the reward of every action known."""
    _, low, high = figures["over_best_constant"]
    policy, best = figures["default"], figures["best_constant_action"]
    points = [(GAIN, _earned(figures)), (BETTER, _over_constant(figures)), (ENOUGH, _rounds(figures))]
    if figures["rounds"] < _ROUNDS_LEAST:
        return Advice(
            Words("There are too few decisions to say anything.", "决策太少，无法下结论。"), [points[2]]
        )
    if low > 0.0:
        headline = Words(
            f"Let millrace choose: it earns more than always taking the best single action ({best}).",
            f"让 millrace 来选：它比始终采用最好的单一动作（{best}）收益更高。",
        )
        return Advice(headline, [(DO, _LIVE), *points])
    if high < 0.0:
        headline = Words(
            f"Take {best} always: {policy} earns less on this history.",
            f"固定采用 {best}：在这份历史上 {policy} 的收益更低。",
        )
    else:
        headline = Words(
            f"No difference can be told between millrace and always taking {best}.",
            f"millrace 与始终采用 {best} 没有可辨的差别。",
        )
    return Advice(headline, [(DO, _CONSTANT), *points])


def of_log(figures: dict[str, Any]) -> Advice:
    """Advise with one reward for each decision, and its propensity."""
    entries: dict[str, Any] = figures["policies"]
    better = [name for name, entry in entries.items() if entry["verdict"] == "better"]
    learnt = list(entries)[-1]
    points = [
        (GAIN, _would_earn(figures, better or [learnt])),
        (BETTER, _candidates(figures)),
        (ENOUGH, _log(figures)),
    ]
    if better:
        best = max(better, key=lambda name: float(entries[name]["gain"][1]))
        headline = Words(
            f"{best} would have earned more than what the log did.",
            f"如果采用 {best}，收益会高于日志中的做法。",
        )
        return Advice(headline, [(DO, _LIVE if best == learnt else _CONSTANT), *points])
    if all(entry["verdict"] == "cannot tell" for entry in entries.values()):
        headline = Words(
            "This log cannot tell whether another policy would have earned more.",
            "这份日志不足以说明其他策略是否会收益更高。",
        )
    else:
        headline = Words(
            "No policy tried here is known to be better than what the log did.",
            "这里试过的策略都看不出比日志中的做法更好。",
        )
    return Advice(headline, [(DO, _STAY), *points])


def _unit(figures: dict[str, Any]) -> tuple[float, Words]:
    if figures["fractions"]:
        return float(_DECISIONS), Words(f"in {_DECISIONS:,} decisions", f"每 {_DECISIONS:,} 次决策")
    return 1.0, Words("in a decision", "每次决策")


def amount(value: float, *, sign: bool = False) -> str:
    """Return a number of three digits, as text."""
    if not isfinite(value):
        return "-∞" if value < 0 else "∞"
    size = abs(value)
    decimals = 2 - (size >= 10) - (size >= 100)
    return f"{value:{'+' if sign else ''},.{decimals}f}"


def _earned(figures: dict[str, Any]) -> Words:
    scale, unit = _unit(figures)
    own, half = amount(scale * figures["mean_reward"]), amount(scale * figures["second_half"])
    constant, chance = amount(scale * figures["best_constant"]), amount(scale * figures["uniform"])
    best = figures["best_constant_action"]
    return Words(
        f"Rewards {unit.en}: millrace {own} while it learnt everything from nothing ({half} in the second "
        f"half), always {best} {constant}, by lot {chance}.",
        f"{unit.zh}的收益：millrace 从零学起为 {own}（后半段 {half}），"
        f"始终采用 {best} 为 {constant}，随机选择为 {chance}。",
    )


def _over_constant(figures: dict[str, Any]) -> Words:
    scale, unit = _unit(figures)
    value, low, high = (amount(scale * bound, sign=True) for bound in figures["over_best_constant"])
    room = figures["ceiling"] - figures["best_constant"]
    english = (
        "The simple way is to take the one action that was best over the whole history, which is known only "
        f"afterwards. Millrace against it: {value} {unit.en} (95 % interval {low} to {high})."
    )
    chinese = (
        f"简单做法是始终采用整段历史中最好的那个动作（只有事后才知道）。millrace 与它相比：{unit.zh} "
        f"{value}（95% 区间 {low} 至 {high}）。"
    )
    if room > 0.0:
        share = (figures["mean_reward"] - figures["best_constant"]) / room
        english += f" Of what a model could win over it that had seen all rewards, that is {share:.0%}."
        chinese += f"一个看过全部收益的模型能多得的部分中，它得到了 {share:.0%}。"
    return Words(english, chinese)


def _rounds(figures: dict[str, Any]) -> Words:
    value, low, high = figures["over_best_constant"]
    counts = Words(
        f"{figures['rounds']:,} decisions among {figures['arms']} actions, {figures['features']} features.",
        f"{figures['rounds']:,} 次决策，{figures['arms']} 个动作，{figures['features']} 个特征。",
    )
    if figures["rounds"] < _ROUNDS_LEAST:
        return Words(
            f"No: {counts.en} At least {_ROUNDS_LEAST} are needed.",
            f"不够：{counts.zh}至少需要 {_ROUNDS_LEAST} 次。",
        )
    if low <= 0.0 <= high:
        return Words(
            f"No. {counts.en} {_times(value, low, high).en}",
            f"不够。{counts.zh}{_times(value, low, high).zh}",
        )
    return Words(f"Yes. {counts.en}", f"够。{counts.zh}")


def _times(value: float, low: float, high: float) -> Words:
    """How much more it would take: an interval is half as wide with four times as much."""
    times = ((high - low) / 2.0 / abs(value)) ** 2 if value else float("inf")
    if not times <= 100:
        return Words("Even a hundred times as much would hardly tell.", "即使有一百倍的数据也很难分辨。")
    return Words(f"About {ceil(times)} times as much would tell.", f"大约 {ceil(times)} 倍的数据才能分辨。")


def _would_earn(figures: dict[str, Any], names: list[str]) -> Words:
    scale, unit = _unit(figures)
    log = amount(scale * figures["second_half"])
    told = []
    for name in names:
        value, low, high = (amount(scale * bound) for bound in figures["policies"][name]["dr"])
        told.append((name, value, low, high))
    english = "; ".join(
        f"{name} would have earned about {value} (95 % interval {low} to {high})"
        for name, value, low, high in told
    )
    chinese = "；".join(
        f"{name} 估计为 {value}（95% 区间 {low} 至 {high}）" for name, value, low, high in told
    )
    return Words(
        f"Rewards {unit.en}: the log earned {log}; {english}.",
        f"{unit.zh}的收益：日志中为 {log}；{chinese}。",
    )


def _candidates(figures: dict[str, Any]) -> Words:
    """Each policy against what the log did."""
    told = [(_named(name), why(entry, figures)) for name, entry in figures["policies"].items()]
    return Words(
        " ".join(f"{name.en}: {said.en}." for name, said in told),
        "".join(f"{name.zh}：{said.zh}。" for name, said in told),
    )


def _named(policy: str) -> Words:
    meaning = _SIMPLE.get(policy, Words("millrace, learnt from the first half", "millrace，从前一半学习"))
    return Words(f"{policy} ({meaning.en})", f"{policy}（{meaning.zh}）")


def why(entry: dict[str, Any], figures: dict[str, Any]) -> Words:
    """Return the verdict on one policy, by the rules of `flows.logic.bandit.offpolicy`."""
    scale, unit = _unit(figures)
    low, high = (amount(scale * bound, sign=True) for bound in entry["gain"][1:])
    gain = Words(f"{low} to {high} {unit.en} against the log", f"{unit.zh}与日志相比 {low} 至 {high}")
    reason = gain if entry["verdict"] != "cannot tell" else _lacks(entry, gain)
    return Words(f"{said_of(entry).en}, {reason.en}", f"{said_of(entry).zh}，{reason.zh}")


def said_of(entry: dict[str, Any]) -> Words:
    """Return the verdict alone."""
    return Words(entry["verdict"], {"better": "更好", "worse": "更差"}.get(entry["verdict"], "无法判断"))


def _lacks(entry: dict[str, Any], gain: Words) -> Words:
    sample, rewarded = entry["effective_sample_size"], entry["effective_rewards"]
    if sample < SAMPLE_LEAST:
        return Words(
            f"the log is worth {sample:.0f} decisions of this policy, at least {SAMPLE_LEAST:.0f} are needed",
            f"这份日志只相当于该策略的 {sample:.0f} 次决策，至少需要 {SAMPLE_LEAST:.0f} 次",
        )
    if rewarded < REWARDED_LEAST:
        return Words(
            f"the log is worth {rewarded:.0f} rewarded decisions of this policy, at least "
            f"{REWARDED_LEAST:.0f} are needed",
            f"这份日志只相当于该策略的 {rewarded:.0f} 次有收益的决策，至少需要 {REWARDED_LEAST:.0f} 次",
        )
    if entry["gain"][1] <= 0.0 <= entry["gain"][2]:
        return Words(f"it may be anything from {gain.en}", f"可能是任何值：{gain.zh}")
    return Words(str(entry["reason"]), "权重的平均值离 1 太远，日志没有反映该策略会遇到的情况")


def _log(figures: dict[str, Any]) -> Words:
    counts = Words(
        f"{figures['decisions']:,} decisions among {figures['arms']} actions, "
        f"{figures['rewarded']:,} of them rewarded.",
        f"{figures['decisions']:,} 次决策，{figures['arms']} 个动作，其中 {figures['rewarded']:,} 次有收益。",
    )
    if figures["verdict"] == "cannot tell":
        return Words(
            f"No. {counts.en} A policy is judged by those logged decisions that it would have taken too, and "
            "of these there are too few.",
            f"不够。{counts.zh}评判一个策略只能靠日志中它也会做出的决策，这样的决策太少。",
        )
    return Words(f"Yes, at least for some policies. {counts.en}", f"至少对部分策略是够的。{counts.zh}")
