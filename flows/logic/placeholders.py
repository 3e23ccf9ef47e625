"""What stands where a value should be: the name of nothing in a programming language, a template that nobody filled in, a device id of
zeros. Such a value identifies nobody, and is no evidence that two are one.

Left in are values that somebody may really have: short numbers, `NA` and `ID` (codes of countries and states), `admin`, `user`, and mail
addresses such as test@test.com, which limits and guards bound.
"""

import re
import unicodedata
from typing import Final

from schemas import patterns
from schemas.config import Identity

ONE_SIGN_MIN: Final = 10  # so many times nothing but one digit or letter is no number of anybody
_NOTHING: Final = re.compile(r"[0\-+:\s.]*")  # all zeros, an empty UUID, blanks, a phone number without digits
_BETWEEN: Final = str.maketrans("", "", "-:. ")
_AROUND: Final = "\"'`()[]{}<> "


class Placeholders:
    """One list for identity and matching, resolved once."""

    def __init__(self, config: Identity) -> None:
        self._words = frozenset(map(_folded, config.blocked))
        self._fits = [patterns.whole(pattern) for pattern in config.blocked_patterns]

    def says_nothing(self, value: str) -> bool:
        """Whether a value only stands where one should be; in any case and width, also in quotes or brackets."""
        folded = _folded(value)
        bare = folded.strip(_AROUND)
        if folded in self._words or bare in self._words or _NOTHING.fullmatch(bare) or _is_one_sign(bare):
            return True
        return any(fit(value) for fit in self._fits)


def _folded(value: str) -> str:
    return (value if value.isascii() else unicodedata.normalize("NFKC", value)).strip().lower()


def _is_one_sign(value: str) -> bool:
    return len(value) >= ONE_SIGN_MIN and value.count(value[0]) >= ONE_SIGN_MIN and len(set(value.translate(_BETWEEN))) == 1
