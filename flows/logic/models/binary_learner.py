"""One way to learn a binary model: what the trainer asks of those that learn side by side."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flows.logic.models.linear import Terms

Array = NDArray[np.float64]


class Learner(Protocol):
    """Learns in blocks. Rows are examples, columns features."""

    @property
    def name(self) -> str: ...

    def logits(self, rows: Array) -> Array:
        """Return what it says now; a row's logit is the same in whatever company it comes."""
        ...

    def learn(self, rows: Array, answers: Array, stress: Array) -> None:
        """Learn one block; `stress` is how much each answer counts."""
        ...

    def forget(self, share: float) -> None:
        """Keep this share of the evidence."""
        ...

    def terms(self) -> Terms:
        """Return what was learnt, as plain numbers."""
        ...

    def dump(self) -> bytes:
        """Return all of it, for a checkpoint."""
        ...

    def load(self, body: bytes) -> None:
        """Become what `dump` gave. Raises `Foreign`."""
        ...
