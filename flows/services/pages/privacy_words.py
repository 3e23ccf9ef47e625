"""The words of the page on personal data."""

from typing import Final

from flows.services.privacy_report import OTHERWISE
from schemas.bilingual import Words

TITLE: Final = Words("Personal data", "个人信息处理报告")
YES: Final = Words("yes", "是")
NO: Final = Words("no", "否")

SECTIONS: Final[dict[str, tuple[Words, Words]]] = {
    "consents": (
        Words("What customers allow", "客户的同意"),
        Words(
            "How many have said yes or no to each purpose. For all others holds what stands under"
            " “before any word”.",
            "对每个目的明确表示同意或拒绝的客户数；其余客户适用“表示之前”一栏的规则。",
        ),
    ),
    "modes": (
        Words("How they left the switches", "三档模式"),
        Words("Of those who touched all of the three switches.", "仅统计对三项均作出选择的客户。"),
    ),
    "clocks": (
        Words("Requests, and the time that is left", "客户请求与时限"),
        Words(
            "By the law that sets the clock. Soon: due within a week. Late: closed after the day it was due.",
            "按适用的法规分列。“即将到期”指一周之内；“逾期办结”指在期限之后才关闭。",
        ),
    ),
    "erasures": (
        Words("Erasures", "删除"),
        Words(
            "Each ends with a signed receipt; all that are kept were verified for this report.",
            "每次删除均出具签名凭证；本报告已逐一验证现存凭证。",
        ),
    ),
    "recipients": (
        Words("Who is told", "接收方"),
        Words(
            "What each receiver is given, and what it answered when it was asked to delete.",
            "各接收方获得的个人信息，以及收到删除要求后的答复。",
        ),
    ),
    "retention": (
        Words("How long things are kept", "保存期限"),
        Words(
            "Every class of data, and what ends it. Oldest: what was left after the last sweep.",
            "各类数据及其终止方式。“最早”为上次清理后留存的最早数据。",
        ),
    ),
    "keys": (
        Words("Keys", "密钥"),
        Words("What the customers' own keys are wrapped with.", "用于加密客户数据密钥的主密钥。"),
    ),
    "processing": (
        Words("What is processed, and what for", "处理活动记录"),
        Words(
            "Purposes of the configuration, the categories of data that each may use, and the rules that"
            " serve it.",
            "配置中的各项目的、可使用的数据类别，以及服务于该目的的规则。",
        ),
    ),
    "notes": (
        Words("About this report", "关于本报告"),
        Words(
            "It holds counts and settings, and names nobody. Small counts stand in it as they are: it is for"
            " whoever runs the deployment; who knows a customer may guess from them. Do not publish it as"
            " it is.",
            "本报告只包含计数与设置，不涉及任何可识别的个人。较小的计数未作处理，供运营者内部使用；"
            "了解具体客户的人可能据此推断，请勿直接对外公布。",
        ),
    ),
}
MODES: Final = {
    "basic": Words("basic", "仅基本服务"),
    "basic+marketing": Words("basic and marketing", "基本服务 + 营销"),
    "basic+personalised": Words("basic and personalised recommendation", "基本服务 + 个性化推荐"),
    "basic+marketing+personalised": Words("everything", "全部同意"),
    OTHERWISE: Words("otherwise", "其他组合"),
}
PURPOSES: Final = {
    "service": "服务",
    "security": "安全",
    "marketing": "营销",
    "sales": "销售",
    "personalisation": "个性化推荐",
    "sharing": "对外提供",
}
CATEGORIES: Final = {
    "contact": "联系方式",
    "location": "位置",
    "demographic": "人口属性",
    "social": "社交",
    "device": "设备",
    "text": "文本",
    "biometric": "生物识别",
    "transaction": "交易",
    "behaviour": "行为",
}
RIGHTS: Final = {
    "erase": Words("erasure", "删除"),
    "export": Words("access", "查阅、复制"),
    "correct": Words("correction", "更正"),
    "restrict": Words("restriction", "限制处理"),
    "object": Words("objection", "拒绝处理"),
    "move": Words("portability", "转移"),
    "complain": Words("complaint", "投诉"),
}
BEFORE: Final = {
    "opt_in": Words("no, until a yes", "默认不同意"),
    "opt_out": Words("yes, until a no", "默认同意"),
    "": Words("not asked for", "无需征求同意"),
}
KINDS: Final = {
    "trigger": "触发器",
    "action": "动作",
    "model": "模型",
    "aggregate": "指标",
    "tag": "标签",
    "segment": "分群",
}
SAID: Final = {
    "taken": Words("taken", "已受理"),
    "refused": Words("refused", "已拒绝"),
    "off": Words("off", "已停用"),
    "waiting": Words("waiting", "待答复"),
}


WHY: Final = {
    "rule": Words("the rule is new, or shorter than it was", "规则为新设或期限缩短"),
    "clock": Words("the clock has jumped, or nobody was at work for a day", "时钟发生跳变，或超过一天未运行"),
    "": Words("", ""),
}
