"""What the name of a field says of its value: that it is personal, that it is a number or code, that anything
may stand in it.

The configured names are of one person's one thing: `email`, `firstName`. The same is meant by plurals
(`emails`), by what stands before (`workEmail`, `buyer_first_name`) and by a few words behind (`emailAddress`,
`phone_number`, `email2`). Such a name is taken for a personal one only where the value could be what it says:
`hasEmail = true` and `marketingEmail = "spring"` are not.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from flows.logic.fields.check import folded
from schemas.config import FieldKind

NAMES_MAX: Final = 10_000  # spellings that are remembered
_LENGTH_MAX: Final = 100  # of a name that is taken apart
_DIGITS_LEAST: Final = 5


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_BEHIND: Final = _words(
    """
    number numbers no num nr address addresses value primary secondary home work private business
    personal new old raw plain 1 2 3
    """
)
_PERSONS: Final = _words(
    """
    receiver recipient consignee contact contacts caller callee sender buyer payer payee customer user
    member owner guest passenger patient attendee invitee person client cardholder
    """
)
_FREE: Final = _words(
    """
    text message msg comment comments note notes remark remarks content body description subject title
    query q search keyword keywords kw wd term terms input answer answers feedback reason question reply
    login account to from cc bcc
    """
)
_OPEN: Final = _FREE | _PERSONS
_FREE_CHINESE: Final = (
    "备注",
    "留言",
    "收件人",
    "收货人",
    "联系人",
    "搜索",
    "搜索词",
    "关键词",
    "内容",
    "标题",
)
_CODES: Final = _words(
    """
    id ids no nr num number numbers code codes sku skus ean gtin upc isbn barcode imei iccid sn serial
    order orders invoice receipt transaction txn trade shipment tracking parcel waybill ticket ref
    reference hash token key uuid guid time timestamp ts at date ms ns us count amount total price
    quantity size bytes version build product products item items batch lot sequence seq cursor session
    trace span request event click gclid fbclid variant
    """
)
_CODES_CHINESE: Final = ("单号", "编号", "编码", "货号", "条码", "流水号", "时间")


class Said(Enum):
    """What a name says of a number under it."""

    CODE = "a number of a thing, or a time"
    OPEN = "somebody, or free text"
    NOTHING = ""


Fits = Callable[[Any], bool]


def _any(value: Any) -> bool:
    return type(value) is not bool


def _digits(value: Any) -> bool:
    return type(value) is not bool and sum(map(str.isdigit, str(value))) >= _DIGITS_LEAST


def _at_sign(value: Any) -> bool:
    return type(value) is str and ("@" in value or "＠" in value or "%40" in value)


def _ip(value: Any) -> bool:
    return (
        type(value) is str
        and (value.count(".") == 3 or value.count(":") >= 2)
        and any(map(str.isalnum, value))
    )


_FITS: Final[Mapping[str, Fits]] = {
    **dict.fromkeys(
        ("phone", "id_number", "bank_card", "passport", "credit_code", "card", "iban", "nationalid"), _digits
    ),
    "email": _at_sign,
    "birthday": _digits,
    "ip": _ip,
}


class Named(dict[str, Fits | None]):
    """Name of a field -> whether a value under it is personal; None where none is. Each spelling is looked at
    once."""

    def __init__(self, known: Mapping[str, FieldKind | None], alone: frozenset[str] = frozenset()) -> None:
        """`known`: folded names, and of which kind their values are; `alone`: those that mean it only where
        nothing stands beside."""
        super().__init__()
        self._known = known
        self._chinese = tuple(
            name for name in known if not name.isascii() and len(name) > 1 and name not in alone
        )
        self._prefixed = {
            name: _FITS.get(kind or name, _any) for name, kind in known.items() if name not in alone
        }

    def __missing__(self, name: str) -> Fits | None:
        if len(self) > NAMES_MAX:
            self.clear()
        found = self[name] = _always if folded(name) in self._known else self.derived(name)
        return found

    def derived(self, name: str) -> Fits | None:
        """Return what the words say that the name is made of."""
        if len(name) > _LENGTH_MAX:
            return None
        if not name.isascii():
            ending = next((known for known in self._chinese if name.endswith(known)), None)
            return _within(self._prefixed[ending]) if ending else None
        words = words_of(name)
        while words:
            if words[-1] == "name" and words[-2:-1] and words[-2] in _PERSONS:
                return _within(_any)
            for at in range(len(words)):
                fits = self._prefixed.get(joined := "".join(words[at:])) or self._prefixed.get(
                    _singular(joined)
                )
                if fits is not None:
                    return _within(fits)
            if words[-1] not in _BEHIND:
                return None
            words = words[:-1]
        return None


class Naming:
    """What names say that are not personal by themselves; and whether a parameter of a URL is."""

    def __init__(self, personal: Named) -> None:
        self._personal = personal
        self._said: dict[str, Said] = {}
        self._parameters: dict[str, Fits | None] = {}

    def of(self, name: str) -> Said:
        found = self._said.get(name)
        if found is None:
            if len(self._said) > NAMES_MAX:
                self._said.clear()
            found = self._said[name] = _said_by(name[:_LENGTH_MAX])
        return found

    def is_personal(self, name: str, value: Any) -> bool:
        """Return whether a parameter, or a member of JSON in a text, is personal: its value must be able to
        be what its name says, whatever the name is (`?mobile=1` is not a number)."""
        if name not in self._parameters:
            if len(self._parameters) > NAMES_MAX:
                self._parameters.clear()
            self._parameters[name] = self._personal.derived(name) or self._personal[name]
        fits = self._parameters[name]
        return fits is not None and fits(value)


def words_of(name: str) -> list[str]:
    """Return the words of a name: those of `buyerFirstName2`, `buyer_first-name 2` and `BUYER.firstName.2`
    are buyer, first, name, 2."""
    return [word.lower() for word in _WORD.findall(name)]


def _said_by(name: str) -> Said:
    """The last word says what it is (`order_note`), those before it of what."""
    words = [word for word in words_of(name) if not word.isdigit()]
    if name.endswith(_FREE_CHINESE) or (words and words[-1] in _OPEN):
        return Said.OPEN
    if name.endswith(_CODES_CHINESE) or not _CODES.isdisjoint(words):
        return Said.CODE
    return Said.NOTHING if _OPEN.isdisjoint(words) else Said.OPEN


def _always(_value: Any) -> bool:
    return True


def _within(fits: Fits) -> Fits:
    """Whether some value of a list or an object does."""

    def look(value: Any) -> bool:
        if type(value) is dict:
            return any(map(look, value.values()))
        return any(map(look, value)) if type(value) is list else fits(value)

    return look


def _singular(word: str) -> str:
    return word[:-2] if word.endswith("sses") else word.removesuffix("s")
