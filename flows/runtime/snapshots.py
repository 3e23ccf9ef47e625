"""How a model's snapshot travels from the trainer (`learn`) to those who score (`profile`): signed,
announced, verified."""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import structlog

from flows.logic.bandit.snapshot import Decider
from flows.logic.models import best_action, cluster_assigner, recommendation_index
from flows.logic.models.announced import Snapshot
from flows.logic.models.binary import BINARY
from flows.logic.models.cluster_assigner import Assigner
from flows.logic.models.linear import Scorer
from flows.logic.models.recommendation_index import RecommendationIndex
from flows.logic.shard.state import Loaded
from schemas import metrics
from schemas.errors import Foreign
from schemas.records.shard_log import LogKind
from state.model_store import Signer

log = structlog.get_logger()

LEARN, PIN, ROLLBACK, UNPIN = (
    "learn",
    "pin",
    "rollback",
    "unpin",
)  # kinds of announcements; an operator makes all but the first
_FEATURES: dict[str, tuple[str, ...]] = {
    name: model.features for name, model in BINARY.items()
}  # of every model that this release scores with
_CACHED = 64  # scorers: the shards of a worker take up the same version one after the other
_OTHERS: dict[str, Callable[[bytes], Decider | RecommendationIndex | Assigner]] = {  # that give no score
    best_action.NAME: lambda body: Decider.from_snapshot(body, best_action.FEATURES),
    recommendation_index.NAME: RecommendationIndex.from_snapshot,
    cluster_assigner.NAME: lambda body: Assigner.from_snapshot(body, cluster_assigner.FEATURES),
}


class Bodies(Protocol):
    """What the directory keeps of announcements."""

    def body(self, kind: str, sender: str, version: int) -> bytes | None:
        """Return what was announced."""


def sender(model: str, kind: str = LEARN) -> str:
    """Return who announces a model's snapshots in the directory."""
    return f"{kind}:{model}"


def sign_snapshot(signer: Signer, snapshot: Snapshot) -> bytes:
    """Return a snapshot as it is announced."""
    return signer.sign(f"snapshot:{snapshot.model}", snapshot.pack())


def sign_again(signer: Signer, sender: str, number: int, packed: bytes) -> bytes:
    """Return a former snapshot that an operator puts back in force: good only as this announcement."""
    return signer.sign(f"{sender}:{number}", packed)


def open_snapshot(
    signer: Signer, model: str, announced: bytes, purpose: str = ""
) -> Scorer | Decider | RecommendationIndex | Assigner:
    """Verify and load what was announced. Raises `Foreign`: a wrong signature, another model's snapshot,
    damage, or features that this release does not have."""
    if model not in _OTHERS and model not in _FEATURES:
        raise Foreign(f"this release has no model {model}")
    packed = signer.verify(purpose or f"snapshot:{model}", announced)
    return _OTHERS[model](packed) if model in _OTHERS else Scorer.from_snapshot(packed, _FEATURES[model])


def scorers(directory: Bodies, signer: Signer) -> Callable[[str, int], Loaded | None]:
    """Return what gives the scorer that (sender, version) announced; None, and an error in the log, where it
    cannot be trusted or used."""

    @lru_cache(maxsize=_CACHED)
    def scorer_of(sender: str, version: int) -> Loaded | None:
        kind, _, model = sender.partition(":")
        announced = directory.body(LogKind.MODEL, sender, version)
        try:
            if announced is None:
                raise Foreign("its body is not in the directory")
            if kind != LEARN:
                return open_snapshot(signer, model, announced, f"{sender}:{version}")
            scorer = open_snapshot(signer, model, announced)
            if scorer.version != version:  # an old snapshot of ours under a new number
                raise Foreign(f"it says that it is version {scorer.version}")
        except Foreign as error:
            metrics.MODEL_REFUSED.labels(model).inc()
            log.error("model_snapshot_refused", model=model, version=version, reason=str(error))
            return None
        return scorer

    return scorer_of
