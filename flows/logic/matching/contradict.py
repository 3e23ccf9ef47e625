"""What no weight of evidence outweighs: two customers who each say firmly what cannot be true of both.

Weights are about pairs of values, and their sum knows nothing of how firmly a customer has said something. A wrong union would be followed
by others, since from then on the customer has the values of two.
"""

from typing import Final

from flows.logic.matching.cluster import Cluster
from flows.logic.matching.levels import LEVEL

_IDS: Final = ("national_id", "tax_id")
FIRM: Final = 2  # records that say so: one may have a fault
_OTHER_NAME: Final = 0  # levels up to which names, ...
_OTHER_DATE: Final = 1  # ... and dates are of two people
_given, _date, _identifier = LEVEL["given"], LEVEL["date"], LEVEL["identifier"]


def contradict(a: Cluster, b: Cluster) -> bool:
    """Whether both have numbers of one form of which none is the other's, not even with a fault, and either say so firmly, by several
    records, or do not agree in given name and birth date; or have said firmly other given names and other birth dates."""
    for field in _IDS:
        if _other_numbers(list(a.values.get(field, ())), list(b.values.get(field, ()))):
            return _other_numbers(_firm(a, field), _firm(b, field)) or not _agree(a, b)
    return _two_people(a, b)


def _other_numbers(ours: list[str], theirs: list[str]) -> bool:
    comparable = [(one, other) for one in ours for other in theirs if len(one) == len(other)]
    return bool(comparable) and not any(one == other or _identifier(one, other) for one, other in comparable)


def _agree(a: Cluster, b: Cluster) -> bool:
    names = [(one, other) for one in a.values.get("given_name", ()) for other in b.values.get("given_name", ())]
    dates = [(one, other) for one in a.values.get("date_of_birth", ()) for other in b.values.get("date_of_birth", ())]
    return any(one == other or _given(one, other) > _OTHER_NAME for one, other in names) and any(
        one == other or _date(one, other) > _OTHER_DATE for one, other in dates
    )


def _two_people(a: Cluster, b: Cluster) -> bool:
    if a.size < FIRM or b.size < FIRM:
        return False
    names = [(one, other) for one in _firm(a, "given_name") for other in _firm(b, "given_name")]
    dates = [(one, other) for one in _firm(a, "date_of_birth") for other in _firm(b, "date_of_birth")]
    if not names or not dates:
        return False
    return not any(one == other or _given(one, other) > _OTHER_NAME for one, other in names) and not any(
        one == other or _date(one, other) > _OTHER_DATE for one, other in dates
    )


def _firm(cluster: Cluster, field: str) -> list[str]:
    return [value for value, count in cluster.values.get(field, {}).items() if count >= FIRM]
