"""Everything that a deployment keeps, and what ends each: the one list that report and documents go by.

`keys` are the places in Redis, behind `PREFIX:`, of which each is in one class
(`tests/flows/services/test_retention_classes.py` looks at a live deployment).
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from schemas.bilingual import Words
from schemas.config import Config
from schemas.units import Duration
from state.shards.redis_shards import DECISIONS_MAX, QUARANTINED_MAX

# age: an option says how old; size: so many are kept; reading: whoever it is for takes it away; customer:
# ends with its customer; yours: outside of what we hold; none: nothing ends it
_UNITS: Final = (
    (86_400_000, "days", "天"),
    (3_600_000, "hours", "小时"),
    (60_000, "minutes", "分钟"),
    (1_000, "seconds", "秒"),
)
_NEVER: Final = Words("never", "永不删除")
_IS_NOT_KEPT: Final = Words("is not kept", "未启用")
Ends = Literal["age", "size", "reading", "customer", "yours", "none"]


class DataClass(msgspec.Struct, frozen=True):
    """One class of data."""

    name: str
    what: Words
    ends: Ends
    rule: Words
    option: str = ""  # that changes it
    keys: tuple[str, ...] = ()  # begins of keys; `{s}` is any shard


def classes(config: Config) -> list[DataClass]:
    """Return what this configuration keeps."""
    return [*_logs(config), *_customers(config), *_queues(config), *_rights(config), *_copies(config)]


def has_no_end(found: Sequence[DataClass]) -> list[DataClass]:
    """Return those that nothing ends."""
    return [one for one in found if one.ends == "none"]


def _logs(config: Config) -> list[DataClass]:
    kafka = config.raw.log == "kafka"
    return [
        DataClass(
            "raw_log",
            Words("Events as they came, sealed", "收到的原始事件（加密）"),
            "yours" if kafka else "reading",
            Words("the topic's own retention", "由 Kafka 主题自身的保留期决定")
            if kafka
            else Words("as soon as they are resolved", "解析完成后立即删除"),
            keys=("raw:",),
        ),
        DataClass(
            "shard_logs",
            Words("Events between two processes", "处理过程之间的事件"),
            "reading",
            Words("as soon as they are applied", "应用到画像后立即删除"),
            keys=("{dir}:log:", "{dir}:senders", "{dir}:heads", "{dir}:offsets", "{dir}:changes"),
        ),
        DataClass(
            "journal",
            Words("The order of all commits", "提交顺序日志"),
            "reading" if config.archive.enabled else "size",
            Words("as soon as the archive has them", "写入归档后立即删除")
            if config.archive.enabled
            else Words("the last 100,000 stay, without content", "保留最近 100,000 条（不含内容）"),
            keys=("{dir}:journal", "{dir}:archived", "{dir}:hold"),
        ),
    ]


def _customers(config: Config) -> list[DataClass]:
    rules, matching = config.retention, config.matching
    silent = _after(rules.customers, Words("{} after the last event: erased", "最后一次事件 {} 后删除客户"))
    ends: Ends = "age" if rules.customers is not None else "none"
    return [
        DataClass(
            "profiles",
            Words(
                "Profiles: figures, tags, scores, message ids of the last events",
                "客户画像：指标、标签、评分、最近的消息编号",
            ),
            ends,
            silent,
            "retention.customers",
            ("{s}:p:", "{s}:u:", "{s}:tm:", "{s}:due", "{s}:timers"),
        ),
        DataClass(
            "sealed",
            Words("Personal data, sealed, and the keys that open it", "个人信息（加密）及其密钥"),
            "customer",
            Words("with the customer", "随客户一并删除"),
            keys=("{s}:xs:", "{s}:x:", "{keys}:"),
        ),
        DataClass(
            "identities",
            Words("Who is who: keyed hashes", "身份关系：带密钥的哈希"),
            "customer",
            Words(
                "with the customer; of who has no profile only on request",
                "随客户一并删除；没有画像的客户仅在其提出请求时删除",
            ),
            keys=(
                *("{dir}:i:", "{dir}:o:", "{dir}:r:", "{dir}:a:", "{dir}:u:", "{dir}:apart"),
                *("{dir}:users", "{dir}:suspended", "{dir}:rates:", "{dir}:moves:"),
            ),
        ),
        DataClass(
            "consents",
            Words("What customers allow", "客户的同意与拒绝"),
            "customer",
            Words("with the customer", "随客户一并删除"),
            keys=("{dir}:c:",),
        ),
        DataClass(
            "matching",
            Words("What is compared to find that two are one, sealed", "用于识别同一人的比对数据（加密）"),
            "age",
            _IS_NOT_KEPT
            if not matching.enabled
            else _after(matching.keep, Words("{} after it was last said", "最后一次提供 {} 后")),
            "matching.keep",
            ("{dir}:mk:", "{dir}:mr:", "{dir}:matcher", "{dir}:matches"),
        ),
        DataClass(
            "reviews",
            Words("Pairs of customers that wait for a steward", "等待人工判断的疑似同一客户"),
            "age" if rules.reviews is not None else "size",
            _after(rules.reviews, Words("{} after they were found", "发现 {} 后"))
            if rules.reviews is not None
            else Words(
                f"when a steward decides; at most {config.identity.reviews:,} wait",
                f"人工判断后；最多 {config.identity.reviews:,} 对等待",
            ),
            "retention.reviews",
            ("{dir}:reviews",),
        ),
        DataClass(
            "ledger",
            Words("Who was united with whom, and why", "客户合并的记录及原因"),
            "size",
            _at_most(config.identity.ledger),
            "identity.ledger",
            ("{dir}:ledger", "{dir}:skipped"),
        ),
    ]


def _queues(config: Config) -> list[DataClass]:
    rules = config.retention
    return [
        DataClass(
            "outbox",
            Words("Triggers, examples and hand-overs on their way", "发送途中的触发、样本与交接"),
            "reading",
            Words("as soon as all have taken them", "全部接收后立即删除"),
            keys=("{s}:out:t", "{s}:out:i", "{s}:out:x", "{s}:cursors"),
        ),
        DataClass(
            "decisions",
            Words("Why something was sent, or was not", "发送或未发送的决定及原因"),
            "age" if rules.decisions is not None else "size",
            _after(rules.decisions, Words("{} after the decision", "作出决定 {} 后"))
            if rules.decisions is not None
            else Words(f"the last {DECISIONS_MAX:,} of each shard", f"每个分片保留最近 {DECISIONS_MAX:,} 条"),
            "retention.decisions",
            ("{s}:out:d",),
        ),
        DataClass(
            "dead_letters",
            Words(
                "Events, deliveries and examples that failed, sealed", "处理失败的事件、投递与样本（加密）"
            ),
            "age" if rules.dead_letters is not None else "size",
            _after(rules.dead_letters, Words("{} after they failed", "失败 {} 后"))
            if rules.dead_letters is not None
            else Words(
                f"at most 100,000 of each kind, 256 MB of events, {QUARANTINED_MAX:,} facts of each shard",
                f"每类最多 100,000 条，事件不超过 256 MB，每个分片最多 {QUARANTINED_MAX:,} 条",
            ),
            "retention.dead_letters",
            ("{dir}:dead", "{deliver}:dead", "{models}:unlearnt", "{s}:out:q"),
        ),
        DataClass(
            "findings",
            Words("Masked samples of what looks personal", "疑似个人信息的脱敏样例"),
            "size",
            Words("the last one of each field, 500 fields", "每个字段仅保留最近一条，最多 500 个字段"),
            keys=("{quality}:",),
        ),
    ]


def _rights(config: Config) -> list[DataClass]:
    kept = config.retention.requests
    return [
        DataClass(
            "requests",
            Words("Requests of customers, with receipts", "客户请求及删除凭证"),
            "age" if kept is not None else "none",
            _after(
                kept,
                Words(
                    "{} after they are closed (30 where retention erased)",
                    "关闭 {} 后（自动删除的为 30 天后）",
                ),
            ),
            "retention.requests",
            ("{privacy}:requests", "{privacy}:open"),
        ),
        DataClass(
            "mandates",
            Words("What other systems asked: keyed hashes", "其他系统提出的请求：带密钥的哈希"),
            "age" if kept is not None else "none",
            _after(kept, Words("{} after they are ended", "结束 {} 后")),
            "retention.requests",
            ("{privacy}:mandates",),
        ),
        DataClass(
            "codes",
            Words("Hashes of codes by which customers confirm a yes", "客户确认同意所用验证码的哈希"),
            "age",
            Words(
                f"{config.consent.confirm_for} after they were sent", f"发送 {config.consent.confirm_for} 后"
            ),
            "consent.confirm_for",
            ("{privacy}:code:",),
        ),
        DataClass(
            "holds",
            Words("Customers on hold", "暂停删除的客户"),
            "yours",
            Words("`millrace subject release`", "`millrace subject release` 解除"),
            keys=("{privacy}:held",),
        ),
        DataClass(
            "marks",
            Words("Marks of who was erased: keyed hashes", "已删除客户的标记：带密钥的哈希"),
            "none",
            Words("they stay: so that no copy brings anybody back", "永久保留：防止任何副本使其恢复"),
            keys=("{dir}:x:", "{dir}:suppressed"),
        ),
    ]


def _copies(config: Config) -> list[DataClass]:
    archive, backup = config.archive, config.backup
    pruned = (
        Words("", "")
        if backup.daily
        else Words(", when `millrace backup prune` is run", "，在运行 `millrace backup prune` 时执行")
    )
    return [
        DataClass(
            "archive",
            Words("Everything that happened, sealed", "全部历史（加密）"),
            "none" if archive.enabled and archive.keep is None else "age",
            _archive_rule(config, pruned),
            "archive.keep",
        ),
        DataClass(
            "backups",
            Words("Full copies, sealed", "完整备份（加密）"),
            "size",
            Words(f"the newest {backup.keep}{pruned.en}", f"最近 {backup.keep} 份{pruned.zh}"),
            "backup.keep",
        ),
        DataClass(
            "models",
            Words("What models have learnt: sums over all", "模型学到的参数：所有客户的汇总"),
            "size",
            Words("the last versions of each", "每个模型仅保留最近的版本"),
            keys=("{models}:", "{dir}:body:", "{dir}:dictionaries", "{dir}:dropped"),
        ),
        DataClass(
            "machinery",
            Words("Counts and settings, of nobody in particular", "计数与设置，不涉及具体客户"),
            "none",
            Words("they stay", "永久保留"),
            keys=(
                *("{dir}:meta", "{dir}:stats", "{dir}:sources", "{dir}:given_up", "{s}:head"),
                *("{s}:counters", "{deliver}:counts", "{deliver}:disabled", "{kek}:", "{privacy}:sweep"),
                *("{copy}:",),
            ),
        ),
        DataClass(
            "told",
            Words(
                "Triggers at receivers, and our logs on the disk", "接收方收到的消息，以及磁盘上的运行日志"
            ),
            "yours",
            Words(
                "as you have arranged; receivers are asked to delete with each erasure",
                "由您安排；每次删除客户时都会要求接收方一并删除",
            ),
        ),
    ]


def _archive_rule(config: Config, pruned: Words) -> Words:
    archive = config.archive
    if not archive.enabled:
        return _IS_NOT_KEPT
    if archive.keep is None:
        return _NEVER
    kept = _after(archive.keep, Words("{}, if no backup needs it", "{} 后（若无备份需要）"))
    return Words(kept.en + pruned.en, kept.zh + pruned.zh)


def _after(kept: Duration | None, since: Words) -> Words:
    """Return the rule, in which `{}` is for how long."""
    if kept is None:
        return _NEVER
    shown = _shown(kept)
    return Words(since.en.format(shown.en), since.zh.format(shown.zh))


def _shown(kept: Duration) -> Words:
    for unit_ms, en, zh in _UNITS:
        if kept % unit_ms == 0:
            count = kept // unit_ms
            return Words(f"{count:,} {en if count > 1 else en[:-1]}", f"{count:,} {zh}")
    return Words(str(kept), str(kept))


def _at_most(count: int) -> Words:
    return Words(f"at most {count:,}; the oldest go first", f"最多 {count:,} 条，最早的先删除")
