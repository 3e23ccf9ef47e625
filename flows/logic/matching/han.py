"""Chinese writing: traditional to simplified, names into family and given name, and the sound of a name in
pinyin."""

import re
from functools import lru_cache
from typing import Final

from opencc import OpenCC

_HAN: Final = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_TO_SIMPLIFIED: Final = OpenCC("t2s")
_DOUBLE: Final = frozenset(
    """
    欧阳 司马 上官 诸葛 东方 皇甫 尉迟 公孙 令狐 慕容 宇文 长孙 司徒 司空 夏侯 南宫 端木 轩辕 闻人 申屠
    太史 西门 呼延 独孤 澹台 钟离 濮阳 淳于 单于 百里
    """.split()
)


def is_han(text: str) -> bool:
    """Return whether there are Chinese characters in it."""
    return not text.isascii() and _HAN.search(text) is not None


@lru_cache(1 << 14)
def simplified(text: str) -> str:
    """Return it in simplified characters."""
    return str(_TO_SIMPLIFIED.convert(text))


@lru_cache(1 << 16)
def sound(name: str) -> str:
    """Return the pinyin of a Han name without tones and spaces: `张伟` is `zhangwei`. A name in letters is
    returned as it is."""
    if not is_han(name):
        return name
    from pypinyin import lazy_pinyin  # a dictionary of 50 MB, which only who meets such a name should load

    return "".join(lazy_pinyin(name))


def split_name(name: str) -> tuple[str, str]:
    """Return family and given name of a full name in Han characters (simplified, without spaces); the given
    name may be empty."""
    family = 2 if len(name) > 2 and name[:2] in _DOUBLE else 1
    return name[:family], name[family:]
