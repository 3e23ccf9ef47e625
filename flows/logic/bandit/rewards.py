"""Open decisions until their attribution window closes: rewards come late, in parts, more than once, or
never.

A decision becomes one example, once: when its window has passed, with what it earned until then. Learning a 0
at once and correcting it later would teach the policy to prefer what pays fast.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from flows.logic.bandit.learner import Rewarded
from schemas.records.customer_profile import Open

Repeat = Literal["first", "max", "sum"]  # how several rewards of one decision become one
Refusal = Literal[
    "unknown_decision",  # never made here, or its example has left already
    "late",  # after the window
    "early",  # before the decision itself
    "reward_range",  # NaN or infinite
]
_REWARD_MAX = 1e9


def packed(context: Sequence[float]) -> bytes:
    """Pack a context as an open decision keeps it: in single precision, which is what is learnt from."""
    with np.errstate(over="ignore"):  # beyond it infinite, which the learner cuts off like all that is far
        return np.array(context, dtype=">f4").tobytes()


def unpacked(context: bytes) -> list[float]:
    """Return the context that was packed."""
    values: list[float] = np.frombuffer(context, dtype=">f4").tolist()
    return values


class Ledger:
    """At most `limit` open decisions. `waiting` maps ids to them in the order in which they were made, and is
    what to pack."""

    def __init__(
        self, window_ms: int, repeat: Repeat = "max", limit: int = 64, waiting: dict[str, Open] | None = None
    ) -> None:
        if window_ms <= 0 or limit <= 0:
            raise ValueError(
                f"a window of {window_ms} ms and a limit of {limit} decisions: both must be more than 0"
            )
        self._window_ms, self._repeat, self._limit = window_ms, repeat, limit
        self.waiting = waiting if waiting is not None else {}

    def open(self, decision: str, made: Open) -> list[Rewarded]:
        """Remember a decision. Beyond the limit the oldest are closed before their time, and returned."""
        if decision in self.waiting:
            return []  # the same decision, given again
        self.waiting[decision] = made
        return self.shorten()

    def shorten(self) -> list[Rewarded]:
        """Close the oldest beyond the limit; return their examples."""
        oldest = list(self.waiting)[: max(len(self.waiting) - self._limit, 0)]
        return [self._close(name, self.waiting[name].decided_ms) for name in oldest]

    def reward(self, decision: str, amount: float, at_ms: int) -> Refusal | None:
        """Credit a decision; return the reason if that cannot be."""
        known = self.waiting.get(decision)
        if known is None:
            return "unknown_decision"
        if at_ms < known.decided_ms:
            return "early"
        if at_ms >= known.decided_ms + self._window_ms:
            return "late"
        if not -_REWARD_MAX <= amount <= _REWARD_MAX:
            return "reward_range"
        if self._repeat == "sum":
            known.reward += amount
        elif known.rewards == 0 or (self._repeat == "max" and amount > known.reward):
            known.reward = amount
        known.rewards += 1
        return None

    def due(self, now_ms: int) -> list[Rewarded]:
        """Close the decisions whose window has passed, in the order in which they were made; return their
        examples."""
        ends = {name: known.decided_ms + self._window_ms for name, known in self.waiting.items()}
        return [self._close(name, end_ms) for name, end_ms in ends.items() if end_ms <= now_ms]

    def _close(self, decision: str, at_ms: int) -> Rewarded:
        known = self.waiting.pop(decision)
        return Rewarded(
            decision=decision,
            decided_ms=known.decided_ms,
            answered_ms=at_ms,
            context=unpacked(known.context),
            action=known.action,
            propensity=known.propensity,
            reward=known.reward,
            version=known.version,
            eligible=known.eligible,
        )
