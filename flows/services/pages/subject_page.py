"""What is held of one customer, as a page for the customer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from flows.services.pages.document import document, section, table
from schemas.bilingual import Lang, Words

_TITLE = Words("What we hold about you", "我们持有的关于您的信息")
_SECTIONS: dict[str, tuple[Words, Words]] = {
    "identifiers": (
        Words("How we recognise you", "我们如何识别您"),
        Words("The accounts, addresses and devices that belong to you.", "属于您的账号、地址与设备。"),
    ),
    "stated": (
        Words("What you told us", "您告知我们的信息"),
        Words("Kept sealed, under a key of your own.", "以您专属的密钥加密保存。"),
    ),
    "profile": (
        Words("What we derived", "由此得出的画像"),
        Words("Figures, tags and scores that follow from your events.", "由您的行为得出的指标、标签与评分。"),
    ),
    "scores_because_of": (
        Words("Why you were scored so", "评分的依据"),
        Words(
            "What each score looks at now, and how much it adds against an average customer.",
            "每项评分目前所依据的数据，及其相对于平均水平的影响。",
        ),
    ),
    "consents": (
        Words("What you agreed to", "您的同意"),
        Words("As you last said.", "以您最后一次表示为准。"),
    ),
    "decisions": (
        Words("What was decided, and why", "作出的决定及原因"),
        Words("What was sent or not sent, with the reason.", "发送或未发送的内容及原因。"),
    ),
    "recipients": (
        Words("Who may have been told", "可能收到信息的接收方"),
        Words("The systems that messages about you go to.", "有关您的消息所发往的系统。"),
    ),
    "requests": (
        Words("What you asked for", "您提出的请求"),
        Words("With its date, and how far it has come.", "包括日期与进度。"),
    ),
    "events": (
        Words("Your events", "您的事件"),
        Words("As they came, where an archive is kept.", "按到达时的原样（若启用归档）。"),
    ),
}


def page(found: Mapping[str, Any], lang: Lang) -> str:
    """Return the page of an export."""
    plain = msgspec.to_builtins(found)
    parts = [f"<h1>{_TITLE.of(lang)}</h1>"]
    for name, (title, sentence) in _SECTIONS.items():
        rows = [*_rows(plain.get(name, ()))]
        shown = table(("", ""), rows, words=(0, 1)) if rows else "<p>—</p>"
        parts.append(section(title, sentence, shown, lang))
    return document(_TITLE.of(lang), parts, lang)


def _rows(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        yield from ((name, _text(inner)) for name, inner in value.items() if inner not in (None, "", [], {}))
    elif isinstance(value, Sequence):
        yield from ((str(number), _text(inner)) for number, inner in enumerate(value, 1))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
