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
_CLASSES: Final = {
    "1": "bfpv",
    "2": "cgjkqsxz",
    "3": "dt",
    "4": "l",
    "5": "mn",
    "6": "r",
}  # the other letters are not heard
_SOUND: Final = str.maketrans(
    {letter: number for number, letters in _CLASSES.items() for letter in letters}
    | dict.fromkeys("aeiouyhw '", "")
)


@lru_cache(1 << 16)
def skeleton(name: str) -> str:
    """First letter and classes of the consonants after it, none twice in a row (after Soundex, Russell 1918);
    of a Han name, in pinyin."""
    letters = sound(name)
    found = letters[:1]
    last = ""
    for char in letters[1:].translate(_SOUND):
        if char != last:
            found += char
            last = char
    return found[:5]


def blocking_keys(record: Record) -> list[str]:
    """At most `KEYS_MAX` different keys, those that tell most first."""
    get = record.values.get
    keys: list[str] = []
    for field in ("national_id", "tax_id", "email", "phone", "website"):
        if value := get(field):
            keys.append(f"{field[0]}:{value[-9:] if field == 'phone' else value}")
    given, family, born, postcode = (
        get("given_name", ""),
        get("family_name", ""),
        get("date_of_birth", ""),
        get("postcode", ""),
    )
    full = get("full_name") or get("organisation") or ""
    words = [word for word in full.split(" ") if len(word) > 1] if full else []
    if words and not (given or family):
        given, family = words[0], words[-1]
    g, f = skeleton(given) if given else "", skeleton(family) if family else ""
    if email := get("email"):
        keys.append("l:" + email.partition("@")[0])
    if g and f:
        keys.append(f"n:{g}{f}" if g < f else f"n:{f}{g}")
    if born:
        if born[4:] not in _NOT_A_DAY:
            keys.append("d:" + born)
        if f:
            keys.append(f"y:{f}{born[:4]}")
        if g:
            keys.append(f"y:{g}{born[:4]}")
    if postcode:
        if f:
            keys.append(f"p:{f}{postcode}")
        if g:
            keys.append(f"p:{g}{postcode}")
        if born:
            keys.append(f"q:{born[:4]}{postcode}")
    if street := get("street"):
        keys.append(f"s:{get('house_number', '')}{''.join(sorted(street.split(' ')))[:24]}")
    if born and born[4:] not in _NOT_A_DAY:
        keys.extend(f"m:{name}{born[4:]}" for name in (f, g) if name)
    if len(words) > 1 or "organisation" in record.values:
        keys.extend("w:" + word for word in sorted(words, key=len, reverse=True)[:_WORDS_MAX])
    if len(keys) < KEYS_MAX:
        keys.extend(_of_the_rest(record.values, f, g))
    return list(dict.fromkeys(keys))[:KEYS_MAX]


def _of_the_rest(values: dict[str, str], family: str, given: str) -> list[str]:
    """Places and an occupation with each name (the city where there is no postcode), and whatever field
    nobody knows, by itself."""
    places = ("birth_place", "occupation") if "postcode" in values else ("city", "birth_place", "occupation")
    keys = [
        f"c:{name}{values[field]}" for field in places if field in values for name in (family, given) if name
    ]
    keys += [
        f"x:{field}:{value}" for field, value in values.items() if field not in KIND_OF and len(value) > 4
    ]
    return keys
