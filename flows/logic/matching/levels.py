"""How alike two normal values are: for each kind a function (a, b) → number of the level in `columns.KINDS`,
0 for `differs`.

The order of the two does not matter. The functions are called for values that are not equal, and remember
their last answers: the same names meet again and again.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from rapidfuzz.distance import OSA, JaroWinkler
from rapidfuzz.fuzz import token_sort_ratio

from flows.logic.matching.han import sound
from flows.logic.matching.nicknames import same_person_may_be_called

_DIGITS: Final = re.compile(r"\d+")
_REMEMBERED: Final = 1 << 16
_JANUARY_1: Final = ("0101", "0000")  # what stands in a date of which only the year is known

_alike = JaroWinkler.similarity
_edits = OSA.distance


def _given(a: str, b: str) -> int:
    if not (a.isascii() and b.isascii()):
        a, b = sound(a), sound(b)
        if a == b:
            return 3
    similarity, shorter = _alike(a, b), min(len(a), len(b))
    if similarity >= 0.92 or (similarity >= 0.8 and shorter > 3 and _edits(a, b, score_cutoff=1) <= 1):
        return 3 if shorter > 2 else 2
    if same_person_may_be_called(a, b) or a.startswith(b) or b.startswith(a) or _shares_word(a, b):
        return 2
    return 1 if similarity >= 0.8 else 0


def _shares_word(a: str, b: str) -> bool:
    """Return whether a word is in both, as in `mary ann` and `mary`."""
    return (" " in a or " " in b) and not set(a.split(" ")).isdisjoint(b.split(" "))


def _family(a: str, b: str) -> int:
    if not (a.isascii() and b.isascii()):
        a, b = sound(a), sound(b)
        if a == b:
            return 2
    similarity, shorter = _alike(a, b), min(len(a), len(b))
    if (similarity >= 0.92 and shorter > 2) or (
        similarity >= 0.75 and shorter > 3 and _edits(a, b, score_cutoff=1) <= 1
    ):
        return 2
    return 1 if similarity >= 0.8 or _shares_word(a, b) else 0


def _words(a: str, b: str) -> int:
    """Compare words in any order, with typing errors and short forms; what is common in all names (a title,
    `services`) tells little."""
    few, many = sorted((a.split(), b.split()), key=_by_length)
    if not few:
        return 0
    left = list(many)
    found = 0.0
    for word in few:
        if word in left:
            left.remove(word)
            found += 1.0
            continue
        for other in left:
            if word[0] == other[0] and (
                _alike(word, other) >= 0.9
                or (len(word) == 1 or len(other) == 1)
                or same_person_may_be_called(word, other)
            ):
                left.remove(other)
                found += 0.5 if len(word) == 1 or len(other) == 1 else 0.85
                break
    share_of_few, share_of_all = found / len(few), found / max(len(few), len(many))
    if share_of_all >= 0.84 and (len(few) > 1 or share_of_all > 0.95 or len(few[0]) > 5):
        return 3
    if len(few) > 1 and (share_of_few >= 0.84 or share_of_all >= 0.6):
        return 2
    if found >= 0.85:
        return 1
    return 2 if _alike(a.replace(" ", ""), b.replace(" ", "")) >= 0.93 else 0


def _by_length(words: list[str]) -> tuple[int, list[str]]:
    """Whichever comes first, the same words are taken first: a level does not depend on the order of two
    values."""
    return len(words), words


def _full(a: str, b: str) -> int:
    if not (a.isascii() and b.isascii()):
        if sound(a) == sound(b).replace(" ", "") or sound(a).replace(" ", "") == sound(b):
            return 3
        a, b = sound(a), sound(b)
        if " " in a + b and "".join(reversed(a.split(" "))) == "".join(b.split(" ")):
            return 3  # Wei Zhang and 张伟
    return _words(a, b)


def _date(a: str, b: str) -> int:
    year_a, year_b = a[:4], b[:4]
    if year_a == year_b:
        rest_a, rest_b = a[4:], b[4:]
        if rest_a in _JANUARY_1 or rest_b in _JANUARY_1:
            return 2
        if rest_a == rest_b[2:] + rest_b[:2] or _edits(rest_a, rest_b, score_cutoff=1) <= 1:
            return 4
        return 3 if rest_a[:2] == rest_b[:2] or rest_a[2:] == rest_b[2:] else 2
    if a[4:] == b[4:] and a[4:] not in _JANUARY_1:
        return 4 if _edits(year_a, year_b, score_cutoff=1) <= 1 else 3
    return 1 if abs(int(year_a) - int(year_b)) <= 1 else 0


def _phone(a: str, b: str) -> int:
    if a[-9:] == b[-9:] or (min(len(a), len(b)) < 9 and (a.endswith(b) or b.endswith(a))):
        return 2
    return 1 if _edits(a, b, score_cutoff=1) <= 1 else 0


def _email(a: str, b: str) -> int:
    if _edits(a, b, score_cutoff=2) <= 2 and a[:1] == b[:1]:
        return 0 if _is_numbered_otherwise(a, b) else 2
    return 1 if min(len(a), len(b)) > 6 and a.partition("@")[0] == b.partition("@")[0] else 0


def _is_numbered_otherwise(a: str, b: str) -> bool:
    """Return whether they differ by a number: `john.smith4@` and `john.smith17@` are how two people of one
    name are told apart, not a slip of the hand."""
    return _DIGITS.sub("", a) == _DIGITS.sub("", b) and _DIGITS.findall(a) != _DIGITS.findall(b)


def _identifier(a: str, b: str) -> int:
    return 1 if min(len(a), len(b)) > 4 and _edits(a, b, score_cutoff=1) <= 1 else 0


def _street(a: str, b: str) -> int:
    ratio = token_sort_ratio(a, b, score_cutoff=60)
    if ratio >= 88:
        return 2
    return 1 if ratio >= 70 or a.startswith(b) or b.startswith(a) else 0


def _place(a: str, b: str) -> int:
    if _alike(a, b) >= 0.9:
        return 2
    return 1 if len(a) > 3 < len(b) and (a in b or b in a) else 0


def _postcode(a: str, b: str) -> int:
    if len(a) == len(b) and _edits(a, b, score_cutoff=1) <= 1:
        return 3
    district = min(max(len(a), len(b)) - 3, 4)
    if district > 1 and a[:district] == b[:district]:
        return 2
    return 1 if a[:2] == b[:2] else 0


def _web(a: str, b: str) -> int:
    return 1 if a.rpartition(".")[0] == b.rpartition(".")[0] or _alike(a, b) >= 0.94 else 0


def _category(_a: str, _b: str) -> int:
    return 0


def _text(a: str, b: str) -> int:
    if a.isdigit() or b.isdigit():
        return 2 if min(len(a), len(b)) > 3 and _edits(a, b, score_cutoff=1) <= 1 else 0
    if _alike(a, b) >= 0.92:
        return 2
    if token_sort_ratio(a, b, score_cutoff=75) >= 75:
        return 1
    return 1 if min(len(a), len(b)) > 3 and (a in b or b in a) else 0


Level = Callable[[str, str], int]
# of these the same pair seldom comes again, or is compared faster than it is remembered
_NEVER_AGAIN: Final = frozenset(("phone", "email", "identifier", "street", "postcode", "web", "category"))
LEVEL: Final[dict[str, Level]] = {
    name: function if name in _NEVER_AGAIN else lru_cache(_REMEMBERED)(function)
    for name, function in {
        "given": _given,
        "family": _family,
        "full": _full,
        "date": _date,
        "phone": _phone,
        "email": _email,
        "identifier": _identifier,
        "street": _street,
        "place": _place,
        "postcode": _postcode,
        "organisation": _words,
        "web": _web,
        "category": _category,
        "text": _text,
    }.items()
}
