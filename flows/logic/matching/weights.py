"""What each comparison level is worth: Fellegi and Sunter's m and u for each field, immutable and with a
version."""

from math import log2

import msgspec

from flows.logic.matching.columns import kind_of


class Shares(msgspec.Struct, array_like=True, frozen=True):
    """The share of each level among pairs of one customer (`same`, m) and among pairs of two different ones
    (`other`, u)."""

    same: tuple[float, ...]
    other: tuple[float, ...]

    def bits(self) -> tuple[float, ...]:
        """Return log2(m/u) of each level."""
        return tuple(log2(m / u) for m, u in zip(self.same, self.other, strict=True))


class Weights(msgspec.Struct, array_like=True, frozen=True):
    """One version of the weights. Fields that are not in it have the prior shares of their kind.

    `records_each`: the share of records that belong to a customer who is there already; it moves the prior
    odds. `relatives_each`: how many customers share family name and place with a customer without being the
    same. `branches_each`: how many other places of its organisation are customers of their own, for each
    customer; the share of them with its phone and in its city is `branches_phone` and `branches_city`.
    """

    version: int = 0
    fields: dict[str, Shares] = {}
    records_each: float = 1.0
    relatives_each: float = 0.15
    branches_each: float = 0.02
    branches_phone: float = 0.5
    branches_city: float = 0.5

    def of(self, field: str) -> Shares:
        """Return the shares of a field, those of its kind where nothing was learnt."""
        found = self.fields.get(field)
        if found is None:
            kind = kind_of(field)
            found = Shares(kind.same, kind.other)
        return found
