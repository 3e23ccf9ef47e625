"""What is derived from personal data before that is sealed, so that rules may see it: coarse, and only what
`privacy.attributes` names.

In the profile each lies among the general traits, under names that only we may write, so that fragments add
it up as they do all traits. One of each source is kept, and the best source counts:

    $attribute.NAME.stated      as the customer states it
    $attribute.NAME.phone       as the area code of a number tells it
    $attribute.NAME.id_number   as a resident ID tells it
    $attribute.NAME.partial     as a date of birth tells it that is none
    $attribute.NAME.unclear     a statement that does not say which

`age_band` is kept as the year and month of birth (`1988-02`), and the band is worked out when it is looked
at, for a band that were kept would be wrong some day. Whoever could tell the day on which it changes would
know the birthday; so it changes with the month after, and nobody is ever taken for older than they are.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from flows.logic.fields import births, regions
from flows.logic.fields.births import Birth
from flows.logic.fields.documents import FOREIGNER
from flows.logic.fields.regions import Place
from flows.logic.fields.values import Bad, Checked, Good, text_of
from schemas.config import ATTRIBUTES, FieldKind

PREFIX: Final = "$attribute."
AGE_BAND: Final = "age_band"
BIRTH_DAY: Final = "birth_month_day"
BIRTHDAY_TODAY: Final = "birthday_today"  # what expressions call it
# The category of data that each belongs to: consent is asked for by these.
CATEGORIES: Final[Mapping[str, str]] = {
    "age_band": "demographic",
    "birth_month_day": "demographic",
    "gender": "demographic",
    "occupation": "demographic",
    "region": "location",
    "city": "location",
}
SOURCES: Final = ("stated", "phone", "id_number", "partial", "unclear")  # the best first
GENDERS: Final = ("female", "male", "other", "unknown")
_KEYS: Final = {name: tuple(f"{PREFIX}{name}.{source}" for source in SOURCES) for name in ATTRIBUTES}
_KEY_OF: Final = {(name, source): f"{PREFIX}{name}.{source}" for name in ATTRIBUTES for source in SOURCES}
# Words that say nothing: of a gender, of an occupation.
_UNSAID: Final = frozenset("unknown unclear none null nil na n/a u 未知 不详 不明 未说明 未填写 无".split())
_CHINESE_MOBILE: Final = re.compile(r"\+861[3-9]\d{9}(;.*)?")  # bought somewhere, used anywhere
_CHINA: Final = "CN"
_APART: Final = {"HK": "香港特别行政区", "MO": "澳门特别行政区", "TW": "台湾省"}

Heard = tuple[FieldKind, Checked, Any]  # the kind of a field, what its check says, the value as stated


class Attributes:
    """What is to be derived, resolved once."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = frozenset(wanted)
        self._births = bool(self._wanted & {AGE_BAND, BIRTH_DAY})
        self._places = bool(self._wanted & {"region", "city"})

    def of(self, heard: Sequence[Heard], received_ms: int) -> dict[str, str]:
        """Return the traits that an event's fields tell."""
        found: dict[str, str] = {}
        for kind, checked, stated in heard:
            if kind == "birthday":
                self._birthday(checked, stated, received_ms, found)
            elif kind == "gender":
                self._gender(checked, found)
            elif isinstance(checked, Bad):
                continue
            elif kind == "id_number":
                self._resident(checked, received_ms, found)
            elif kind == "phone" and self._places:
                self._place(found, "phone", _area(checked))
            elif kind == "occupation" and checked.value.lower() not in _UNSAID:
                self._put(found, "occupation", "stated", checked.value)
        if self._places:
            self._place(found, "stated", _stated_place(heard))
        return found

    def _birthday(self, checked: Checked, stated: Any, received_ms: int, found: dict[str, str]) -> None:
        if not self._births:
            return
        if isinstance(checked, Good):
            self._birth(found, "stated", births.of_date(checked.value, received_ms))
        else:
            self._birth(found, "partial", births.of_partial(text_of(stated) or "", received_ms))

    def _resident(self, number: Good, received_ms: int, found: dict[str, str]) -> None:
        if self._births:
            self._birth(found, "id_number", births.of_date(number.says["birthday"], received_ms))
        if self._places:
            self._place(found, "id_number", _registered(number))
        self._put(found, "gender", "id_number", number.says["gender"])

    def _birth(self, found: dict[str, str], source: str, birth: Birth) -> None:
        self._put(found, AGE_BAND, source, birth.year_month)
        self._put(found, BIRTH_DAY, source, birth.month_day)

    def _gender(self, checked: Checked, found: dict[str, str]) -> None:
        """A code (0, 1, 2) means one thing here and another there."""
        if isinstance(checked, Bad) or checked.value.lower() in _UNSAID:
            self._put(found, "gender", "unclear", "unknown")
        else:
            self._put(found, "gender", "stated", checked.value if checked.value in GENDERS else "other")

    def _place(self, found: dict[str, str], source: str, place: Place) -> None:
        self._put(found, "region", source, place.region)
        self._put(found, "city", source, place.city)

    def _put(self, found: dict[str, str], name: str, source: str, value: str) -> None:
        """Of two that an event says the first counts."""
        if value and name in self._wanted:
            found.setdefault(_KEY_OF[name, source], value)


def _registered(checked: Good) -> Place:
    """Where the number of an ID was given, which is where somebody was born rather than where they live. A
    foreigner's card has only the province where it was applied for."""
    province = checked.says.get("province", "")
    if checked.value.startswith(FOREIGNER):
        return regions.of_text(province)
    return regions.of_code(checked.value[:4], province)


def _area(checked: Good) -> Place:
    """Only the area code of a line in China stands for a place."""
    if checked.says.get("country") != _CHINA or _CHINESE_MOBILE.fullmatch(checked.value):
        return regions.NOWHERE
    return regions.of_text(checked.says.get("province", "") + checked.says.get("city", ""))


def _stated_place(heard: Sequence[Heard]) -> Place:
    """The first that names a province, larger divisions before smaller ones; and a city of it. Elsewhere than
    in China: the country."""
    found = regions.NOWHERE
    for wanted in ("province", "city", "address"):
        for kind, checked, _ in heard:
            if kind == wanted and isinstance(checked, Good):
                place = (regions.of_text if kind == "address" else _of_name)(checked.value)
                if not found.region or (place.region == found.region and place.city):
                    found = place
                if found.city:
                    return found
    if found.region:
        return found
    for kind, checked, _ in heard:
        if kind == "country" and isinstance(checked, Good) and checked.value != _CHINA:
            return Place(_APART.get(checked.value, checked.value))
    return regions.NOWHERE


# The same few names come again and again; addresses do not.
_of_name = lru_cache(10_000)(regions.of_text)


def is_one(name: str) -> bool:
    """Return whether a trait is an attribute."""
    return name.startswith(PREFIX)


def name_of(trait: str) -> str:
    """Return which attribute such a trait is.

    >>> name_of("$attribute.region.id_number")
    'region'
    """
    return trait.removeprefix(PREFIX).partition(".")[0]


def category_of(trait: str) -> str:
    """Return the category of data that such a trait belongs to."""
    return CATEGORIES[name_of(trait)]


Traits = Mapping[str, tuple[int, Any]]


def held(traits: Traits, name: str) -> str | None:
    """Return an attribute as it is kept, by the best of its sources; None where none tells it."""
    for key in _KEYS[name]:
        found = traits.get(key)
        if found is not None:
            return str(found[1])
    return None


def age_band(traits: Traits, bands: Sequence[int], now_ms: int) -> str | None:
    """Return the band of ages that the customer is in now; None where the birth is not known."""
    born = held(traits, AGE_BAND)
    return None if born is None else labels(bands)[bisect_right(bands, _age(born, now_ms))]


def next_band_ms(traits: Traits, bands: Sequence[int], now_ms: int) -> int | None:
    """Return when the band will be another; None where it never will."""
    born = held(traits, AGE_BAND)
    if born is None:
        return None
    coming = next((age for age in bands if age > _age(born, now_ms)), None)
    return None if coming is None else births.month_begins(births.month_number(born) + coming * 12 + 1)


def is_birthday(traits: Traits, now_ms: int) -> bool:
    """Return whether it is the customer's birthday now, UTC; False where that is not known."""
    born = held(traits, BIRTH_DAY)
    if born is None:
        return False
    return 0 <= now_ms - births.birthday_ms(born, births.month_of(now_ms) // 12) < births.DAY_MS


def next_birthday_ms(traits: Traits, now_ms: int) -> int | None:
    """Return when `is_birthday` will say otherwise; None where the birthday is not known."""
    born = held(traits, BIRTH_DAY)
    if born is None:
        return None
    year = births.month_of(now_ms) // 12
    begins = (births.birthday_ms(born, year), births.birthday_ms(born, year + 1))
    return min(at for begin in begins for at in (begin, begin + births.DAY_MS) if at > now_ms)


def labels(bands: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the bands that begin at these ages, the one below the first included.

    >>> labels((18, 35, 36))
    ('0-17', '18-34', '35', '36+')
    """
    ages = (0, *bands)
    names = (str(first) if first == after - 1 else f"{first}-{after - 1}" for first, after in pairwise(ages))
    return (*names, f"{ages[-1]}+")


def shown(traits: Traits, bands: Sequence[int], now_ms: int) -> dict[str, str]:
    """Return all attributes that are known, by name."""
    found = {name: held(traits, name) for name in ATTRIBUTES} | {AGE_BAND: age_band(traits, bands, now_ms)}
    return {name: value for name, value in found.items() if value is not None}


def _age(born: str, now_ms: int) -> int:
    """Whole years at the least: of who was born in February 1988, 35 from March 2023 on."""
    return max(0, (births.month_of(now_ms) - births.month_number(born) - 1) // 12)
