"""Champion against challenger on the same answers: are the challenger's losses less, beyond doubt? Then it
takes the champion's place.

The test is a one-sided paired z-test on the differences of losses over a window of `ANSWERS` answers, windows
following one another without overlap. At `DOUBT` a challenger that is no better wins one window in a
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
        """The losses of both for one answer."""
        gain = champion - challenger
        self.count += 1
        self.gain += gain
        self.squares += gain * gain

    def won(self) -> bool:
        """Whether the challenger has won the window that just ended. The next one begins."""
        if self.count < ANSWERS:
            return False
        mean = self.gain / self.count
        error = sqrt(max(self.squares / self.count - mean * mean, 0.0) / self.count)
        self.count, self.gain, self.squares = 0, 0.0, 0.0
        return mean > LOSS_LEAST and mean > DOUBT * error


class Contested(ABC):
    """A model with learners side by side, of whom one is champion: by rule, or by an operator's word."""

    def __init__(self, learners: Iterable[str]) -> None:
        """The first is the champion."""
        self._duels = {name: Duel() for name in learners}
        self.champion = next(iter(self._duels))
        self.promotions = 0
        self.wishes = 0  # number of the last promotion by hand that it has seen to

    @abstractmethod
    def next_snapshot(self) -> Snapshot:
        """One more version, of what is known now."""

    def judge(self, losses: Mapping[str, Sequence[float]]) -> bool:
        """What each lost by the same answers. Whether there is another champion now."""
        for name, duel in self._duels.items():
            if name != self.champion:
                for champion, challenger in zip(losses[self.champion], losses[name], strict=True):
                    duel.add(champion, challenger)
        winner = next(
            (name for name, duel in self._duels.items() if name != self.champion and duel.won()), None
        )
        if winner is not None:
            self.promote(winner)
        return winner is not None

    def promote(self, challenger: str) -> None:
        """Make a challenger the champion, by rule or by hand; all duels begin anew. Raises `KeyError` if
        there is none of that name."""
        self._duels[challenger]
        self.champion = challenger
        self.promotions += 1
        self._duels = {name: Duel() for name in self._duels}

    def grant(self, number: int, learner: str) -> bool:
        """A promotion by hand, once for each number. Whether there is another champion now; a name that is
        none changes nothing."""
        if number <= self.wishes:
            return False
        self.wishes = number
        if learner == self.champion or learner not in self._duels:
            return False
        self.promote(learner)
        return True
