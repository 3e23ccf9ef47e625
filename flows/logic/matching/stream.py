"""One pass over records in memory: what the directory does in the stream, for evaluation, dry runs and
tests."""

from typing import Final

from flows.logic.matching.blocking import blocking_keys
from flows.logic.matching.cluster import Cluster
from flows.logic.matching.estimation import Learner
from flows.logic.matching.frequency import Frequencies
from flows.logic.matching.index import Index, MemoryIndex
from flows.logic.matching.record import Record
from flows.logic.matching.score import Scorer, count_values
from flows.logic.matching.verdict import Thresholds, Verdict, decide
from flows.logic.matching.weights import Weights

CANDIDATES_MAX: Final = 8


class Matching:
    """Clusters that grow record by record. `cluster_of` tells the cluster of a record as of now;
    `comparisons` counts record × cluster."""

    def __init__(
        self, thresholds: Thresholds | None = None, index: Index | None = None, learns: bool = True
    ) -> None:
        self.frequencies = Frequencies()
        self.scorer = Scorer(Weights(), self.frequencies)
        self.clusters: dict[str, Cluster] = {}
        self.comparisons = 0
        self._learner = Learner() if learns else None
        self._thresholds = thresholds or Thresholds()
        self._index = index or MemoryIndex()
        self._before: Record | None = None
        self._joined_to: dict[str, str] = {}
        self._cluster: dict[str, str] = {}

    def add(self, id: str, record: Record) -> Verdict:
        """Put a record with a new id where it belongs; return the verdict."""
        keys = blocking_keys(record)
        candidates = [
            self.clusters[root]
            for root in dict.fromkeys(map(self._root, self._index.candidates(keys, CANDIDATES_MAX)))
        ]
        self.comparisons += len(candidates)
        verdict = decide(record, candidates, self.scorer, self._thresholds)
        if self._learner is not None:
            weights = self._learner.observe(
                record, candidates, verdict.kind == "merge", self.scorer, self._before
            )
            self._before = record
            if weights is not None:
                self.scorer = Scorer(weights, self.frequencies)
        cluster = self._unite(verdict) if verdict.kind == "merge" else self._new(id)
        self._cluster[id] = cluster.id
        count_values(self.frequencies, cluster.add(record))
        self._index.add(keys, cluster.id)
        return verdict

    def cluster_of(self, id: str) -> str:
        """Return the cluster of a record as of now."""
        return self._root(self._cluster[id])

    def _new(self, id: str) -> Cluster:
        cluster = self.clusters[id] = Cluster(id)
        self.frequencies.customers += 1
        return cluster

    def _unite(self, verdict: Verdict) -> Cluster:
        cluster = self.clusters[verdict.cluster]
        for other in verdict.also:
            self._joined_to[other] = cluster.id
            self.frequencies.customers -= 1
            cluster.absorb(self.clusters.pop(other))
        return cluster

    def _root(self, id: str) -> str:
        while id in self._joined_to:
            id = self._joined_to[id]
        return id
