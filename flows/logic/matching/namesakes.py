"""Two people of one name: a name, and what a whole city has in common, is all that speaks for one customer,
and something that is a person's own speaks against.

Names and cities are independent evidence among strangers only by chance; of a frequent name in a big city
there are many, and the sum of weights cannot know how many of them will come. So the sum is not asked here:
such a pair is for a steward to look at.
"""

from collections.abc import Iterable
from typing import Final

from rapidfuzz.distance import OSA

from flows.logic.matching.cluster import Cluster
from flows.logic.matching.columns import KINDS, Kind, kind_of
from flows.logic.matching.han import is_han
from flows.logic.matching.levels import LEVEL
from flows.logic.matching.score import Found

NAMES: Final = frozenset(("full_name", "given_name", "family_name"))
_NAMED: Final = NAMES | {"swapped_names"}
_SHORT: Final = 3  # characters of a whole Chinese name
GARBLED: Final = 0.75  # as alike as this, two mail addresses may be one with faults
_SAME_DATE: Final = KINDS["date"].top
_FAULTY_DATE: Final = KINDS["date"].levels.index("one digit apart")
_NOT_A_DAY: Final = ("0101", "0000")  # what stands in a date of which only the year is known
# what hardly two people have, from which level on
_CONTACT: Final = (("phone", 1), ("email", 1))
_OWN: Final = (("national_id", 1), ("tax_id", 1), *_CONTACT)
_HOME: Final = (
    ("street", KINDS["street"].levels.index("close")),
    ("postcode", KINDS["postcode"].levels.index("one character apart")),
)
_likeness = OSA.normalized_similarity


def name_bits(found: Iterable[Found]) -> float:
    """Return what the names are worth, of all that was compared."""
    return sum(bits for field, _, bits in found if field in _NAMED)


def are_namesakes(a: Cluster, b: Cluster, odds_bits: float) -> bool:
    """Return whether two customers are more likely two people of one name.

    `odds_bits`: of their names alone, with the prior, that the two are one; below 0 it is more likely another
    of that name.

    One thing of their own has to agree: a number, a phone, a mail address, a whole birth date. Where the name
    is a Chinese one, of which there are always many, nothing but the home replaces it. Else it is missed
    where phone or mail address differ, and the home does not agree; where birth dates differ by more than a
    fault, and phone or address do; or where the dates do, and the name is frequent.
    """
    if NAMES.isdisjoint(a.values) or NAMES.isdisjoint(b.values) or _agree(a, b, _OWN):
        return False
    born = _born(a, b)
    if born == _SAME_DATE:
        return False
    unreached, at_home = _other_contacts(a, b), _agree(a, b, _HOME)
    if at_home:
        return unreached and born is not None and born < _FAULTY_DATE
    if unreached or _has_many_bearers(a) or _has_many_bearers(b):
        return True
    return born is not None and born < _FAULTY_DATE and odds_bits < 0.0


def have_home_or_contact_in_common(a: Cluster, b: Cluster) -> bool:
    """Return whether a street, a postcode, a phone or a mail address agrees."""
    return _agree(a, b, (*_CONTACT, *_HOME))


def _has_many_bearers(one: Cluster) -> bool:
    """Return whether it is a Chinese name of two or three characters: it has thousands of bearers, however
    few have been counted so far."""
    whole, given = one.values.get("full_name", ()), one.values.get("given_name", ())
    if any(is_han(name) and len(name) <= _SHORT for name in whole):
        return True
    return any(is_han(name) and len(name) < _SHORT for name in given)


def _agree(a: Cluster, b: Cluster, fields: Iterable[tuple[str, int]]) -> bool:
    return any(
        _nearest(kind_of(field), a.values.get(field, ()), b.values.get(field, ())) >= least
        for field, least in fields
    )


def _born(a: Cluster, b: Cluster) -> int | None:
    """Return the best level of birth dates that are whole; None if one of them has none."""
    ours, theirs = _whole_dates(a), _whole_dates(b)
    return _nearest(KINDS["date"], ours, theirs) if ours and theirs else None


def _whole_dates(one: Cluster) -> list[str]:
    return [day for day in one.values.get("date_of_birth", ()) if day[4:] not in _NOT_A_DAY]


def _other_contacts(a: Cluster, b: Cluster) -> bool:
    """Return whether both gave phones, or mail addresses, of which none is the other's, not even garbled."""
    for field, is_other in (("phone", _is_other_phone), ("email", _is_other_address)):
        ours, theirs = a.values.get(field), b.values.get(field)
        if ours and theirs and all(is_other(one, other) for one in ours for other in theirs):
            return True
    return False


def _is_other_phone(one: str, other: str) -> bool:
    return one != other and LEVEL["phone"](one, other) == 0


def _is_other_address(one: str, other: str) -> bool:
    return _likeness(one, other) < GARBLED


def _nearest(kind: Kind, ours: Iterable[str], theirs: Iterable[str]) -> int:
    """Return the best level of any two; -1 where there are none."""
    level = LEVEL[kind.name]
    return max(
        (kind.top if one == other else level(one, other) for one in ours for other in theirs), default=-1
    )
