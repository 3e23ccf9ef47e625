"""Why something was sent to a customer, or was not: the codes of decision records, in words.

A code means the same wherever it stands: as the reason of a record, as what withheld one action among
several, and as a label of metrics.
"""

from collections.abc import Mapping
from typing import Final

from schemas.bilingual import Words

# of a record
REASONS: Final[Mapping[str, Words]] = {
    "cooldown": Words(
        "not sent: the same was done for this customer a short while before",
        "未发送：不久前刚对该客户执行过同一操作",
    ),
    "no_action": Words(
        "nothing done: no action was open to this customer", "未执行：没有可对该客户执行的动作"
    ),
    "silent": Words("nothing sent: doing nothing was chosen", "未发送：所选动作为“不打扰”"),
    "chosen": Words("done: this action was chosen", "已执行：选择了此动作"),
    "sent_while_united": Words(
        "sent while this customer was one with another, from whom it has been parted since",
        "已发送：当时该客户与另一客户合并为一人，其后已拆分",
    ),
    "consent": Words("not sent: the customer does not allow it", "未发送：客户未同意"),
}
# of an action that was not chosen
WITHHELD: Final[Mapping[str, Words]] = {
    "not_eligible": Words("not for this customer, by its own condition", "不符合该动作的条件"),
    "eligibility_failed": Words("its condition could not be evaluated", "无法判断该动作的条件"),
    "budget": Words("its budget for this period is used up", "本周期预算已用完"),
    "capacity": Words("done as often as it may be in this period", "本周期次数已用完"),
    "cooldown": Words("done for this customer a short while before", "不久前刚对该客户执行过"),
}


def words(code: str, lang: str) -> str:
    """Return what a code of a record means; an unknown one is its own name."""
    found = REASONS.get(code)
    return code if found is None else found.of(lang)


def withheld(code: str, lang: str) -> str:
    """Return why an action, or a connector, was left out; what is no code is said as it is."""
    found = WITHHELD.get(code)
    return code if found is None else found.of(lang)
