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
import sys
from collections.abc import Callable, Iterator
from random import Random

from bench.namesakes import namesakes
from bench.register_words import FORMS, GIVEN, SHORT, STREETS, TRADES, Names, copies, mistyped

Row = dict[str, str]


def _household(luck: Random, families: Names, streets: Names, towns: Names) -> Row:
    kind, _ = luck.choice(STREETS)
    town = towns.one()
    return {
        "last_name": families.one(),
        "address": f"{luck.randint(1, 180)} {streets.one()} {kind}",
        "city": town,
        "zip": f"{sum(map(ord, town)) * 7 % 900 + 100}{luck.randint(0, 9)}{luck.randint(0, 9)}",
    }


def voters(luck: Random, customers: int) -> Iterator[Row]:
    families, streets, towns = Names(luck, 6_000, 4), Names(luck, 2_000, 3), Names(luck, 150, 3)
    made = 0
    while made < customers:
        home = _household(luck, families, streets, towns)
        for _ in range(min(customers - made, luck.choice((1, 1, 2, 2, 3, 4)))):
            person = {
                "first_name": luck.choice(GIVEN),
                "middle_name": luck.choice(GIVEN)[:1] if luck.random() < 0.6 else "",
                **home,
                "birth_year": str(luck.randint(1925, 2005)),
                "sex": luck.choice("mf"),
                "phone": f"0{luck.randint(10**8, 10**9 - 1)}" if luck.random() < 0.5 else "",
            }
            made += 1
            for copy in range(copies(luck, 1.9)):
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
                    row["first_name"] = SHORT.get(row["first_name"], row["first_name"])
                if copy and luck.random() < 0.15:
                    row["phone"] = ""
                for field in ("first_name", "last_name", "address", "city", "zip", "birth_year", "phone"):
                    if row[field] and luck.random() < 0.05:
                        row[field] = mistyped(luck, row[field])
                yield row


def _postcode(luck: Random) -> str:
    area = f"{luck.choice('abcdefgh')}{luck.randint(1, 40)}"
    return f"{area} {luck.randint(1, 9)}{luck.choice('abdef')}{luck.choice('ghjln')}"


def historical(luck: Random, customers: int) -> Iterator[Row]:
    families, towns, trades = Names(luck, 2_500, 3), Names(luck, 120, 3), Names(luck, 80, 3)
    for entity in range(customers):
        person = {
            "forename": luck.choice(GIVEN[:40]),
            "surname": families.one(),
            "year_of_birth": str(luck.randint(1790, 1895)),
            "birth_place": towns.one(),
            "gender": luck.choice(("male", "female")),
            "occupation": trades.one(),
            "postcode_fake": _postcode(luck),
        }
        for copy in range(copies(luck, 3.0)):
            row = {"entity": str(entity), **person}
            if copy:
                if luck.random() < 0.08:
                    row["forename"], row["surname"] = row["surname"], row["forename"]
                if luck.random() < 0.15:
                    row["forename"] = luck.choice(
                        (SHORT.get(row["forename"], row["forename"]), row["forename"][:1])
                    )
                for field in ("forename", "surname", "birth_place", "year_of_birth", "postcode_fake"):
                    if luck.random() < 0.14:
                        row[field] = mistyped(luck, row[field])
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
    families, towns = Names(luck, 2_500, 3), Names(luck, 120, 3)
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
        given, family = luck.choice(GIVEN), families.one()
        area = f"{luck.choice('abcdefgh')}{luck.choice('abcdefgh')}{luck.randint(1, 40)}"
        postcode = f"{area} {luck.randint(1, 9)}{luck.choice('abdef')}{luck.choice('ghjln')}"
        title = (
            f"{luck.randint(1, 9)}th {luck.choice(('baron', 'earl', 'baronet'))} {families.one()}"
            if luck.random() < 0.3
            else "sir"
        )
        born = f"{luck.randint(1600, 1950)}-{luck.randint(1, 12):02}-{luck.randint(1, 28):02}"
        place, trade, sex = towns.one(), luck.choice(trades), luck.choice(("male", "female"))
        for _ in range(copies(luck, 9.0)):
            called = SHORT.get(given, given) if luck.random() < 0.1 else given
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
                    row[field] = mistyped(luck, row[field])
            if luck.random() < 0.25:
                row["dob"] = born[:5] + "01-01" if luck.random() < 0.6 else mistyped(luck, born)
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
    families, streets = Names(luck, 3_000, 4), Names(luck, 400, 3)
    made = 0
    while made < customers:
        kind, _ = luck.choice(STREETS)
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
                "first_name": luck.choice(GIVEN),
                "middle_initial": luck.choice(GIVEN)[:1],
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
            for copy in range(copies(luck, 2.0)):
                row = {"entity": str(made), **person}
                if copy and luck.random() < 0.1:
                    row |= {
                        "street_number": str(luck.randint(1, 9_000)),
                        "street_name": f"{streets.one()} {kind}",
                    }
                if copy and luck.random() < 0.1:
                    row["first_name"] = SHORT.get(row["first_name"], row["first_name"])
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
                        row[field] = mistyped(luck, row[field])
                yield row


def organisations(luck: Random, customers: int) -> Iterator[Row]:
    names, streets, towns = Names(luck, 5_000, 4), Names(luck, 1_500, 3), Names(luck, 120, 3)
    office: Row = {}
    for entity in range(customers):
        if not office or luck.random() > 0.15:  # else the next company under the same roof
            office = _office(luck, streets, towns)
        company, website, forms = _company(luck, names)
        yield from _as_written(
            luck, {"entity": str(entity), **company, **office, "website": website}, forms, streets
        )


def branches(luck: Random, customers: int) -> Iterator[Row]:
    """Make each place a customer of its own. One of five organisations has several, of which many have the
    phone of the first."""
    names, streets, towns = Names(luck, 5_000, 4), Names(luck, 1_500, 3), Names(luck, 120, 3)
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


def _office(luck: Random, streets: Names, towns: Names) -> Row:
    kind, _ = luck.choice(STREETS)
    return {
        "street": f"{luck.randint(1, 200)} {streets.one()} {kind}",
        "city": towns.one(),
        "phone": f"0{luck.randint(10**8, 10**9 - 1)}",
    }


def _company(luck: Random, names: Names) -> tuple[Row, str, tuple[str, ...]]:
    """Its name, its website, and how its legal form may be written."""
    head, trade, forms = names.one(), luck.choice(TRADES), luck.choice(FORMS)
    name = f"{head} {trade} {forms[0]}" if luck.random() < 0.8 else f"{head} {names.one()} {forms[0]}"
    return (
        {"name": name},
        f"www.{head}{luck.choice(('', '-' + trade))}.com" if luck.random() < 0.6 else "",
        forms,
    )


def _as_written(luck: Random, company: Row, forms: tuple[str, ...], streets: Names) -> Iterator[Row]:
    """Some 2.2 rows of an organisation at one place."""
    for copy in range(copies(luck, 2.2)):
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
                row[field] = mistyped(luck, row[field])
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
    """Return the rows in random order; `row` and `entity` are not evidence."""
    luck = Random(seed)
    found = list(REGISTERS[register](luck, customers))
    luck.shuffle(found)
    return [{"row": str(number), **row} for number, row in enumerate(found)]


if __name__ == "__main__":
    made = rows(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    writer = csv.DictWriter(sys.stdout, made[0])
    writer.writeheader()
    writer.writerows(made)
