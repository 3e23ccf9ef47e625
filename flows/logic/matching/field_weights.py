"""What is known of a field, ready for the hot loop: what each level is worth, and how the field counts in a
sum."""

from math import log2
from typing import Final

from flows.logic.matching.columns import PLACES, is_shared, kind_of
from flows.logic.matching.levels import LEVEL
from flows.logic.matching.weights import Weights

PLACE, SHARED, OWN, NAME, BIRTH, COMPANY = range(6)  # how a field counts in a sum
_ROLES: Final = {
    "given_name": NAME,
    "swapped_names": NAME,
    "full_name": NAME,
    "organisation": COMPANY,
    "date_of_birth": BIRTH,
}
_WORDY: Final = frozenset(("full", "organisation"))


class FieldWeights:
    """One field under one version of the weights."""

    __slots__ = (
        "base",
        "bits",
        "evens",
        "is_number",
        "is_place",
        "is_shared",
        "is_wordy",
        "level",
        "m_top",
        "names",
        "role",
        "same_bits",
        "top",
    )

    def __init__(self, field: str, weights: Weights) -> None:
        kind = kind_of(field)
        shares = weights.of(field)
        self.level = LEVEL[kind.name]
        self.bits = shares.bits()
        self.top = kind.top
        self.names = kind.levels
        self.m_top = log2(shares.same[-1])
        self.same_bits = tuple(log2(m) for m in shares.same)
        self.base = shares.other[-1]
        # so many values with half a count: the prior share before anything was counted
        self.evens = 0.5 / kind.other[-1]
        self.is_number = kind.name == "identifier"
        self.is_place = field in PLACES
        self.is_shared = is_shared(field)
        self.is_wordy = kind.name in _WORDY
        self.role = self._role(field)

    def _role(self, field: str) -> int:
        if self.is_place:
            return PLACE
        return _ROLES.get(field, SHARED if self.is_shared else OWN)
