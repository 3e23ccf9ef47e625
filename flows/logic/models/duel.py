"""Champion against challenger on the same answers: is the challenger's log-loss better, beyond doubt?

The test is a one-sided paired z-test on the differences of losses over a window of `ANSWERS` answers, windows following one another
without overlap. At `DOUBT` a challenger that is no better wins one window in a thousand. (Losses of neighbouring answers may be
related, which makes a window count for less than it has answers: hence the strict level.)
"""

from math import sqrt

import msgspec

ANSWERS = 2_000
DOUBT = 3.09  # standard errors: one-sided p = 0.001
LOSS_LEAST = 1e-3  # per answer; a gain below it is not worth a new champion


class Duel(msgspec.Struct, array_like=True):
    """Sums of one window."""

    count: int = 0
    gain: float = 0.0  # champion's loss - challenger's
    squares: float = 0.0

    def add(self, champion: float, challenger: float) -> None:
        """The log-losses of both for one answer."""
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
