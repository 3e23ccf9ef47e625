"""How programs spell what is not text, each in the form of its language."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from tests.exports.people import Person

NBSP, NARROW = "\u00a0", "\u202f"


@dataclass(frozen=True)
class Words:
    """How a program spells what it says of a person."""

    amount: Callable[[float], str]
    share: Callable[[float], str]
    day: Callable[[date], str]
    moment: Callable[[datetime], str]
    truths: tuple[str, str] = ("TRUE", "FALSE")
    text: Callable[[str], str] = str  # how digits are kept from becoming a number

    def row(self, one: Person) -> list[str]:
        digits = self.text
        return [
            *(digits(one.id), one.first, one.last, digits(one.phone)),
            *(self.day(one.born), self.amount(one.amount), self.share(one.share)),
            *(self.truths[not one.vip], self.moment(one.since)),
        ]


def grouped(
    thousands: str, point: str, before: str = "", behind: str = "", digits: int = 2
) -> Callable[[float], str]:
    """1,234.50 with these signs, and a currency on either side."""
    return lambda value: (
        before + f"{value:,.{digits}f}".translate(str.maketrans({",": thousands, ".": point})) + behind
    )


def plainly(point: str = ".", behind: str = "") -> Callable[[float], str]:
    """1234.5 as a cell without a format shows it."""
    return lambda value: f"{value:.10g}".replace(".", point) + behind


def german_mixed(value: float) -> str:
    """Whole amounts without cents: 1.620 beside 1.234,50."""
    return grouped(".", ",", digits=0 if value == int(value) else 2)(value)


def dotted(day: date) -> str:
    return f"{day:%d.%m.%Y}"


def slashed(day: date) -> str:
    """Year first, as in China."""
    return f"{day.year}/{day.month}/{day.day}"


def american(day: date) -> str:
    return f"{day.month}/{day.day}/{day.year}"


def french(day: date) -> str:
    return f"{day:%d/%m/%Y}"


def chinese(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"


def half(moment: datetime, words: tuple[str, str]) -> tuple[str, str]:
    """The half of the day, and the time on a clock of twelve hours."""
    return words[moment.hour >= 12], f"{(moment.hour - 1) % 12 + 1}:{moment:%M}"


def chinese_half(moment: datetime) -> str:
    word, clock = half(moment, ("上午", "下午"))
    return f"{slashed(moment)} {word} {clock}"


def american_half(blank: str, comma: str = "") -> Callable[[datetime], str]:
    def spelt(moment: datetime) -> str:
        word, clock = half(moment, ("AM", "PM"))
        return f"{american(moment)}{comma} {clock}{blank}{word}"

    return spelt


def at(day: Callable[[date], str], between: str = " ", seconds: bool = False) -> Callable[[datetime], str]:
    """A day and a time of 24 hours."""
    return lambda moment: (
        f"{day(moment)}{between}{moment:%H:%M:%S}"
        if seconds
        else f"{day(moment)}{between}{moment.hour}:{moment:%M}"
    )


def iso(day: date) -> str:
    return f"{day:%Y-%m-%d}"


ZH = Words(grouped(",", ".", "¥"), plainly(behind="%"), slashed, at(slashed))
DE = Words(
    amount=grouped(".", ",", behind=" €"),
    share=plainly(",", "%"),
    day=dotted,
    moment=at(dotted),
    truths=("WAHR", "FALSCH"),
)
US = Words(grouped(",", ".", " $", " "), grouped(",", ".", behind="%"), american, at(american))


def changed(words: Words, **changes: Any) -> Words:
    return Words(**{**words.__dict__, **changes})
