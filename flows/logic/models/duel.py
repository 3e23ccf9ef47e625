"""Champion against challenger on the same answers: a challenger whose losses are smaller beyond doubt takes
the champion's place.

The test is a one-sided paired z-test on the differences of losses over a window of `ANSWERS` answers, windows
following one another without overlap. At `DOUBT` a challenger that is not better wins one window in a
thousand. (Losses of neighbouring answers may be related, which makes a window count for less than it has
answers: hence the strict level.)
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

import msgspec

from flows.logic.models.announced import Snapshot

ANSWERS = 2_000
DOUBT = 3.09  # standard errors: one-sided p = 0.001
LOSS_LEAST = 1e-3  # per answer; a gain below it is not worth a new champion


class Duel(msgspec.Struct, array_like=True):
    """Sums of one window."""

    count: int = 0
    gain: float = 0.0  # champion's loss - challenger's
    squares: float = 0.0

    def add(self, champion: float, challenger: float) -> None:
        """Take the losses of both for one answer."""
        gain = champion - challenger
        self.count += 1
        self.gain += gain
        self.squares += gain * gain

    def won(self) -> bool:
        """Return whether the challenger has won a window that just ended; then the next one begins."""
        if self.count < ANSWERS:
            return False
        mean = self.gain / self.count
        error = sqrt(max(self.squares / self.count - mean * mean, 0.0) / self.count)
        self.count, self.gain, self.squares = 0, 0.0, 0.0
        return mean > LOSS_LEAST and mean > DOUBT * error


class Contested(ABC):
    """A model with learners side by side, one of which is the champion: by rule, or by an operator's word."""

    def __init__(self, learners: Iterable[str]) -> None:
        """Begin with the first of them as champion."""
        self._duels = {name: Duel() for name in learners}
        self.champion = next(iter(self._duels))
        self.promotions = 0
        self.request = 0  # number of the last promotion request that it has seen to

    @abstractmethod
    def next_snapshot(self) -> Snapshot:
        """Return one more version, of what is known now."""

    def judge(self, losses: Mapping[str, Sequence[float]]) -> bool:
        """Count what each lost by the same answers; return whether there is another champion now."""
        for name, duel in self._duels.items():
            if name != self.champion:
                for champion, challenger in zip(losses[self.champion], losses[name], strict=True):
                    duel.add(champion, challenger)
        winners = (name for name, duel in self._duels.items() if name != self.champion and duel.won())
        winner = next(winners, None)
        if winner is None:
            return False
        self.promote(winner)
        return True

    def promote(self, challenger: str) -> None:
        """Make a challenger the champion, by rule or by hand; all duels begin again.

        Raises `KeyError` for an unknown name.
        """
        self._duels[challenger]
        self.champion = challenger
        self.promotions += 1
        self._duels = {name: Duel() for name in self._duels}

    def grant(self, number: int, learner: str) -> bool:
        """See to a request for a promotion, once for each number; return whether there is another champion
        now. An unknown name changes nothing."""
        if number <= self.request:
            return False
        self.request = number
        if learner == self.champion or learner not in self._duels:
            return False
        self.promote(learner)
        return True
