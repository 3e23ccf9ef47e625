"""Twin of the model store in memory."""

from itertools import count

from state.dead_letter_logs import DeadExample
from state.model_store import (
    NOTHING,
    Beside,
    Checkpoint,
    Signer,
    opened_checkpoint,
    sealed_checkpoint,
    taken_by_another,
)


class MemoryModels:
    """Twin of `state.model_store.RedisModels`."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._revisions: dict[str, int] = {}
        self._sealed: dict[str, bytes] = {}
        self._requested: dict[str, tuple[int, str]] = {}
        self._readmitted: dict[str, dict[str, bytes]] = {}
        self.unlearnt: list[DeadExample] = []
        self._number = count(1)

    def take(self, model: str) -> tuple[int, Checkpoint | None]:
        self._revisions[model] = self._revisions.get(model, 0) + 1
        sealed = self._sealed.get(model)
        return self._revisions[model], None if sealed is None else opened_checkpoint(
            self._signer, model, sealed
        )

    def last(self, model: str) -> Checkpoint | None:
        sealed = self._sealed.get(model)
        return None if sealed is None else opened_checkpoint(self._signer, model, sealed)

    def request_promotion(self, model: str, learner: str) -> None:
        self._requested[model] = (self.promotion_requested(model)[0] + 1, learner)

    def promotion_requested(self, model: str) -> tuple[int, str]:
        return self._requested.get(model, (0, ""))

    def readmit(self, dead: DeadExample) -> None:
        self.unlearnt.remove(dead)
        self._readmitted.setdefault(dead.unlearnt.model, {})[dead.id] = dead.unlearnt.body

    def readmitted(self, model: str, count: int) -> list[tuple[str, bytes]]:
        return list(self._readmitted.get(model, {}).items())[:count]

    def save(self, model: str, revision: int, checkpoint: Checkpoint, beside: Beside = NOTHING) -> int:
        sealed = sealed_checkpoint(self._signer, model, checkpoint)
        found = self._revisions.get(model, 0)
        if found != revision:
            raise taken_by_another(model, revision, found)
        self._revisions[model] = revision + 1
        self._sealed[model] = sealed
        self.unlearnt += [DeadExample(f"{next(self._number)}-0", unlearnt) for unlearnt in beside.unlearnt]
        for ident in beside.taken:
            del self._readmitted[model][ident]
        return revision + 1
