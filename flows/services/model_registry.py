"""What the trainers have learnt, and which version of it the shards score with.

Nothing here trains. What is returned comes from checkpoints and announcements; what is decided goes through
the directory as a record of all shards' logs (`pin:NAME`, `rollback:NAME`, `unpin:NAME`), so that a replay
decides the same at the same place. A promotion is a request that the trainer grants with its next checkpoint,
once.
"""

import time
from collections.abc import Iterator

import msgspec

from flows.logic.models.announced import Snapshot
from flows.logic.models.best_action_trainer import BestActionTrainer
from flows.logic.models.duel import Contested
from flows.logic.models.trainer import Trainer
from flows.logic.models.trainers import trainers
from flows.runtime.deployment import Deployment
from flows.runtime.snapshots import LEARN, PIN, ROLLBACK, UNPIN, open_snapshot, sender, sign_again
from schemas.errors import Foreign, Unusable
from schemas.records.shard_log import LogKind
from state.redis.client import reported

SHOWN = 20  # versions
FIGURES = (
    *("log_loss", "auc", "ece", "brier", "base_rate", "delay_s", "hit_rate", "mrr"),
    *("earned", "gain", "gain_low", "gain_high", "sample"),
)


class Row(msgspec.Struct, frozen=True):
    """One model at one moment."""

    name: str
    version: int  # last announced; 0 is none yet
    in_force: dict[str, list[int]]  # kind of announcement -> its numbers in the shards
    champion: str
    examples: int
    figures: dict[str, float]  # progressive, of the champion
    contest: dict[str, dict[str, float]]  # of all learners
    drifts: dict[str, int]
    dropped: dict[str, int]
    promotions: int
    age_s: float | None  # since the last answer in the last version


class Shown(msgspec.Struct, frozen=True):
    """One model with its past."""

    row: Row
    versions: list[Snapshot]  # the last ones that were learnt and can still be read, newest first
    verdicts: dict[str, tuple[str, str]]  # on each policy in the shadow of the one that decides: what, why


def rows(deployment: Deployment) -> list[Row]:
    """Return the models that are configured. Raises `Unreachable`, `Foreign`."""
    with reported():
        return [row_of(deployment, trainer) for trainer in _trained(deployment)]


def shown(deployment: Deployment, name: str) -> Shown:
    """Return all of one. Raises `Unusable` where there is none, `Unreachable`, `Foreign`."""
    with reported():
        trainer = find(deployment, name)
        verdicts = trainer.verdicts() if isinstance(trainer, BestActionTrainer) else {}
        return Shown(row_of(deployment, trainer), list(_versions(deployment, name)), verdicts)


def rollback(deployment: Deployment, name: str, to: int | None) -> int:
    """Have a version (the one before the last) in force until the next one is learnt, and return which.
    Raises `Unusable` where there is no such version, `Unreachable`."""
    with reported():
        find(deployment, name)
        version = to or deployment.directory.sent(sender(name)) - 1
        _again(deployment, ROLLBACK, name, version)
    return version


def pin(deployment: Deployment, name: str, to: int | None) -> int:
    """Have a version (the last) in force until it is unpinned, and return which. Raises `Unusable` where
    there is no such version, `Unreachable`."""
    with reported():
        find(deployment, name)
        version = to or deployment.directory.sent(sender(name))
        _again(deployment, PIN, name, version)
    return version


def unpin(deployment: Deployment, name: str) -> None:
    """Have the last version in force again, and those that follow. Raises `Unusable`, `Unreachable`."""
    with reported():
        find(deployment, name)
        who = sender(name, UNPIN)
        _announce(deployment, who, deployment.directory.sent(who) + 1, b"")


def promote(deployment: Deployment, name: str, learner: str) -> None:
    """Make a learner the champion with the next examples that are learnt. Raises `Unusable` where nobody of
    that name learns, `Unreachable`."""
    with reported():
        found = find(deployment, name)
        known = found.contest()
        if not isinstance(found, Contested):
            raise Unusable(f"{name} learns alone: it has no challenger")
        if learner not in known:
            raise Unusable(f"{name} has no learner {learner}, but {', '.join(known)}")
        deployment.models.request_promotion(name, learner)


def snapshot(deployment: Deployment, name: str, to: int | None) -> Snapshot:
    """Return a version (the last): all that shards use of it. Raises `Unusable` where there is none,
    `Unreachable`."""
    with reported():
        find(deployment, name)
        return _version(deployment, name, to or deployment.directory.sent(sender(name)))


# --- what there is --------------------------------------------------------------------------------


def _trained(deployment: Deployment) -> Iterator[Trainer]:
    """Yield the trainer of each configured model, as its last checkpoint has it (new without one). Raises
    `Foreign`."""
    config, store = deployment.config, deployment.models
    for trainer in trainers(config):
        last = store.last(trainer.name)
        if last is not None:
            trainer.load(last.trainer)
        yield trainer


def find(deployment: Deployment, name: str) -> Trainer:
    """Return the trainer of a model. Raises `Unusable` where there is none."""
    found = {trainer.name: trainer for trainer in _trained(deployment)}
    if name not in found:
        raise Unusable(f"there is no model {name}: configured are {', '.join(found)}")
    return found[name]


def row_of(deployment: Deployment, trainer: Trainer) -> Row:
    """Return one model as it is now."""
    heads, name = deployment.shards.heads().values(), trainer.name
    version = deployment.directory.sent(sender(name))
    in_force: dict[str, list[int]] = {}
    for kind in (PIN, ROLLBACK, LEARN):
        numbers = sorted(
            {head.models[sender(name, kind)] for head in heads if sender(name, kind) in head.models}
        )
        if numbers:
            in_force[kind] = numbers
    age_s = max(time.time() - trainer.trained_ms / 1000, 0.0) if trainer.trained_ms else None
    return Row(
        name=name,
        version=version,
        in_force=in_force,
        champion=trainer.champion,
        examples=trainer.examples,
        figures=trainer.figures(),
        contest=trainer.contest(),
        drifts=dict(trainer.drifts),
        dropped=dict(trainer.dropped),
        promotions=trainer.promotions,
        age_s=age_s,
    )


def _versions(deployment: Deployment, name: str) -> Iterator[Snapshot]:
    """The last ones that were learnt and can still be read, newest first."""
    last = deployment.directory.sent(sender(name))
    for version in range(last, max(last - SHOWN, 0), -1):
        try:
            yield _version(deployment, name, version)
        except Unusable:
            continue


def _version(deployment: Deployment, name: str, version: int) -> Snapshot:
    body = deployment.directory.body(LogKind.MODEL, sender(name), version) if version > 0 else None
    if body is None:
        raise Unusable(f"{name} has no version {version}")
    try:
        found = open_snapshot(deployment.signer, name, body)
    except Foreign as error:
        raise Unusable(f"{name}: version {version} cannot be used: {error}") from None
    return found.snapshot


# --- what is decided ------------------------------------------------------------------------------


def _again(deployment: Deployment, kind: str, name: str, version: int) -> None:
    """Announce a snapshot of before once more."""
    packed, who = _version(deployment, name, version).pack(), sender(name, kind)
    number = deployment.directory.sent(who) + 1
    _announce(deployment, who, number, sign_again(deployment.signer, who, number, packed))


def _announce(deployment: Deployment, who: str, number: int, body: bytes) -> None:
    if not deployment.directory.announce(LogKind.MODEL, who, number, number, body):
        raise Unusable(f"{who}: somebody else has just done the same; look with `millrace model list`")
