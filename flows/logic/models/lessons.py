"""What `learn` teaches besides probabilities, each as it teaches those: examples in their order in, snapshots
out.

All are functions of the examples alone: no clock, no chance, and nothing depends on how often they were
stopped in between.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, cast

import msgspec

from flows.logic.bandit.learner import Learner, Rewarded
from flows.logic.bandit.settings import ARMS_MAX, POLICIES, Action, Policy
from flows.logic.bandit.shadow import Shadows, Tally
from flows.logic.models import best_action, challenger, recommendation_index, segments_learnt
from flows.logic.models.announced import Snapshot
from flows.logic.models.challenger import Challenger
from flows.logic.models.clusters import Clusters
from flows.logic.models.duel import Contested, Duel
from flows.logic.models.recommend import Recommender, Touch
from flows.logic.models.recommendation_index import ITEM_TO_ITEM, Shelf
from schemas.config import Rules
from schemas.errors import Foreign
from schemas.wire.triggers import Example

HITS_OF = 10  # a touch is a hit if its item was among so many recommended
_LOOK_EVERY = 4  # touches
_SHADOW_EVERY = 4  # decisions
_FADE = 0.999  # of the hit rate, with each look
_SHELF_FIRST, _SHELF_EVERY = 64, 20_000  # touches: 64, 128, 256 ... and then each 20,000


class Teacher(Protocol):
    """One that learns a model; `flows.logic.models.trainer.Trainer` is the one for probabilities."""

    name: str
    features: tuple[str, ...]
    version: int
    examples: int
    trained_ms: int
    dropped: Counter[str]
    drifts: Counter[str]
    promotions: int
    champion: str

    def learn(self, examples: Iterable[Example | None]) -> Sequence[Snapshot]: ...

    def figures(self) -> dict[str, float]: ...

    def contest(self) -> dict[str, dict[str, float]]:
        """The figures of those who learn side by side."""
        ...

    def dump(self) -> bytes: ...

    def load(self, body: bytes) -> bool: ...


class _Kept(msgspec.Struct, array_like=True):
    """A teacher in a checkpoint."""

    body: bytes  # of the model
    version: int
    examples: int
    trained_ms: int
    dropped: dict[str, int]
    more: dict[str, Any]


class _Teacher:
    """What all of them keep."""

    promotions = 0
    champion = ""

    def __init__(self, name: str, features: tuple[str, ...]) -> None:
        self.name, self.features = name, features
        self.version = self.examples = self.trained_ms = 0
        self.dropped: Counter[str] = Counter()
        self.drifts: Counter[str] = Counter()

    def contest(self) -> dict[str, dict[str, float]]:
        """It learns alone."""
        return {}

    def _keep(self, body: bytes, more: dict[str, Any]) -> bytes:
        return msgspec.msgpack.encode(
            _Kept(body, self.version, self.examples, self.trained_ms, dict(self.dropped), more)
        )

    def _kept(self, body: bytes) -> _Kept:
        try:
            kept = msgspec.msgpack.decode(body, type=_Kept)
        except msgspec.MsgspecError as error:
            raise Foreign(
                f"model {self.name}: the checkpoint cannot be read by this release: {error}"
            ) from error
        self.version, self.examples, self.trained_ms, self.dropped = (
            kept.version,
            kept.examples,
            kept.trained_ms,
            Counter(kept.dropped),
        )
        return kept


class _Beside(msgspec.Struct, array_like=True):
    """What lies in a checkpoint beside the learner of the configured policy."""

    configured: Policy
    champion: Policy
    promotions: int
    wishes: int
    other: bytes  # the learner of the other kind
    tallies: dict[Policy, Tally]
    packed: list[bytes]


class BestActions(_Teacher, Contested):
    """The bandit, and in its shadow all other policies: one learner of probabilities and one of means, on
    whose beliefs they decide.

    An operator makes another policy the champion, not a rule: what it would have earned is an estimate from
    what others did. Another policy in the configuration is his word as well. An action that it hears of for
    the first time is taken in; one that was removed is kept, and does no harm.
    """

    def __init__(self, rules: Rules) -> None:
        self._configured = best_action.settings_of(rules)
        _Teacher.__init__(self, best_action.NAME, best_action.FEATURES)
        Contested.__init__(
            self,
            (self._configured.policy, *(policy for policy in POLICIES if policy != self._configured.policy)),
        )
        self._actions = best_action.actions_of(rules)
        self._shadows = Shadows(self._configured, self._actions)
        self._learners = self._made(self._actions)
        self._earned: dict[str, tuple[int, float]] = {}  # action -> examples, sum of rewards

    def _made(self, actions: Sequence[Action]) -> dict[bool, Learner]:
        """By whether they learn probabilities: that of the configured policy, and the other."""
        other: Policy = "linucb" if self._configured.logistic else "logistic_ucb"
        both = self._configured, self._shadows.of(other)
        return {
            settings.logistic: Learner(best_action.NAME, best_action.FEATURES, actions, settings)
            for settings in both
        }

    @property
    def _policy(self) -> Policy:
        return cast(Policy, self.champion)

    @property
    def _learner(self) -> Learner:
        """The champion's."""
        return self._learners[self._shadows.of(self._policy).logistic]

    def learn(self, examples: Iterable[Example | None]) -> Sequence[Snapshot]:
        snapshots: list[Snapshot] = []
        for example in examples:
            made, champion = self._rewarded(example), self._learner
            if (
                made is not None
                and made.eligible
                and champion.examples % _SHADOW_EVERY == 0
                and champion.fault(made) is None
            ):
                self._shadows.look(made)
            due = {id(learner) for learner in self._learners.values() if learner.learn([made])}
            self.examples, self.trained_ms, self.dropped = (
                champion.examples,
                champion.trained_ms,
                champion.dropped,
            )
            if id(champion) in due:
                snapshots.append(self.next_snapshot())
        return snapshots

    def next_snapshot(self) -> Snapshot:
        self.version += 1
        self._shadows.stock(self._learners.values())
        return msgspec.structs.replace(self._shadows.snapshot(self._policy), version=self.version)

    def _rewarded(self, example: Example | None) -> Rewarded | None:
        if example is None:
            return None
        action = example.action
        for learner in self._learners.values():
            if action and action not in learner.actions and len(learner.actions) < ARMS_MAX:
                learner.adopt(action)
        made = Rewarded(
            example.decision,
            example.asked_ms,
            example.answered_ms,
            example.features,
            action,
            example.propensity,
            example.label,
            example.version,
            example.eligible,
        )
        if self._learner.fault(made) is None:
            times, earned = self._earned.get(action, (0, 0.0))
            self._earned[action] = (times + 1, earned + example.label)
        return made

    def figures(self) -> dict[str, float]:
        """`mean_reward`; of each action `tried_` (examples) and `reward_` (their mean); of each policy
        `gain_` (see `Tally`)."""
        rewards = {f"reward_{name}": earned / times for name, (times, earned) in self._earned.items()}
        gains = {f"gain_{policy}": figures["gain"] for policy, figures in self.contest().items() if figures}
        return self._learner.figures() | rewards | gains

    def contest(self) -> dict[str, dict[str, float]]:
        return {policy: tally.figures() for policy, tally in self._shadows.tallies.items()}

    def verdicts(self) -> dict[str, tuple[str, str]]:
        """Of each policy, whether it is better than what was done, and why."""
        return {policy: tally.verdict() for policy, tally in self._shadows.tallies.items()}

    def dump(self) -> bytes:
        own, other = (learner.dump() for learner in self._learners.values())
        shadows, policies = self._shadows, (self._configured.policy, self._policy)
        beside = _Beside(*policies, self.promotions, self.wishes, other, shadows.tallies, shadows.packed)
        return self._keep(own, {"earned": self._earned, "beside": beside})

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave. Raises `Foreign`. False if that had other features or another kind of
        policy: then it starts afresh."""
        kept = self._kept(body)
        known = {action.name for action in self._actions}
        others = [Action(name=name) for name in Learner.actions_in(kept.body) if name not in known]
        self._learners = self._made([*self._actions, *others][:ARMS_MAX])
        bodies, beside = [kept.body], None
        if "beside" in kept.more:  # a release without shadows had none
            beside = self._beside(kept.more["beside"])
            bodies.append(beside.other)
        known_again = [any(learner.load(each) for each in bodies) for learner in self._learners.values()]
        if beside is not None:
            self.promotions, self.wishes = beside.promotions, beside.wishes
            if beside.configured == self._configured.policy:
                self.champion = beside.champion
            if all(known_again):
                self._shadows.resume(beside.tallies, beside.packed)
        self.examples, self.trained_ms = self._learner.examples, self._learner.trained_ms
        if known_again[0]:
            self._earned = {
                name: (int(times), float(earned)) for name, (times, earned) in kept.more["earned"].items()
            }
        return known_again[0]

    def _beside(self, kept: Any) -> _Beside:
        try:
            return msgspec.convert(kept, _Beside)
        except msgspec.ValidationError as error:
            raise Foreign(
                f"model {self.name}: the checkpoint cannot be read by this release: {error}"
            ) from error


class Side(msgspec.Struct, array_like=True):
    """A learner's last shelf, and how it fared of late: fading sums over the new items that were touched."""

    looks: float = 0.0
    hits: float = 0.0  # the item was among the ten recommended
    ranks: float = 0.0  # Σ 1 / its place among them
    shelf: bytes = b""

    def look(self, item: str, found: Sequence[str]) -> float:
        """What it lost: 1 - 1 / place; all of it where the item is not among them."""
        rank = 1.0 / (1 + found.index(item)) if item in found else 0.0
        self.looks, self.hits, self.ranks = (
            self.looks * _FADE + 1.0,
            self.hits * _FADE + (rank > 0.0),
            self.ranks * _FADE + rank,
        )
        return 1.0 - rank

    def figures(self) -> dict[str, float]:
        """`hit_rate` and `mrr` (mean reciprocal rank) among ten."""
        return {"hit_rate": self.hits / self.looks, "mrr": self.ranks / self.looks} if self.looks else {}


class _Contest(msgspec.Struct):
    """All but the counts, in a checkpoint."""

    factors: bytes
    sides: dict[str, Side]
    duels: dict[str, Duel]
    champion: str
    promotions: int
    wishes: int


class Recommendations(Contested, _Teacher):
    """Item to item, and beside it, on the same touches, River's matrix factorisation. Each makes a shelf when
    one falls due: the champion's is served, and both are judged by the touches that follow, so that what is
    compared is what customers get."""

    def __init__(self, rules: Rules) -> None:
        _Teacher.__init__(self, recommendation_index.NAME, ())
        Contested.__init__(self, (ITEM_TO_ITEM, challenger.NAME))
        self._half_life_ms = int(rules.recommendation.half_life)
        self._counts = Recommender(self._half_life_ms)
        self._factors = Challenger()
        self._sides = {ITEM_TO_ITEM: Side(), challenger.NAME: Side()}
        self._shelves: dict[str, Shelf] = {}

    def learn(self, examples: Iterable[Example | None]) -> Sequence[Snapshot]:
        snapshots: list[Snapshot] = []
        for example in examples:
            if example is None:
                self.dropped["undecodable"] += 1
                continue
            touch = Touch(
                example.asked_ms,
                example.action,
                example.label,
                example.recent[: recommendation_index.RECENT_MAX],
                example.segment,
            )
            if not Recommender.fit(touch):
                self.dropped["touch"] += 1
                continue
            if self.examples % _LOOK_EVERY == 0 and self._look(touch):
                snapshots.append(self.next_snapshot())
            self._counts.learn([touch])
            self._factors.learn(touch)
            self.examples += 1
            self.trained_ms = max(self.trained_ms, example.answered_ms)
            doubled = self.examples >= _SHELF_FIRST and self.examples & (self.examples - 1) == 0
            if self.examples % _SHELF_EVERY == 0 or (doubled and self.examples < _SHELF_EVERY):
                snapshots.append(self.next_snapshot())
        return snapshots

    def _look(self, touch: Touch) -> bool:
        """Would they have got it? Whether there is another champion now."""
        if not touch.recent or touch.item in touch.recent:
            return False  # nothing is known of them, or they know it: never recommended
        found = {
            name: kept.recommend(touch.recent, touch.segment, HITS_OF) for name, kept in self._shelves.items()
        }
        losses = {name: [self._sides[name].look(touch.item, items)] for name, items in found.items()}
        return bool(losses) and self.judge(losses)

    def next_snapshot(self) -> recommendation_index.Snapshot:
        self.version += 1
        self._stock()
        return self._shelves[self.champion].snapshot

    def _stock(self) -> None:
        """Both shelves anew."""
        counted = self._counts.shelf(self.version, self.examples, self.trained_ms, self.figures())
        factored = msgspec.structs.replace(
            counted, companions=self._factors.companions(), learner=challenger.NAME
        )
        for snapshot in (counted, factored):
            self._shelves[snapshot.learner] = Shelf(snapshot)
            self._sides[snapshot.learner].shelf = snapshot.pack()

    def figures(self) -> dict[str, float]:
        """`hit_rate`: how often a new item was among ten on the champion's shelf. Of each learner's, `hits_`
        (the same) and `mrr_`."""
        sides = {name: figures for name, figures in self.contest().items() if figures}
        beside = {
            f"{short}_{name}": side[long]
            for name, side in sides.items()
            for short, long in (("hits", "hit_rate"), ("mrr", "mrr"))
        }
        return {"hit_rate": sides[self.champion]["hit_rate"], **beside} if sides else {}

    def contest(self) -> dict[str, dict[str, float]]:
        return {name: side.figures() for name, side in self._sides.items()}

    def dump(self) -> bytes:
        contest = _Contest(
            self._factors.dump(), self._sides, self._duels, self.champion, self.promotions, self.wishes
        )
        return self._keep(self._counts.pack(), {"contest": contest})

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave, with the half-life that is configured now. Raises `Foreign`."""
        kept = self._kept(body)
        self._counts = Recommender.unpack(kept.body)
        self._counts.pace(self._half_life_ms, self.trained_ms)
        if "contest" in kept.more:
            self._resume(kept.more["contest"])
        else:  # of a release that knew no promotion: the challenger and the comparison begin anew
            self._stock()
        return True

    def _resume(self, kept: Any) -> None:
        try:
            contest = msgspec.convert(kept, _Contest)
        except msgspec.ValidationError as error:
            raise Foreign(
                f"model {self.name}: the checkpoint cannot be read by this release: {error}"
            ) from error
        if contest.champion not in self._duels or not set(contest.sides) == set(contest.duels) == set(
            self._duels
        ):
            raise Foreign(
                f"model {self.name}: the checkpoint has learners {sorted(contest.sides)}, expected {sorted(self._duels)}"
            )
        self._factors.load(contest.factors)
        self._sides, self._duels = contest.sides, contest.duels
        self._shelves = {
            name: Shelf.from_snapshot(side.shelf) for name, side in contest.sides.items() if side.shelf
        }
        self.champion, self.promotions, self.wishes = contest.champion, contest.promotions, contest.wishes


class Groups(_Teacher):
    """Clusters, with how far they drift."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(segments_learnt.NAME, segments_learnt.FEATURES)
        self._model = Clusters(segments_learnt.FEATURES, rules.clusters.k)

    def learn(self, examples: Iterable[Example | None]) -> Sequence[Snapshot]:
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
        """`drift_` and `share_` of each cluster: the deviations it moved when the groups were formed last,
        and its part of all."""
        now = self._model.snapshot()
        figures = {f"drift_{name}": drift for name, drift in zip(now.names, now.drift, strict=True)}
        return (
            figures | {f"share_{name}": share for name, share in zip(now.names, now.shares, strict=True)}
            if now.version
            else {}
        )

    def dump(self) -> bytes:
        return self._keep(self._model.dump(), {})

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave. Raises `Foreign`. False if that had other features or another `k`: then it
        starts afresh."""
        kept = self._kept(body)
        same = self._model.load(kept.body)
        if not same:
            self._model.version, self.examples = kept.version, 0
        return same


def teachers(rules: Rules) -> list[Teacher]:
    """One for each that is configured."""
    found: list[Teacher] = []
    if rules.action:
        found.append(BestActions(rules))
    if rules.recommendation.touch:
        found.append(Recommendations(rules))
    if rules.clusters.enabled:
        found.append(Groups(rules))
    return found
