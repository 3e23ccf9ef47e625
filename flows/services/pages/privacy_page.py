"""The report on personal data, as a page for whoever runs the deployment, and for an auditor."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from flows.services.pages.document import document, section, table
from flows.services.pages.privacy_words import (
    BEFORE,
    CATEGORIES,
    KINDS,
    MODES,
    NO,
    PURPOSES,
    RIGHTS,
    SAID,
    SECTIONS,
    TITLE,
    WHY,
    YES,
)
from flows.services.privacy_report import Clock, Kept, PurposeSaid, Recipient, Report
from schemas.bilingual import Lang, Words

_NONE: Final = "–"
_OWN: Final = "\0"  # no row stands out


def page(found: Report, lang: Lang) -> str:
    """Return the page."""
    title = f"{TITLE.of(lang)}: {found.deployment}" if lang == "en" else f"{found.deployment} {TITLE.zh}"
    parts = [
        f"<h1>{escape(title)}</h1><p>{_moment(found.made_ms)}</p>",
        _verdict(found, lang),
        _section("consents", _consents(found, lang), lang),
        _section("modes", _modes(found.consents.modes, lang), lang),
        _section("clocks", _clocks(found.clocks, lang), lang),
        _section("erasures", _erasures(found, lang), lang),
        _section("recipients", _recipients(found.recipients, lang), lang),
        _section("retention", _retention(found, lang), lang),
        _section("keys", _keys(found, lang), lang),
        _section("processing", _processing(found, lang), lang),
        _section("notes", "", lang),
    ]
    return document(title, parts, lang)


def _section(name: str, shown: str, lang: Lang) -> str:
    title, sentence = SECTIONS[name]
    return section(title, sentence, shown, lang)


def _verdict(found: Report, lang: Lang) -> str:
    """Return what somebody who reads nothing else should know."""
    overdue = sum(clock.overdue for clock in found.clocks)
    soon = sum(clock.soon for clock in found.clocks)
    headline = (
        Words(f"Overdue requests: {overdue:,}", f"有 {overdue:,} 项请求已逾期")
        if overdue
        else Words("No request is overdue", "没有逾期的请求")
    )
    said = [
        headline.of(lang),
        Words(f"{soon:,} are due within a week.", f"一周内到期 {soon:,} 项。").of(lang),
    ]
    lines = _notices(found)
    bad = " bad" if overdue or found.retention.behind or found.keys.missing else ""
    body = "".join(f"<p>{escape(line.of(lang))}</p>" for line in lines)
    headline_and_more = f'<p class="headline">{escape(said[0])}</p><p>{escape(said[1])}</p>{body}'
    return f'<div class="verdict{bad}">{headline_and_more}</div>'


def _notices(found: Report) -> list[Words]:
    kept, erasures = found.retention, found.erasures
    forged = erasures.receipts - erasures.genuine
    until = _moment(kept.waits_until_ms)
    due = next((one.swept.found for one in kept.classes if one.name == "profiles" and one.swept), 0)
    shown = [
        (
            forged,
            Words(f"Receipts that do not verify: {forged:,}.", f"有 {forged:,} 份凭证未通过验证。"),
        ),
        (
            kept.behind,
            Words(
                "What is too old is not removed in time: the process “privacy” stands still, or is too slow.",
                "过期数据未能按时清理：privacy 进程已停止或处理过慢。",
            ),
        ),
        (
            kept.waits_until_ms,
            Words(
                f"Nobody is erased by retention before {until}: {WHY[kept.why].en}."
                f" {due:,} customers are old enough.",
                f"{until} 之前不会自动删除客户：{WHY[kept.why].zh}。已达保存期限的客户：{due:,}。",
            ),
        ),
        (
            found.keys.missing,
            Words("A key that opens personal data is missing.", "缺少用于解密个人信息的密钥。"),
        ),
        (
            "profiles" in kept.without_end,
            Words(
                "Profiles have no time to live (retention.customers): customers who are gone for years stay.",
                "客户画像未设置保存期限（retention.customers）：多年不活跃的客户仍会保留。",
            ),
        ),
    ]
    return [words for holds, words in shown if holds]


def _consents(found: Report, lang: Lang) -> str:
    said = found.consents
    heads = _heads(
        lang,
        ("purpose", "目的"),
        ("before any word", "表示之前"),
        ("yes", "同意"),
        ("no", "拒绝"),
    )
    rows = [
        (_purpose(one.name, lang), BEFORE[one.before].of(lang), *_yes_and_no(one)) for one in said.purposes
    ]
    lead = Words(
        f"{said.customers:,} customers have said something.", f"共有 {said.customers:,} 位客户作出过表示。"
    )
    regions = ", ".join(f"{country}: {BEFORE[rule].of(lang)}" for country, rule in said.regions.items())
    below = f'<p class="notes">{escape(regions)}</p>' if regions else ""
    return f"<p>{escape(lead.of(lang))}</p>" + table(heads, rows, own=_OWN, words=(0, 1)) + below


def _yes_and_no(one: PurposeSaid) -> tuple[str, str]:
    return (_NONE, _NONE) if one.required else (f"{one.yes:,}", f"{one.no:,}")


def _modes(modes: Mapping[str, int], lang: Lang) -> str:
    rows = [(MODES[mode].of(lang), f"{modes[mode]:,}") for mode in MODES if mode in modes]
    return _table(_heads(lang, ("mode", "模式"), ("customers", "客户数")), rows, (0,))


def _clocks(clocks: Sequence[Clock], lang: Lang) -> str:
    heads = _heads(
        lang,
        ("request", "请求"),
        ("clock", "法规"),
        ("open", "办理中"),
        ("soon", "即将到期"),
        ("overdue", "已逾期"),
        ("done", "已办结"),
        ("refused", "已拒绝"),
        ("late", "逾期办结"),
        ("median days", "办理天数（中位数）"),
    )
    rows = [
        (
            RIGHTS[one.right].of(lang),
            one.regime.upper(),
            f"{one.in_time:,}",
            f"{one.soon:,}",
            f"{one.overdue:,}",
            f"{one.done:,}",
            f"{one.refused:,}",
            f"{one.late:,}",
            _NONE if one.median_days is None else f"{one.median_days:.1f}",
        )
        for one in clocks
    ]
    return _table(heads, rows, (0,))


def _erasures(found: Report, lang: Lang) -> str:
    one = found.erasures
    rows = [
        (Words("asked for by customers", "客户提出"), one.asked_by_customers),
        (
            Words("begun by retention, and still kept", "因保存期限届满而启动（仍保留记录）"),
            one.asked_by_retention,
        ),
        (Words("done again, for a past that came back", "数据恢复后再次删除"), one.again),
        (Words("under way", "办理中"), one.under_way),
        (Words("receipts", "删除凭证"), one.receipts),
        (Words("of these genuine", "其中验证通过"), one.genuine),
        (
            Words(
                "ended without an erasure (heard of again, on hold, erased before)",
                "未执行删除即结束（客户恢复活动、被暂停或已删除）",
            ),
            one.nothing_done,
        ),
        (Words("identifiers whose events are dropped", "其事件被丢弃的标识符"), one.suppressed),
        (Words("identities on hold", "暂停删除的身份"), one.on_hold),
    ]
    heads = _heads(lang, ("erasures", "项目"), ("count", "数量"))
    return _table(heads, [(words.of(lang), f"{count:,}") for words, count in rows], (0,))


def _recipients(recipients: Sequence[Recipient], lang: Lang) -> str:
    heads = _heads(
        lang,
        ("receiver", "接收方"),
        ("type", "类型"),
        ("in use", "启用"),
        ("is given", "获得的个人信息"),
        ("asked to delete", "删除要求的答复"),
    )
    between = ", " if lang == "en" else "、"
    rows = [
        (
            one.name,
            one.type or _NONE,
            (YES if one.enabled else NO).of(lang),
            between.join(one.knows) or Words("nothing personal", "不含个人信息").of(lang),
            between.join(f"{SAID[said].of(lang)} {count:,}" for said, count in one.answers.items()) or _NONE,
        )
        for one in recipients
    ]
    return _table(heads, rows, (0, 1, 2, 3, 4))


def _retention(found: Report, lang: Lang) -> str:
    kept = found.retention
    heads = _heads(
        lang,
        ("what", "数据"),
        ("ends", "终止方式"),
        ("removed last", "上次清理"),
        ("oldest", "最早"),
    )
    rows = [_class(one, lang) for one in kept.classes]
    return _swept(found, lang) + table(heads, rows, own=_OWN, words=(0, 1))


def _class(one: Kept, lang: Lang) -> tuple[str, str, str, str]:
    swept = one.swept
    rule = one.rule.of(lang).replace("`", "") + (f" ({one.option})" if one.option and lang == "en" else "")
    if one.option and lang == "zh":
        rule += f"（{one.option}）"
    oldest = _day(swept.oldest_ms) if swept and swept.oldest_ms else _NONE
    return one.what.of(lang), rule, f"{swept.removed:,}" if swept else _NONE, oldest


def _swept(found: Report, lang: Lang) -> str:
    kept = found.retention
    if kept.last_pass_ms:
        ended = _moment(kept.last_pass_ms)
        said = Words(
            f"The last sweep ended {ended}, took {kept.took_s:,} s and looked at {kept.customers:,}"
            f" customers; {kept.unknown:,} of them have no profile: nobody knows when they were heard of.",
            f"上次清理于 {ended} 完成，用时 {kept.took_s:,} 秒，检查了 {kept.customers:,} 位客户；"
            f"其中 {kept.unknown:,} 位没有画像，无法得知其最后活动时间。",
        )
    else:
        said = Words(
            f"No sweep has come to its end yet; {kept.looking_at:,} customers were looked at so far.",
            f"首次清理尚未完成；目前已检查 {kept.looking_at:,} 位客户。",
        )
    return f"<p>{escape(said.of(lang))}</p>"


def _keys(found: Report, lang: Lang) -> str:
    keys = found.keys
    said = Words(
        f"Provider: {keys.provider}. {keys.data_keys:,} customers' keys; {keys.newest} wraps what is new.",
        f"密钥来源：{keys.provider}。客户数据密钥 {keys.data_keys:,} 个；新的密钥由 {keys.newest} 加密。",
    )
    rows = [
        (
            key,
            f"{uses:,}",
            (Words("MISSING", "缺失") if key in keys.missing else Words("there", "可用")).of(lang),
        )
        for key, uses in keys.versions.items()
    ]
    heads = _heads(lang, ("key", "主密钥"), ("wraps", "加密的数据密钥"), ("state", "状态"))
    return f"<p>{escape(said.of(lang))}</p>" + _table(heads, rows, (0,))


def _processing(found: Report, lang: Lang) -> str:
    heads = _heads(lang, ("purpose", "目的"), ("data", "数据类别"), ("used by", "使用的规则"))
    rows = [_processed(one, lang) for one in found.consents.purposes]
    names = [_category(name, lang) for name in found.categories]
    between = ", " if lang == "en" else "、"
    told = Words(
        f"Categories: {between.join(names)}. Sealed by name: {found.sensitive:,} kinds of fields."
        f" Derived before sealing: {between.join(found.attributes) or 'nothing'}.",
        f"数据类别：{between.join(names)}。按名称加密的字段：{found.sensitive:,} 类。"
        f"加密前派生的属性：{between.join(found.attributes) or '无'}。",
    )
    return table(heads, rows, own=_OWN, words=(0, 1, 2)) + f'<p class="notes">{escape(told.of(lang))}</p>'


def _processed(one: PurposeSaid, lang: Lang) -> tuple[str, str, str]:
    between = ", " if lang == "en" else "、"
    data = between.join(_category(name, lang) for name in one.categories) or Words("all", "全部").of(lang)
    return _purpose(one.name, lang), data, between.join(_rule(rule, lang) for rule in one.used_by) or _NONE


# --- how things are written


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int]) -> str:
    return table(heads, rows, own=_OWN, words=words) if rows else f"<p>{_NONE}</p>"


def _heads(lang: Lang, *named: tuple[str, str]) -> list[str]:
    return [Words(en, zh).of(lang) for en, zh in named]


def _purpose(name: str, lang: Lang) -> str:
    return f"{PURPOSES[name]}（{name}）" if lang == "zh" and name in PURPOSES else name


def _category(name: str, lang: Lang) -> str:
    return CATEGORIES.get(name, name) if lang == "zh" else name


def _rule(rule: str, lang: Lang) -> str:
    kind, _, name = rule.partition(" ")
    return f"{KINDS[kind]} {name}" if lang == "zh" else rule


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _day(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}"
