"""What a shard finds a customer's cluster with: the centroids at one moment.

How they are formed is in `clusters`.
"""

from collections.abc import Sequence
from math import sqrt

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.logic.models.features import serving
from schemas.errors import Foreign

NAME = "clusters"
FEATURES = serving("marketing")
VALUE_MAX = 1e12  # so that squares stay finite
_FAR = 5.0  # deviations

Floats = NDArray[np.float64]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Centroids at one moment, in deviations from the mean. A feature with inverse deviation 0 never
    varied."""

    version: int
    features: tuple[str, ...]
    names: tuple[str, ...]
    means: tuple[float, ...]
    inverse_deviations: tuple[float, ...]
    centroids: tuple[tuple[float, ...], ...]
    shares: tuple[float, ...]  # of the latest examples; sum to 1
    drift: tuple[float, ...]  # deviations that each centroid moved in the last reform
    examples: int
    model: str = NAME

    def pack(self) -> bytes:
        """Return the packed form: the same snapshot is always the same bytes."""
        return msgspec.msgpack.encode(self)


class Assigner:
    """Names the cluster of a customer, with one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._means, self._inverse = np.array(snapshot.means), np.array(snapshot.inverse_deviations)
        self._centroids = np.array(snapshot.centroids).reshape(len(snapshot.names), len(snapshot.features))

    @classmethod
    def from_snapshot(cls, body: bytes, features: tuple[str, ...]) -> "Assigner":
        """Make one of a packed snapshot whose signature was verified. Raises `Foreign` for damage, and for
        other features."""
        try:
            snapshot = msgspec.msgpack.decode(body, type=Snapshot)
        except msgspec.MsgspecError as error:
            raise Foreign(f"not a snapshot of clusters: {error}") from error
        if snapshot.features != features:
            raise Foreign(f"clusters: snapshot has features {snapshot.features}, expected {features}")
        widths = {
            len(features),
            len(snapshot.means),
            len(snapshot.inverse_deviations),
            *map(len, snapshot.centroids),
        }
        if len(widths) > 1 or not snapshot.names or len(snapshot.centroids) != len(snapshot.names):
            raise Foreign("clusters: snapshot lists differ in length")
        return cls(snapshot)

    @property
    def version(self) -> int:
        return self.snapshot.version

    def assign(self, features: Sequence[float]) -> tuple[str, float]:
        """Return the cluster, and the distance from its centroid in deviations, as a root mean square over
        the features."""
        x = standardised(np.array(features), self._means, self._inverse)
        away = distances(x[None], self._centroids)[0]
        nearest = int(away.argmin())
        return self.snapshot.names[nearest], sqrt(float(away[nearest]) / max(len(features), 1))


def standardised(x: Floats, means: Floats, inverse: Floats) -> Floats:
    """Return `x` in deviations from the means; what is missing (NaN) is average."""
    away = np.where(np.isnan(x), 0.0, np.clip(x, -VALUE_MAX, VALUE_MAX) - means)
    return np.clip(away * inverse, -_FAR, _FAR)


def distances(points: Floats, centroids: Floats) -> Floats:
    """Return the squared distances, shape (n, k)."""
    return np.asarray(((points[:, None, :] - centroids[None]) ** 2).sum(axis=2))
