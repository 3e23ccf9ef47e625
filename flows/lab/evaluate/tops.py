"""What acting on those that are ranked first brings: of a list that is drawn up again at each moment, or in
each period.

Who has the same score at the edge of a list is on it in part, so that no order of the file decides. Intervals
(95 %) are of sums over units: all predictions of one customer are one unit, since they hang together (Liang
and Zeger, 1986). That another sample would draw the edge of the list elsewhere is in them.
"""

from collections.abc import Mapping
from math import sqrt

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

SHARE = 0.1  # of all, who is acted on
Z = 1.959964  # of a normal interval of 95 %
SHARES = tuple(part / 20 for part in range(21))


class Edge(msgspec.Struct, frozen=True):
    """A difference with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Return whether it is certainly not 0."""
        return self.low > 0.0 or self.high < 0.0


class Top(msgspec.Struct, frozen=True):
    """Of one method: of those ranked first, and of those ranked last, the share of true answers."""

    rate: float
    found: float  # of all true answers, the share that is among those ranked first
    last_rate: float
    over_chance: Edge  # of `rate` over a list by lot
    behind: Edge | None  # of millrace's `rate` over that of this method; none of millrace itself
    loss_behind: Edge | None  # of this method's log-loss over millrace's
    gains: list[float]  # the share found, by share acted on (`SHARES`)


class _List(msgspec.Struct, frozen=True):
    """The list of one method, and by how much each prediction moves its rate (the influence function of the
    rate above a quantile)."""

    rate: float
    found: float
    influence: Array


def tops(
    groups: Ints, units: Ints, answers: Bools, said: Mapping[str, Array], losses: Mapping[str, Array]
) -> dict[str, Top]:
    """Return a top list of each method, the first of which is millrace. `groups`: the moment whose list it
    is; `units`: whose prediction."""
    own = next(iter(said))
    _, units = np.unique(units, return_inverse=True)
    lists = {name: _list(groups, probabilities, answers) for name, probabilities in said.items()}
    base = float(answers.mean())
    lot = _List(base, SHARE, np.asarray(answers - base, float))
    return {
        name: Top(
            rate=lists[name].rate,
            found=lists[name].found,
            last_rate=_rate(listed(groups, -probabilities), answers),
            over_chance=_apart(lists[name], lot, units),
            behind=None if name == own else _apart(lists[own], lists[name], units),
            loss_behind=None if name == own else _edge(losses[name] - losses[own], units),
            gains=_gains(groups, probabilities, answers),
        )
        for name, probabilities in said.items()
    }


def _list(groups: Ints, said: Array, answers: Bools) -> _List:
    on = listed(groups, said)
    rate = _rate(on, answers)
    at_edge = _rate(listed(groups, said, 1.5 * SHARE) - listed(groups, said, 0.5 * SHARE), answers)
    influence = (on * (answers - rate) - (on - SHARE) * (at_edge - rate)) / SHARE
    return _List(rate, float((on * answers).sum() / answers.sum()), influence)


def listed(groups: Ints, said: Array, share: float = SHARE) -> Array:
    """Return how far each is on its group's list, 0 to 1: those of the highest scores, so many that they are
    that share."""
    on = np.zeros(len(said))
    for rows in _each(groups):
        scores = said[rows]
        room = share * len(scores)
        edge = np.partition(scores, -max(int(np.ceil(room)), 1))[-max(int(np.ceil(room)), 1)]
        above, at = scores > edge, scores == edge
        on[rows] = above + at * ((room - above.sum()) / at.sum())
    return on


def _each(groups: Ints) -> list[Ints]:
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _rate(on: Array, answers: Bools) -> float:
    return float((on * answers).sum() / on.sum())


def _apart(one: _List, other: _List, units: Ints) -> Edge:
    """The difference of two rates."""
    moved = _edge(one.influence - other.influence, units)
    value, half = one.rate - other.rate, (moved.high - moved.low) / 2.0
    return Edge(value, value - half, value + half)


def _edge(differences: Array, units: Ints) -> Edge:
    """Of their mean."""
    of_unit, count = np.bincount(units, differences), len(differences)
    mean, units_count = float(of_unit.sum()) / count, len(of_unit)
    off = of_unit - mean * np.bincount(units)
    spread = sqrt(float((off * off).sum()) * units_count / max(units_count - 1, 1)) / count
    return Edge(mean, mean - Z * spread, mean + Z * spread)


def _gains(groups: Ints, said: Array, answers: Bools) -> list[float]:
    found = np.zeros(len(SHARES))
    for rows in _each(groups):
        _, places, counts = np.unique(-said[rows], return_inverse=True, return_counts=True)
        trues = np.bincount(places, answers[rows].astype(float))
        found += np.interp(
            np.array(SHARES) * len(rows), np.r_[0, counts.cumsum()], np.r_[0.0, trues.cumsum()]
        )
    return [float(value) for value in found / answers.sum()]
