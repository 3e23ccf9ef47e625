"""Budget and capacity of each action in its period: what is left decides who may still be offered it.

Money is counted when the action is chosen. A new period starts empty; what came late for an old one is not counted.
"""

from collections.abc import Sequence

import msgspec

from flows.logic.bandit.choose import Withheld
from flows.logic.bandit.settings import Action


class Used(msgspec.Struct, array_like=True):
    """Of one action in one period. Mutable and packable."""

    period: int
    spent: float = 0.0
    times: int = 0


class Allowances:
    """What each action has used, at most one period each. `share` is the part of budget and capacity that is this shard's."""

    def __init__(self, period_ms: int, share: float = 1.0, used: dict[str, Used] | None = None) -> None:
        if period_ms <= 0 or not 0.0 < share <= 1.0:
            raise ValueError(f"a period of {period_ms} ms and a share of {share}: expected more than 0, a share at most 1")
        self._period_ms, self._share = period_ms, share
        self.used = used if used is not None else {}  # pack this

    def room(self, actions: Sequence[Action], now_ms: int) -> list[Withheld | None]:
        """For each action what it has run out of, or None."""
        period = now_ms // self._period_ms
        room: list[Withheld | None] = []
        for action in actions:
            used = self.used.get(action.name)
            spent, times = (used.spent, used.times) if used is not None and used.period == period else (0.0, 0)
            if action.budget is not None and spent + action.cost > action.budget * self._share:
                room.append("budget")
            elif action.capacity is not None and times + 1 > action.capacity * self._share:
                room.append("capacity")
            else:
                room.append(None)
        return room

    def take(self, action: Action, now_ms: int) -> None:
        """Count one choice of `action`."""
        period = now_ms // self._period_ms
        used = self.used.get(action.name)
        if used is None or used.period < period:
            used = self.used[action.name] = Used(period)
        if used.period == period:
            used.spent += action.cost
            used.times += 1

    def keep(self, actions: Sequence[Action]) -> None:
        """Forget what is no longer configured."""
        names = {action.name for action in actions}
        for name in [name for name in self.used if name not in names]:
            del self.used[name]
