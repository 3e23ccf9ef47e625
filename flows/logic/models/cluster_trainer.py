"""The trainer of clusters: value / behaviour groups, with how far they drift."""

from collections.abc import Iterable, Sequence

from flows.logic.models import cluster_assigner
from flows.logic.models.announced import Snapshot
from flows.logic.models.clusters import Clusters
from flows.logic.models.trainer import CheckpointedTrainer
from schemas.config import Rules
from schemas.wire.triggers import Example


class ClusterTrainer(CheckpointedTrainer):
    """Learns clusters from the features of customers."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(cluster_assigner.NAME, cluster_assigner.FEATURES)
        self._model = Clusters(cluster_assigner.FEATURES, rules.clusters.k)

    def learn(self, examples: Iterable[Example | None]) -> Sequence[Snapshot]:
        """Learn in this order; return the snapshots that fell due."""
        snapshots: list[Snapshot] = []
        for example in examples:
            if example is None or len(example.features) != len(self.features):
                self.dropped["undecodable" if example is None else "features_count"] += 1
                continue
            self.trained_ms = max(self.trained_ms, example.answered_ms)
            snapshots += self._model.learn([example.features])
        self.version, self.examples = self._model.version, self._model.examples
        return snapshots

    def figures(self) -> dict[str, float]:
        """Return `drift_` and `share_` of each cluster: the deviations that it moved when the clusters were
        last formed, and its part of all examples."""
        now = self._model.snapshot()
        if not now.version:
            return {}
        drifts = {f"drift_{name}": drift for name, drift in zip(now.names, now.drift, strict=True)}
        shares = {f"share_{name}": share for name, share in zip(now.names, now.shares, strict=True)}
        return drifts | shares

    def dump(self) -> bytes:
        """Return the whole trainer, for a checkpoint."""
        return self._keep(self._model.dump(), {})

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave. Raises `Foreign`.

        Returns False if that had other features or another `k`: then it starts afresh.
        """
        kept = self._kept(body)
        same = self._model.load(kept.body)
        if not same:
            self._model.version, self.examples = kept.version, 0
        return same
