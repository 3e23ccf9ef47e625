"""What a check says of one stated value."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final

import msgspec

TEXT_MAX: Final = 256  # characters of a value that is looked at; what is longer is bad without a look
CACHE_MAX: Final = 50_000


class Good(msgspec.Struct, frozen=True):
    """A valid value. `value` is its normal form; `says` is what else it tells, such as `{"province":
    "广东省"}`."""

    value: str
    says: dict[str, str] = {}


class Bad(msgspec.Struct, frozen=True):
    """A value that does not hold, with a stable reason in snake_case."""

    reason: str


Checked = Good | Bad
Check = Callable[
    [str, tuple[str, ...]], Checked
]  # the value, countries that it may be of (the likeliest first)


def is_rounded(text: str) -> bool:
    """Return whether it is what a spreadsheet shows of a long number (`8.80012E+15`): the digits that told it
    from others are gone."""
    return "+" in text and _ROUNDED.fullmatch(text.strip()) is not None


def cached(check: Check, local: bool = False) -> Check:
    """Return a check that looks at each value once, for the same ones come again and again. `local`: what it
    says of one without a `+` depends on the country."""
    known: dict[tuple[str, tuple[str, ...]], Checked] = {}

    def look(value: str, countries: tuple[str, ...]) -> Checked:
        if not local or value[:1] == "+":
            countries = ()
        found = known.get((value, countries))
        if found is None:
            if len(known) >= CACHE_MAX:
                known.clear()
            found = known[value, countries] = Bad("rounded") if is_rounded(value) else check(value, countries)
        return found

    return look


def text_of(value: Any) -> str | None:
    """Return a stated scalar as text; None for what is neither text nor a whole number."""
    if type(value) is str:
        return value
    return str(value) if type(value) is int and abs(value) < 10**20 else None


def plain(value: str) -> str:
    """Return full-width forms as their usual ones, nothing invisible, one blank between words."""
    if not value.isascii():
        value = "".join(
            letter
            for letter in unicodedata.normalize("NFKC", value.translate(_OLD_GBK))
            if unicodedata.category(letter) not in _UNSEEN
        )
    return " ".join(value.split())


_ROUNDED: Final = re.compile(r"[+\-]?\d(?:[.,]\d+)?[Ee]\+\d{1,3}")
_UNSEEN: Final = (
    "Cf",
    "Cs",
)  # marks of direction and joining, halves of pairs (private use stays: rare names are written with it)


def _old_gbk() -> dict[int, str]:
    """Han that GBK had before Unicode did, FE50 to FEA0: old code tables put them into private use from
    U+E815 on, one after another."""
    places = [trail for trail in range(0x50, 0xA1) if trail != 0x7F]
    found = {0xE815 + at: bytes((0xFE, trail)).decode("gb18030") for at, trail in enumerate(places)}
    found |= dict(
        zip(
            (0xE81E, 0xE826, 0xE82B, 0xE82C, 0xE832, 0xE843, 0xE854, 0xE864),
            map(chr, range(0x9FB4, 0x9FBC)),
            strict=True,
        )
    )
    return {old: new for old, new in found.items() if unicodedata.category(new) != "Co"}


_OLD_GBK: Final = _old_gbk()  # the last eight as GB 18030-2005 has them
