"""Valid events as they come from careless clients, spreadsheets and several channels: odd in one thing, and
no reason to refuse them.

Whose they are does not change by it; `flows.lab.demo.audit` knows how (a spelling is the same value, a
placeholder is none).
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

import msgspec

from flows.lab.demo.shoppers import Person

Message = dict[str, Any]

#: What clients send in place of an id that they do not have.
PLACEHOLDERS: Final = (
    "undefined",
    "null",
    "{{userId}}",
    "[object Object]",
    "00000000-0000-0000-0000-000000000000",
)
#: What a spreadsheet leaves of long numbers; the same for many people.
ROUNDED: Final = ("1.38001E+10", "8.80012345678901E+15")
GROUP_CONTACT, MADE_UP, ALIAS_OF_USERS = "group_contact", "anonymous_made_up", "alias_of_users"
_CHINA: Final = "+86"
_NO_TIME: Final = ("", "Invalid Date", "0001-01-01T00:00:00Z")
_NO_NAME: Final = ("未知", "N/A", "-", "👤")
_CITY: Final = ("上海", "上海市", "Shanghai", "SHANGHAI ", "Ｓｈａｎｇｈａｉ")
_WIDE: Final = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}  # the full-width forms of ASCII


class Oddity(msgspec.Struct, frozen=True):
    """One kind. `of` gives the odd form of a message of this person, where it `fits`."""

    name: str
    fits: Callable[[Message], bool]
    of: Callable[[Random, Person, Message], Message]


def _with(message: Message, traits: Mapping[str, Any]) -> Message:
    """With these traits; None takes one away."""
    changed = {**message["traits"], **traits}
    return message | {"traits": {name: value for name, value in changed.items() if value is not None}}


def _named(name: Callable[[Random, str], str | None]) -> Callable[[Random, Person, Message], Message]:
    return lambda random, _who, message: _with(message, {"name": name(random, message["traits"]["name"])})


def _spelled_name(random: Random, name: str) -> str:
    first, last = name.split(" ") if " " in name else (name[0], name[1:])
    wide = f"{first}\u3000{last}".translate(_WIDE)
    return random.choice((name.upper(), wide, f"  {first}  {last}", f"{last}, {first}"))


def _city(random: Random, _who: Person, message: Message) -> Message:
    return _with(message, {"address": {"city": random.choice(_CITY), "country": "CN"}})


def _phone(random: Random, _who: Person, message: Message) -> Message:
    if "traits" in message:
        phone = message["traits"]["phone"]
        at_home = {"country": "CN"} if phone.startswith(_CHINA) else {}
        return _with(message, {"phone": random.choice(_spellings(phone, national=bool(at_home))), **at_home})
    context = message["context"]
    phone = random.choice(_spellings(context["traits"]["phone"], national=False))
    return message | {"context": {**context, "traits": {**context["traits"], "phone": phone}}}


def _spellings(phone: str, *, national: bool) -> list[str]:
    """Of a number with a country code of two digits."""
    digits = "".join(filter(str.isdigit, phone))
    code, number = digits[:2], digits[2:]
    dashed = f"{number[:3]}-{number[3:7]}-{number[7:]}"
    forms = [f"+{code} {dashed}", f"(+{code}) {number}", f"00{digits}", f"+{digits}".translate(_WIDE)]
    return [*forms, number, dashed, number.translate(_WIDE)] if national else forms


def _email(random: Random, _who: Person, message: Message) -> Message:
    email = message["traits"]["email"]
    spelled = (email.title(), f" {email} ", f"mailto:{email}", email.translate(_WIDE), f"{email}\u200b")
    return _with(message, {"email": random.choice(spelled)})


def _rounded(_random: Random, _who: Person, message: Message) -> Message:
    phone, member = ROUNDED
    return _with(message, {"phone": phone, "member": member})


def _placeholder(name: str) -> Callable[[Random, Person, Message], Message]:
    return lambda random, _who, message: message | {name: random.choice(PLACEHOLDERS)}


def _stamped(random: Random, _who: Person, message: Message) -> Message:
    said = {"Advertising": random.random() < 0.5, "Analytics": True}
    return message | {"context": {**message.get("context", {}), "consent": {"categoryPreferences": said}}}


def _sent_at(random: Random, _who: Person, message: Message) -> Message:
    return message | {"sentAt": random.choice(_NO_TIME)}


def _told_in_url(_random: Random, who: Person, message: Message) -> Message:
    url = f"https://shop.example/confirm?email={who.email}&phone={who.phone.replace(' ', '')}"
    page = {"url": url, "referrer": url}
    return message | {
        "properties": {**message["properties"], **page},
        "context": {**message.get("context", {}), "page": page},
    }


def _told_in_list(_random: Random, who: Person, message: Message) -> Message:
    items = [{"sku": "SKU-01", "buyerEmail": who.email, "notes": [f"call {who.phone}"]}]
    return message | {"properties": {**message["properties"], "items": items}}


def _is(*kinds: str) -> Callable[[Message], bool]:
    return lambda message: message["type"] in kinds


def _has_phone(message: Message) -> bool:
    return "phone" in (message.get("traits") or message.get("context", {}).get("traits", {}))


def _has_both(message: Message) -> bool:
    return "userId" in message and "anonymousId" in message


_ODDITIES: Final = (
    Oddity("name_missing", _is("identify"), _named(lambda _random, _name: None)),
    Oddity("name_of_one_letter", _is("identify"), _named(lambda _random, name: name[0])),
    Oddity("name_unknown", _is("identify"), _named(lambda random, _name: random.choice(_NO_NAME))),
    Oddity("name_spelled", _is("identify"), _named(_spelled_name)),
    Oddity("city_spelled", _is("identify"), _city),
    Oddity("phone_spelled", _has_phone, _phone),
    Oddity("email_spelled", _is("identify"), _email),
    Oddity("number_rounded", _is("identify"), _rounded),
    Oddity("user_placeholder", _has_both, _placeholder("userId")),
    Oddity("anonymous_placeholder", _has_both, _placeholder("anonymousId")),
    Oddity("consent_stamped", _is("page", "screen", "track"), _stamped),
    Oddity("sent_at_impossible", _is("page"), _sent_at),
    Oddity("personal_in_url", _is("page"), _told_in_url),
    Oddity("personal_in_list", _is("track"), _told_in_list),
)
#: All kinds; the last three are no form of one message, but what the journeys of `flows.lab.demo.shop` send.
KINDS: Final = (*(oddity.name for oddity in _ODDITIES), GROUP_CONTACT, MADE_UP, ALIAS_OF_USERS)


def oddly(random: Random, who: Person, message: Message) -> tuple[str, Message]:
    """Return the name of a kind that fits, and the message in its form."""
    oddity = random.choice([oddity for oddity in _ODDITIES if oddity.fits(message)])
    return oddity.name, oddity.of(random, who, message)


def nobodys(value: str) -> bool:
    """Return whether this, in the place of an identifier, is nobody in particular."""
    return value in PLACEHOLDERS or value in ROUNDED
