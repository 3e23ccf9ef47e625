"""The trainer of recommendations: item to item, and beside it, on the same interactions, River's matrix
factorisation.

Each makes an index when one falls due. The champion's is served, and both are judged by the interactions that
follow, so that what is compared is what customers get.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from flows.logic.models import challenger, recommendation_index
from flows.logic.models.announced import Snapshot
from flows.logic.models.challenger import Challenger
from flows.logic.models.duel import Contested, Duel
from flows.logic.models.recommend import Interaction, Recommender
from flows.logic.models.recommendation_index import ITEM_TO_ITEM, RecommendationIndex
from flows.logic.models.trainer import CheckpointedTrainer, unreadable
from schemas.config import Rules
from schemas.errors import Foreign
from schemas.wire.triggers import Example

HITS_OF = 10  # items: an interaction is a hit if its item was among those recommended
_LOOK_EVERY = 4  # interactions
_FADE = 0.999  # of the hit rate, with each look
_INDEX_FIRST, _INDEX_EVERY = 64, 20_000  # interactions: 64, 128, 256 ... and then each 20,000


class Side(msgspec.Struct, array_like=True):
    """A learner's last index, and how it has done lately: fading sums over the new items of interactions."""

    looks: float = 0.0
    hits: float = 0.0  # the item was among the ten recommended
    ranks: float = 0.0  # Σ 1 / its place among them
    index: bytes = b""

    def look(self, item: str, found: Sequence[str]) -> float:
        """Return what it lost: 1 - 1 / place; all of it where the item is not among them."""
        rank = 1.0 / (1 + found.index(item)) if item in found else 0.0
        self.looks = self.looks * _FADE + 1.0
        self.hits = self.hits * _FADE + (rank > 0.0)
        self.ranks = self.ranks * _FADE + rank
        return 1.0 - rank

    def figures(self) -> dict[str, float]:
        """Return `hit_rate` and `mrr` (mean reciprocal rank) among ten."""
        return {"hit_rate": self.hits / self.looks, "mrr": self.ranks / self.looks} if self.looks else {}


class _Contest(msgspec.Struct):
    """All but the counts, in a checkpoint."""

    factors: bytes
    sides: dict[str, Side]
    duels: dict[str, Duel]
    champion: str
    promotions: int
    request: int = msgspec.field(name="wishes")  # the name in checkpoints


class RecommendationTrainer(Contested, CheckpointedTrainer):
    """Learns what goes with what, in two ways side by side."""

    def __init__(self, rules: Rules) -> None:
        CheckpointedTrainer.__init__(self, recommendation_index.NAME, ())
        Contested.__init__(self, (ITEM_TO_ITEM, challenger.NAME))
        self._half_life_ms = int(rules.recommendation.half_life)
        self._counts = Recommender(self._half_life_ms)
        self._factors = Challenger()
        self._sides = {ITEM_TO_ITEM: Side(), challenger.NAME: Side()}
        self._indexes: dict[str, RecommendationIndex] = {}

    def learn(self, examples: Iterable[Example | None]) -> Sequence[Snapshot]:
        """Learn in this order; return the snapshots that fell due."""
        snapshots: list[Snapshot] = []
        for example in examples:
            if example is None:
                self.dropped["undecodable"] += 1
                continue
            interaction = _interaction(example)
            if not Recommender.fit(interaction):
                self.dropped["touch"] += 1
                continue
            if self.examples % _LOOK_EVERY == 0 and self._look(interaction):
                snapshots.append(self.next_snapshot())
            self._counts.learn([interaction])
            self._factors.learn(interaction)
            self.examples += 1
            self.trained_ms = max(self.trained_ms, example.answered_ms)
            if self._falls_due():
                snapshots.append(self.next_snapshot())
        return snapshots

    def _falls_due(self) -> bool:
        count = self.examples
        if count < _INDEX_EVERY:
            return count >= _INDEX_FIRST and count & (count - 1) == 0
        return count % _INDEX_EVERY == 0

    def _look(self, interaction: Interaction) -> bool:
        """Judge what the learners would have recommended; return whether there is another champion now."""
        if not interaction.recent or interaction.item in interaction.recent:
            return False  # nothing is known of the customer, or they know the item: it is never recommended
        found = {
            name: index.recommend(interaction.recent, interaction.segment, HITS_OF)
            for name, index in self._indexes.items()
        }
        losses = {name: [self._sides[name].look(interaction.item, items)] for name, items in found.items()}
        return bool(losses) and self.judge(losses)

    def next_snapshot(self) -> recommendation_index.Snapshot:
        """Return one more version, of what is known now."""
        self.version += 1
        self._make_indexes()
        return self._indexes[self.champion].snapshot

    def _make_indexes(self) -> None:
        counted = self._counts.snapshot(self.version, self.examples, self.trained_ms, self.figures())
        factored = msgspec.structs.replace(
            counted, companions=self._factors.companions(), learner=challenger.NAME
        )
        for snapshot in (counted, factored):
            self._indexes[snapshot.learner] = RecommendationIndex(snapshot)
            self._sides[snapshot.learner].index = snapshot.pack()

    def figures(self) -> dict[str, float]:
        """Return `hit_rate`: how often a new item was among ten of the champion's index; and of each learner
        `hits_` (the same) and `mrr_`."""
        sides = {name: figures for name, figures in self.contest().items() if figures}
        if not sides:
            return {}
        figures = {"hit_rate": sides[self.champion]["hit_rate"]}
        for name, side in sides.items():
            figures[f"hits_{name}"] = side["hit_rate"]
            figures[f"mrr_{name}"] = side["mrr"]
        return figures

    def contest(self) -> dict[str, dict[str, float]]:
        """Return the figures of each learner."""
        return {name: side.figures() for name, side in self._sides.items()}

    def dump(self) -> bytes:
        """Return the whole trainer, for a checkpoint."""
        contest = _Contest(
            factors=self._factors.dump(),
            sides=self._sides,
            duels=self._duels,
            champion=self.champion,
            promotions=self.promotions,
            request=self.request,
        )
        return self._keep(self._counts.pack(), {"contest": contest})

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave, with the half-life that is configured now; return True. Raises
        `Foreign`."""
        kept = self._kept(body)
        self._counts = Recommender.unpack(kept.body)
        self._counts.pace(self._half_life_ms, self.trained_ms)
        if "contest" in kept.more:
            self._resume(kept.more["contest"])
        else:  # of a release without promotions: the challenger and the comparison begin again
            self._make_indexes()
        return True

    def _resume(self, kept: Any) -> None:
        try:
            contest = msgspec.convert(kept, _Contest)
        except msgspec.ValidationError as error:
            raise unreadable(self.name, error) from error
        learners = set(self._duels)
        if contest.champion not in learners or not set(contest.sides) == set(contest.duels) == learners:
            raise Foreign(
                f"model {self.name}: the checkpoint has learners {sorted(contest.sides)},"
                f" expected {sorted(learners)}"
            )
        self._factors.load(contest.factors)
        self._sides, self._duels = contest.sides, contest.duels
        self._indexes = {
            name: RecommendationIndex.from_snapshot(side.index)
            for name, side in contest.sides.items()
            if side.index
        }
        self.champion = contest.champion
        self.promotions = contest.promotions
        self.request = contest.request


def _interaction(example: Example) -> Interaction:
    return Interaction(
        at_ms=example.asked_ms,
        item=example.action,
        weight=example.label,
        recent=example.recent[: recommendation_index.RECENT_MAX],
        segment=example.segment,
    )
