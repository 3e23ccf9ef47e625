"""How well found clusters agree with the truth: over pairs, and over records (B³)."""

from collections import Counter
from collections.abc import Hashable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.lab.evaluate.tops import Edge, Z


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
        """Return the mean of each figure, the F1 too: not the F1 of the means."""
        return Agreement(
            *(sum(getattr(one, name) for one in all) / len(all) for name in ("precision", "recall", "f1"))
        )


def pairwise(found: Sequence[Hashable], truth: Sequence[Hashable]) -> Agreement:
    """Judge over all pairs of records that are, or should be, in one cluster."""
    both = _pairs(Counter(zip(found, truth, strict=True)))
    in_found, in_truth = _pairs(Counter(found)), _pairs(Counter(truth))
    return Agreement.of(both / in_found if in_found else 1.0, both / in_truth if in_truth else 1.0)


def bcubed(found: Sequence[Hashable], truth: Sequence[Hashable]) -> Agreement:
    """Return the mean over records of the precision and recall of the record's cluster (Bagga and Baldwin,
    1998)."""
    in_found, in_truth = Counter(found), Counter(truth)
    precision = recall = 0.0
    for (cluster, customer), count in Counter(zip(found, truth, strict=True)).items():
        precision += count * count / in_found[cluster]
        recall += count * count / in_truth[customer]
    return Agreement.of(precision / len(found), recall / len(found)) if found else Agreement.of(1.0, 1.0)


def _pairs(counts: Counter[Hashable]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.values())


def united(found: Sequence[Hashable], truth: Sequence[Hashable]) -> NDArray[np.float64]:
    """Return an array (3, customers): of each true customer the pairs that were rightly united, wrongly
    united (half of each is the other's), and missed."""
    sizes, both = Counter(found), Counter(zip(found, truth, strict=True))
    places = {customer: place for place, customer in enumerate(dict.fromkeys(truth))}
    of_each = np.zeros((3, len(places)))
    for customer, count in Counter(truth).items():
        of_each[2, places[customer]] = count * (count - 1) / 2
    for (cluster, customer), count in both.items():
        right = count * (count - 1) / 2
        of_each[:, places[customer]] += right, count * (sizes[cluster] - count) / 2, -right
    return of_each


def f1_apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> Edge:
    """Return by how much the F1 over pairs of one way exceeds that of another, with its 95 % interval over
    customers (`united` of both)."""
    values, influences = zip(*map(_f1, (one, other)), strict=True)
    moved = influences[0] - influences[1]
    value, half = values[0] - values[1], Z * float(np.sqrt((moved * moved).sum()))
    return Edge(value, value - half, value + half)


def _f1(of_each: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """As a ratio of two sums, and how each customer moves it."""
    over = 2.0 * of_each[0]
    under = over + of_each[1] + of_each[2]
    whole = float(under.sum())
    value = float(over.sum()) / whole if whole else 1.0
    return value, (over - value * under) / (whole or 1.0)
