"""The `[[action]]`s of one version of the rules, compiled: what may be chosen among, on what conditions, and
what rewards it."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from flows.logic.bandit.choose import ActionSet
from flows.logic.bandit.rewards import Ledger
from flows.logic.bandit.settings import Action
from flows.logic.models.best_action import actions_of
from schemas.config import Action as ActionRule
from schemas.config import Reward, Rules
from schemas.records.customer_profile import Open

OPEN_MAX: Final = 16  # decisions of one customer that wait for rewards
_ACTION_SETS_MAX: Final = 1_024  # sets of eligible actions that are remembered


Predicate = Callable[[Any], Any]  # given a `EvaluationContext`


class Choices:
    """What a shard needs to choose, and to reward what was chosen."""

    def __init__(self, rules: Rules, shards: int, compiled: Callable[[str], Predicate]) -> None:
        self.shards = shards  # that the allowances are divided among
        self.actions = actions_of(rules)
        self.rules: dict[str, ActionRule] = {action.name: action for action in rules.action}
        self.conditions = [compiled(action.when) for action in rules.action]
        self.within_ms, self.period_ms = int(rules.best_action.within), int(rules.best_action.period)
        self._repeat = rules.best_action.repeat
        self.rewards: dict[str, list[Reward]] = {}
        for reward in rules.best_action.reward:
            self.rewards.setdefault(reward.event, []).append(reward)
        self._action_sets: dict[tuple[str, ...], ActionSet] = {}

    def action_set(self, eligible: Sequence[Action]) -> ActionSet:
        """Return the set of these eligible actions, made once for each."""
        names = tuple(action.name for action in eligible)
        action_set = self._action_sets.get(names)
        if action_set is None:
            if len(self._action_sets) >= _ACTION_SETS_MAX:
                self._action_sets.clear()
            action_set = self._action_sets[names] = ActionSet(eligible)
        return action_set

    def ledger(self, waiting: dict[str, Open]) -> Ledger:
        """Return what waits for rewards, of one customer."""
        return Ledger(self.within_ms, self._repeat, OPEN_MAX, waiting)
