"""Branches: places of one organisation that are customers of their own. They share its name, often a phone or
a city, and no street.

How many there are, and how often they share phone and city, is learnt from records that have the name of a
known organisation: the place of one customer's records differs now and then, and what differs more often is
another branch.
"""

from collections.abc import Iterable, Sequence
from math import log2
from typing import Final

import msgspec

from flows.logic.matching.columns import PLACES, SPOTS
from flows.logic.matching.weights import Shares, Weights

WEAKER_PLACE: Final = 0.35  # what the second and third of the parts of an address add to the strongest
_PRIOR: Final = 40.0  # pairs that the prior is worth
# times as often as it agrees the place of one customer's records differs: one that moves, or has two doors
_MOVED: Final = 0.4
_FEWEST, _MOST = 0.002, 4.0
_ONE: Final = 4.0  # bits of the odds that two are one organisation
_OF_A_PERSON: Final = frozenset(("given_name", "family_name", "full_name", "swapped_names", "date_of_birth"))
_Found = tuple[str, int, float]  # field, level, bits


def together(bits: Sequence[float]) -> float:
    """Return the bits of parts of an address together: each tells most of the others."""
    up, down = [one for one in bits if one > 0.0], [one for one in bits if one < 0.0]
    most, least = max(up, default=0.0), min(down, default=0.0)
    return most + least + WEAKER_PLACE * (sum(up) - most + sum(down) - least)


def is_organisation(found: Iterable[_Found]) -> bool:
    """Return whether the name of an organisation agrees, and nothing speaks of a person."""
    named = False
    for field, _, bits in found:
        if field in _OF_A_PERSON:
            return False
        named |= field == "organisation" and bits > 0.0
    return named


def one_place_bits(found: Sequence[_Found], weights: Weights) -> float:
    """Return what speaks for one place of an organisation, against two of its branches: a street tells them
    apart, a phone or a city hardly."""
    bits = together([bits for field, _, bits in found if field in SPOTS])
    for field, level, _ in found:
        if field == "phone":
            bits += _alike_bits(weights.of(field), level, weights.branches_phone)
        elif field == "city":
            bits += _alike_bits(weights.of(field), level, weights.branches_city)
    return bits


def _alike_bits(shares: Shares, level: int, branches: float) -> float:
    """Return the bits of a level; `branches` is the share of pairs of branches in which the field agrees."""
    same = 1.0 - shares.same[0]
    return log2(same / branches) if level else log2((1.0 - same) / (1.0 - branches))


class Branches(msgspec.Struct, array_like=True):
    """Counts over the records that have the name of a known organisation."""

    in_place: int = 0  # its place agrees, ...
    elsewhere: int = 0  # ... or differs from all that were found; of pairs of these:
    one_phone: int = 0
    other_phone: int = 0
    one_city: int = 0
    other_city: int = 0

    def observe(self, compared: Sequence[Sequence[_Found]], prior: float, streets: bool) -> None:
        """Take notice of a record and those that it was compared with, with the bits before any comparison.

        `streets`: whether the table has any; else a city is a place. Two who share a name by chance are not
        branches: what they share beside the place has to say that they are one organisation, and for the
        share of phones, what they share beside the phone.
        """
        fields = SPOTS if streets else PLACES
        same = [found for found in compared if is_organisation(found) and _own_bits(found) + prior > _ONE]
        places = [together([bits for field, _, bits in found if field in fields]) for found in same]
        if not any(places):
            return
        if max(places) > 0.0:
            self.in_place += 1
            return
        self.elsewhere += 1
        for found, place in zip(same, places, strict=True):
            if place < 0.0:
                phone, city = _level(found, "phone"), _level(found, "city")
                self.one_city += city > 0
                self.other_city += city == 0
                if _own_bits(found, "phone") + prior > _ONE:
                    self.one_phone += phone > 0
                    self.other_phone += phone == 0

    def each(self, records_each: float) -> float:
        """Return how many other branches a customer has."""
        prior = Weights().branches_each
        excess = max(0.0, self.elsewhere - _MOVED * self.in_place)
        same = self.in_place + self.elsewhere - excess
        return records_each * min(_MOST, max(_FEWEST, (excess + prior * _PRIOR) / (same + _PRIOR)))

    def phone(self) -> float:
        """Return the share of pairs of branches with one phone."""
        return _share(self.one_phone, self.other_phone, Weights().branches_phone)

    def city(self) -> float:
        """Return the share of pairs of branches in one city."""
        return _share(self.one_city, self.other_city, Weights().branches_city)


def _own_bits(found: Iterable[_Found], without: str = "") -> float:
    return sum(bits for field, _, bits in found if field not in PLACES and field != without)


def _level(found: Iterable[_Found], wanted: str) -> int:
    """Return the level of a field; -1 where it was not compared."""
    return next((level for field, level, _ in found if field == wanted), -1)


def _share(agree: int, differ: int, prior: float) -> float:
    return (agree + prior * _PRIOR) / (agree + differ + _PRIOR)
