"""Blocking keys: two records that could be one customer share at least one of several keys, whatever one
field has wrong.

Keys are plain text here; whoever stores them hashes them with a key. A key that many share finds little and
is bounded by the index.
"""

from functools import lru_cache
from typing import Final

from flows.logic.matching.columns import KIND_OF
from flows.logic.matching.han import sound
from flows.logic.matching.record import Record

KEYS_MAX: Final = 14
_WORDS_MAX: Final = 4
_NOT_A_DAY: Final = ("0000", "0101")  # what stands in a date of which only the year is known
# the other letters are not heard
_CLASSES: Final = {
    "1": "bfpv",
    "2": "cgjkqsxz",
    "3": "dt",
    "4": "l",
    "5": "mn",
    "6": "r",
}
_SOUND: Final = str.maketrans(
    {letter: number for number, letters in _CLASSES.items() for letter in letters}
    | dict.fromkeys("aeiouyhw '", "")
)


@lru_cache(1 << 16)
def skeleton(name: str) -> str:
    """Return the first letter and the classes of the consonants after it, none twice in a row (after Soundex,
    Russell 1918); of a Han name, in pinyin."""
    letters = sound(name)
    found = letters[:1]
    last = ""
    for char in letters[1:].translate(_SOUND):
        if char != last:
            found += char
            last = char
    return found[:5]


def blocking_keys(record: Record) -> list[str]:
    """Return at most `KEYS_MAX` different keys, those that tell most first."""
    values = record.values
    words = _words(values)
    given, family = _skeletons(values, words)
    born = values.get("date_of_birth", "")
    keys = _of_identifiers(values)
    if given and family:
        keys.append(f"n:{given}{family}" if given < family else f"n:{family}{given}")
    day_known = born != "" and born[4:] not in _NOT_A_DAY
    if day_known:
        keys.append("d:" + born)
    for name in (family, given):
        if born and name:
            keys.append(f"y:{name}{born[:4]}")
    if "postcode" in values or "street" in values:
        _add_address(keys, values, family, given, born)
    for name in (family, given):
        if day_known and name:
            keys.append(f"m:{name}{born[4:]}")
    if len(words) > 1 or "organisation" in values:
        keys.extend("w:" + word for word in sorted(words, key=len, reverse=True)[:_WORDS_MAX])
    if len(keys) < KEYS_MAX:
        keys.extend(_of_the_rest(values, family, given))
    return list(dict.fromkeys(keys))[:KEYS_MAX]


def _words(values: dict[str, str]) -> list[str]:
    """Return the words of the whole name, without initials."""
    whole = values.get("full_name") or values.get("organisation")
    return [word for word in whole.split(" ") if len(word) > 1] if whole else []


def _skeletons(values: dict[str, str], words: list[str]) -> tuple[str, str]:
    """Return the skeletons of given and family name; where there is neither, of the first and the last
    word."""
    given, family = values.get("given_name", ""), values.get("family_name", "")
    if words and not (given or family):
        given, family = words[0], words[-1]
    return skeleton(given) if given else "", skeleton(family) if family else ""


def _of_identifiers(values: dict[str, str]) -> list[str]:
    keys = []
    for field in ("national_id", "tax_id", "email", "phone", "website"):
        if value := values.get(field):
            keys.append(f"{field[0]}:{value[-9:] if field == 'phone' else value}")
    if email := values.get("email"):
        keys.append("l:" + email.partition("@")[0])
    return keys


def _add_address(keys: list[str], values: dict[str, str], family: str, given: str, born: str) -> None:
    if postcode := values.get("postcode"):
        if family:
            keys.append(f"p:{family}{postcode}")
        if given:
            keys.append(f"p:{given}{postcode}")
        if born:
            keys.append(f"q:{born[:4]}{postcode}")
    if street := values.get("street"):
        keys.append(f"s:{values.get('house_number', '')}{''.join(sorted(street.split(' ')))[:24]}")


def _of_the_rest(values: dict[str, str], family: str, given: str) -> list[str]:
    """Return keys of places and an occupation with each name (the city where there is no postcode), and one
    of the value of each unknown field."""
    places = ("birth_place", "occupation") if "postcode" in values else ("city", "birth_place", "occupation")
    keys = [
        f"c:{name}{values[field]}" for field in places if field in values for name in (family, given) if name
    ]
    for field, value in values.items():
        if field not in KIND_OF and len(value) > 4:
            keys.append(f"x:{field}:{value}")
    return keys
