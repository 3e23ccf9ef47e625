"""Invented customers and what typing does to them, for tests of matching."""

from random import Random

GIVEN = """
    anna ben carla david emma felix greta henry ida jonas karla leo mia noah olga paul rosa simon tara victor
    """.split()
SYLLABLES = "ba de fi go hu ka le mi no pu ra se ti vo wu za".split()


def _word(luck: Random, count: int) -> str:
    return "".join(luck.choice(SYLLABLES) for _ in range(count))


def _typo(luck: Random, text: str) -> str:
    at = luck.randrange(len(text))
    sign = luck.choice("0123456789") if text[at].isdigit() else luck.choice("abcdefghijklmnopqrstuvwxyz")
    return text[:at] + sign + text[at + 1 :] if text[at] != "-" else text


def people(seed: int, customers: int, copies: int = 3) -> tuple[list[dict[str, str]], list[int]]:
    """Rows in random order and the customer of each. Each field of a copy is missing or mistyped now and
    then."""
    luck = Random(seed)
    rows: list[tuple[dict[str, str], int]] = []
    families = [_word(luck, 3) for _ in range(customers // 3)]
    cities = [_word(luck, 2) for _ in range(12)]
    for customer in range(customers):
        true = {
            "given_name": luck.choice(GIVEN),
            "family_name": luck.choice(families),
            "date_of_birth": (
                f"{luck.randrange(1940, 2005)}-{luck.randrange(1, 13):02}-{luck.randrange(1, 29):02}"
            ),
            "city": luck.choice(cities),
            "postcode": str(luck.randrange(10000, 99999)),
            "email": f"{_word(luck, 4)}@{_word(luck, 2)}.com",
        }
        for _ in range(luck.randrange(1, copies + 1)):
            row = {
                field: _typo(luck, value) if luck.random() < 0.08 else value
                for field, value in true.items()
                if luck.random() > 0.15
            }
            rows.append((row, customer))
    luck.shuffle(rows)
    return [row for row, _ in rows], [customer for _, customer in rows]
