"""What beliefs say of each action in one context, and how a joint draw of all actions is made from fixed
nodes."""

from functools import lru_cache
from hashlib import shake_256
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.logic.bandit.scale import Floats
from flows.logic.bandit.settings import ARMS_MAX

_NODES_MOST, _NODES_LEAST = 1_024, 128
_NUMBERS = 16_384  # nodes x actions: keeps a hundred actions within the budget of a decision


class Forecast(msgspec.Struct, frozen=True):
    """Scores of k actions: log-odds, or rewards. Actions that share a model move together, by their roots."""

    means: Floats  # (k,)
    deviations: Floats  # (k,)
    # (k, m): covariance of the scores = roots @ roots.T; none: the scores are independent
    roots: Floats | None = None

    def samples(self, scale: float) -> NDArray[np.floating]:
        """Return scores under equally likely states of the world, shape (nodes, k), `scale` times as
        uncertain as believed."""
        if self.roots is None:
            spread = (self.deviations * scale).astype(np.float32)
            return self.means.astype(np.float32) + nodes(len(self.means)) * spread
        return self.means + nodes(self.roots.shape[1]) @ (self.roots.T * scale)


@lru_cache(maxsize=ARMS_MAX)
def nodes(dimensions: int) -> NDArray[np.float32]:
    """Return a fixed Latin hypercube of standard normal points, shape (nodes, dimensions).

    Each column holds the same quantiles in an order of its own (McKay, Beckman and Conover, 1979), taken from
    a hash: the same on every machine and in every release, which no library's generator promises.
    """
    count = max(_NODES_LEAST, min(_NODES_MOST, 1 << (_NUMBERS // max(dimensions, 1)).bit_length() - 1))
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)], dtype=np.float32)
    columns = (
        np.frombuffer(shake_256(b"nodes %d" % column).digest(8 * count), dtype="<u8")
        for column in range(dimensions)
    )
    table = np.stack([quantiles[np.argsort(column, kind="stable")] for column in columns], axis=1)
    table.flags.writeable = False
    return table
