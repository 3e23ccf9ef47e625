"""The stage that matches records as they come: finds candidates, decides, learns; what it keeps lies with its
store.

One entry of its log is one step, and a step depends on nothing but the store and the entries before it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

import msgspec

from flows.logic.matching.blocking import blocking_keys
from flows.logic.matching.cluster import Cluster
from flows.logic.matching.estimation import Learner
from flows.logic.matching.explain import explain
from flows.logic.matching.frequency import Frequencies
from flows.logic.matching.index import COMMON
from flows.logic.matching.lists import KeyList, near
from flows.logic.matching.record import Record
from flows.logic.matching.score import Scorer, count_values
from flows.logic.matching.verdict import Thresholds, Verdict, are_one, decide
from flows.logic.matching.weights import Weights
from schemas.records.identity_graph import Order, OrderKind

KEY_BYTES: Final = 8
CANDIDATES_MAX: Final = 4
NEAR_MAX: Final = CANDIDATES_MAX + 3  # origins looked up, for some are the same customer's
RECORDS_MAX: Final = 8  # of one origin, the newest
CLUSTERS_MAX: Final = 50_000  # that one process remembers
# origins, each with what its records are sealed under, as something to compare by ==
Members = list[tuple[bytes, object]]


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
        """Return blocking keys as `Step.lists` gives them."""

    def customers(self, origins: Sequence[bytes]) -> list[tuple[bytes, Members]]:
        """Return the customer that each origin belongs to: its root and all its origins."""

    def cannot_link(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        """Origins with whom each one is never to be united."""

    def records(self, origins: Sequence[bytes]) -> list[list[Record]]: ...


class Step(msgspec.Struct):
    """What follows from one entry."""

    orders: list[Order] = []
    lists: dict[bytes, bytes] = {}  # blocking key -> how many came, then the newest origins
    # of each origin those that are new; it keeps the newest `RECORDS_MAX`
    records: dict[bytes, list[Record]] = {}
    weights: Weights | None = None  # a new version
    comparisons: int = 0


class Stage:
    """Frequencies and weights are its own state; it may be put back to an earlier one, and then learns the
    rest again."""

    def __init__(
        self,
        hash_key: bytes,
        thresholds: Thresholds,
        frequencies: Frequencies | None = None,
        learner: Learner | None = None,
    ) -> None:
        self._hash = blake2b(digest_size=KEY_BYTES, key=hash_key[:64])
        self.thresholds = thresholds
        self.frequencies = frequencies or Frequencies(int.from_bytes(hash_key[:4]))
        self.learner = learner or Learner()
        self.scorer = Scorer(self.learner.weights, self.frequencies)
        # root -> its origins then, and what they say
        self._clusters: OrderedDict[bytes, tuple[Members, Cluster]] = OrderedDict()
        # since the savepoint: what was remembered before ...
        self._were: list[tuple[bytes, tuple[Members, Cluster] | None]] = []
        self._said: dict[int, tuple[Cluster, Cluster]] = {}  # ... and what each cluster said

    def step(self, incoming: Sequence[tuple[bytes, Record]], store: Store) -> Step:
        """Take records with their origins, in order; return what follows."""
        return _Walk(self, incoming, store).go()

    def savepoint(self) -> Callable[[], None]:
        """Return the way back from whatever the steps from here on change, for as long as no other savepoint
        is asked for."""
        frequencies, learner, weights = self.frequencies.savepoint(), self.learner.copy(), self.scorer.weights
        self._were, self._said = [], {}

        def take_back() -> None:
            frequencies()
            self.learner = learner.copy()
            self.scorer = Scorer(weights, self.frequencies)  # it remembers half of a record that it raised on
            for cluster, before in self._said.values():
                cluster.become(before)
            for root, held in reversed(self._were):
                if held is None:
                    self._clusters.pop(root, None)
                else:
                    self._clusters[root] = held
            self._were, self._said = [], {}

        return take_back

    def before_change(self, cluster: Cluster) -> None:
        """Note what a cluster says that is about to be changed."""
        if id(cluster) not in self._said:
            self._said[id(cluster)] = (cluster, cluster.copy())

    def label(self, one: bytes, other: bytes, same: bool, store: Store) -> None:
        """Take notice of a steward's decision."""
        [records, others] = store.records([one, other])
        if records and others:
            self.learner.label(records[-1], Cluster.of(other.hex(), others), same, self.scorer)

    def hashed(self, key: str) -> bytes:
        """Return the keyed hash of a blocking key."""
        keyed = self._hash.copy()
        keyed.update(key.encode("utf-8", "surrogatepass"))
        return keyed.digest()

    def remembered(self, root: bytes, members: Members) -> Cluster | None:
        """Return what a customer says, if it is remembered of exactly these origins."""
        held = self._clusters.get(root)
        return held[1] if held is not None and held[0] == members else None

    def remember(self, root: bytes, members: Members, cluster: Cluster) -> None:
        """Keep what a customer says; beyond `CLUSTERS_MAX` the oldest leaves."""
        if len(self._clusters) >= CLUSTERS_MAX:
            self._were.append(self._clusters.popitem(last=False))
        self._were.append((root, self._clusters.get(root)))
        self._clusters[root] = (members, cluster)

    def forget(self, roots: Iterable[bytes]) -> None:
        """Drop what these customers say."""
        for root in roots:
            self._were.append((root, self._clusters.pop(root, None)))

    def forget_all(self) -> None:
        """Read all afresh: what has become too old is left out then."""
        self._clusters.clear()


class _Walk:
    """One step: all that it needs is fetched first, then record after record sees what those before it
    changed."""

    def __init__(self, stage: Stage, incoming: Sequence[tuple[bytes, Record]], store: Store) -> None:
        self._stage = stage
        self._store = store
        self._result = Step([], {}, {})
        self._incoming = [
            (origin, record, [stage.hashed(key) for key in blocking_keys(record)])
            for origin, record in incoming
        ]
        keys = list(dict.fromkeys(key for _, _, found in self._incoming for key in found))
        self._lists = {key: KeyList(packed) for key, packed in zip(keys, store.lists(keys), strict=True)}
        self._roots: dict[bytes, bytes] = {}  # origin -> root, as far as it was asked
        self._members: dict[bytes, Members] = {}  # root -> its origins
        # root -> origins that it must not be united with; only where there are any
        self._cannot_link: dict[bytes, set[bytes]] = {}
        self._joined: dict[bytes, bytes] = {}  # root -> the one that it was united with in this step
        self._clusters: dict[bytes, Cluster] = {}
        self._records: dict[bytes, list[Record]] = {}  # what origins said, as far as it was read
        self._changed: set[bytes] = set()  # blocking keys that somebody new has

    def go(self) -> Step:
        """Match the records, one after the other."""
        before: Record | None = None
        origins = list(dict.fromkeys(origin for origin, _, _ in self._incoming))
        found = [near(keys, self._lists, NEAR_MAX) for _, _, keys in self._incoming]
        self._fetch([*origins, *(origin for some in found for origin in some)], origins)
        for (origin, record, keys), some in zip(self._incoming, found, strict=True):
            if record in self._records[origin]:
                continue
            if not self._changed.isdisjoint(keys):
                some = near(keys, self._lists, NEAR_MAX)
            self._match(origin, record, keys, some, before)
            before = record
        self._result.lists = {key: self._lists[key].pack() for key in self._lists if key in self._changed}
        return self._result

    def _fetch(self, origins: Iterable[bytes], own: Sequence[bytes] = ()) -> None:
        """Fetch the customers of these origins, and what their records say; of those in `own` what each has
        said itself."""
        missing = [origin for origin in dict.fromkeys(origins) if origin not in self._roots]
        if not missing:
            return
        found = self._store.customers(missing)
        self._roots.update(zip(missing, [root for root, _ in found], strict=True))
        new = {root: members for root, members in found if root not in self._clusters}
        unread: list[bytes] = []
        for root, members in new.items():
            self._members[root] = members
            held = self._stage.remembered(root, members)
            if held is not None:
                self._stage.before_change(held)
                held.id = root.hex()  # it may have been remembered under the name of who has retired
                self._clusters[root] = held
            else:
                unread.append(root)
        self._read(unread, own)
        everybody = [(root, origin) for root, members in new.items() for origin, _ in members]
        for (root, _), others in zip(
            everybody, self._store.cannot_link([origin for _, origin in everybody]), strict=True
        ):
            if others:
                self._cannot_link.setdefault(root, set()).update(others)

    def _read(self, roots: Sequence[bytes], own: Sequence[bytes]) -> None:
        everybody = dict.fromkeys([*own, *(origin for root in roots for origin, _ in self._members[root])])
        wanted = [origin for origin in everybody if origin not in self._records]
        self._records.update(zip(wanted, self._store.records(wanted), strict=True))
        for root in roots:
            members = self._members[root]
            said = (record for origin, _ in members for record in self._records[origin])
            self._clusters[root] = Cluster.of(root.hex(), said)
            self._stage.remember(root, members, self._clusters[root])

    def _root(self, origin: bytes) -> bytes:
        root = self._roots[origin]
        while root in self._joined:
            root = self._joined[root]
        return root

    def _match(
        self,
        origin: bytes,
        record: Record,
        keys: Sequence[bytes],
        found: Sequence[bytes],
        before: Record | None,
    ) -> None:
        stage, mine = self._stage, self._root(origin)
        by_root = self._candidates(mine, found)
        candidates = [self._clusters[root] for root in by_root]
        self._result.comparisons += len(candidates)
        own = self._clusters[mine]
        verdict = decide(record, candidates, stage.scorer, stage.thresholds)
        if verdict.kind == "merge" and own.size:
            verdict = self._with(own, record, verdict)
        weights = stage.learner.observe(record, candidates, verdict.kind == "merge", stage.scorer, before)
        if weights is not None:
            stage.scorer = Scorer(weights, stage.frequencies)
            self._result.weights = weights
        if verdict.kind != "none":
            self._say(origin, by_root, verdict)
        elif not own.size:
            stage.frequencies.customers += 1
        self._keep(origin, record, keys)

    def _candidates(self, mine: bytes, found: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the customers to compare with, each with the origin by which it was found; not those who are
        to stay apart."""
        if not self._roots.keys() >= set(found):
            self._fetch(found)
        by_root: dict[bytes, bytes] = {}
        forbidden = self._cannot_link.get(mine, ())
        for origin in found:
            root = self._root(origin)
            if root == mine or root in by_root or not self._clusters[root].size:
                continue
            if forbidden and not forbidden.isdisjoint([member for member, _ in self._members[root]]):
                continue
            by_root[root] = origin
            if len(by_root) == CANDIDATES_MAX:
                break
        return by_root

    def _with(self, own: Cluster, record: Record, verdict: Verdict) -> Verdict:
        """Return the verdict on a customer that has records already: all of them must fit, not just this
        record."""
        stage = self._stage
        best = self._clusters[bytes.fromhex(verdict.cluster)]
        if are_one(record, own, best, stage.scorer, stage.thresholds, stage.scorer.prior_bits()):
            return msgspec.structs.replace(verdict, also=())
        return msgspec.structs.replace(verdict, kind="review", also=())

    def _say(self, origin: bytes, by_root: dict[bytes, bytes], verdict: Verdict) -> None:
        version = self._stage.scorer.weights.version
        note = Note(
            probability=round(verdict.probability, 6),
            weight=round(verdict.weight, 2),
            version=version,
            words=explain(verdict),
            words_zh=explain(verdict, "zh"),
        )
        packed = msgspec.msgpack.encode(note)
        for cluster in (verdict.cluster, *verdict.also):
            root = bytes.fromhex(cluster)
            kind: OrderKind = "link" if verdict.kind == "merge" else "review"
            self._result.orders.append(
                Order(kind=kind, a=origin, b=by_root[root], by="match", note=packed, origins=True)
            )
            if verdict.kind == "merge":
                self._unite(self._root(origin), root)

    def _unite(self, mine: bytes, other: bytes) -> None:
        """Unite two customers as the directory will see it, if it does not refuse.

        What both say is remembered under the name that will most likely survive; if it is the other one it is
        read again.
        """
        stage, ours, theirs = self._stage, self._clusters[mine], self._clusters[other]
        if ours.size:
            stage.frequencies.customers -= 1
            together = Cluster.of(theirs.id, ())
            together.absorb(theirs)
            together.absorb(ours)
            self._clusters[other] = together
        self._joined[mine] = other
        mine_first = self._members[mine] + self._members[other]
        other_first = self._members[other] + self._members[mine]
        self._members[other] = other_first
        stage.forget((mine, other))
        if mine < other:  # the smaller survives, but for who has a user id
            stage.remember(mine, mine_first, self._clusters[other])
        else:
            stage.remember(other, other_first, self._clusters[other])
        if mine in self._cannot_link:
            self._cannot_link.setdefault(other, set()).update(self._cannot_link[mine])

    def _keep(self, origin: bytes, record: Record, keys: Sequence[bytes]) -> None:
        root = self._root(origin)
        cluster = self._clusters[root]
        self._stage.before_change(cluster)
        count_values(self._stage.frequencies, cluster.add(record))
        self._records[origin] = [*self._records[origin], record]
        self._result.records.setdefault(origin, []).append(record)
        members = {member for member, _ in self._members[root]}
        for key in keys:
            held = self._lists[key]
            if held.count <= COMMON and members.isdisjoint(held.origins):
                held.add(origin)
                self._changed.add(key)
