"""In which guises a personal value may lie in bytes.

Text is looked for whatever its case. A guise of fewer than `LEAST` bytes is not looked for: it would be found
by chance among bytes that are encrypted.
"""

import json
import re
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

import msgspec

from flows.lab.prove.personal_values import Kind, PersonalValue

LEAST: Final = 6  # bytes
_NUMBERS: Final[frozenset[Kind]] = frozenset(("mobile", "phone", "bank_card", "id_number", "plate"))
_SEPARATORS: Final = re.compile(r"[\s\-+.·()]")
_INTEGER_MAX: Final = 2**63
_DIGITS_LEAST: Final = 10  # a shorter number is not looked for as one: any counter could be it
_STANDARD: Final = b"+/"
_URL_SAFE: Final = b"-_"


class Guise(msgspec.Struct, frozen=True):
    """`written` makes it of a text; nothing where there is none of it. `folded`: found in any case."""

    name: str
    written: Callable[[str], bytes]
    folded: bool = True


def compact(text: str) -> str:
    """Return a number without what people put between its digits."""
    return _SEPARATORS.sub("", text)


def _base64(
    shift: int, signs: bytes, plain_of: Callable[[str], bytes] = str.encode
) -> Callable[[str], bytes]:
    """As it lies in the base64 of something longer that has `shift` bytes before it (of three)."""

    def write(text: str) -> bytes:
        plain = plain_of(text)
        coded = b64encode(b"\0" * shift + plain, altchars=signs).rstrip(b"=")
        bits = 8 * (shift + len(plain))
        return coded[-(-8 * shift // 6) : bits // 6]

    return write


def _json(text: str) -> bytes:
    return json.dumps(text)[1:-1].encode()


def _python(text: str) -> bytes:
    return repr(text.encode())[2:-1].encode()


def _chinese(text: str) -> bytes:
    return text.encode("gb18030")


def _integer(form: str) -> Callable[[str], bytes]:
    def write(text: str) -> bytes:
        digits = compact(text)
        return struct.pack(form, int(digits)) if digits.isdecimal() and int(digits) < _INTEGER_MAX else b""

    return write


GUISES: Final[tuple[Guise, ...]] = (
    Guise("plain", str.encode),
    Guise("lower case", lambda text: text.lower().encode()),
    Guise("upper case", lambda text: text.upper().encode()),
    Guise("without separators", lambda text: compact(text).encode()),
    Guise("URL-encoded", lambda text: quote(text, safe="").encode()),
    Guise("URL-encoded, blanks as +", lambda text: quote_plus(text).encode()),
    Guise("URL-encoded, @ and + as they are", lambda text: quote(text, safe="@+:,").encode()),
    Guise("URL-encoded twice", lambda text: quote(quote(text, safe=""), safe="").encode()),
    Guise("escaped in JSON", _json),
    Guise("escaped in Python", _python),
    Guise("hex", lambda text: text.encode().hex().encode()),
    Guise("UTF-16 LE", lambda text: text.encode("utf-16-le")),
    Guise("UTF-16 BE", lambda text: text.encode("utf-16-be")),
    Guise("GB 18030", _chinese),
    *(Guise(f"base64, offset {shift}", _base64(shift, _STANDARD), folded=False) for shift in range(3)),
    *(Guise(f"base64url, offset {shift}", _base64(shift, _URL_SAFE), folded=False) for shift in range(3)),
    Guise("integer, big-endian", _integer(">q"), folded=False),
    Guise("integer, little-endian", _integer("<q"), folded=False),
    Guise("float, big-endian", _integer(">d"), folded=False),
    Guise("float, little-endian", _integer("<d"), folded=False),
)
KEY_GUISES: Final[tuple[Guise, ...]] = (  # of what is given in hex
    Guise("as it is", bytes.fromhex, folded=False),
    Guise("hex", str.encode),
    *(Guise(f"base64, offset {n}", _base64(n, _STANDARD, bytes.fromhex), folded=False) for n in range(3)),
    *(Guise(f"base64url, offset {n}", _base64(n, _URL_SAFE, bytes.fromhex), folded=False) for n in range(3)),
)
_OF_NUMBERS: Final = ("integer, ", "float, ")


def guises(value: PersonalValue) -> Iterator[tuple[Guise, bytes]]:
    """Yield each guise of each spelling that is long enough to be looked for; in lower case where it is
    `folded`."""
    spellings = dict.fromkeys(value.spellings)
    if value.kind in _NUMBERS:
        spellings |= dict.fromkeys(compact(text) for text in value.spellings)
    seen: set[tuple[bool, bytes]] = set()
    for text in spellings:
        for guise in KEY_GUISES if value.kind == "key" else GUISES:
            if guise.name.startswith(_OF_NUMBERS) and not _is_number(value.kind, text):
                continue
            made = guise.written(text)
            made = made.lower() if guise.folded else made
            if len(made) >= LEAST and (guise.folded, made) not in seen:
                seen.add((guise.folded, made))
                yield guise, made


def _is_number(kind: Kind, text: str) -> bool:
    return kind in _NUMBERS and len(text) >= _DIGITS_LEAST and text.isdecimal()
