"""How well found clusters agree with the truth: over pairs, and over records (B³)."""

from collections import Counter
from collections.abc import Hashable, Sequence

import msgspec


class Agreement(msgspec.Struct, frozen=True):
    """Precision, recall and their harmonic mean, each from 0 to 1; 1 where nothing could be wrong."""

    precision: float
    recall: float
    f1: float

    @staticmethod
    def of(precision: float, recall: float) -> "Agreement":
        both = precision + recall
        return Agreement(precision, recall, 2 * precision * recall / both if both else 0.0)

    @staticmethod
    def mean(all: Sequence["Agreement"]) -> "Agreement":
        """The mean of each figure, the F1 too: not the F1 of the means."""
        return Agreement(*(sum(getattr(one, name) for one in all) / len(all) for name in ("precision", "recall", "f1")))


def pairwise(found: Sequence[Hashable], truth: Sequence[Hashable]) -> Agreement:
    """Over all pairs of records that are, or should be, in one cluster."""
    both = _pairs(Counter(zip(found, truth, strict=True)))
    in_found, in_truth = _pairs(Counter(found)), _pairs(Counter(truth))
    return Agreement.of(both / in_found if in_found else 1.0, both / in_truth if in_truth else 1.0)


def bcubed(found: Sequence[Hashable], truth: Sequence[Hashable]) -> Agreement:
    """The mean over records of the precision and recall of the record's cluster (Bagga and Baldwin, 1998)."""
    in_found, in_truth = Counter(found), Counter(truth)
    precision = recall = 0.0
    for (cluster, customer), count in Counter(zip(found, truth, strict=True)).items():
        precision += count * count / in_found[cluster]
        recall += count * count / in_truth[customer]
    return Agreement.of(precision / len(found), recall / len(found)) if found else Agreement.of(1.0, 1.0)


def _pairs(counts: Counter[Hashable]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.values())
