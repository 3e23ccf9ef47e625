"""Whether the world has changed: ADWIN (Bifet and Gavaldà 2007) on the champion's log-loss and on each
feature, by means of blocks.

ADWIN keeps a window that shrinks when two of its parts have different means. Features are judged in
deviations from where they stood when the watch began.
"""

import pickle
from collections.abc import Sequence
from typing import TypeGuard

from river.drift import ADWIN

from flows.logic.models.adagrad import unpickle
from schemas.errors import Foreign

ERROR = "log_loss"  # how the champion's error is called among the features
_DOUBT = 1e-4  # of each detector: there are some twenty, and each looks often


class Watch:
    """One detector for each of `names` and for the error."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = (ERROR, *names)
        self._detectors = [ADWIN(delta=_DOUBT) for _ in self._names]

    def see(self, loss: float, features: Sequence[float]) -> list[str]:
        """Take the means of one block; return what has drifted."""
        drifted = []
        for name, detector, value in zip(self._names, self._detectors, (loss, *features), strict=True):
            detector.update(value)
            if detector.drift_detected:
                drifted.append(name)
        return drifted

    def dump(self) -> bytes:
        """Return the detectors as a pickle."""
        return pickle.dumps(self._detectors, protocol=5)

    def load(self, body: bytes) -> None:
        """Become what `dump` gave. Raises `Foreign`."""
        detectors = unpickle(body)
        if not self._fits(detectors):
            raise Foreign("the checkpoint cannot be loaded: it holds other drift detectors")
        self._detectors = detectors

    def _fits(self, detectors: object) -> TypeGuard[list[ADWIN]]:
        if not isinstance(detectors, list) or len(detectors) != len(self._names):
            return False
        return all(isinstance(each, ADWIN) for each in detectors)
