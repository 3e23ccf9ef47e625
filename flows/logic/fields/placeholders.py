"""What stands where a value should be: the name of nothing in a programming language, a template that nobody
filled in, a device id of zeros. Such a value identifies nobody, and is no evidence that two are one.

Left in are values that somebody may really have: short numbers, `NA` and `ID` (codes of countries and
states), `admin`, `user`, and mail addresses such as test@test.com, which limits and guards bound.
"""

import re
import unicodedata
from typing import Final

from schemas import patterns
from schemas.config import Identity

ONE_SIGN_MIN: Final = 10  # so many times nothing but one digit or letter is no number of anybody
_NOTHING: Final = re.compile(
    r"[0\W_]*"
)  # all zeros, an empty UUID, blanks, `???`, a phone number without digits
_BETWEEN: Final = str.maketrans("", "", "-:. ")
_BETWEEN_WORDS: Final = str.maketrans("", "", "-_ \t\n")
_AROUND: Final = "\"'`“”‘’«»「」『』《》()[]{}<>,;:!?$ "


class Placeholders:
    """One list for identity and matching, resolved once."""

    def __init__(self, config: Identity) -> None:
        self._words = frozenset(map(_folded, config.blocked)) - {""}
        joined = {_joined(word) for word in self._words}
        self._joined = frozenset(
            word for word in joined if word and not word.isdigit()
        )  # `-1` is listed, and `1` is somebody
        self._longest = max(map(len, self._words), default=0)
        self._fits = [patterns.whole(pattern) for pattern in config.blocked_patterns]

    def says_nothing(self, value: str) -> bool:
        """Return whether a value only stands where one should be; in any case and width, however its words
        are joined, also in quotes or brackets, and twice (`undefined undefined` was a first name and a last
        one)."""
        folded = _folded(value)
        if folded in self._words:
            return True
        bare = folded.strip(_AROUND)
        if _is_nothing(bare) or _is_one_sign(bare) or self._is_word(bare) or self._is_word(_said_twice(bare)):
            return True
        return any(fit(value) for fit in self._fits)

    def _is_word(self, bare: str) -> bool:
        return bare in self._words or (len(bare) <= self._longest and _joined(bare) in self._joined)


def _folded(value: str) -> str:
    seen = value if value.isascii() else unicodedata.normalize("NFKC", value)
    if not seen.isprintable():  # a mark of byte order, a space of no width, a C string's end
        seen = "".join(sign for sign in seen if sign.isprintable() or sign.isspace())
    return seen.strip().lower()


def _is_nothing(value: str) -> bool:
    """Whether it is signs between words alone; an emoji is one that somebody chose."""
    return _NOTHING.fullmatch(value) is not None and not any(
        unicodedata.category(sign) == "So" for sign in value
    )


def _said_twice(value: str) -> str:
    """The word that a value is twice, as a first and a last name; else empty."""
    word = value[: (len(value) - 1) // 2]
    return word if value.endswith(word) else ""


def _joined(value: str) -> str:
    return value.translate(_BETWEEN_WORDS)


def _is_one_sign(value: str) -> bool:
    return (
        len(value) >= ONE_SIGN_MIN
        and value.count(value[0]) >= ONE_SIGN_MIN
        and len(set(value.translate(_BETWEEN))) == 1
    )
