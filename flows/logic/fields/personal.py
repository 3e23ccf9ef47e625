"""Personal data in what an app says of an event: by the name of a field, and by what its value is, whatever
its name.

Values are looked at only where what is left of an event holds something that could be one (`may_hold`), which
is rare. What is recognised by itself must be told from order numbers, product codes and times, so it needs a
form of its own or a check digit:

    email      anywhere
    phone      +, country and a number of that country's plan, anywhere; of the Chinese mobile numbers
               138-0013-8000 as well, and
               13800138000 where the field's name speaks of a person or of free text (`receiver`, `note`, `q`)
    id_number  18 digits of a Chinese resident ID: region, date and check digit, anywhere
    bank_card  length, issuer and check digit (Luhn), in groups anywhere, without them where the name is not
               one of a number or code

In a text or a URL that holds more than that, the part is replaced by `(redacted)`, so that rules still see
the rest. A text that is JSON is taken for what it holds: there names count as well.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, unquote_plus

import msgspec
from stdnum import luhn

from flows.logic.fields.documents import resident_id
from flows.logic.fields.field_names import Naming, Said
from flows.logic.fields.values import Check, Good

REDACTED: Final = "(redacted)"
NAME: Final = "name"  # what told it was personal, beside the kinds of values
_FOUND_MAX: Final = 64  # findings in one text; one with more is removed as a whole
_CHECKED_MAX: Final = (
    16  # numbers in one text whose check is looked at; what has the form of more of them is taken for one
)
_OLD_ENOUGH: Final = (
    14  # years: a number made of a place, a day and a sequence looks like the resident ID of a child
)
_YEAR_MS: Final = 31_556_952_000  # on average
_DECODED_MAX: Final = 3  # a URL in a URL in a URL
_DEPTH_MAX: Final = 32  # of JSON in a text; what is deeper is removed
_INT_LEAST: Final = 10**10
_LEAST: Final = 6  # letters: a@b.de

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_GLANCE: Final = bytes.maketrans(
    b"123456789=%+\xef", b"000000000@@@@"
)  # digits as one, and what an address or a parameter needs
_QUOTED: Final = b'\\"'  # what JSON in a text has
_JSON: Final = ("{", "[")  # how a text begins that may be some
_USUAL: Final = {0xFF01 + at: 0x21 + at for at in range(94)}  # full-width forms
_WORTH: Final = re.compile(r"@|%(?:25)*40|(?:\+|%2[Bb])[1-9]|\d(?:[ \-]?\d){10}")
_AT: Final = re.compile(r"@|%(?:25)*40")
_LOCAL: Final = re.compile(r"[\w.+\-'%]+\Z")
_DOMAIN: Final = re.compile(r"(?:[\w\-]{1,63}\.)+[^\W\d_]{2,24}")
_RESOLUTION: Final = re.compile(r"\d(?:\.\d)?x\.")  # logo@2x.png
_PHONE: Final = re.compile(r"(?<![\w+])(?:\+|%2[Bb])[1-9](?:[ ().\-]{0,2}\d){7,14}(?!\d)")
_NUMBER: Final = re.compile(
    r"""
    (?<![0-9A-Za-z.+])(?:
      (?P<mobile_grouped>(?<!\d-)1[3-9]\d(?P<m>[ \-])\d{4}(?P=m)\d{4}(?!-\d))
    | (?P<card_grouped>(?<!\d-)(?:
          \d{4}(?P<c>[ \-])\d{4}(?P=c)\d{4}(?P=c)\d{4}(?:(?P=c)\d{3})?
        | \d{4}(?P<a>[ \-])\d{6}(?P=a)\d{5}
      )(?!-\d))
    | (?P<resident>[1-9]\d{16}[\dXx])
    | (?P<card>\d{15,19})
    | (?P<mobile>1[3-9]\d{9})
    )(?![0-9A-Za-z])
    """,
    re.VERBOSE,
)
# Visa, Mastercard, Amex, UnionPay, Discover, JCB, Mir.
_ISSUERS: Final = re.compile(
    r"4\d{15}|5[1-5]\d{14}|(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}|62\d{14,17}"
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|220[0-4]\d{12}"
)
_PARAMETER: Final = re.compile(r"(?:(?<=[?&#;])|\A)([^=&#?;\s]{1,64})=([^&#;\s]+)")
_NOT_DIGITS: Final = re.compile(r"\D+")


def may_hold(*parts: Any) -> bool:
    """Return whether what is left of an event could hold a value that is personal by itself: False for nearly
    all that do not, in about 1 µs."""
    said = _encode(parts)
    glance = said.translate(_GLANCE, b" -.()")
    return b"@" in glance or b"00000000000" in glance or _QUOTED in said


def year_of(received_ms: int) -> int:
    """Return the year of receipt, good to a day: nobody has a resident ID before it."""
    return 1970 + received_ms // _YEAR_MS


_GONE: Final = object()
_TOO_DEEP: Final = object()


Removed = dict[str, int]  # what told that it was personal -> how often


class Finding(NamedTuple):
    start: int
    end: int
    kind: str


class Personal:
    """`clean` a tree of values; `redact` one text. `phone` is the check of numbers that begin with their
    country."""

    def __init__(self, phone: Check, naming: Naming) -> None:
        self._phone = phone
        self._naming = naming

    def clean(self, data: dict[str, Any], year: int, removed: Removed) -> dict[str, Any]:
        """Return `data` without its personal values; `removed` counts them by kind. `year` of receipt."""
        return self._walk(data, year, removed, None, "")

    def apart(self, data: dict[str, Any], year: int, sensitive: dict[str, Any]) -> dict[str, Any]:
        """Return `data` without its personal values; those that hold some go whole to `sensitive`, under
        their dotted names."""
        return self._walk(data, year, {}, sensitive, "")

    def redact(self, text: str, year: int, removed: Removed, name: str = "") -> str:
        """Return the text with `(redacted)` in the place of each personal part."""
        return self._text(text, self._naming.of(name), year, removed, _DECODED_MAX)

    def first(self, text: str, said: Said, year: int) -> tuple[str, str] | None:
        """Return the kind of the first part that looks personal under a name that says `said`, and that part;
        None where there is none."""
        if not _is_worth_it(text):
            return None
        plain = text if text.isascii() else text.translate(_USUAL)
        for start, end, kind in sorted(_first(self._findings(plain, said, year))):
            return kind, plain[start:end]
        return None

    def said_by(self, name: str) -> Said:
        """Return what the name of a field says of a number under it."""
        return self._naming.of(name)

    def _walk(
        self, data: dict[str, Any], year: int, removed: Removed, sealed: dict[str, Any] | None, prefix: str
    ) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, value in data.items():
            if _is_worth_it(name) and self._text(name, Said.CODE, year, removed, 0) != name:
                if sealed is not None:
                    sealed.setdefault(prefix + REDACTED, {})[name] = value
                continue
            found = self._value(name, value, year, removed, sealed, prefix + name)
            if found is not _GONE:
                kept[name] = found
        return kept

    def _value(
        self, name: str, value: Any, year: int, removed: Removed, sealed: dict[str, Any] | None, where: str
    ) -> Any:
        kind = type(value)
        if kind is dict:
            return self._walk(value, year, removed, sealed, f"{where}.")
        if kind is list:
            items = (
                self._value(name, item, year, removed, sealed, f"{where}.{at}")
                for at, item in enumerate(value)
            )
            return [item for item in items if item is not _GONE]
        if kind is float and value >= _INT_LEAST and value.is_integer():
            text = str(int(value))  # a spreadsheet, or a language that knows no other numbers
        elif kind is str or (kind is int and value >= _INT_LEAST):
            text = str(value)
        else:
            return value
        cleaned = self._json(text, year, removed) if text.startswith(_JSON) else text
        if "=" in cleaned or _is_worth_it(cleaned):
            cleaned = self._text(cleaned, self._naming.of(name), year, removed, _DECODED_MAX)
        if cleaned == text:
            return value
        if sealed is not None:
            sealed[where] = value
            return _GONE
        return _GONE if cleaned.strip() == REDACTED else cleaned

    def _json(self, text: str, year: int, removed: Removed) -> str:
        """JSON in a text, with `(redacted)` in the place of what is personal, by its name in there or by
        itself; the text as it is where there is nothing of this, or no JSON."""
        try:
            held = _decode(text)
        except ValueError:
            return text
        except RecursionError:
            held = _TOO_DEEP
        found: Removed = {}
        kept = self._inside("", held, year, found, _DEPTH_MAX)
        if not found:
            return text
        for kind, times in found.items():
            removed[kind] = removed.get(kind, 0) + times
        return REDACTED if kept == REDACTED else _encode(kept).decode()

    def _inside(self, name: str, value: Any, year: int, removed: Removed, depth: int) -> Any:
        """A value of JSON in a text."""
        if value is _TOO_DEEP or not depth or self._naming.is_personal(name, value):
            _add(removed, NAME)
            return REDACTED
        if type(value) is list:
            return [self._inside(name, item, year, removed, depth - 1) for item in value]
        if type(value) is dict:
            return {
                self._text(inner, Said.CODE, year, removed, 0): self._inside(
                    inner, item, year, removed, depth - 1
                )
                for inner, item in value.items()
            }
        found = self._value(name, value, year, removed, None, "")
        return REDACTED if found is _GONE else found

    def _text(self, text: str, said: Said, year: int, removed: Removed, decoded: int) -> str:
        if decoded and "=" in text:
            text = _PARAMETER.sub(lambda match: self._parameter(match, year, removed, decoded), text)
        if "://" in text or text.startswith("/"):
            said = Said.CODE  # the path of a URL is made of numbers of things
        plain = text if text.isascii() else text.translate(_USUAL)
        if not _WORTH.search(plain):
            return text
        findings = _apart(_first(self._findings(plain, said, year)))
        if not findings:
            return text
        for finding in findings:
            _add(removed, finding.kind)
        return REDACTED if len(findings) >= _FOUND_MAX else _replaced(text, findings)

    def _parameter(self, match: re.Match[str], year: int, removed: Removed, decoded: int) -> str:
        """`name=value` of a URL: the value goes if it is personal, by the parameter's name or by itself, or
        holds such a one."""
        name, value = unquote(match[1]), unquote_plus(match[2])
        if self._naming.is_personal(name, value):
            _add(removed, NAME)
            return f"{match[1]}={REDACTED}"
        said = self._naming.of(name)
        for form in (
            (value, unquote(match[2])) if "+" in match[2] else (value,)
        ):  # a blank, or the + before a number
            inner = self._json(form, year, removed) if form.startswith(_JSON) else form
            if inner != form or self._text(form, said, year, removed, decoded - 1) != form:
                return f"{match[1]}={REDACTED}"
        return match[0]

    def _findings(self, text: str, said: Said, year: int) -> Iterator[Finding]:
        if "@" in text or "%" in text:
            yield from _emails(text)
        for at, match in enumerate(_PHONE.finditer(text) if "+" in text or "%" in text else ()):
            number = f"+{_NOT_DIGITS.sub('', match[0].removeprefix('%2B').removeprefix('%2b'))}"
            if at >= _CHECKED_MAX or isinstance(self._phone(number, ()), Good):
                yield Finding(*match.span(), "phone")
        for at, match in enumerate(_NUMBER.finditer(text)):
            kind = _kind_of(match, said, year) if at < _CHECKED_MAX else "bank_card"
            if kind is not None:
                yield Finding(*match.span(), kind)


def _is_worth_it(text: str) -> bool:
    """Whether to look closer; of other letters than ASCII some are full-width forms."""
    return len(text) >= _LEAST and (not text.isascii() or _WORTH.search(text) is not None)


def _add(removed: Removed, kind: str) -> None:
    removed[kind] = removed.get(kind, 0) + 1


def _first(findings: Iterable[Finding]) -> Iterator[Finding]:
    for at, finding in enumerate(findings):
        if at >= _FOUND_MAX:
            return
        yield finding


def _emails(text: str) -> Iterator[Finding]:
    """Looked for from each @ outwards: the time is that of the text's length, whatever it holds."""
    for at, match in enumerate(_AT.finditer(text)):
        if at >= _FOUND_MAX:
            yield Finding(0, len(text), "email")
            return
        local = _LOCAL.search(text, max(0, match.start() - 64), match.start())
        domain = _DOMAIN.match(text, match.end(), match.end() + 255)
        if local and domain and not _RESOLUTION.match(domain[0]):
            yield Finding(local.start(), domain.end(), "email")


def _kind_of(found: re.Match[str], said: Said, year: int) -> str | None:
    """Of a number in a form that is looked for."""
    match found.lastgroup:
        case "mobile_grouped":
            return "phone"
        case "mobile":
            return "phone" if said is Said.OPEN else None
        case "resident" if _is_resident(found[0], year - _OLD_ENOUGH if said is Said.CODE else year):
            return "id_number"
        case "card_grouped":
            return "bank_card" if _is_card(found[0]) else None
        case _:
            return "bank_card" if said is not Said.CODE and _is_card(found[0]) else None


def _is_resident(text: str, born_last: int) -> bool:
    found = resident_id(text)
    return isinstance(found, Good) and int(found.says["birthday"][:4]) <= born_last


def _is_card(text: str) -> bool:
    digits = _NOT_DIGITS.sub("", text)
    return _ISSUERS.fullmatch(digits) is not None and bool(luhn.is_valid(digits))


def _apart(findings: Iterable[Finding]) -> list[Finding]:
    """In their order; of those that overlap the first."""
    apart: list[Finding] = []
    for finding in sorted(findings):
        if not apart or finding.start >= apart[-1].end:
            apart.append(finding)
    return apart


def _replaced(text: str, findings: list[Finding]) -> str:
    parts, done = [], 0
    for start, end, _ in findings:
        parts += [text[done:start], REDACTED]
        done = end
    return "".join([*parts, text[done:]])
