"""The texts that all pages share."""

from collections.abc import Mapping
from typing import Final

from schemas.bilingual import Words

WEB: Final[Mapping[str, Words]] = {
    "web_skip": Words("Skip to the content", "跳到正文"),
    "web_language": Words("Language", "语言"),
    "web_this_language": Words("English", "中文"),
    "web_on": Words("On", "开"),
    "web_off": Words("Off", "关"),
    "web_yes": Words("yes", "是"),
    "web_no": Words("no", "否"),
    "web_nothing": Words("Nothing.", "无。"),
}
