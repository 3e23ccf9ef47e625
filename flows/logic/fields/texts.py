"""Names, addresses and other words: one width, one spacing. What they mean is not judged."""

import re
from typing import Final

from flows.logic.fields.values import TEXT_MAX, Bad, Checked, Good, plain

ADDRESS_MAX: Final = 1_000
OCCUPATION_MAX: Final = 64
_HAN: Final = r"\u3400-\u4dbf\u4e00-\u9fff\ue000-\uf8ff\uf900-\ufaff\U00020000-\U0003ffff"
_BETWEEN_HAN: Final = re.compile(rf"(?<=[{_HAN}·]) (?=[{_HAN}·])")
_GENDERS: Final = {
    **dict.fromkeys(("m", "male", "man", "mr", "男", "男性", "先生"), "male"),
    **dict.fromkeys(("f", "female", "woman", "mrs", "ms", "女", "女性", "女士"), "female"),
}


def name(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check a person's name, in any script; Chinese names without blanks between their characters."""
    if len(value) > TEXT_MAX:
        return Bad("too_long")
    text = _together(plain(value))
    return Good(text) if any(map(str.isalpha, text)) else Bad("no_letters")


def address(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check a line of an address."""
    if len(value) > ADDRESS_MAX:
        return Bad("too_long")
    text = _together(plain(value))
    return Good(text) if any(map(str.isalnum, text)) else Bad("no_letters")


def gender(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check a gender: `male` and `female` in their usual spellings; any other word stays what the customer
    said."""
    if len(value) > TEXT_MAX:
        return Bad("too_long")
    text = plain(value)
    return (
        Good(_GENDERS.get(text.lower().rstrip("."), text))
        if any(map(str.isalpha, text))
        else Bad("no_letters")
    )


def occupation(value: str, _countries: tuple[str, ...] = ()) -> Checked:
    """Check the word for what somebody does, in any language; it is not put into classes."""
    if len(value) > OCCUPATION_MAX:
        return Bad("too_long")
    text = _together(plain(value))
    return Good(text) if any(map(str.isalpha, text)) else Bad("no_letters")


def _together(text: str) -> str:
    return text if text.isascii() else _BETWEEN_HAN.sub("", text)
