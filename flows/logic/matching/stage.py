"""The stage that matches records as they come: finds candidates, decides, learns; what it keeps lies with its store.

One entry of its log is one step, and a step depends on nothing but the store and the entries before it.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import log2
from typing import Final, Protocol

import msgspec

from flows.logic.matching.blocking import blocking_keys
from flows.logic.matching.cluster import Cluster
from flows.logic.matching.decide import Thresholds, Verdict, are_one, decide
from flows.logic.matching.explain import explain
from flows.logic.matching.frequency import Frequencies
from flows.logic.matching.index import COMMON, FOR_A_KEY, WORTH
from flows.logic.matching.learn import Learner
from flows.logic.matching.record import Record
from flows.logic.matching.score import Scorer, count_values
from flows.logic.matching.weights import Weights
from schemas.identity import ID_BYTES, Order, OrderKind

KEY_BYTES: Final = 8
CANDIDATES_MAX: Final = 8
RECORDS_MAX: Final = 8  # of one origin, the newest
CLUSTERS_MAX: Final = 50_000  # that one process remembers
_COUNT: Final = 4


class Note(msgspec.Struct, array_like=True, frozen=True):
    """The evidence that the ledger and the queue for stewards keep: no values, only how they compare."""

    probability: float
    weight: float  # bits
    version: int  # of the weights
    words: list[str]
    words_zh: list[str]


class Store(Protocol):
    """What the stage reads; each call is one round trip."""

    def lists(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Blocking keys as `Step.lists` gives them."""

    def roots(self, origins: Sequence[bytes]) -> list[bytes]: ...

    def origins(self, roots: Sequence[bytes]) -> list[list[bytes]]: ...

    def records(self, origins: Sequence[bytes]) -> list[list[Record]]: ...


class Step(msgspec.Struct):
    """What follows from one entry."""

    orders: list[Order] = []
    lists: dict[bytes, bytes] = {}  # blocking key -> how many came, then the newest origins
    records: dict[bytes, list[Record]] = {}  # of each origin that has new ones
    comparisons: int = 0
    weights: Weights | None = None  # new ones


class _List:
    __slots__ = ("count", "origins")

    def __init__(self, packed: bytes | None) -> None:
        self.count = int.from_bytes(packed[:_COUNT]) if packed else 0
        self.origins = [packed[at : at + ID_BYTES] for at in range(_COUNT, len(packed), ID_BYTES)] if packed else []

    def pack(self) -> bytes:
        return self.count.to_bytes(_COUNT) + b"".join(self.origins)


class Stage:
    """One for all records of a deployment. `hash_key`: so that what lies in the index says nothing."""

    def __init__(
        self, hash_key: bytes, thresholds: Thresholds, frequencies: Frequencies | None = None, learner: Learner | None = None
    ) -> None:
        self._hash_key = hash_key
        self._thresholds = thresholds
        self.frequencies = frequencies or Frequencies(int.from_bytes(hash_key[:4]))
        self.learner = learner or Learner()
        self.scorer = Scorer(self.learner.weights, self.frequencies)
        self._clusters: dict[bytes, tuple[list[bytes], Cluster]] = {}  # root -> its origins then, and what they say

    def step(self, incoming: Sequence[tuple[bytes, Record]], store: Store) -> Step:
        """Records with their origins, in order."""
        return _Walk(self, incoming, store).go()

    def label(self, one: bytes, other: bytes, same: bool, store: Store) -> None:
        """A steward has decided."""
        [records, others] = store.records([one, other])
        if records and others:
            self.learner.label(records[-1], Cluster.of(other.hex(), others), same, self.scorer)

    def hashed(self, key: str) -> bytes:
        return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES, key=self._hash_key).digest()

    def remembered(self, root: bytes, origins: list[bytes]) -> Cluster | None:
        held = self._clusters.get(root)
        return held[1] if held is not None and held[0] == origins else None

    def remember(self, root: bytes, origins: list[bytes], cluster: Cluster) -> None:
        if len(self._clusters) >= CLUSTERS_MAX:
            del self._clusters[next(iter(self._clusters))]
        self._clusters[root] = (origins, cluster)

    def forget(self, roots: Iterable[bytes]) -> None:
        for root in roots:
            self._clusters.pop(root, None)


class _Walk:
    """One step: all that it needs is fetched first, then record after record sees what those before it changed."""

    def __init__(self, stage: Stage, incoming: Sequence[tuple[bytes, Record]], store: Store) -> None:
        self._stage = stage
        self._store = store
        self._result = Step([], {}, {})
        self._incoming = [(origin, record, [stage.hashed(key) for key in blocking_keys(record)]) for origin, record in incoming]
        keys = list(dict.fromkeys(key for _, _, found in self._incoming for key in found))
        self._lists = {key: _List(packed) for key, packed in zip(keys, store.lists(keys), strict=True)}
        self._roots: dict[bytes, bytes] = {}  # origin -> root, as far as it was asked
        self._joined: dict[bytes, bytes] = {}  # root -> the one that it was united with in this step
        self._clusters: dict[bytes, Cluster] = {}
        self._own: dict[bytes, list[Record]] = {}
        self._touched: set[bytes] = set()

    def go(self) -> Step:
        before: Record | None = None
        origins = list(dict.fromkeys(origin for origin, _, _ in self._incoming))
        near = [self._near(keys) for _, _, keys in self._incoming]
        self._fetch([*origins, *(origin for found in near for origin in found)])
        self._own = dict(zip(origins, self._store.records(origins), strict=True))
        for origin, record, keys in self._incoming:
            if record in self._own[origin]:
                continue
            self._match(origin, record, keys, before)
            before = record
        self._stage.forget(self._touched)
        self._result.lists = {key: self._lists[key].pack() for key in self._result.lists}
        return self._result

    def _near(self, keys: Sequence[bytes]) -> list[bytes]:
        """Origins that share the most and the rarest keys; twice as many as are compared, for some are the same customer's."""
        scores: dict[bytes, float] = {}
        for key in keys:
            held = self._lists[key]
            if held.count == 0 or held.count > COMMON:
                continue
            tells = 12.0 - log2(held.count)
            for origin in held.origins:
                scores[origin] = scores.get(origin, 0.0) + tells
        if not scores:
            return []
        least = WORTH * max(scores.values())
        return sorted([origin for origin, score in scores.items() if score >= least], key=scores.__getitem__, reverse=True)[
            : 2 * CANDIDATES_MAX
        ]

    def _fetch(self, origins: Iterable[bytes]) -> None:
        """The customers of these origins, and what their records say."""
        missing = [origin for origin in dict.fromkeys(origins) if origin not in self._roots]
        self._roots |= dict(zip(missing, self._store.roots(missing), strict=True))
        roots = [root for root in dict.fromkeys(self._roots[origin] for origin in missing) if root not in self._clusters]
        unread: list[tuple[bytes, list[bytes]]] = []
        for root, members in zip(roots, self._store.origins(roots), strict=True):
            held = self._stage.remembered(root, members)
            if held is not None:
                self._clusters[root] = held
            else:
                unread.append((root, members))
        wanted = [origin for _, members in unread for origin in members]
        found = dict(zip(wanted, self._store.records(wanted), strict=True)) if wanted else {}
        for root, members in unread:
            self._clusters[root] = Cluster.of(root.hex(), (record for origin in members for record in found[origin]))
            self._stage.remember(root, members, self._clusters[root])

    def _root(self, origin: bytes) -> bytes:
        root = self._roots[origin]
        while root in self._joined:
            root = self._joined[root]
        return root

    def _match(self, origin: bytes, record: Record, keys: Sequence[bytes], before: Record | None) -> None:
        stage, mine = self._stage, self._root(origin)
        near = self._near(keys)
        self._fetch(near)
        by_root: dict[bytes, bytes] = {}
        for other in near:
            by_root.setdefault(self._root(other), other)
        by_root.pop(mine, None)
        roots = [root for root in by_root if self._clusters[root].size][:CANDIDATES_MAX]
        candidates = [self._clusters[root] for root in roots]
        self._result.comparisons += len(candidates)
        own = self._clusters[mine]
        verdict = decide(record, candidates, stage.scorer, stage._thresholds)
        if verdict.kind == "merge" and own.size:
            verdict = self._with(own, record, verdict)
        weights = stage.learner.observe(record, candidates, verdict.kind == "merge", stage.scorer, before)
        if weights is not None:
            stage.scorer = Scorer(weights, stage.frequencies)
            self._result.weights = weights
        if verdict.kind != "none":
            self._say(origin, by_root, verdict)
        if verdict.kind == "none" and not own.size:
            stage.frequencies.customers += 1
        self._keep(origin, record, keys)

    def _with(self, own: Cluster, record: Record, verdict: Verdict) -> Verdict:
        """The customer has records already: both must fit, not just this record."""
        stage = self._stage
        best = self._clusters[bytes.fromhex(verdict.cluster)]
        if are_one(record, own, best, stage.scorer, stage._thresholds, stage.scorer.prior_bits()):
            return msgspec.structs.replace(verdict, also=())
        return msgspec.structs.replace(verdict, kind="review", also=())

    def _say(self, origin: bytes, by_root: dict[bytes, bytes], verdict: Verdict) -> None:
        version = self._stage.scorer.weights.version
        note = Note(round(verdict.probability, 6), round(verdict.weight, 2), version, explain(verdict), explain(verdict, "zh"))
        packed = msgspec.msgpack.encode(note)
        for cluster in (verdict.cluster, *verdict.also):
            root = bytes.fromhex(cluster)
            kind: OrderKind = "link" if verdict.kind == "merge" else "review"
            self._result.orders.append(Order(kind, origin, by_root[root], "match", packed, origins=True))
            if verdict.kind == "merge":
                self._unite(self._root(origin), root)

    def _unite(self, mine: bytes, other: bytes) -> None:
        """As the directory will see it, if it does not refuse."""
        self._touched |= {mine, other}
        ours, theirs = self._clusters[mine], self._clusters[other]
        if ours.size:
            self._stage.frequencies.customers -= 1
        together = Cluster.of(theirs.id, ())
        together.absorb(theirs)
        together.absorb(ours)
        self._clusters[other] = together
        self._joined[mine] = other

    def _keep(self, origin: bytes, record: Record, keys: Sequence[bytes]) -> None:
        root = self._root(origin)
        cluster = self._clusters[root]
        count_values(self._stage.frequencies, cluster.add(record))
        records = self._own[origin]
        self._own[origin] = self._result.records[origin] = [*records, record][-RECORDS_MAX:]
        for key in keys:
            held = self._lists[key]
            if any(other == origin or (other in self._roots and self._root(other) == root) for other in held.origins):
                continue
            held.count += 1
            held.origins = [*held.origins, origin][-FOR_A_KEY:]
            self._result.lists[key] = b""
