"""What every trainer is: examples in their order go in, snapshots come out.

A trainer is a function of the examples alone: it reads no clock and draws no random number, and nothing
depends on how often it was stopped in between.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from flows.logic.models.announced import Snapshot
from schemas.errors import Foreign
from schemas.wire.triggers import Example


class Trainer(Protocol):
    """What `learn` asks of the trainer of a model."""

    name: str
    features: tuple[str, ...]
    version: int
    examples: int
    trained_ms: int
    dropped: Counter[str]
    drifts: Counter[str]
    promotions: int
    champion: str

    def learn(self, examples: Iterable[Example | None]) -> Sequence[Snapshot]:
        """Learn in this order (`None` is one that could not be decoded); return the snapshots that fell
        due."""
        ...

    def figures(self) -> dict[str, float]:
        """Return how well the model does."""
        ...

    def contest(self) -> dict[str, dict[str, float]]:
        """Return the figures of those who learn side by side."""
        ...

    def dump(self) -> bytes:
        """Return the whole trainer, for a checkpoint."""
        ...

    def load(self, body: bytes) -> bool:
        """Become what `dump` gave; return whether that could be continued. Raises `Foreign`."""
        ...


class TrainerCheckpoint(msgspec.Struct, array_like=True):
    """A trainer in a checkpoint."""

    body: bytes  # of the model
    version: int
    examples: int
    trained_ms: int
    dropped: dict[str, int]
    more: dict[str, Any]


class CheckpointedTrainer:
    """What the trainers keep that do not give probabilities."""

    promotions = 0
    champion = ""

    def __init__(self, name: str, features: tuple[str, ...]) -> None:
        self.name, self.features = name, features
        self.version = self.examples = self.trained_ms = 0
        self.dropped: Counter[str] = Counter()
        self.drifts: Counter[str] = Counter()

    def contest(self) -> dict[str, dict[str, float]]:
        """Return nothing: it learns alone."""
        return {}

    def _keep(self, body: bytes, more: dict[str, Any]) -> bytes:
        """Pack the model's `body` with the counters and whatever `more` is to be kept."""
        kept = TrainerCheckpoint(
            body=body,
            version=self.version,
            examples=self.examples,
            trained_ms=self.trained_ms,
            dropped=dict(self.dropped),
            more=more,
        )
        return msgspec.msgpack.encode(kept)

    def _kept(self, packed: bytes) -> TrainerCheckpoint:
        """Take over the counters of what `_keep` packed, and return it. Raises `Foreign`."""
        try:
            kept = msgspec.msgpack.decode(packed, type=TrainerCheckpoint)
        except msgspec.MsgspecError as error:
            raise unreadable(self.name, error) from error
        self.version = kept.version
        self.examples = kept.examples
        self.trained_ms = kept.trained_ms
        self.dropped = Counter(kept.dropped)
        return kept


def unreadable(model: str, error: Exception) -> Foreign:
    """Return the error for a checkpoint of another release, or a damaged one."""
    return Foreign(f"model {model}: the checkpoint cannot be read by this release: {error}")
