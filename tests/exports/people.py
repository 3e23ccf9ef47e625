"""Who is in the files, and what a file is."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

FIELDS = ("userId", "firstName", "lastName", "phone", "birthday", "amount", "share", "vip", "timestamp")
CHINESE = ("客户编号", "名", "姓", "手机号", "出生日期", "消费金额", "折扣", "会员", "注册时间")
GERMAN = (
    "Kundennummer",
    "Vorname",
    "Nachname",
    "Telefon",
    "Geburtsdatum",
    "Umsatz",
    "Rabatt",
    "Stammkunde",
    "Angelegt am",
)
ENGLISH = (
    "Customer ID",
    "First Name",
    "Last Name",
    "Phone",
    "Birthdate",
    "Revenue",
    "Discount",
    "VIP",
    "Created",
)
FRENCH = (
    "N° client",
    "Prénom",
    "Nom",
    "Téléphone",
    "Date de naissance",
    "Chiffre",
    "Remise",
    "Fidèle",
    "Créé le",
)
SALESFORCE = (
    "Account Number",
    "First Name",
    "Last Name",
    "Mobile",
    "Birthdate",
    "Annual Revenue",
    "Discount",
    "VIP",
    "Created Date",
)
HUBSPOT = (
    "Record ID",
    "First Name",
    "Last Name",
    "Phone Number",
    "Date of birth",
    "Total Revenue",
    "Discount",
    "VIP",
    "Create Date",
)


@dataclass(frozen=True)
class Person:
    """One row. `share` in per cent."""

    id: str
    first: str
    last: str
    phone: str
    born: date
    amount: float
    share: float
    vip: bool
    since: datetime


def _person(
    id: str, name: str, phone: str, born: str, amount: float, share: float, vip: bool, since: str
) -> Person:
    first, last = name.split()
    return Person(
        id=id,
        first=first,
        last=last,
        phone=phone,
        born=date.fromisoformat(born),
        amount=amount,
        share=share,
        vip=vip,
        since=datetime.fromisoformat(since),
    )


PEOPLE = (
    _person("0123", "Jürgen Groß", "13800138000", "1990-03-06", 1234.5, 12.5, True, "2026-03-06 15:04"),
    _person("0456", "Zoë Müller", "13800138001", "1975-12-24", 980.0, 5.0, False, "2026-03-13 09:30"),
    _person("1001", "Anne Smith", "13912345678", "2001-02-28", 1620.0, 0.0, False, "2025-12-01 12:04"),
    _person("1002", "伟 张", "15012345678", "1988-10-05", 1234567.89, 7.5, True, "2026-01-31 00:15"),
    _person("1003", "娜 李", "13700000007", "1999-06-17", 0.99, 100.0, False, "2025-02-03 23:59"),
    _person("2044", "Chloé Lefèvre", "18612345678", "1964-01-09", 45.25, 12.5, False, "2024-02-29 08:00"),
)


@dataclass(frozen=True)
class Export:
    """One kind of file. `columns` are its headings, in the order of `FIELDS`; `people` those that it can
    write."""

    name: str
    imitates: str
    columns: tuple[str, ...]
    write: Callable[[Path], None]
    people: tuple[Person, ...] = PEOPLE
    footer: tuple[int, ...] = ()  # rows below the table
    heading_row: int = 1


def within(encoding: str) -> tuple[Person, ...]:
    """Those whose names an encoding can write."""
    return tuple(one for one in PEOPLE if _fits(f"{one.first}{one.last}", encoding))


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
