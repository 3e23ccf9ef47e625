"""What no weight of evidence outweighs: two customers who each say firmly what cannot be true of both.

Weights are about pairs of values, and their sum knows nothing of how firmly a customer has said something. A
wrong union would be followed by others, since from then on the customer has the values of two.
"""

from typing import Final

from rapidfuzz.distance import OSA

from flows.logic.matching.cluster import Cluster
from flows.logic.matching.levels import LEVEL, Level
from flows.logic.matching.namesakes import have_home_or_contact_in_common

IDS: Final = ("national_id", "tax_id")
FIRM: Final = 2  # records that say so: one may have a fault
_BADLY_TYPED: Final = 2  # edits that one number may be from another
_OTHER_NAME: Final = 0  # levels up to which names, ...
_OTHER_DATE: Final = 1  # ... and dates are of two people
_given, _date, _identifier = LEVEL["given"], LEVEL["date"], LEVEL["identifier"]


def contradict(a: Cluster, b: Cluster) -> bool:
    """Return whether two customers cannot be one.

    They cannot where both have numbers of one form of which none is the other's, not even with a fault, and
    one of these is true: several records say so; given name or birth date disagree; or the numbers are quite
    other ones and not all else agrees. Nor can they where both have firmly said other given names and birth
    dates.
    """
    for field in IDS:
        if not _other_numbers(list(a.values.get(field, ())), list(b.values.get(field, ()))):
            continue
        if _other_numbers(_firm(a, field), _firm(b, field)) or _disagree(a, b):
            return True
        all_else_agrees = _agree(a, b) and have_home_or_contact_in_common(a, b)
        return quite_other_numbers(a, b) and not all_else_agrees
    return _two_people(a, b)


def quite_other_numbers(a: Cluster, b: Cluster) -> bool:
    """Return whether both have numbers of one form, and none of them could be the other's, however badly it
    was typed."""
    for field in IDS:
        comparable = [(x, y) for x, y in _pairs(a, b, field) if len(x) == len(y)]
        if comparable and all(OSA.distance(x, y) > min(_BADLY_TYPED, len(x) // 3) for x, y in comparable):
            return True
    return False


def _other_numbers(ours: list[str], theirs: list[str]) -> bool:
    comparable = [(one, other) for one in ours for other in theirs if len(one) == len(other)]
    return bool(comparable) and not any(one == other or _identifier(one, other) for one, other in comparable)


def _agree(a: Cluster, b: Cluster) -> bool:
    names, dates = _pairs(a, b, "given_name"), _pairs(a, b, "date_of_birth")
    return bool(names and dates) and not _disagree(a, b)


def _disagree(a: Cluster, b: Cluster) -> bool:
    """Return whether they disagree in given name or birth date; what is missing does not."""
    if _are_others(_pairs(a, b, "given_name"), _given, _OTHER_NAME):
        return True
    return _are_others(_pairs(a, b, "date_of_birth"), _date, _OTHER_DATE)


def _pairs(a: Cluster, b: Cluster, field: str) -> list[tuple[str, str]]:
    return [(one, other) for one in a.values.get(field, ()) for other in b.values.get(field, ())]


def _two_people(a: Cluster, b: Cluster) -> bool:
    if a.size < FIRM or b.size < FIRM:
        return False
    names = [(one, other) for one in _firm(a, "given_name") for other in _firm(b, "given_name")]
    dates = [(one, other) for one in _firm(a, "date_of_birth") for other in _firm(b, "date_of_birth")]
    return _are_others(names, _given, _OTHER_NAME) and _are_others(dates, _date, _OTHER_DATE)


def _are_others(pairs: list[tuple[str, str]], level: Level, at_most: int) -> bool:
    return bool(pairs) and all(one != other and level(one, other) <= at_most for one, other in pairs)


def _firm(cluster: Cluster, field: str) -> list[str]:
    return [value for value, count in cluster.values.get(field, {}).items() if count >= FIRM]
