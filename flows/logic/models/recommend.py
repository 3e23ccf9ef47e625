"""Recommendation: what goes with the items that this customer has interacted with, and where nothing is known
what their segment likes.

Item-to-item co-occurrence (Linden, Smith and York, Amazon.com Recommendations, 2003) with exponential decay
in bounded memory: each item keeps its `NEIGHBOURS` strongest companions by Space-Saving (Metwally, Agrawal
and El Abbadi, 2005), which overestimates a count by no more than the least that it keeps. Old scores are not
decayed: new ones count for more. River's `reco.BiasedMF` learns beside it (`challenger`). Either makes a
`recommendation_index`, which serves the customers.
"""

from collections.abc import Iterable
from math import exp2, isfinite, sqrt

import msgspec

from flows.logic.models import recommendation_index
from flows.logic.models.recommendation_index import EVERYONE, RECENT_MAX
from schemas.errors import Foreign

ITEMS_MAX = 20_000
NEIGHBOURS = 32
SEGMENTS_MAX = 64
POPULAR = 128  # items remembered for each segment
WEIGHT_MAX = 1_000.0
# halvings ahead of the base: beyond it all scores are brought down, before a double overflows
_EXPONENT_MOST = 500.0


class Interaction(msgspec.Struct, array_like=True):
    """A customer did something with an item, after those in `recent`."""

    at_ms: int
    item: str
    weight: float  # how much it says, above 0
    recent: list[str]  # the latest first
    segment: str


class Counter(msgspec.Struct, array_like=True):
    """Space-Saving: at most `limit` names with scores that only grow."""

    limit: int
    scores: dict[str, float] = {}

    def add(self, name: str, amount: float) -> str | None:
        """Add to a name; return the one that had to make room: that of least score, the earliest in the
        alphabet among equals."""
        known = self.scores
        evicted = None
        if name not in known and len(known) >= self.limit:
            evicted = min(known, key=lambda other: (known[other], other))
            amount += known.pop(evicted)
        known[name] = known.get(name, 0.0) + amount
        return evicted

    def surely(self) -> dict[str, float]:
        """Return for each name no more than was added to it: with no room left, any score may hold as much as
        the least from names that went."""
        least = min(self.scores.values()) if len(self.scores) >= self.limit else 0.0
        return {name: score - least for name, score in self.scores.items() if score > least}

    def prune(self) -> list[str]:
        """Drop the least tenth: where there are many names, cheaper than one at a time."""
        ranked = sorted(self.scores, key=lambda name: (self.scores[name], name))
        dropped = ranked[: 1 + self.limit // 10]
        for name in dropped:
            del self.scores[name]
        return dropped


class _State(msgspec.Struct, array_like=True):
    half_life_ms: int
    neighbours_max: int
    base_ms: int
    learnt: int
    dropped: int
    items: Counter
    segments: Counter
    neighbours: dict[str, Counter]
    popular: dict[str, Counter]


class Recommender:
    """Mutable; a function of the interactions in their order. Bounded by items x neighbours."""

    def __init__(
        self, half_life_ms: int, *, items_max: int = ITEMS_MAX, neighbours: int = NEIGHBOURS
    ) -> None:
        if half_life_ms <= 0 or items_max < 2 or neighbours < 1:
            raise ValueError(
                f"half-life {half_life_ms} ms, {items_max} items, {neighbours} neighbours:"
                " all must be positive, items 2 at least"
            )
        self._state = _State(
            half_life_ms=half_life_ms,
            neighbours_max=neighbours,
            base_ms=-1,
            learnt=0,
            dropped=0,
            items=Counter(items_max),
            segments=Counter(SEGMENTS_MAX),
            neighbours={},
            popular={EVERYONE: Counter(POPULAR)},
        )

    @property
    def learnt(self) -> int:
        return self._state.learnt

    @property
    def dropped(self) -> int:
        return self._state.dropped

    def learn(self, interactions: Iterable[Interaction]) -> None:
        """Learn in this order. An interaction without an item or a weight is dropped and counted."""
        for interaction in interactions:
            if not self.fit(interaction):
                self._state.dropped += 1
                continue
            self._state.learnt += 1
            self._add(interaction, interaction.weight * self._growth(interaction.at_ms))

    @staticmethod
    def fit(interaction: Interaction) -> bool:
        """Return whether something can be learnt from it."""
        return bool(interaction.item) and 0.0 < interaction.weight <= WEIGHT_MAX

    def _growth(self, at_ms: int) -> float:
        """Return how much more an interaction counts now than at the base time: 2^(elapsed / half-life)."""
        state = self._state
        if state.base_ms < 0:
            state.base_ms = at_ms
        exponent = (at_ms - state.base_ms) / state.half_life_ms
        if exponent > _EXPONENT_MOST:
            self._scale(exp2(-min(exponent, 1_000.0)))
            state.base_ms, exponent = at_ms, 0.0
        return exp2(max(exponent, -_EXPONENT_MOST))

    def _scale(self, factor: float) -> None:
        state = self._state
        for counter in (state.items, state.segments, *state.neighbours.values(), *state.popular.values()):
            for name in counter.scores:
                counter.scores[name] *= factor

    def _add(self, interaction: Interaction, amount: float) -> None:
        state, item = self._state, interaction.item
        if item not in state.items.scores and len(state.items.scores) >= state.items.limit:
            for dropped in state.items.prune():
                state.neighbours.pop(dropped, None)
        state.items.add(item, amount)
        for other in dict.fromkeys(interaction.recent[:RECENT_MAX]):
            if other == item or other not in state.items.scores:
                continue
            self._of(item).add(other, amount)
            self._of(other).add(item, amount)
        if interaction.segment != EVERYONE:
            forgotten = state.segments.add(interaction.segment, amount)
            if forgotten is not None:
                state.popular.pop(forgotten, None)
            state.popular.setdefault(interaction.segment, Counter(POPULAR)).add(item, amount)
        state.popular[EVERYONE].add(item, amount)

    def _of(self, item: str) -> Counter:
        return self._state.neighbours.setdefault(item, Counter(self._state.neighbours_max))

    def snapshot(
        self, version: int, examples: int, trained_ms: int, metrics: dict[str, float]
    ) -> recommendation_index.Snapshot:
        """Return what the shards recommend with: only the strongest of the items, of their companions and of
        what each segment likes."""
        scores, neighbours = self._state.items.scores, self._state.neighbours
        ranked = sorted(neighbours, key=lambda item: (-scores.get(item, 0.0), item))
        companions = {
            item: self._companions(item)[: recommendation_index.COMPANIONS_MAX]
            for item in ranked[: recommendation_index.ITEMS_MAX]
        }
        liked = {
            group: _liked(popular)[: recommendation_index.LIKED_MAX]
            for group, popular in self._state.popular.items()
        }
        return recommendation_index.Snapshot(
            version=version,
            companions=companions,
            liked=liked,
            examples=examples,
            trained_ms=trained_ms,
            metrics=metrics,
        )

    def _companions(self, item: str) -> list[tuple[str, float]]:
        """Return those that go with an item by cosine, the best first.

        Only what was surely seen counts: with what others left to it a rare item would go with all.
        """
        items = self._state.items.scores
        root = sqrt(items.get(item, 0.0))
        if root <= 0.0:
            return []
        found = [
            (other, together / (root * sqrt(items[other])))
            for other, together in self._state.neighbours[item].surely().items()
            if items.get(other, 0.0) > 0.0
        ]
        return sorted(found, key=_best_first)

    def pack(self) -> bytes:
        """Return all of it, for a checkpoint: the same state is always the same bytes."""
        return msgspec.msgpack.encode(self._state)

    @classmethod
    def unpack(cls, body: bytes) -> "Recommender":
        """Return the one that was packed. Raises `Foreign` for other bytes, and for numbers that are not
        finite."""
        try:
            state = msgspec.msgpack.decode(body, type=_State)
            known = cls(state.half_life_ms, items_max=state.items.limit, neighbours=state.neighbours_max)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Foreign(f"not a recommender: {error}") from error
        counters = (state.items, *state.neighbours.values(), *state.popular.values())
        finite = all(isfinite(score) for counter in counters for score in counter.scores.values())
        if EVERYONE not in state.popular or not finite:
            raise Foreign("the recommender is damaged")
        known._state = state
        return known

    def pace(self, half_life_ms: int, at_ms: int) -> None:
        """Use another half-life from this moment on, which should be that of the latest interaction."""
        state = self._state
        if half_life_ms == state.half_life_ms:
            return
        if state.base_ms >= 0:
            halvings = max((at_ms - state.base_ms) / state.half_life_ms, 0.0)
            self._scale(exp2(-min(halvings, 1_000.0)))
            state.base_ms = at_ms
        state.half_life_ms = half_life_ms


def _liked(popular: Counter) -> list[tuple[str, float]]:
    """Return the items as shares of the best, the best first."""
    most = max(popular.scores.values(), default=0.0) or 1.0
    return sorted(((item, score / most) for item, score in popular.scores.items()), key=_best_first)


def _best_first(scored: tuple[str, float]) -> tuple[float, str]:
    item, score = scored
    return -score, item
