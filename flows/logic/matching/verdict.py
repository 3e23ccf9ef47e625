"""The verdict on a record: it joins a cluster (or several that it shows to be one), it needs a person to
look, or it is new."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from flows.logic.matching.cluster import Cluster
from flows.logic.matching.contradict import IDS, contradict, quite_other_numbers
from flows.logic.matching.namesakes import are_namesakes, name_bits
from flows.logic.matching.record import Record
from flows.logic.matching.score import Evidence, Found, Scorer


class Thresholds(msgspec.Struct, frozen=True):
    """In bits of posterior odds: 0 is even, 3 is 8 to 1. The same for all data."""

    merge: float = 2.0
    review: float = -1.0
    # two clusters that exist become one only if the average record of each belongs to the other
    unite: float = 3.0
    doubt: float = 1.5  # how often what speaks against uniting two clusters counts, on top of once
    members: int = 6  # of each cluster that are asked


class Verdict(msgspec.Struct, array_like=True, frozen=True):
    """`weight`: log2 of the posterior odds for `cluster`. `also`: further clusters that are the same customer
    and join it."""

    kind: Literal["merge", "review", "none"]
    cluster: str = ""
    weight: float = 0.0
    evidence: tuple[Evidence, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def probability(self) -> float:
        """Return the probability that goes with the weight."""
        return 1.0 / (1.0 + math.pow(2.0, -max(-60.0, min(60.0, self.weight))))


NONE = Verdict("none")
# bits of posterior odds, order, the customer, the comparisons
Scored = tuple[float, int, Cluster, list[Found]]


def decide(record: Record, clusters: Sequence[Cluster], scorer: Scorer, thresholds: Thresholds) -> Verdict:
    """Return the verdict on a record and the `clusters` that are candidates. A record that would join two
    clusters that disagree joins the better one only."""
    prior = scorer.prior_bits()
    numbered = any(field in record.values for field in IDS)
    everybody = []
    for at, cluster in enumerate(clusters):
        bits, found = scorer.score(record, cluster, 0.0 if numbered else thresholds.review - prior)
        everybody.append((bits + prior, -at, cluster, found))
    scored = [one for one in everybody if one[0] >= thresholds.review]
    if not scored:
        return _but_for_the_number(record, everybody, scorer, thresholds) if numbered else NONE
    scored.sort(key=lambda one: one[:2], reverse=True)
    weight, _, best, found = scored[0]
    alone = Cluster.of("", [record])
    if (
        weight < thresholds.merge
        or contradict(alone, best)
        or are_namesakes(alone, best, name_bits(found) + prior)
        or not _is_said_by_one(record, best, scorer, thresholds.merge - prior)
    ):
        return Verdict("review", best.id, weight, scorer.evidence(found))
    others = [other for _, _, other, _ in scored[1:]]
    also = [other.id for other in others if are_one(record, best, other, scorer, thresholds, prior)]
    return Verdict(
        kind="merge", cluster=best.id, weight=weight, evidence=scorer.evidence(found), also=tuple(also)
    )


def _but_for_the_number(
    record: Record, scored: Sequence[Scored], scorer: Scorer, thresholds: Thresholds
) -> Verdict:
    """Ask a steward where nothing but a number that is quite another keeps the record from a customer."""
    alone, prior = Cluster.of("", [record]), scorer.prior_bits()
    for weight, _, cluster, found in sorted(scored, key=lambda one: one[:2], reverse=True):
        numbers = sum(bits for field, _, bits in found if field in IDS)
        if numbers >= 0.0 or weight - numbers < thresholds.merge:
            continue
        if not quite_other_numbers(alone, cluster):
            continue
        if not are_namesakes(alone, cluster, name_bits(found) + prior):
            return Verdict("review", cluster.id, weight, scorer.evidence(found))
    return NONE


def _is_said_by_one(record: Record, cluster: Cluster, scorer: Scorer, least: float) -> bool:
    """Return whether a single record of the cluster speaks for it: one with the name of one and the city of
    another fits neither."""
    return cluster.size == 1 or any(
        scorer.score(record, Cluster.of("", [one]))[0] >= least for one in reversed(cluster.records)
    )


def are_one(
    record: Record, a: Cluster, b: Cluster, scorer: Scorer, thresholds: Thresholds, prior: float
) -> bool:
    """Return whether two clusters, that a record may have brought together, are one customer.

    By the average of their records, not by the best; never if they contradict each other.
    """
    if contradict(a, b):
        return False
    small, large = (a, b) if a.size <= b.size else (b, a)
    asked = small.records[-thresholds.members :]
    bits = against = named = 0.0
    for one in asked:
        total, found = scorer.score(one, large)
        bits += total
        named += name_bits(found)
        against += sum(min(0.0, each) for _, _, each in found)
    if are_namesakes(a, b, named / len(asked) + prior):
        return False
    doubt = prior + thresholds.doubt * against / len(asked)
    if bits / len(asked) + doubt >= thresholds.unite:
        return True
    with_record = bits + scorer.score(record, large)[0]
    return with_record / (len(asked) + 1) + doubt >= thresholds.unite
