"""One normal form for each kind of value, so that most comparisons are `==`.

What has neither letters nor digits becomes empty; what only stands where a value should be
(`identity.blocked`) does not come here.

Values come as people and exports write them: any width, any script, 10 KB of it. A normal form has at most
`VALUE_MAX` characters.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from dateutil import parser as dateutil_parser

from flows.logic.matching.han import is_han, simplified
from flows.logic.matching.noise_words import LEGAL_FORMS, ORGANISATION_WORDS, STREET_WORDS

VALUE_MAX: Final = 64
_RAW_MAX: Final = 512
_NOT_WORDS: Final = re.compile(r"[^\w]+|_")
_APOSTROPHES: Final = re.compile(r"['’`´]")
_DIGITS: Final = re.compile(r"\d+", re.ASCII)
_SPACES: Final = re.compile(r"\s+")
_EIGHT_DIGITS: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ].*)?", re.ASCII)
_YEAR_FIRST: Final = re.compile(r"(\d{4})\s*[-/.年]\s*(\d{1,2})(?:\s*[-/.月]\s*(\d{1,2}))?\D*", re.ASCII)
_YEAR_LAST: Final = re.compile(r"(\d{1,2})\s*[-/.]\s*(\d{1,2})\s*[-/.]\s*(\d{4})\D*", re.ASCII)
_YEAR_ONLY: Final = re.compile(r"(?:c|ca|circa|about|abt|~)?\.?\s*(\d{4})\s*年?", re.ASCII)
_PHONE_DIGITS: Final = range(6, 16)
_LEGAL_FORMS_HAN: Final = re.compile(
    r"(股份有限公司|有限责任公司|有限公司|集团公司|总公司|分公司|公司|集团|股份)"
)
_HAN_ADDRESS_PART: Final = re.compile(
    r"[^省市区县镇乡村路街道巷号弄栋幢座单元室楼层\s,，]+(?:特别行政区|自治区|[省市区县镇乡村路街道巷号弄栋幢座单元室楼层])*"
)


def text(value: str) -> str:
    """Return small letters of one width without accents and signs, with single spaces; Han in simplified
    characters."""
    if not value.isascii():
        value = unicodedata.normalize("NFKC", value[:_RAW_MAX])
        if is_han(value):
            value = simplified(value)
        value = "".join(
            char
            for char in unicodedata.normalize("NFKD", value.casefold())
            if not unicodedata.combining(char)
        )
    found = value[:_RAW_MAX].lower().strip()
    if not found.isalnum() and not (
        found.isascii() and "  " not in found and found.replace(" ", "").isalnum()
    ):
        found = _NOT_WORDS.sub(" ", _APOSTROPHES.sub("", found)).strip()
    return found[:VALUE_MAX].rstrip()


def name(value: str) -> str:
    """Normalise as `text`; a Han name without its spaces."""
    found = text(value)
    return found.replace(" ", "") if is_han(found) else found


def date(value: str) -> str:
    """Return `YYYYMMDD`, with `00` for what is not known; day first where a date can be read in two ways.
    Empty if it is not a date."""
    value = value.strip()[:40]
    found = _EIGHT_DIGITS.fullmatch(value)
    return _checked(*found.groups()) if found else _other_date(value)


@lru_cache(1 << 12)
def _other_date(value: str) -> str:
    value = unicodedata.normalize("NFKC", value)
    if found := _YEAR_FIRST.fullmatch(value):
        year, month, day = found.groups()
        return _checked(year, month, day or "0")
    if found := _YEAR_LAST.fullmatch(value):
        day, month, year = found.groups()
        return _checked(year, day, month) if int(month) > 12 else _checked(year, month, day)
    if found := _YEAR_ONLY.fullmatch(value.lower()):
        return _checked(found.group(1), "0", "0")
    if not any(char.isalpha() for char in value) or not any(char.isdigit() for char in value):
        return ""
    try:
        parsed = dateutil_parser.parse(value, dayfirst=True, default=_NO_YEAR)
    except (ValueError, OverflowError):
        return ""
    if parsed.year == _NO_YEAR.year:
        return ""
    return _checked(f"{parsed.year:04}", f"{parsed.month}", f"{parsed.day}")


_NO_YEAR: Final = dateutil_parser.parse("0004-01-01")


def _checked(year: str, month: str, day: str) -> str:
    """Return the date, empty for an impossible year.

    Impossible months and days are kept: `19610031` is a typing error in a date, and still nearer to
    `19610131` than to another.
    """
    return f"{year}{month:0>2}{day:0>2}" if "1000" < year < "2200" else ""


def phone(value: str) -> str:
    """Return the digits without the prefix for calls abroad; the country is compared by the end of the number
    only."""
    if not value.isascii():
        value = unicodedata.normalize("NFKC", value[:_RAW_MAX])
    digits = "".join(_DIGITS.findall(value))
    digits = digits.removeprefix("00").lstrip("0")
    return digits if len(digits) in _PHONE_DIGITS and len(set(digits)) > 1 else ""


def email(value: str) -> str:
    """Return the address in small letters; empty if it is not one."""
    if not value.isascii():
        value = unicodedata.normalize("NFKC", value[:_RAW_MAX])
    value = value.strip().lower()
    return value[:VALUE_MAX] if "@" in value[1:-1] else ""


def identifier(value: str) -> str:
    """Return letters and digits without spaces, in capitals."""
    return text(value).replace(" ", "").upper()


def street(value: str) -> str:
    """Return words in their usual short forms; a Chinese address as its parts with spaces between them."""
    found = text(value)
    if is_han(found):
        return " ".join(_HAN_ADDRESS_PART.findall(found))[:VALUE_MAX]
    return " ".join([STREET_WORDS.get(word, word) for word in found.split(" ")])


def organisation(value: str) -> str:
    """Return the name without its legal form, words in their usual short forms; Han as pairs of characters,
    which stand for its words."""
    found = text(value.replace("&", " and ").replace(".", "" if value.count(".") > 1 else " "))
    if is_han(found):
        bare = _LEGAL_FORMS_HAN.sub("", found.replace(" ", "")) or found
        return " ".join(bare[at : at + 2] for at in range(max(1, len(bare) - 1)))[:VALUE_MAX]
    words = [ORGANISATION_WORDS.get(word, word) for word in found.split(" ")]
    return " ".join([word for word in words if word not in LEGAL_FORMS] or words)


def postcode(value: str) -> str:
    """Normalise as `text`, without spaces."""
    return text(value).replace(" ", "")


def web(value: str) -> str:
    """Return the host, without `www.`."""
    host = value.strip().lower().split("://")[-1].split("/")[0].split("?")[0]
    host = host.split("@")[-1].removeprefix("www.")
    return host[:VALUE_MAX] if "." in host.strip(".") else ""


def place(value: str) -> str:
    """Normalise as `text`; a Chinese place without the word for what it is."""
    found = text(value)
    if is_han(found) and len(found) > 2 and found[-1] in "省市区县":
        return found[:-1]
    return found


def category(value: str) -> str:
    """Normalise as `text`, with one word for each sex."""
    found = text(value)
    return _SEX.get(found, found)


_SEX: Final = {"m": "male", "f": "female", "男": "male", "女": "female", "man": "male", "woman": "female"}

NORMALISE: Final[dict[str, Callable[[str], str]]] = {
    "given": name,
    "family": name,
    "full": name,
    "date": date,
    "phone": phone,
    "email": email,
    "identifier": identifier,
    "street": street,
    "place": place,
    "postcode": postcode,
    "organisation": organisation,
    "web": web,
    "category": category,
    "text": text,
}
