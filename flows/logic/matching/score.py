"""The weight of evidence that a record belongs to a cluster, in bits: log2 of the Bayes factor, field by
field.

Fellegi and Sunter (1969), with the frequency of the very value in place of the average chance of agreement
(Winkler, 1989). A value is compared with all the values that the cluster has of the field; the share of the
cluster's records that say so discounts a match with a value that only one of ten records holds.
"""

from math import log2
from typing import Final

import msgspec

from flows.logic.matching.branches import WEAKER_PLACE, is_organisation, one_place_bits
from flows.logic.matching.cluster import Cluster
from flows.logic.matching.field_weights import BIRTH, COMPANY, NAME, PLACE, SHARED, FieldWeights
from flows.logic.matching.frequency import Frequencies
from flows.logic.matching.record import Record
from flows.logic.matching.weights import Weights

RAREST: Final = 1e-7  # no agreement is worth more than its kind allows at this frequency
CUSTOMERS_MIN: Final = 1000.0
_NAMES: Final = ("given_name", "family_name")
_NAMED: Final = frozenset(("given_name", "middle_name", "full_name", "swapped_names", "organisation"))
_SWAPPED_BITS: Final = -3.5  # given and family name change places in about one of ten records
_RARITY_BITS_MAX: Final = 3.0
_SHARED_WORDS_MAX: Final = 3  # words that two names share: the rarest
_SHARED_WORDS_BITS_MAX: Final = 20.0
_WHOLE_NAME: Final = 3  # from this level on a full name agrees in all; below it, relatives share what agrees
_WORD: Final = "#"
# characters by which numbers of one form differ in length; a passport's says nothing of an identity card's
_TYPED: Final = 1
RELATIVES_OF_ONE_NAME: Final = 0.01  # of a customer's relatives, those with their given name: a father, a son
RELATIVES_OF_ONE_BIRTHDAY: Final = 0.02  # of a customer's relatives, those born on the same day: twins
NEIGHBOURS_OF_ONE_NAME: Final = 0.1  # of the companies at one address, those with the same name

HOPELESS: Final = -1e9
Found = tuple[str, int, float]  # field, level, bits


class Evidence(msgspec.Struct, array_like=True, frozen=True):
    """One comparison: the field, its level (`columns.KINDS`), and what it is worth in bits.

    `rare`: an equal value that few customers have.
    """

    field: str
    level: str
    bits: float
    rare: bool = False


class Scorer:
    """Scores records against clusters, by one version of the weights and the frequencies as they stand."""

    def __init__(self, weights: Weights, frequencies: Frequencies) -> None:
        self.weights = weights
        self.frequencies = frequencies
        self._fields: dict[str, FieldWeights] = {}
        # the last one scored, which is scored against one cluster after the other: ...
        self._record: Record | None = None
        self._own: list[tuple[str, str, FieldWeights]] = []  # ... what it says that is a customer's own, ...
        self._common: list[tuple[str, str, FieldWeights]] = []  # ... what relatives share, ...
        self._equals: dict[str, float] = {}  # ... and what it is worth that its values are equal

    def prior_bits(self) -> float:
        """Return log2 of the odds, before any comparison, that a record belongs to a given customer."""
        return log2(self.weights.records_each / max(self.frequencies.customers, CUSTOMERS_MIN))

    def known(self, field: str) -> FieldWeights:
        """Return what is known of a field."""
        known = self._fields.get(field)
        if known is None:
            known = self._fields[field] = FieldWeights(field, self.weights)
        return known

    def score(self, record: Record, cluster: Cluster, least: float = 0.0) -> tuple[float, list[Found]]:
        """Return the sum of the evidence in bits, without the prior, and each comparison.

        Where it cannot reach `least` it may be `HOPELESS`, with the comparisons that showed it.
        """
        if record is not self._record:
            self._begin(record)
        found: list[Found] = []
        mine, theirs = record.values, cluster.values
        self._compare(self._own, theirs, found)
        if least > 0.0 and self._is_hopeless(mine, theirs, found, least):
            return HOPELESS, found
        self._compare(self._common, theirs, found)
        whole = "full_name" in mine or "full_name" in theirs
        if whole or "given_name" in mine or "family_name" in mine:
            split = [bits for field, _, bits in found if field in _NAMES]
            names = sum(split)
            if whole or names < 0.0:
                self._names(record, cluster, found, names, bool(split))
        return self.sum(found), found

    def _begin(self, record: Record) -> None:
        self._record, self._equals, self._own, self._common = record, {}, [], []
        for field, value in record.values.items():
            if field == "full_name":
                continue
            known = self.known(field)
            fields = self._common if known.is_shared else self._own
            fields.append((field, value, known))

    def _compare(
        self,
        fields: list[tuple[str, str, FieldWeights]],
        theirs: dict[str, dict[str, int]],
        found: list[Found],
    ) -> None:
        equals = self._equals
        for field, value, known in fields:
            counts = theirs.get(field)
            if counts is None:
                continue
            if value in counts:
                bits = equals.get(field)
                if bits is None:
                    bits = equals[field] = known.m_top - log2(self._frequency(field, value, known))
                if len(counts) > 1:
                    bits += _share_bits(counts[value], counts)
                found.append((field, known.top, bits))
            else:
                level, bits = self._nearest(field, known, value, counts)
                if level or not known.is_number or _are_of_one_form(value, counts):
                    found.append((field, level, bits))

    def _is_hopeless(
        self, mine: dict[str, str], theirs: dict[str, dict[str, int]], own: list[Found], least: float
    ) -> bool:
        """Return whether nothing that relatives share could lift the sum to `least`: it adds no more than
        relatives are rare (`_relatives_odds`)."""
        if "full_name" in mine or "full_name" in theirs:
            return False
        if sum([bits for _, _, bits in own]) - log2(self._related()) >= least:
            return False
        if mine.get("given_name") in theirs.get("family_name", ()):
            return False  # the names may be swapped
        return mine.get("family_name") not in theirs.get("given_name", ())

    def sum(self, found: list[Found]) -> float:
        """Return the bits of comparisons taken together: parts of an address, and what relatives share, are
        not independent."""
        total = shared = given = born = company = up = most = down = least = 0.0
        fields = self._fields
        for field, level, bits in found:
            role = (fields.get(field) or self.known(field)).role
            if role == PLACE:
                if bits > 0.0:
                    up += bits
                    most = bits if bits > most else most
                else:
                    down += bits
                    least = bits if bits < least else least
                continue
            total += bits
            if role == SHARED:
                shared += bits
            elif role == NAME:
                if bits > 0.0 and field == "full_name" and level < _WHOLE_NAME:
                    shared += bits
                else:
                    given += bits
            elif role == BIRTH:
                born = bits
            elif role == COMPANY:
                company = bits
        together = most + WEAKER_PLACE * (up - most) + least + WEAKER_PLACE * (down - least)
        total += together
        shared += together
        if total <= 0.0:
            return total
        odds = self._relatives_odds(shared, given, born, company) if shared > 0.0 else 1.0
        if company > 0.0 and is_organisation(found):
            odds += self._branches() * 2.0 ** (total - one_place_bits(found, self.weights))
        return total - log2(odds)

    def _branches(self) -> float:
        """Return the share of all customers who are another place of a given one's organisation."""
        return self.weights.branches_each / max(self.frequencies.customers, CUSTOMERS_MIN)

    def parts(self, found: list[Found]) -> tuple[float, float, float]:
        """Return the bits of what relatives share, of the given name, and of all else that is a customer's
        own."""
        shared = name = rest = 0.0
        for field, _, bits in found:
            if field not in _NAMED and self.known(field).is_shared:
                shared += bits
            elif field in _NAMED:
                name += bits
            else:
                rest += bits
        return shared, name, rest

    def _related(self) -> float:
        """Return the share of all customers who are related to a given one."""
        return self.weights.relatives_each / max(self.frequencies.customers, CUSTOMERS_MIN)

    def _relatives_odds(self, shared: float, given: float, born: float, company: float) -> float:
        """Return how much more often than by chance two different customers agree so, because they may be
        related.

        Different customers are a mixture: strangers, with independent agreements, and for each record a few
        relatives among all customers, who share what relatives share. With e the share of relatives:
        log2(m/u) = -log2(2^-total + e 2^-(total - shared)).
        """
        many = self._related()
        odds: float = 1.0 + many * 2.0**shared
        if given > 0:
            odds += RELATIVES_OF_ONE_NAME * many * 2.0 ** (shared + given)
        if company > 0:
            odds += NEIGHBOURS_OF_ONE_NAME * many * 2.0 ** (shared + company)
        if born > 0:
            odds += RELATIVES_OF_ONE_BIRTHDAY * many * 2.0 ** (shared + born)
        return odds

    def _best(self, field: str, known: FieldWeights, value: str, counts: dict[str, int]) -> tuple[int, float]:
        """Return the best level of a value with any of the cluster's, and its bits."""
        count = counts.get(value)
        if count is None:
            return self._nearest(field, known, value, counts)
        bits = known.m_top - log2(self._frequency(field, value, known))
        if len(counts) > 1:
            bits += _share_bits(count, counts)
        return known.top, bits

    def _nearest(
        self, field: str, known: FieldWeights, value: str, counts: dict[str, int]
    ) -> tuple[int, float]:
        """Do the same as `_best`, where none of them is equal."""
        level_of = known.level
        if len(counts) == 1:
            (other,) = counts
            level = level_of(value, other) if value < other else level_of(other, value)
            return level, self._partly(field, known, level, value, other) if level else known.bits[0]
        best, best_bits = 0, known.bits[0]
        for other, count in counts.items():
            level = level_of(value, other) if value < other else level_of(other, value)
            if level:
                bits = self._partly(field, known, level, value, other) + _share_bits(count, counts)
                if bits > best_bits:
                    best, best_bits = level, bits
        return best, best_bits

    def _frequency(self, field: str, value: str, known: FieldWeights) -> float:
        frequencies = self.frequencies
        others: float = frequencies.count(field, value) - 1  # the cluster itself was counted
        if others <= 0:
            others = frequencies.unseen(field)
        frequency = others / (frequencies.total(field) + known.evens)
        return frequency if frequency > RAREST else RAREST

    def _partly(self, field: str, known: FieldWeights, level: int, value: str, other: str) -> float:
        """Return the bits of a level between the ends: more for a rare value than for a common one."""
        bits = known.bits[level]
        if known.is_wordy:
            shared = self._shared_words_bits(field, value, other)
            return 0.5 * bits + 0.5 * (known.same_bits[level] + shared) if shared else bits
        if bits <= 0.0:
            return bits
        rarity = 0.5 * log2(known.base / self._frequency(field, other, known))
        return bits + (min(rarity, _RARITY_BITS_MAX) if rarity > 0 else max(rarity, -_RARITY_BITS_MAX))

    def _shared_words_bits(self, field: str, value: str, other: str) -> float:
        """Return how improbable it is that two customers share these words: by the rarest of them, in
        bits."""
        words = set(value.split(" ")).intersection(other.split(" "))
        if not words:
            return 0.0
        total = self.frequencies.total(field) + 100.0
        count = self.frequencies.count
        bits = [log2((count(field + _WORD, word) + 0.5) / total) for word in words if len(word) > 1]
        bits.sort()
        return min(_SHARED_WORDS_BITS_MAX, -sum(bits[:_SHARED_WORDS_MAX]))

    def _names(self, record: Record, cluster: Cluster, found: list[Found], total: float, split: bool) -> None:
        """Add what the names say when looked at together: the family name where the given name should be, and
        the whole name.

        `total`: what they are worth one by one, if there are any (`split`).
        """
        mine, theirs = record.values, cluster.values
        if total < 0:
            swapped = self._swapped_bits(mine, theirs)
            if swapped is not None and swapped > total:
                found.append(("swapped_names", 1, swapped - total))
                total = swapped
        full, fulls = mine.get("full_name"), theirs.get("full_name")
        if full is None and fulls is None:
            return
        if full is not None and fulls is not None:
            if split and full not in fulls:
                return
        elif not split:
            if full is None:
                full = f"{mine.get('given_name') or ''} {mine.get('family_name') or ''}".strip()
            else:
                fulls = _whole_names(theirs)
        if not full or not fulls:
            return
        level, bits = self._best("full_name", self.known("full_name"), full, fulls)
        found.append(("full_name", level, max(bits - total, 0.0) if split else bits))

    def _swapped_bits(self, mine: dict[str, str], theirs: dict[str, dict[str, int]]) -> float | None:
        """Return what the names are worth with the family name where the given name should be; None where
        none of them is found there."""
        given, family = mine.get("given_name"), mine.get("family_name")
        their_given, their_family = theirs.get("given_name", {}), theirs.get("family_name", {})
        if given == family or (given not in their_family and family not in their_given):
            return None
        bits = _SWAPPED_BITS
        if given and their_family:
            bits += self._best("family_name", self.known("family_name"), given, their_family)[1]
        if family and their_given:
            bits += self._best("given_name", self.known("given_name"), family, their_given)[1]
        return bits

    def evidence(self, found: list[Found]) -> tuple[Evidence, ...]:
        """Return the comparisons in words of `columns.KINDS`, the strongest first."""
        strongest = sorted(found, key=lambda one: -abs(one[2]))
        return tuple(
            Evidence(field, self._level_name(field, level), round(bits, 2), self._is_rare(field, level, bits))
            for field, level, bits in strongest
        )

    def _level_name(self, field: str, level: int) -> str:
        return "equal" if field == "swapped_names" else self.known(field).names[level]

    def _is_rare(self, field: str, level: int, bits: float) -> bool:
        return (
            field != "swapped_names"
            and level == self.known(field).top
            and bits > self.known(field).bits[level] + 2.0
        )


def _whole_names(theirs: dict[str, dict[str, int]]) -> dict[str, int]:
    """Return given and family names together; of a cluster that has only one kind, those; none where it has
    no names."""
    given, family = theirs.get("given_name", {}), theirs.get("family_name", {})
    if given and family:
        return {f"{a} {b}": 1 for a in given for b in family}
    return dict.fromkeys(given or family, 1)


def _are_of_one_form(number: str, others: dict[str, int]) -> bool:
    return any(abs(len(number) - len(other)) <= _TYPED for other in others)


def _share_bits(count: int, counts: dict[str, int]) -> float:
    return log2((count + 0.5) / (sum(counts.values()) + 0.5))


def count_values(frequencies: Frequencies, new: list[tuple[str, str]]) -> None:
    """Count what a cluster did not have before; names of several words also by word."""
    for field, value in new:
        frequencies.add(field, value)
        if field in ("full_name", "organisation"):
            for word in set(value.split(" ")):
                if len(word) > 1:
                    frequencies.add(field + _WORD, word)
