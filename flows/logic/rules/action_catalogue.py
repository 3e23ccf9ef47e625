"""The `[[action]]`s of one version of the rules, compiled: what may be chosen among, on what conditions, and
what rewards it."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from flows.logic.bandit.choose import Menu
from flows.logic.bandit.rewards import Ledger
from flows.logic.bandit.settings import Action
from flows.logic.models.best_action import actions_of
from schemas.config import Action as ActionRule
from schemas.config import Reward, Rules
from schemas.records.profile import Open

OPEN_MAX: Final = 16  # decisions of one customer that wait for rewards
_MENUS_MAX: Final = 1_024  # sets of eligible actions that are remembered


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
        self._menus: dict[tuple[str, ...], Menu] = {}

    def menu(self, eligible: Sequence[Action]) -> Menu:
        """Return the menu of a set of eligible actions, made once for each set."""
        names = tuple(action.name for action in eligible)
        menu = self._menus.get(names)
        if menu is None:
            if len(self._menus) >= _MENUS_MAX:
                self._menus.clear()
            menu = self._menus[names] = Menu(eligible)
        return menu

    def ledger(self, waiting: dict[str, Open]) -> Ledger:
        """Return what waits for rewards, of one customer."""
        return Ledger(self.within_ms, self._repeat, OPEN_MAX, waiting)
