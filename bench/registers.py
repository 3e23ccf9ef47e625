"""Made-up registers of people and companies whose rows repeat with the faults of real ones, and the truth
beside them.

    python -m bench.registers voters 20000 > voters.csv
    millrace eval identity voters.csv --id row --truth entity

voters         complete rows, families at one address, people who move and marry
historical     names, a year of birth and a place, half of it missing; many namesakes, spellings that wander
lives          as historical, but with titles in the full name, whole dates, and some nine rows of each person
households     one small town: brothers, sisters, twins, fathers and sons at one address with one phone
organisations  legal forms, short forms, companies that share a phone and an address
branches       as organisations, but many have several places, often with one phone and one website
namesakes      frequent Chinese names in big cities, with birth dates that are near each other
"""

import csv
import math
import sys
from collections.abc import Callable, Iterator
from itertools import accumulate
from random import Random

from bench.namesakes import namesakes

Row = dict[str, str]
_SYLLABLES = """
    al an ar ba be ber bo bri ca con da del do ed el en er fa fer ga gor ha hil hol il in ja jo ka ker la
    lan lo ma mar mil mo na nel no ol per ra ren ri ro sa sen son ta ten tho ton va ver vi wal wil win yor
    """.split()
_GIVEN = """
    mary john elizabeth william anne thomas margaret george sarah james jane robert alice henry catherine
    charles ellen edward emma joseph hannah richard martha samuel susan david dorothy daniel lucy peter
    harriet michael julia paul helen frederick clara walter florence albert edith arthur rose alfred ada
    ernest grace herbert ruth ralph laura hugh agnes oscar esther felix irene leonard vera stanley
    """.split()
_SHORT = {
    "elizabeth": "beth",
    "william": "bill",
    "margaret": "maggie",
    "robert": "bob",
    "catherine": "kate",
    "james": "jim",
    "frederick": "fred",
}
_STREETS = ("street", "st"), ("road", "rd"), ("avenue", "ave"), ("lane", "ln")
_TRADES = """
    logistics software trading foods energy textiles consulting engineering pharma media insurance optics
    steel travel systems
    """.split()
_FORMS = (
    ("limited", "ltd", "ltd."),
    ("incorporated", "inc", "inc."),
    ("gmbh", "g.m.b.h."),
    ("llc", "l.l.c."),
    ("plc", "public limited company"),
)
_NEAR = {
    "a": "eo",
    "e": "ai",
    "i": "ey",
    "o": "au",
    "u": "o",
    "c": "k",
    "k": "c",
    "s": "z",
    "z": "s",
    "t": "d",
    "d": "t",
    "v": "w",
    "n": "m",
    "m": "n",
}


class _Names:
    """Names as common as names are: the n-th most common is about 1/n as common as the first."""

    def __init__(self, luck: Random, count: int, syllables: int) -> None:
        found = dict.fromkeys(
            "".join(luck.choice(_SYLLABLES) for _ in range(luck.randint(2, syllables))) for _ in range(count)
        )
        self._luck, self._names = luck, list(found)
        self._weights = list(accumulate(1 / (rank + 5) for rank in range(len(self._names))))

    def one(self) -> str:
        return self._luck.choices(self._names, cum_weights=self._weights)[0]


def _mistyped(luck: Random, text: str) -> str:
    if len(text) < 2:
        return text
    at = luck.randrange(len(text) - 1)
    match luck.randrange(4):
        case 0:
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        case 1:
            return text[:at] + text[at + 1 :]
        case 2:
            return text[:at] + text[at] + text[at:]
        case _:
            sign = (
                str(luck.randrange(10))
                if text[at].isdigit()
                else luck.choice(_NEAR.get(text[at], "aeiourst"))
            )
            return text[:at] + sign + text[at + 1 :]


def _copies(luck: Random, mean: float) -> int:
    """At least one; the rest falls off as in registers (geometric)."""
    return 1 + min(12, int(math.log(1 - luck.random()) / math.log(1 - 1 / mean)))


def _household(luck: Random, families: _Names, streets: _Names, towns: _Names) -> Row:
    kind, _ = luck.choice(_STREETS)
    town = towns.one()
    return {
        "last_name": families.one(),
        "address": f"{luck.randint(1, 180)} {streets.one()} {kind}",
        "city": town,
        "zip": f"{sum(map(ord, town)) * 7 % 900 + 100}{luck.randint(0, 9)}{luck.randint(0, 9)}",
    }


def voters(luck: Random, customers: int) -> Iterator[Row]:
    families, streets, towns = _Names(luck, 6_000, 4), _Names(luck, 2_000, 3), _Names(luck, 150, 3)
    made = 0
    while made < customers:
        home = _household(luck, families, streets, towns)
        for _ in range(min(customers - made, luck.choice((1, 1, 2, 2, 3, 4)))):
            person = {
                "first_name": luck.choice(_GIVEN),
                "middle_name": luck.choice(_GIVEN)[:1] if luck.random() < 0.6 else "",
                **home,
                "birth_year": str(luck.randint(1925, 2005)),
                "sex": luck.choice("mf"),
                "phone": f"0{luck.randint(10**8, 10**9 - 1)}" if luck.random() < 0.5 else "",
            }
            made += 1
            for copy in range(_copies(luck, 1.9)):
                row = {"entity": str(made), **person}
                if copy and luck.random() < 0.2:
                    row |= {
                        name: value
                        for name, value in _household(luck, families, streets, towns).items()
                        if name != "last_name"
                    }
                if copy and luck.random() < 0.05:
                    row["last_name"] = families.one()
                if copy and luck.random() < 0.2:
                    row["first_name"] = _SHORT.get(row["first_name"], row["first_name"])
                if copy and luck.random() < 0.15:
                    row["phone"] = ""
                for field in ("first_name", "last_name", "address", "city", "zip", "birth_year", "phone"):
                    if row[field] and luck.random() < 0.05:
                        row[field] = _mistyped(luck, row[field])
                yield row


def _postcode(luck: Random) -> str:
    area = f"{luck.choice('abcdefgh')}{luck.randint(1, 40)}"
    return f"{area} {luck.randint(1, 9)}{luck.choice('abdef')}{luck.choice('ghjln')}"


def historical(luck: Random, customers: int) -> Iterator[Row]:
    families, towns, trades = _Names(luck, 2_500, 3), _Names(luck, 120, 3), _Names(luck, 80, 3)
    for entity in range(customers):
        person = {
            "forename": luck.choice(_GIVEN[:40]),
            "surname": families.one(),
            "year_of_birth": str(luck.randint(1790, 1895)),
            "birth_place": towns.one(),
            "gender": luck.choice(("male", "female")),
            "occupation": trades.one(),
            "postcode_fake": _postcode(luck),
        }
        for copy in range(_copies(luck, 3.0)):
            row = {"entity": str(entity), **person}
            if copy:
                if luck.random() < 0.08:
                    row["forename"], row["surname"] = row["surname"], row["forename"]
                if luck.random() < 0.15:
                    row["forename"] = luck.choice(
                        (_SHORT.get(row["forename"], row["forename"]), row["forename"][:1])
                    )
                for field in ("forename", "surname", "birth_place", "year_of_birth", "postcode_fake"):
                    if luck.random() < 0.14:
                        row[field] = _mistyped(luck, row[field])
                if luck.random() < 0.1:
                    row["occupation"] = trades.one()
                if luck.random() < 0.15:
                    row["birth_place"] = towns.one()
            for field, share in (
                ("forename", 0.05),
                ("year_of_birth", 0.3),
                ("birth_place", 0.3),
                ("occupation", 0.4),
                ("postcode_fake", 0.3),
                ("gender", 0.1),
            ):
                if luck.random() < share:
                    row[field] = ""
            yield row


def lives(luck: Random, customers: int) -> Iterator[Row]:
    families, towns = _Names(luck, 2_500, 3), _Names(luck, 120, 3)
    trades = (
        "politician",
        "writer",
        "painter",
        "clergyman",
        "cricketer",
        "soldier",
        "botanist",
        "composer",
        "judge",
        "engineer",
    )
    for entity in range(customers):
        given, family = luck.choice(_GIVEN), families.one()
        area = f"{luck.choice('abcdefgh')}{luck.choice('abcdefgh')}{luck.randint(1, 40)}"
        postcode = f"{area} {luck.randint(1, 9)}{luck.choice('abdef')}{luck.choice('ghjln')}"
        title = (
            f"{luck.randint(1, 9)}th {luck.choice(('baron', 'earl', 'baronet'))} {families.one()}"
            if luck.random() < 0.3
            else "sir"
        )
        born = f"{luck.randint(1600, 1950)}-{luck.randint(1, 12):02}-{luck.randint(1, 28):02}"
        place, trade, sex = towns.one(), luck.choice(trades), luck.choice(("male", "female"))
        for _ in range(_copies(luck, 9.0)):
            called = _SHORT.get(given, given) if luck.random() < 0.1 else given
            row = {
                "entity": str(entity),
                "first_name": called,
                "surname": family,
                "dob": born,
                "birth_place": place,
            }
            row |= {"postcode_fake": postcode, "gender": sex, "occupation": trade}
            if luck.random() < 0.25:
                row["first_name"], row["surname"] = (
                    (called[:1], family) if luck.random() < 0.5 else (called, families.one())
                )
            for field in ("first_name", "surname", "birth_place"):
                if luck.random() < 0.1:
                    row[field] = _mistyped(luck, row[field])
            if luck.random() < 0.25:
                row["dob"] = born[:5] + "01-01" if luck.random() < 0.6 else _mistyped(luck, born)
            if luck.random() < 0.3:
                row["postcode_fake"] = (
                    f"{area} {luck.randint(1, 9)}{luck.choice('abdef')}{luck.choice('ghjln')}"
                )
            row["full_name"] = f"{row['first_name']} {row['surname']}"
            if luck.random() < 0.2:
                row["full_name"] = (
                    f"{title} {row['full_name']}" if title == "sir" else f"{row['full_name']}, {title}"
                )
            for field, share in (
                ("dob", 0.15),
                ("birth_place", 0.2),
                ("postcode_fake", 0.2),
                ("occupation", 0.2),
                ("gender", 0.05),
            ):
                if luck.random() < share:
                    row[field] = ""
            yield row


def households(luck: Random, customers: int) -> Iterator[Row]:
    families, streets = _Names(luck, 3_000, 4), _Names(luck, 400, 3)
    made = 0
    while made < customers:
        kind, _ = luck.choice(_STREETS)
        home = {
            "last_name": families.one(),
            "street_number": str(luck.randint(1, 9_000)),
            "street_name": f"{streets.one()} {kind}",
            "city": "riverton",
            "zip": "40000",
            "phone": f"0{luck.randint(10**8, 10**9 - 1)}",
        }
        parents = luck.randint(1940, 1985)
        before: Row = {}
        for member in range(min(customers - made, luck.choice((1, 2, 2, 3, 4, 5)))):
            year = parents + luck.randint(-4, 4) + (25 if member > 1 else 0)
            person = {
                "first_name": luck.choice(_GIVEN),
                "middle_initial": luck.choice(_GIVEN)[:1],
                **home,
                "sex": luck.choice("mf"),
            }
            person["date_of_birth"] = f"{year}-{luck.randint(1, 12):02}-{luck.randint(1, 28):02}"
            if member > 1 and luck.random() < 0.05:
                person["date_of_birth"] = before["date_of_birth"]  # twins
            if member > 1 and luck.random() < 0.05:
                person["first_name"] = before["first_name"]
            before = person
            made += 1
            for copy in range(_copies(luck, 2.0)):
                row = {"entity": str(made), **person}
                if copy and luck.random() < 0.1:
                    row |= {
                        "street_number": str(luck.randint(1, 9_000)),
                        "street_name": f"{streets.one()} {kind}",
                    }
                if copy and luck.random() < 0.1:
                    row["first_name"] = _SHORT.get(row["first_name"], row["first_name"])
                for field, share in (
                    ("phone", 0.4),
                    ("date_of_birth", 0.1),
                    ("middle_initial", 0.3),
                    ("first_name", 0.02),
                ):
                    if luck.random() < share:
                        row[field] = ""
                for field in (
                    "first_name",
                    "last_name",
                    "street_name",
                    "date_of_birth",
                    "phone",
                    "street_number",
                ):
                    if row[field] and luck.random() < 0.04:
                        row[field] = _mistyped(luck, row[field])
                yield row


def organisations(luck: Random, customers: int) -> Iterator[Row]:
    names, streets, towns = _Names(luck, 5_000, 4), _Names(luck, 1_500, 3), _Names(luck, 120, 3)
    office: Row = {}
    for entity in range(customers):
        if not office or luck.random() > 0.15:  # else the next company under the same roof
            office = _office(luck, streets, towns)
        company, website, forms = _company(luck, names)
        yield from _as_written(
            luck, {"entity": str(entity), **company, **office, "website": website}, forms, streets
        )


def branches(luck: Random, customers: int) -> Iterator[Row]:
    """Each place is a customer of its own. One of five organisations has several, of which many have the
    phone of the first."""
    names, streets, towns = _Names(luck, 5_000, 4), _Names(luck, 1_500, 3), _Names(luck, 120, 3)
    made = 0
    while made < customers:
        company, website, forms = _company(luck, names)
        first = _office(luck, streets, towns)
        one_phone = luck.random() < 0.6
        for number in range(luck.choice((1, 1, 1, 1, 1, 1, 1, 1, 2, 3))):
            place = _office(luck, streets, towns) if number else first
            if number and luck.random() < 0.4:
                place["city"] = first["city"]
            if one_phone:
                place["phone"] = first["phone"]
            made += 1
            yield from _as_written(
                luck, {"entity": str(made), **company, **place, "website": website}, forms, streets
            )


def _office(luck: Random, streets: _Names, towns: _Names) -> Row:
    kind, _ = luck.choice(_STREETS)
    return {
        "street": f"{luck.randint(1, 200)} {streets.one()} {kind}",
        "city": towns.one(),
        "phone": f"0{luck.randint(10**8, 10**9 - 1)}",
    }


def _company(luck: Random, names: _Names) -> tuple[Row, str, tuple[str, ...]]:
    """Its name, its website, and how its legal form may be written."""
    head, trade, forms = names.one(), luck.choice(_TRADES), luck.choice(_FORMS)
    name = f"{head} {trade} {forms[0]}" if luck.random() < 0.8 else f"{head} {names.one()} {forms[0]}"
    return (
        {"name": name},
        f"www.{head}{luck.choice(('', '-' + trade))}.com" if luck.random() < 0.6 else "",
        forms,
    )


def _as_written(luck: Random, company: Row, forms: tuple[str, ...], streets: _Names) -> Iterator[Row]:
    """Some 2.2 rows of an organisation at one place."""
    for copy in range(_copies(luck, 2.2)):
        row = dict(company)
        if copy:
            words = row["name"].split(" ")
            words[-1] = luck.choice((*forms, ""))
            if luck.random() < 0.15:
                words = words[:1] + words[2:]
            row["name"] = " ".join(words).strip()
            if luck.random() < 0.15:
                row["phone"] = f"0{luck.randint(10**8, 10**9 - 1)}"
            if luck.random() < 0.12:
                row["street"] = f"{luck.randint(1, 200)} {streets.one()} street"
        for field, share in (("phone", 0.3), ("street", 0.25), ("website", 0.3), ("city", 0.1)):
            if luck.random() < share:
                row[field] = ""
        for field in ("name", "street", "city"):
            if row[field] and luck.random() < 0.07:
                row[field] = _mistyped(luck, row[field])
        if luck.random() < 0.1:
            row["name"] = row["name"].upper()
        yield row


REGISTERS: dict[str, Callable[[Random, int], Iterator[Row]]] = {
    "voters": voters,
    "historical": historical,
    "lives": lives,
    "households": households,
    "organisations": organisations,
    "branches": branches,
    "namesakes": namesakes,
}


def rows(register: str, customers: int, seed: int = 1) -> list[Row]:
    """In random order; `row` and `entity` are no evidence."""
    luck = Random(seed)
    found = list(REGISTERS[register](luck, customers))
    luck.shuffle(found)
    return [{"row": str(number), **row} for number, row in enumerate(found)]


if __name__ == "__main__":
    made = rows(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    writer = csv.DictWriter(sys.stdout, made[0])
    writer.writeheader()
    writer.writerows(made)
