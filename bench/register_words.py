"""What made-up registers are made of: names, as common as names are, and the faults in them."""

import math
from itertools import accumulate
from random import Random

_SYLLABLES = """
    al an ar ba be ber bo bri ca con da del do ed el en er fa fer ga gor ha hil hol il in ja jo ka ker la
    lan lo ma mar mil mo na nel no ol per ra ren ri ro sa sen son ta ten tho ton va ver vi wal wil win yor
    """.split()
GIVEN = """
    mary john elizabeth william anne thomas margaret george sarah james jane robert alice henry catherine
    charles ellen edward emma joseph hannah richard martha samuel susan david dorothy daniel lucy peter
    harriet michael julia paul helen frederick clara walter florence albert edith arthur rose alfred ada
    ernest grace herbert ruth ralph laura hugh agnes oscar esther felix irene leonard vera stanley
    """.split()
SHORT = {
    "elizabeth": "beth",
    "william": "bill",
    "margaret": "maggie",
    "robert": "bob",
    "catherine": "kate",
    "james": "jim",
    "frederick": "fred",
}
STREETS = ("street", "st"), ("road", "rd"), ("avenue", "ave"), ("lane", "ln")
TRADES = """
    logistics software trading foods energy textiles consulting engineering pharma media insurance optics
    steel travel systems
    """.split()
FORMS = (
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


class Names:
    """Names as common as names are: the n-th most common is about 1/n as common as the first."""

    def __init__(self, luck: Random, count: int, syllables: int) -> None:
        found = dict.fromkeys(
            "".join(luck.choice(_SYLLABLES) for _ in range(luck.randint(2, syllables))) for _ in range(count)
        )
        self._luck, self._names = luck, list(found)
        self._weights = list(accumulate(1 / (rank + 5) for rank in range(len(self._names))))

    def one(self) -> str:
        """Draw a name."""
        return self._luck.choices(self._names, cum_weights=self._weights)[0]


def mistyped(luck: Random, text: str) -> str:
    """Return the text with one fault: two characters swapped, one left out, doubled or replaced."""
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
            if text[at].isdigit():
                sign = str(luck.randrange(10))
            else:
                sign = luck.choice(_NEAR.get(text[at], "aeiourst"))
            return text[:at] + sign + text[at + 1 :]


def copies(luck: Random, mean: float) -> int:
    """Draw how many rows a customer has: at least one; the rest falls off as in registers (geometric)."""
    return 1 + min(12, int(math.log(1 - luck.random()) / math.log(1 - 1 / mean)))
