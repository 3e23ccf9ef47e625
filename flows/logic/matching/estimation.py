"""Weights learnt from the stream itself, without labels, and from what stewards decide.

Expectation and maximisation (Dempster, Laird and Rubin, 1977; for linkage Winkler, 1988) over a bounded
sample of compared pairs, of which the levels are kept and no values. Whether a pair is one customer is
judged, for each field, by the *other* fields: a field that helped to find the pair cannot confirm itself.
Chance agreement comes from pairs that nothing brought together, equality by chance from the frequencies.
"""

from typing import Final

import msgspec

from flows.logic.matching.branches import Branches
from flows.logic.matching.cluster import Cluster
from flows.logic.matching.columns import SPOTS, kind_of
from flows.logic.matching.record import Record
from flows.logic.matching.score import Found, Scorer
from flows.logic.matching.weights import Shares, Weights

SAMPLE_MAX: Final = 2000
# records until the first version; then after twice as many each time, at most every EVERY_MAX
FIRST: Final = 250
EVERY_MAX: Final = 16_384
_ALL_UNTIL: Final = 2000  # records of which each is sampled; later one of _ONE_OF
_ONE_OF: Final = 8
_CANDIDATES: Final = 3
_PRIOR_PAIRS: Final = 150.0  # how many pairs the prior shares are worth
_PRIOR_RECORDS: Final = 300.0
DIFFERS_MAX: Final = 2.0  # times the prior share of `differs` is as far as learning goes
_LABEL: Final = 5.0  # pairs that a steward's decision is worth
_RELATED_BITS: Final = 8.0
_RELATIVES_EACH: Final = Weights().relatives_each
_PRIOR_SAMPLED: Final = 40.0

# of each comparison: field, level, bits beyond those of the level (rarity)
Pair = tuple[tuple[str, int, float], ...]


class Learner(msgspec.Struct, array_like=True):
    """Collects compared pairs; `observe` returns new weights when it is time for them. It packs into some 200
    KB, and goes on from there."""

    weights: Weights = Weights()
    records: int = 0
    joined: int = 0
    # of the pairs that share what relatives share: how often name and the rest speak against it, ...
    neither: int = 0
    pairs: list[Pair] = []
    labels: list[tuple[Pair, bool]] = []
    chance: dict[str, list[float]] = {}  # field → pairs at each level that nothing brought together
    seen: int = 0
    due: int = FIRST
    name_only: int = 0  # ... only the rest does, ...
    rest_only: int = 0  # ... only the name does, ...
    both: int = 0  # ... neither does, ...
    unclear: int = 0  # ... and where one of them is missing
    branches: Branches = msgspec.field(default_factory=Branches)

    def copy(self) -> "Learner":
        """Return one that goes on from here by itself."""
        chance = {field: levels[:] for field, levels in self.chance.items()}
        branches = msgspec.structs.replace(self.branches)
        return msgspec.structs.replace(
            self, pairs=self.pairs[:], labels=self.labels[:], chance=chance, branches=branches
        )

    def observe(
        self,
        record: Record,
        clusters: list[Cluster],
        joined: bool,
        scorer: Scorer,
        stranger: Record | None = None,
    ) -> Weights | None:
        """Take notice of a record and the clusters that it was compared with; return new weights when they
        are due.

        `stranger` is any record that nothing brought together with this one, such as another of the same
        window; it is not kept.
        """
        self.records += 1
        self.joined += joined
        if self.records < _ALL_UNTIL or self.records % _ONE_OF == 0:
            self._sample(record, clusters, scorer)
            if stranger is not None:
                self._contrast(record, stranger, scorer)
        if self.records < self.due:
            return None
        self.due += min(self.records, EVERY_MAX)
        return self.learn(scorer)

    def label(self, record: Record, cluster: Cluster, same: bool, scorer: Scorer) -> None:
        """Take notice of a steward's decision whether the record belongs to the cluster."""
        self.labels.append((self._pair(scorer.score(record, cluster)[1], scorer), same))
        del self.labels[:-SAMPLE_MAX]

    def _sample(self, record: Record, clusters: list[Cluster], scorer: Scorer) -> None:
        compared: list[list[Found]] = []
        for cluster in clusters[:_CANDIDATES]:
            one = cluster.records[self.records % len(cluster.records)]
            _, found = scorer.score(record, Cluster.of(cluster.id, [one]))
            self.seen += 1
            pair = self._pair(found, scorer)
            if len(self.pairs) < SAMPLE_MAX:
                self.pairs.append(pair)
            elif (at := (self.seen * 2654435761 >> 7) % self.seen) < SAMPLE_MAX:
                self.pairs[at] = pair
            self._relate(found, scorer)
            compared.append(found)
        if "organisation" in record.values:
            self.branches.observe(compared, scorer.prior_bits(), any(map(scorer.frequencies.total, SPOTS)))

    def _relate(self, found: list[Found], scorer: Scorer) -> None:
        """Count what the name and the rest say of those who share what relatives share."""
        shared, name, rest = scorer.parts(found)
        if shared <= _RELATED_BITS:
            return
        if name == 0.0 or rest == 0.0:
            self.unclear += 1
        elif name > 0.0:
            self.both += rest > 0.0
            self.name_only += rest < 0.0
        else:
            self.rest_only += rest > 0.0
            self.neither += rest < 0.0

    def _relatives_each(self) -> float:
        """Return how many relatives a customer has.

        The faults of one customer's records are independent: name and rest are both wrong as often as chance
        has it. What goes beyond that is relatives.
        """
        told = self.both + self.name_only + self.rest_only + self.neither
        excess = max(0.0, self.neither - self.name_only * self.rest_only / max(1, self.both))
        sampled = min(self.records, _ALL_UNTIL) + max(0, self.records - _ALL_UNTIL) / _ONE_OF
        sampled *= told / max(1, told + self.unclear)
        return min(2.0, max(0.002, (excess + _RELATIVES_EACH * _PRIOR_SAMPLED) / (sampled + _PRIOR_SAMPLED)))

    def _contrast(self, record: Record, other: Record, scorer: Scorer) -> None:
        bits, found = scorer.score(record, Cluster.of("", [other]))
        if bits > 0:
            return
        for field, level, _ in found:
            if field != "swapped_names":
                self.chance.setdefault(field, [0.0] * (scorer.known(field).top + 1))[level] += 1.0

    @staticmethod
    def _pair(found: list[Found], scorer: Scorer) -> Pair:
        return tuple(
            (field, level, bits - (0.0 if field == "swapped_names" else scorer.known(field).bits[level]))
            for field, level, bits in found
        )

    def learn(self, scorer: Scorer) -> Weights:
        """Go through one round of expectation and maximisation; return the next version of the weights."""
        same: dict[str, list[float]] = {}
        prior = scorer.prior_bits()
        for pair in self.pairs:
            self._expect(pair, prior, scorer, same)
        for pair, is_same in self.labels:
            for field, level, _ in pair if is_same else ():
                if field != "swapped_names":
                    same.setdefault(field, [0.0] * (scorer.known(field).top + 1))[level] += _LABEL
        fields = {
            field: self._shares(field, same.get(field), scorer) for field in sorted({*same, *self.chance})
        }
        records_each = min(1.0, max(0.2, (self.joined + _PRIOR_RECORDS) / (self.records + _PRIOR_RECORDS)))
        self.weights = Weights(
            version=self.weights.version + 1,
            fields=fields,
            records_each=records_each,
            relatives_each=self._relatives_each(),
            branches_each=self.branches.each(records_each),
            branches_phone=self.branches.phone(),
            branches_city=self.branches.city(),
        )
        return self.weights

    @staticmethod
    def _expect(pair: Pair, prior: float, scorer: Scorer, same: dict[str, list[float]]) -> None:
        found = [
            (field, level, beyond + (0.0 if field == "swapped_names" else scorer.known(field).bits[level]))
            for field, level, beyond in pair
        ]
        total = scorer.sum(found)
        if prior + total < -16.0:
            return
        for at, (field, level, _) in enumerate(found):
            if field == "swapped_names":
                continue
            bits = prior + scorer.sum(found[:at] + found[at + 1 :])
            probability = 1.0 if bits > 30 else 1.0 / (1.0 + 2.0**-bits)
            if probability > 0.98:
                same.setdefault(field, [0.0] * (scorer.known(field).top + 1))[level] += probability

    def _shares(self, field: str, same: list[float] | None, scorer: Scorer) -> Shares:
        kind = kind_of(field)
        found = _bounded(_blend(kind.same, same, _PRIOR_PAIRS), DIFFERS_MAX * kind.same[0])
        other = list(_blend(kind.other, self.chance.get(field), _PRIOR_PAIRS))
        if scorer.frequencies.total(field) > _PRIOR_RECORDS:
            other[-1] = max(scorer.frequencies.collision(field), 1e-7)
        whole = sum(other)
        return Shares(found, tuple(share / whole for share in other))


def _bounded(shares: tuple[float, ...], differs_max: float) -> tuple[float, ...]:
    """Hold the lowest level at `differs_max` or less: relatives, who agree in all but one field, would teach
    that this field means nothing."""
    if shares[0] <= differs_max:
        return shares
    scale = (1.0 - differs_max) / (1.0 - shares[0])
    return (differs_max, *(share * scale for share in shares[1:]))


def _blend(prior: tuple[float, ...], counts: list[float] | None, strength: float) -> tuple[float, ...]:
    if counts is None:
        return prior
    whole = sum(counts) + strength
    return tuple((share * strength + count) / whole for share, count in zip(prior, counts, strict=True))
