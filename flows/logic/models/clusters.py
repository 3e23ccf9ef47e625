"""Value / behaviour clusters: customers in a few groups, online, under names that stay.

Sequential k-means (MacQueen, 1967) with forgetting, over features scaled as they come. After each `REFORM`
examples the groups are formed again from a small even sample, and the new centroids take the names of the old
ones that they lie nearest to (the assignment of least total distance, Kuhn 1955). So `c2` stays `c2` while it
moves, and how far it moved is the drift.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from flows.logic.models.cluster_assigner import VALUE_MAX, Floats, Snapshot, distances, standardised
from schemas.errors import Foreign

CLUSTERS_MAX = 32
REFORM = 1_000  # examples
_REFORM_FIRST = 64
_SAMPLE = 512  # of the latest examples: what new groups are formed from
_ROUNDS = 20  # of k-means at most
_COUNT_MOST = 2_000.0  # examples that a centroid remembers: it follows what changes


class _State(msgspec.Struct, array_like=True):
    version: int
    features: tuple[str, ...]
    k: int
    examples: int
    dropped: int
    moments: bytes  # (3, d): counts, means, squares
    centroids: bytes  # (k, d) in units of the features
    counts: bytes  # (k,)
    drift: bytes  # (k,)
    sample: bytes  # (n, d), oldest first


class Clusters:
    """Learns from examples in their order, and from nothing else. `k` names, `c1` the largest when first
    formed."""

    def __init__(self, features: tuple[str, ...], k: int) -> None:
        if not 2 <= k <= CLUSTERS_MAX:
            raise ValueError(f"{k} clusters, expected 2 to {CLUSTERS_MAX}")
        self.features, self.k = features, k
        self.version = self.examples = self.dropped = 0
        d = len(features)
        self._moments = np.zeros((3, d))
        self._centroids = np.zeros((k, d))
        self._counts, self._drift = np.zeros(k), np.zeros(k)
        self._sample: Floats = np.zeros((0, d))

    def learn(self, examples: Iterable[Sequence[float]]) -> list[Snapshot]:
        """Learn in this order; return the snapshots that fell due. An example of another length is dropped
        and counted."""
        snapshots: list[Snapshot] = []
        for example in examples:
            if len(example) != len(self.features):
                self.dropped += 1
                continue
            self._add(np.array(example, dtype=np.float64))
            if self.examples == _REFORM_FIRST or self.examples % REFORM == 0:
                self._reform()
                self.version += 1
                snapshots.append(self.snapshot())
        return snapshots

    def _add(self, x: Floats) -> None:
        counts, means, squares = self._moments
        known = np.abs(x) <= VALUE_MAX  # false for NaN
        counts += known
        delta = np.where(known, x - means, 0.0)
        means += delta / np.maximum(counts, 1.0)
        x = np.where(known, x, means)  # what is missing is average
        squares += delta * (x - means)
        self.examples += 1
        self._sample = np.concatenate((self._sample[-(_SAMPLE - 1) :], x[None]))
        if self.version:
            inverse = self._inverse()
            centroids = standardised(self._centroids, means, inverse)
            nearest = int(distances(standardised(x, means, inverse)[None], centroids).argmin())
            self._counts *= 1.0 - 1.0 / _COUNT_MOST
            self._counts[nearest] += 1.0
            self._centroids[nearest] += (x - self._centroids[nearest]) / max(self._counts[nearest], 1.0)

    def _reform(self) -> None:
        """Form the groups again from the latest examples, and hand the old names on."""
        means, inverse = self._moments[1], self._inverse()
        sample = standardised(self._sample, means, inverse)
        old = standardised(self._centroids, means, inverse)
        fresh = k_means(sample, old if self.version else _spread_out(sample, self.k))
        if self.version:
            kept, taken = linear_sum_assignment(distances(old, fresh))
            order = taken[np.argsort(kept)]
        else:
            members = np.bincount(distances(sample, fresh).argmin(axis=1), minlength=self.k)
            order = np.argsort(-members, kind="stable")
        fresh = fresh[order]
        self._drift = np.sqrt(((fresh - old) ** 2).mean(axis=1)) if self.version else np.zeros(self.k)
        sizes = np.bincount(distances(sample, fresh).argmin(axis=1), minlength=self.k).astype(np.float64)
        deviations = np.where(inverse > 0.0, 1.0 / np.where(inverse > 0.0, inverse, 1.0), 0.0)
        self._centroids = fresh * deviations + means
        self._counts = sizes

    def _inverse(self) -> Floats:
        counts, means, squares = self._moments
        deviations = np.sqrt(squares / np.maximum(counts, 1.0))
        varies = deviations > 1e-9 * np.abs(means)
        return np.where(varies, 1.0 / np.where(varies, deviations, 1.0), 0.0)

    def snapshot(self) -> Snapshot:
        """Return the centroids as they are now, under the last version."""
        means, inverse = self._moments[1], self._inverse()
        total = float(self._counts.sum())
        shares = self._counts / total if total else np.full(self.k, 1.0 / self.k)
        return Snapshot(
            version=self.version,
            features=self.features,
            names=tuple(f"c{place}" for place in range(1, self.k + 1)),
            means=tuple(means.tolist()),
            inverse_deviations=tuple(inverse.tolist()),
            centroids=tuple(map(tuple, standardised(self._centroids, means, inverse).tolist())),
            shares=tuple(shares.tolist()),
            drift=tuple(self._drift.tolist()),
            examples=self.examples,
        )

    def dump(self) -> bytes:
        """Return all of it, for a checkpoint."""
        state = _State(
            version=self.version,
            features=self.features,
            k=self.k,
            examples=self.examples,
            dropped=self.dropped,
            moments=_packed(self._moments),
            centroids=_packed(self._centroids),
            counts=_packed(self._counts),
            drift=_packed(self._drift),
            sample=_packed(self._sample),
        )
        return msgspec.msgpack.encode(state)

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave. Raises `Foreign`.

        Returns False if that had other features or another k: then it starts afresh.
        """
        try:
            state = msgspec.msgpack.decode(body, type=_State)
            if (state.features, state.k) != (self.features, self.k):
                self.version = 0
                return False
            d = len(self.features)
            self._moments = _array(state.moments, (3, d))
            self._centroids = _array(state.centroids, (self.k, d))
            self._counts = _array(state.counts, (self.k,))
            self._drift = _array(state.drift, (self.k,))
            self._sample = _array(state.sample, (len(state.sample) // (8 * max(d, 1)), d))
        except (msgspec.MsgspecError, ValueError) as error:
            raise Foreign(f"clusters: the checkpoint cannot be read by this release: {error}") from error
        self.version, self.examples, self.dropped = state.version, state.examples, state.dropped
        return True


def k_means(sample: Floats, start: Floats) -> Floats:
    """Return the centroids after Lloyd's iterations (1982) from `start` (k, d).

    A centroid that nobody is nearest to goes to the point worst served.
    """
    centroids = start.copy()
    for _ in range(_ROUNDS):
        away = distances(sample, centroids)
        nearest = away.argmin(axis=1)
        served = away[np.arange(len(sample)), nearest]
        before = centroids.copy()
        for cluster in range(len(centroids)):
            members = nearest == cluster
            if members.any():
                centroids[cluster] = sample[members].mean(axis=0)
            else:
                worst = int(served.argmax())
                centroids[cluster], served[worst] = sample[worst], 0.0
        if np.array_equal(before, centroids):
            break
    return centroids


def _spread_out(sample: Floats, k: int) -> Floats:
    """Return k points far from one another (Gonzalez, 1985), beginning with the one nearest to the middle:
    without chance."""
    chosen = [int(((sample - sample.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    while len(chosen) < k:
        chosen.append(int(distances(sample, sample[chosen]).min(axis=1).argmax()))
    return sample[chosen]


def _packed(array: Floats) -> bytes:
    return array.astype("<f8").tobytes()


def _array(body: bytes, shape: tuple[int, ...]) -> Floats:
    return np.frombuffer(body, dtype="<f8").reshape(shape).astype(np.float64)
