"""Invented people whose every value is known: what they are called, where they live, how they are reached,
their numbers. Nothing here is anybody's; check digits are right, and no value is in use twice.

Each person goes in by one way only, so whatever is found later tells which way it took.
"""

from collections.abc import Callable
from random import Random
from typing import Final, Literal

import msgspec
import phonenumbers
from pypinyin import lazy_pinyin
from stdnum import luhn
from stdnum.cn import ric

from flows.logic.fields.phones import Phones
from flows.logic.fields.values import Good

Kind = Literal[
    "mobile",
    "phone",
    "email",
    "id_number",
    "bank_card",
    "first_name",
    "last_name",
    "name",
    "street",
    "birthday",
    "plate",
    "ip",
    "passport",
    "user_id",
    "key",  # nobody's: of the deployment itself, in hex
]
# An 11-digit number in a log must not begin as the milliseconds of our years do.
_MOBILE_PREFIXES: Final = ("135", "136", "137", "138", "139", "150", "152", "158", "186", "188")
_REGIONS: Final = ("110105", "310104", "440305", "330106", "510107", "420106")
_ABROAD: Final = ("+491512#######", "+1415555####", "+447911######", "+85291######", "+3361#######")
_MAIL_DOMAINS: Final = ("example.org", "example.com", "mail.example.net")
_SYLLABLES: Final = tuple(
    "bro dun felk gra holm jesk kul lund mar nost pell quin rav stur tev wilm zor".split()
)
_FAMILIES: Final = tuple("欧阳 司马 诸葛 上官 皇甫 尉迟 澹台 公孙 轩辕 令狐".split())
_GIVEN: Final = "岚澈霁翊骁璟颢湉瀚琬昶蕤翀飒漪嵩沅汐珩瑄"
_ROADS: Final = ("云栖", "梧桐", "枫林", "白鹭", "青萝", "松涛", "雁鸣", "碧溪")
_NETWORKS: Final = ("192.0.2", "198.51.100", "203.0.113")  # RFC 5737: nobody's
NATIONAL_LEAST: Final = 10  # digits
_CHINESE_EVERY: Final = 2  # so often a person has a Chinese name and street


class PersonalValue(msgspec.Struct, frozen=True):
    """One thing about one person. `text` is how it is sent first; `spellings` all ways to write it."""

    kind: Kind
    text: str
    spellings: tuple[str, ...]
    way: str = ""  # by which it was sent

    @property
    def masked(self) -> str:
        """Return what tells it from others of its kind without telling it."""
        shown = "" if self.kind == "key" else self.text[:1]
        return f"{shown}***({len(self.text)})"


class Person(msgspec.Struct, frozen=True):
    """One of each kind."""

    values: dict[Kind, PersonalValue]

    def __getitem__(self, kind: Kind) -> str:
        return self.values[kind].text

    def spelled(self, kind: Kind, which: int) -> str:
        """Return one of the spellings, however many there are."""
        found = self.values[kind].spellings
        return found[which % len(found)]

    def sent_by(self, way: str) -> list[PersonalValue]:
        """Return the values as what was sent by a way."""
        return [msgspec.structs.replace(value, way=way) for value in self.values.values()]


class People:
    """Draws people, no two of whom share a value."""

    def __init__(self, seed: int) -> None:
        self._luck = Random(seed)
        self._drawn: set[str] = set()
        self._phones = Phones(complete=False)
        self._count = 0

    def next(self) -> Person:
        """Return somebody new."""
        self._count += 1
        chinese = self._count % _CHINESE_EVERY == 0
        first = self._new(self._given_name) if chinese else self._word()
        last = self._new(self._family_name) if chinese else self._word()
        born = self._new(self._birthday)
        texts: dict[Kind, tuple[str, ...]] = {
            "mobile": _mobile_spellings(self._new(self._mobile)),
            "phone": _abroad_spellings(self._new(self._abroad)),
            "email": _mail_spellings(self._new(self._mail)),
            "id_number": (self._new(lambda: self._resident_id(born)),),
            "bank_card": _card_spellings(self._new(self._card)),
            "first_name": (first,),
            "last_name": (last,),
            "name": _name_spellings(first, last, chinese),
            "street": (self._new(self._road if chinese else self._street),),
            "birthday": _birthday_spellings(born),
            "plate": _plate_spellings(self._new(self._plate)),
            "ip": (self._new(self._ip),),
            "passport": (self._new(self._passport),),
            "user_id": (self._new(lambda: f"Member-{self._word()}-{self._luck.randrange(1000, 9999)}"),),
        }
        return Person({kind: PersonalValue(kind, spelled[0], spelled) for kind, spelled in texts.items()})

    def _new(self, draw: Callable[[], str]) -> str:
        while (value := draw()) in self._drawn:
            continue
        self._drawn.add(value)
        return value

    def _birthday(self) -> str:
        luck = self._luck
        return f"{luck.randrange(1941, 1999)}-{luck.randrange(1, 13):02}-{luck.randrange(10, 29)}"

    def _digits(self, count: int) -> str:
        return "".join(self._luck.choice("0123456789") for _ in range(count))

    def _word(self) -> str:
        """Return a word that is in nobody else's name, address or street."""
        return self._new(lambda: "".join(self._luck.sample(_SYLLABLES, 3)).capitalize())

    def _given_name(self) -> str:
        """Three characters: what is shorter is found by chance, as UTF-16."""
        return "".join(self._luck.sample(_GIVEN, 3))

    def _family_name(self) -> str:
        return self._luck.choice(_FAMILIES) + "".join(self._luck.sample(_GIVEN, 2))

    def _mobile(self) -> str:
        return self._luck.choice(_MOBILE_PREFIXES) + self._digits(8)

    def _abroad(self) -> str:
        while True:
            form = self._luck.choice(_ABROAD)
            number = "".join(self._luck.choice("23456789") if sign == "#" else sign for sign in form)
            if isinstance(self._phones.check(number, ()), Good):
                return number

    def _mail(self) -> str:
        return f"{self._word()}.{self._word()}+{self._digits(2)}@{self._luck.choice(_MAIL_DOMAINS)}"

    def _resident_id(self, born: str) -> str:
        number = self._luck.choice(_REGIONS) + born.replace("-", "") + self._digits(3)
        return number + str(ric.calc_check_digit(number + "0"))

    def _card(self) -> str:
        number = self._luck.choice(("4", "51", "62"))
        number += self._digits(15 - len(number))
        return number + str(luhn.calc_check_digit(number))

    def _street(self) -> str:
        return f"{self._word()}allee {self._luck.randrange(100, 999)}"

    def _road(self) -> str:
        return (
            f"{self._luck.choice(_ROADS)}路{self._luck.randrange(100, 999)}弄{self._luck.randrange(10, 99)}号"
        )

    def _plate(self) -> str:
        return f"沪A·{self._luck.choice('DFGHJK')}{self._digits(4)}"

    def _ip(self) -> str:
        return f"{self._luck.choice(_NETWORKS)}.{self._luck.randrange(100, 255)}"

    def _passport(self) -> str:
        return f"E{self._digits(8)}"


def _mobile_spellings(number: str) -> tuple[str, ...]:
    """Of a mainland number."""
    front, middle, end = number[:3], number[3:7], number[7:]
    return (number, f"+86 {front} {middle} {end}", f"{front}-{middle}-{end}", f"+86{number}")


def _abroad_spellings(number: str) -> tuple[str, ...]:
    """Of a number in its normal form (E.164), the last one without its country; where that is so short that
    any counter could be it, it is not looked for."""
    national = str(phonenumbers.parse(number).national_number)
    spelled = (number, f"{number[:3]} {number[3:7]} {number[7:]}")
    return (*spelled, national) if len(national) >= NATIONAL_LEAST else spelled


def _mail_spellings(address: str) -> tuple[str, ...]:
    return (address, address.lower(), f"mailto:{address}")


def _card_spellings(number: str) -> tuple[str, ...]:
    return (number, " ".join(number[at : at + 4] for at in range(0, len(number), 4)))


def _name_spellings(first: str, last: str, chinese: bool) -> tuple[str, ...]:
    """A Chinese name also by its sound, as matching takes it."""
    if not chinese:
        return (f"{first} {last}", f"{last}, {first}")
    sounds = lazy_pinyin(f"{last}{first}")
    return (f"{last}{first}", "".join(sounds), " ".join(sounds))


def _birthday_spellings(born: str) -> tuple[str, ...]:
    year, month, day = born.split("-")
    return (born, f"{day}.{month}.{year}", f"{year}年{int(month)}月{int(day)}日")


def _plate_spellings(plate: str) -> tuple[str, ...]:
    return (plate, plate.replace("·", ""))
