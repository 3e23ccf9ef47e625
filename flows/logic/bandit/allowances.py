"""Budget and capacity of each action in its period: what is left decides who may still be offered it.

Both come to a number of times, which is divided among the shards: each shard decides alone, and all together
never do more. A new period starts empty.
"""

from collections.abc import Sequence

from flows.logic.bandit.choose import Withheld
from flows.logic.bandit.settings import Action

_ROUNDING = 1e-9  # 0.3 buys 0.1 three times


class Allowances:
    """Counts of this shard, `shard` of `shards`. `used` is action -> (period, times): at most one period
    each; it is what to keep."""

    def __init__(
        self, period_ms: int, used: dict[str, tuple[int, int]], shard: int = 0, shards: int = 1
    ) -> None:
        if period_ms <= 0 or not 0 <= shard < shards:
            raise ValueError(
                f"a period of {period_ms} ms in shard {shard} of {shards}:"
                " expected more than 0, and one of them"
            )
        self._period_ms, self._shard, self._shards = period_ms, shard, shards
        self.used = used

    def room(self, actions: Sequence[Action], now_ms: int) -> list[Withheld | None]:
        """Return for each action what it has run out of, or None."""
        return [self._lack(action, now_ms // self._period_ms) for action in actions]

    def _lack(self, action: Action, period: int) -> Withheld | None:
        if action.budget is None and action.capacity is None:
            return None
        used = self.used.get(action.name)
        times = used[1] if used is not None and used[0] == period else 0
        if action.budget is not None and action.cost > 0.0:
            affordable = int(action.budget / action.cost + _ROUNDING)
            if times >= self._share(affordable):
                return "budget"
        if action.capacity is not None and times >= self._share(action.capacity):
            return "capacity"
        return None

    def _share(self, whole: int) -> int:
        """Return this shard's share of a number of times; the first shards have what does not divide."""
        return whole // self._shards + (self._shard < whole % self._shards)

    def take(self, action: Action, now_ms: int) -> None:
        """Count one choice of `action`, if it is limited."""
        if action.budget is None and action.capacity is None:
            return
        period, used = now_ms // self._period_ms, self.used.get(action.name)
        if used is None or used[0] < period:
            self.used[action.name] = (period, 1)
        elif used[0] == period:
            self.used[action.name] = (period, used[1] + 1)

    def keep(self, actions: Sequence[Action]) -> None:
        """Forget what is no longer configured."""
        names = {action.name for action in actions}
        for name in [name for name in self.used if name not in names]:
            del self.used[name]
