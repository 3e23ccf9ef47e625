"""The report of `millrace eval identity`: what it would do to the table, in words, and one page."""

from html import escape

from flows.lab.evaluate.advice import BETTER, DO, ENOUGH, GAIN, Advice, between, per_hundred
from flows.lab.evaluate.agreement import Agreement
from flows.lab.evaluate.matching_trial import Report
from flows.lab.evaluate.verdict_page import told
from flows.services.pages.charts import lines
from flows.services.pages.document import OURS, document, notes, section, table
from schemas.bilingual import Lang, Words

_UNITS_LEAST = 30  # customers with several rows
_SAFE = 0.98  # of the pairs that are united: below it somebody has to look

_TITLE = Words("One customer or two? {file}", "是一位客户还是两位？{file}")
_TABLE = Words("Pairs of rows, and rows", "按行对与按行计算")
_TABLE_TOLD = Words(
    "Precision: of the pairs that were united, how many are one customer. Recall: of the pairs that are one "
    "customer, how many were united. F1 is between the two, low if either is. B³ asks the same for each row "
    "of its customer, so that large customers do not decide alone. Exact: rows are one where a mail address "
    "or number is the same, or a name with a birth date, phone or address.",
    "precision：合并的行对中，确为同一客户的比例。recall：确为同一客户的行对中，被合并的比例。F1 "
    "介于两者之间，任何一个低它就低。B³ 对每一行问同样的问题，避免由大客户单独决定。exact：邮箱或号码相同，"
    "或姓名加生日、电话或地址相同，即视为同一客户。",
)
_CHART = Words("As the rows come in", "随着数据逐行到来")
_CHART_TOLD = Words(
    "Over pairs, after a quarter, half, three quarters and all of the rows, in random order. Recall is first "
    "low where most customers have but one row yet.",
    "按行对计算，依次为随机顺序的四分之一、一半、四分之三和全部数据之后。"
    "开始时大多数客户只有一行，recall 会低一些。",
)
_FACTS = Words("For analysts: the figures", "供分析人员：各项指标")
_FACTS_TOLD = Words(
    "What was compared, and what it cost. Reviews are pairs that "
    "are put before a person instead of being united.",
    "比较了哪些列，用了多少计算。review 是交给人工判断、没有自动合并的行对。",
)


def advice(report: Report) -> Advice:
    own, edge = report.pairwise, report.f1_over_exact
    points = [(GAIN, _gain(report)), (BETTER, _better(report)), (ENOUGH, _enough(report))]
    if report.customers.with_several_rows < _UNITS_LEAST:
        return Advice(
            Words(
                "There are too few customers with several rows to say anything.",
                "有多行的客户太少，无法下结论。",
            ),
            [points[2]],
        )
    if edge.high < 0.0:
        headline = Words(
            "Unite by the simple rule: it does better on this table.", "按简单规则合并：在这张表上它更好。"
        )
        return Advice(headline, points)
    wrong = per_hundred(1.0 - own.precision)
    if own.precision < _SAFE:
        headline = Words(
            f"Have the unions looked at: {wrong} of 100 pairs that millrace unites are two customers.",
            f"合并结果需要人工检查：millrace 合并的行对每 100 对有 {wrong} 对其实是两位客户。",
        )
        do = Words(
            "Let it ask instead of unite: raise `matching.merge`, and work through `millrace review list`. "
            "`millrace identity unmerge` undoes what was wrong.",
            "让它多问少合并：调高 `matching.merge`，并处理 `millrace review list`。合并错了可用 `millrace "
            "identity unmerge` 撤销。",
        )
        return Advice(headline, [(DO, do), *points])
    better = "" if not edge.is_clear else ", and it finds more than the simple rule"
    headline = Words(
        f"Let millrace unite: {wrong} of 100 pairs are wrong{better}.",
        f"可以让 millrace 合并：每 100 对只有 {wrong} "
        f"对是错的{'，并且比简单规则找得更多' if better else ''}。",
    )
    do = Words(
        f"Let it unite by itself, and have a person decide the {few(report.reviews)} pairs that it is not "
        "sure of (`millrace review list`).",
        f"让它自动合并，拿不准的 {few(report.reviews)} 对交给人工判断（`millrace review list`）。",
    )
    return Advice(headline, [(DO, do), *points])


def _gain(report: Report) -> Words:
    these, own = report.customers, report.pairwise
    return Words(
        f"The {report.rows:,} rows are {these.true:,} customers. Millrace makes {few(these.found)} of them: "
        f"{few(these.mixed)} hold rows of several people, and {few(these.split)} people are still more than "
        f"one customer. Of 100 pairs of rows that it unites, {per_hundred(own.precision)} are rightly "
        f"united; of 100 that belong together it finds {per_hundred(own.recall)}.",
        f"{report.rows:,} 行实际是 {these.true:,} 位客户。millrace 合并后为 {few(these.found)} 位：其中 "
        f"{few(these.mixed)} 位混有不同的人，{few(these.split)} 个人仍分散在多位客户中。它合并的行对每 100 "
        f"对有 {per_hundred(own.precision)} 对是对的；本应合并的每 100 "
        f"对，它找到 {per_hundred(own.recall)} 对。",
    )


def few(mean: float) -> str:
    """Return a mean of counts over several orders, with a decimal where the whole number would hide it."""
    return f"{mean:,.0f}" if mean >= 10 or mean.is_integer() else f"{mean:.1f}"


def _better(report: Report) -> Words:
    simple, edge = report.exact.pairwise, report.f1_over_exact
    english = (
        "The simple way is to unite rows with the same mail address or number, or the same name with the "
        f"same birth date, phone or address: of 100 pairs that it unites {per_hundred(simple.precision)} are "
        f"right, and of 100 that belong together it finds {per_hundred(simple.recall)}. "
    )
    chinese = (
        "简单做法是把邮箱或号码相同，或姓名加生日、电话或地址相同的行合并：它合并的每 100 对有 "
        f"{per_hundred(simple.precision)} 对是对的，本应合并的每 100 对找到 {per_hundred(simple.recall)} 对。"
    )
    if not edge.is_clear:
        return Words(
            english + f"No difference from millrace can be told (F1 {between(edge)} in 100).",
            chinese + f"与 millrace 没有可辨的差别（F1 每 100 相差 {between(edge, '至')}）。",
        )
    way = Words("better", "更好") if edge.value > 0.0 else Words("worse", "更差")
    return Words(
        english
        + (
            f"Taking both together (F1), millrace is {way.en} by {abs(100 * edge.value):.1f} in 100 (95 % "
            f"interval {between(edge)})."
        ),
        chinese
        + (
            f"两者合计（F1），millrace {way.zh}，每 100 相差 {abs(100 * edge.value):.1f}（95% 区间 "
            f"{between(edge, '至')}）。"
        ),
    )


def _enough(report: Report) -> Words:
    several = report.customers.with_several_rows
    counts = Words(
        f"{several:,} of {report.customers.true:,} customers have several rows, from which alone it can be "
        "seen whether they are found.",
        f"{report.customers.true:,} 位客户中有 {several:,} 位有多行，只有从这些客户才能看出是否找到了。",
    )
    if several < _UNITS_LEAST:
        return Words(
            f"No. {counts.en} At least {_UNITS_LEAST} are needed.",
            f"不够。{counts.zh}至少需要 {_UNITS_LEAST} 位。",
        )
    return Words(f"Yes. {counts.en}", f"够。{counts.zh}")


def page(file: str, report: Report, said: Advice, lang: Lang = "en") -> str:
    """Return a whole HTML document."""
    title = _TITLE.of(lang).format(file=file)
    parts = [
        f"<h1>{escape(title)}</h1>",
        notes([Words(warning, warning) for warning in report.warnings], lang),
        told(said, lang),
        section(_TABLE, _TABLE_TOLD, _agreement(report), lang),
        section(_CHART, _CHART_TOLD, _stations(report, lang), lang),
        section(_FACTS, _FACTS_TOLD, _facts(report), lang),
    ]
    return document(title, parts, lang)


def _agreement(report: Report) -> str:
    def cells(*both: Agreement) -> list[str]:
        return [f"{value:.4f}" for one in both for value in (one.precision, one.recall, one.f1)]

    heads = ("", *(f"{kind} {name}" for kind in ("pairs", "B³") for name in ("precision", "recall", "F1")))
    rows = [
        [OURS, *cells(report.pairwise, report.bcubed)],
        ["exact", *cells(report.exact.pairwise, report.exact.bcubed)],
    ]
    return table(heads, rows)


def _stations(report: Report, lang: Lang) -> str:
    pairs = [station.pairwise for station in report.at.values()]
    series = {
        "F1": [one.f1 for one in pairs],
        "precision": [one.precision for one in pairs],
        "recall": [one.recall for one in pairs],
    }
    return lines(list(report.at), series, lang)


def _facts(report: Report) -> str:
    fields = ", ".join(
        column if column == field else f"{column} = {field}" for column, field in report.fields.items()
    )
    rows = [
        ["fields", fields],
        ["rows", f"{report.rows:,}"],
        ["rows without a truth, left out", f"{report.left_out:,}"],
        ["comparisons", f"{report.comparisons:,.0f}"],
        ["reviews", f"{report.reviews:,.0f}"],
        ["microseconds for each record", f"{report.microseconds_per_record:.0f}"],
    ]
    return table(("", ""), rows, words=(1,))
