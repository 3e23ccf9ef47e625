"""The trainer of the next best action: the bandit, and in its shadow all other policies."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from flows.logic.bandit.learner import Learner, Rewarded
from flows.logic.bandit.settings import ARMS_MAX, POLICIES, Action, Policy
from flows.logic.bandit.shadow import Shadows, Tally
from flows.logic.models import best_action
from flows.logic.models.announced import Snapshot
from flows.logic.models.duel import Contested
from flows.logic.models.trainer import CheckpointedTrainer, unreadable
from schemas.config import Rules
from schemas.wire.triggers import Example

_SHADOW_EVERY = 4  # decisions


class _Beside(msgspec.Struct, array_like=True):
    """What lies in a checkpoint beside the learner of the configured policy."""

    configured: Policy
    champion: Policy
    promotions: int
    request: int
    other: bytes  # the learner of the other kind
    tallies: dict[Policy, Tally]
    packed: list[bytes]


class BestActionTrainer(CheckpointedTrainer, Contested):
    """One learner of probabilities and one of means, on whose beliefs the policies decide.

    An operator makes another policy the champion, not a rule: what it would have earned is an estimate from
    what others did. Another policy in the configuration is the operator's word as well. An action that it
    hears of for the first time is taken in; one that was removed is kept, and does no harm.
    """

    def __init__(self, rules: Rules) -> None:
        self._configured = best_action.settings_of(rules)
        CheckpointedTrainer.__init__(self, best_action.NAME, best_action.FEATURES)
        others = [policy for policy in POLICIES if policy != self._configured.policy]
        Contested.__init__(self, (self._configured.policy, *others))
        self._actions = best_action.actions_of(rules)
        self._shadows = Shadows(self._configured, self._actions)
        self._learners = self._made(self._actions)
        self._earned: dict[str, tuple[int, float]] = {}  # action -> examples, sum of rewards

    def _made(self, actions: Sequence[Action]) -> dict[bool, Learner]:
        """Make the learner of the configured policy, and the other one, by whether they learn
        probabilities."""
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
        """The learner of the champion."""
        return self._learners[self._shadows.of(self._policy).logistic]

    def learn(self, examples: Iterable[Example | None]) -> Sequence[Snapshot]:
        """Learn in this order; return the snapshots that fell due."""
        snapshots: list[Snapshot] = []
        for example in examples:
            made, champion = self._rewarded(example), self._learner
            if made is not None and self._tells_of_shadows(made, champion):
                self._shadows.look(made)
            due = {id(learner) for learner in self._learners.values() if learner.learn([made])}
            self.examples = champion.examples
            self.trained_ms = champion.trained_ms
            self.dropped = champion.dropped
            if id(champion) in due:
                snapshots.append(self.next_snapshot())
        return snapshots

    @staticmethod
    def _tells_of_shadows(made: Rewarded, champion: Learner) -> bool:
        """Return whether the other policies are judged by this decision, which is one in a few."""
        if not made.eligible or champion.examples % _SHADOW_EVERY != 0:
            return False
        return champion.fault(made) is None

    def next_snapshot(self) -> Snapshot:
        """Return one more version, of what is known now."""
        self.version += 1
        self._shadows.stock(self._learners.values())
        return msgspec.structs.replace(self._shadows.snapshot(self._policy), version=self.version)

    def _rewarded(self, example: Example | None) -> Rewarded | None:
        if example is None:
            return None
        action = example.action
        self._adopt(action)
        made = Rewarded(
            decision=example.decision,
            decided_ms=example.asked_ms,
            answered_ms=example.answered_ms,
            context=example.features,
            action=action,
            propensity=example.propensity,
            reward=example.label,
            version=example.version,
            eligible=example.eligible,
        )
        if self._learner.fault(made) is None:
            times, earned = self._earned.get(action, (0, 0.0))
            self._earned[action] = (times + 1, earned + example.label)
        return made

    def _adopt(self, action: str) -> None:
        """Take in an action that a learner hears of for the first time, if there is room."""
        for learner in self._learners.values():
            if action and action not in learner.actions and len(learner.actions) < ARMS_MAX:
                learner.adopt(action)

    def figures(self) -> dict[str, float]:
        """Return `mean_reward`; of each action `tried_` (examples) and `reward_` (their mean); of each policy
        `gain_` (see `Tally`)."""
        rewards = {f"reward_{name}": earned / times for name, (times, earned) in self._earned.items()}
        gains = {f"gain_{policy}": figures["gain"] for policy, figures in self.contest().items() if figures}
        return self._learner.figures() | rewards | gains

    def contest(self) -> dict[str, dict[str, float]]:
        """Return the figures of each policy."""
        return {policy: tally.figures() for policy, tally in self._shadows.tallies.items()}

    def verdicts(self) -> dict[str, tuple[str, str]]:
        """Return of each policy whether it is better than what was done, and why."""
        return {policy: tally.verdict() for policy, tally in self._shadows.tallies.items()}

    def dump(self) -> bytes:
        """Return the whole trainer, for a checkpoint."""
        own, other = (learner.dump() for learner in self._learners.values())
        beside = _Beside(
            configured=self._configured.policy,
            champion=self._policy,
            promotions=self.promotions,
            request=self.request,
            other=other,
            tallies=self._shadows.tallies,
            packed=self._shadows.packed,
        )
        return self._keep(own, {"earned": self._earned, "beside": beside})

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave. Raises `Foreign`.

        Returns False if that had other features or another kind of policy: then it starts afresh.
        """
        kept = self._kept(body)
        self._learners = self._made(self._actions_with(Learner.actions_in(kept.body)))
        bodies, beside = [kept.body], None
        if "beside" in kept.more:  # a release without shadows had none
            beside = self._beside(kept.more["beside"])
            bodies.append(beside.other)
        known_again = [any(learner.load(each) for each in bodies) for learner in self._learners.values()]
        if beside is not None:
            self.promotions, self.request = beside.promotions, beside.request
            if beside.configured == self._configured.policy:
                self.champion = beside.champion
            if all(known_again):
                self._shadows.resume(beside.tallies, beside.packed)
        self.examples, self.trained_ms = self._learner.examples, self._learner.trained_ms
        if known_again[0]:
            earned: dict[str, tuple[int, float]] = kept.more["earned"]
            self._earned = {name: (int(times), float(total)) for name, (times, total) in earned.items()}
        return known_again[0]

    def _actions_with(self, names: Iterable[str]) -> list[Action]:
        """Return the configured actions, and behind them those of `names` that are no longer configured."""
        known = {action.name for action in self._actions}
        others = [Action(name=name) for name in names if name not in known]
        return [*self._actions, *others][:ARMS_MAX]

    def _beside(self, kept: Any) -> _Beside:
        try:
            return msgspec.convert(kept, _Beside)
        except msgspec.ValidationError as error:
            raise unreadable(self.name, error) from error
