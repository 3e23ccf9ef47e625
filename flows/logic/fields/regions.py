"""Which province and city a text or a code speaks of: `浙江省杭州市西湖区...`, `杭州`, the first digits of a
resident ID. Nothing is guessed: a street that is called after a place (北京东路) is not in it.

Divisions are those of `flows.logic.fields.places` (GB/T 2260), and so are their full names, which alone are
given back: what a customer typed is not.
"""

import re
from functools import cache
from typing import Final

import msgspec

from flows.logic.fields.places import divisions, short
from flows.logic.fields.values import plain

_LOOKED_AT: Final = 64  # characters; a division stands in front
_NAME_MAX: Final = 16  # characters of the longest name
_BETWEEN: Final = re.compile(r"[\s,，、/|·_.\-]+")
_FRONT: Final = re.compile(r"^\d*(?:中华人民共和国|中华人民|中国大陆|中国)?")
_TRADITIONAL: Final = str.maketrans(
    "廣東蘇遼寧龍雲貴陝肅慶門灣臺內區縣別壯維爾長瀋陽鄭濟",
    "广东苏辽宁龙云贵陕肃庆门湾台内区县别壮维尔长沈阳郑济",
)
_NO_CITY: Final = ("市辖区", "县", "省直辖县级行政单位", "自治区直辖县级行政单位", "")
_UNDER_THE_PROVINCE: Final = "90"  # of the codes of cities that belong to no prefecture
_ALONE: Final = ("市", "县")  # how names end of which there is one in the country, unless there are two


class Place(msgspec.Struct, frozen=True):
    """A province, and a city of the rank of a prefecture; empty where it is not known."""

    region: str
    city: str = ""


NOWHERE: Final = Place("")


def of_text(text: str) -> Place:
    """Return the place that a text begins with."""
    stated = _BETWEEN.sub("", plain(text[:_LOOKED_AT])).translate(_TRADITIONAL)
    stated = _FRONT.sub("", stated)
    known = _divided()
    for names, following in ((known.full, False), (known.short, True)):
        found, rest = _longest(names, stated)
        if found is None or (following and rest and not _continues(found, rest)):
            continue
        return found if found.city else _within(found, rest)
    return NOWHERE


def of_code(first_four: str, province: str) -> Place:
    """Return the place that the code of a division begins with; `province`: which province the code names."""
    place = _divided().prefectures.get((province, first_four[2:]))
    return place or (of_text(province) if province else NOWHERE)


def _within(province: Place, rest: str) -> Place:
    """The city that what stands behind the province begins with."""
    inside = _divided().inside[province.region]
    return _longest(inside, rest)[0] or province


def _continues(place: Place, rest: str) -> bool:
    """Whether a division of this place stands behind its short name: `北京朝阳区`, but not `北京东路`."""
    found, _ = _longest(_divided().inside[place.region], rest)
    return found is not None and place.city in ("", found.city)


def _longest(names: dict[str, Place], text: str) -> tuple[Place | None, str]:
    for length in range(min(len(text), _NAME_MAX), 1, -1):
        if (found := names.get(text[:length])) is not None:
            return found, text[length:]
    return None, text


class _Divided(msgspec.Struct, frozen=True):
    full: dict[str, Place]  # names that are enough by themselves
    short: dict[str, Place]  # names that streets may be called after
    inside: dict[str, dict[str, Place]]  # province -> what may stand behind it
    prefectures: dict[tuple[str, str], Place]  # province and the two digits behind its own


@cache
def _divided() -> _Divided:
    """Today's divisions. A name of two places is none, but within its province."""
    full: dict[str, set[Place]] = {}
    brief: dict[str, set[Place]] = {}
    inside: dict[str, dict[str, Place]] = {}
    city_of: dict[tuple[str, str], str] = {}
    for province, code, name in divisions():
        if not province:
            continue
        around = inside.setdefault(province, {})
        if code == "0000":
            place = Place(province, province if province.endswith("市") else "")
            full.setdefault(province, set()).add(place)
            brief.setdefault(short(province), set()).add(place)
            continue
        place = Place(province, _city(city_of, province, code, name))
        if name in _NO_CITY:
            continue
        around[name] = place
        if code.endswith("00"):
            full.setdefault(name, set()).add(place)
            brief.setdefault(short(name), set()).add(place)
            around.setdefault(short(name), place)
        elif name.endswith(_ALONE):
            full.setdefault(name, set()).add(place)
    provinces = {short(province): province for province in inside}
    return _Divided(
        full=_unique(full),
        # 吉林 is a province before it is a city of it
        short=_unique(brief) | {name: next(iter(full[of])) for name, of in provinces.items()},
        inside=inside,
        prefectures={of: Place(of[0], city) for of, city in city_of.items()},
    )


def _city(city_of: dict[tuple[str, str], str], province: str, code: str, name: str) -> str:
    """Of a division: itself, the prefecture that it is in, or the municipality."""
    if province.endswith("市"):
        return province
    if code.endswith("00") and name not in _NO_CITY:
        city_of[province, code[:2]] = name
    if code.startswith(_UNDER_THE_PROVINCE):
        return name if name.endswith("市") else ""
    return city_of.get((province, code[:2]), "")


def _unique(names: dict[str, set[Place]]) -> dict[str, Place]:
    return {name: next(iter(of)) for name, of in names.items() if len(of) == 1}
