"""The flow `learn`: outbox examples of all shards -> River models -> signed snapshots, announced to the
shards.

    poll    what of the examples lane may be learnt now, merged into the one order
            (`flows.logic.models.example_merge`)
    learn   the trainer takes the batch; gives the checkpoint that stands for it, with the snapshots that fell
            due
    commit  checkpoint, then announce, then acknowledge

A checkpoint holds the model together with its positions in the lanes and the snapshots to announce, and the
examples stay in the outbox until it is written. So whatever dies in between, the next start learns and says
exactly what is missing.

An example that the trainer raises on is put aside in that write, and the model is as if it had never come.
Let in again, it is learnt behind whatever has come since.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache, partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, NamedTuple

import bytewax.operators as op
import msgspec
import structlog
from bytewax.dataflow import Dataflow

from flows.logic.models import best_action, cluster_assigner, recommendation_index
from flows.logic.models.announced import Snapshot
from flows.logic.models.duel import Contested
from flows.logic.models.example_merge import Merge
from flows.logic.models.trainer import Trainer
from flows.logic.models.trainers import trainers
from flows.runtime.engine import Stop, run_flow
from flows.runtime.release import BUILD
from flows.runtime.sift import Poison, note, sift, story
from flows.runtime.snapshots import sender, sign_snapshot
from flows.runtime.steps import each, steps_sink, steps_source
from schemas import metrics
from schemas.errors import Damaged
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind
from schemas.wire.events import Unlearnt
from schemas.wire.triggers import Example
from state.damage import GONE, RESTORE
from state.directory.directory_protocol import Directory
from state.model_store import NOTHING, Announcement, Beside, Checkpoint, ModelStore, Signer
from state.redis.client import INFRASTRUCTURE
from state.shards.shard_protocols import Outbox

if TYPE_CHECKING:  # who runs this flow has made one; others need only its steps
    from flows.runtime.deployment import Deployment

log = structlog.get_logger()

LANE = Lane.EXAMPLES
READ_EXAMPLES = 200  # of each shard at a time; at most twice as many wait in memory
BATCH_EXAMPLES = 1_000  # at most between two checkpoints
CAREFUL_EXAMPLES = 50  # of a batch that the trainer has raised on
# versions behind the oldest that any shard scores with: for `millrace model`, and for backups under way
KEPT = 20
IDLE_S = 0.5  # between two looks at the clocks, which advance once a second
SAY_AFTER_S, SAY_EVERY_S = 8.0, 60.0  # that examples wait, and for which shard


class Batch(NamedTuple):
    """What is learnt between two checkpoints."""

    examples: list[Example | None]  # in the order to learn them; None could not be decoded
    positions: dict[int, int]  # after them
    tick: int
    readmitted: tuple[str, ...] = ()  # the ids of the last ones, which were put aside once


class Learning:
    """One model's trainer between its lanes and its checkpoint. Making one takes the model over from any
    other trainer."""

    def __init__(
        self,
        trainer: Trainer,
        outbox: Outbox,
        directory: Directory,
        store: ModelStore,
        signer: Signer,
        shards: int,
        consumers: Sequence[str],
    ) -> None:
        """Take the model over. `consumers`: the senders of all models, which must have read an example before
        it may go. Raises `Foreign`, `Damaged`."""
        self.model = trainer.name
        self.sender = sender(trainer.name)
        self._trainer = trainer
        self._outbox = outbox
        self._directory = directory
        self._store = store
        self._signer = signer
        self._shards = range(shards)
        self._consumers = consumers
        self._before = 0  # ticks before this one are complete ...
        self._drained: frozenset[int] = frozenset()  # ... in these shards, with what waits in the merge
        self._said = 0  # version
        self._idle_since, self._said_waits = monotonic(), -SAY_EVERY_S
        self._handed: set[str] = set()  # readmitted examples under way
        self._beside: dict[int, Beside] = {}  # by the identity of a checkpoint: what is to be written with it
        self._untaught = deepcopy(trainer)  # for a start from `_taught` when it raises
        self._taught: bytes | None = None
        self._acknowledged: dict[int, int] = {}
        self._learnt = 0
        self._dropped: Counter[str] = Counter()
        self._drifts: Counter[str] = Counter()
        self._promotions = 0

        self._revision, last = store.take(self.model)
        if last is None and any(outbox.cursors(Lane.EXAMPLES, self.sender).values()):
            raise Damaged(
                f"model {self.model}: its checkpoint ({{models}}:{self.model}:checkpoint) {GONE}: {RESTORE};"
                " under another name in the configuration it would begin anew"
            )
        self._merge: Merge[Example | None] = Merge(
            self._shards, last.positions if last else {}, last.tick if last else 0
        )
        self._announced = last.announced if last else []
        if last is not None:
            if not trainer.load(last.trainer):
                log.warning("model_features_changed", model=self.model, features=trainer.features)
            self._taught = last.trainer
            self._tell(last)
        self._learnt, self._dropped = trainer.examples, trainer.dropped.copy()
        self._drifts, self._promotions = trainer.drifts.copy(), trainer.promotions
        log.info(
            "model_taken",
            model=self.model,
            revision=self._revision,
            version=trainer.version,
            examples=trainer.examples,
        )

    def poll(self) -> Batch | None:
        """Return what may be learnt now; None if that is nothing."""
        examples = self._merge.take(self._before, self._drained, BATCH_EXAMPLES)
        if not examples:
            self._read()
            examples = self._merge.take(self._before, self._drained, BATCH_EXAMPLES)
        self._say_waits(bool(examples))
        again = [
            found
            for found in self._store.readmitted(self.model, READ_EXAMPLES)
            if found[0] not in self._handed
        ]
        if not examples and not again:
            return None
        idents = tuple(ident for ident, _ in again)
        self._handed.update(idents)
        return Batch(
            [*examples, *(_decode(body) for _, body in again)],
            dict(self._merge.positions),
            self._merge.tick,
            idents,
        )

    def _say_waits(self, taken: bool) -> None:
        """Say for whom examples wait, for a stall is never silent: those of a second wait until every shard
        has committed the end of it."""
        now = monotonic()
        if taken or not len(self._merge):
            self._idle_since = now
        elif now - self._idle_since >= SAY_AFTER_S and now - self._said_waits >= SAY_EVERY_S:
            self._said_waits = now
            clocks = self._outbox.clocks()
            last = min(self._shards, key=lambda shard: clocks.get(shard, 0))
            log.warning(
                "learn_waits",
                model=self.model,
                examples=len(self._merge),
                behind=f"shard {last}",
                clock_ms=clocks.get(last, 0),
            )

    def _read(self) -> None:
        clocks = (
            self._outbox.clocks()
        )  # before the lanes: what a shard emits after this has a tick of this second or later
        self._before = min(clocks.get(shard, 0) for shard in self._shards) // 1000
        after = self._merge.reading(READ_EXAMPLES)
        found: Counter[int] = Counter()
        for entry in self._outbox.read(LANE, after, READ_EXAMPLES, block_ms=0) if after else ():
            found[entry.shard] += 1
            example = _decode(entry.body)
            lost = self._merge.add(
                entry.shard, entry.seq, example.answered_ms // 1000 if example else 0, example
            )
            if lost:
                metrics.MODEL_LOST.labels(self.model).inc(lost)
                log.error(
                    "model_examples_lost", model=self.model, shard=entry.shard, before=entry.seq, count=lost
                )
        self._drained = frozenset(shard for shard in after if found[shard] < READ_EXAMPLES)

    def learn(self, batch: Batch) -> Checkpoint:
        """Return the checkpoint after the batch, without what the trainer raises on. Raises `Fatal` if no
        example is to blame."""
        poison: list[Poison[Example | None]] = []
        said = self._announced
        try:
            checkpoint = self._checkpoint(batch, batch.examples)
        except INFRASTRUCTURE:
            raise
        except Exception:  # noqa: BLE001  # it is found out what it was
            checkpoint, poison = self._carefully(batch, said)
        self._taught = checkpoint.trainer
        self._show(checkpoint.metrics)
        for _, error in poison:
            note("learn", error, model=self.model)
        unlearnt = [Unlearnt(self.model, story(error), BUILD, _encode(example)) for example, error in poison]
        if unlearnt or batch.readmitted:
            self._beside[id(checkpoint)] = Beside(unlearnt, batch.readmitted)
        return checkpoint

    def _carefully(
        self, batch: Batch, said: list[Announcement]
    ) -> tuple[Checkpoint, list[Poison[Example | None]]]:
        """Learn once more from the last checkpoint on, a few examples at a time."""
        taught, gathered, poison = self._taught, [], []

        def attempt(examples: Sequence[Example | None]) -> Checkpoint:
            self._announced = []
            self._trainer = deepcopy(self._untaught)
            if taught is not None:
                self._trainer.load(taught)
            return self._checkpoint(batch, examples)

        for at in range(0, len(batch.examples), CAREFUL_EXAMPLES):
            checkpoint, found = sift(
                batch.examples[at : at + CAREFUL_EXAMPLES],
                attempt,
                f"model {self.model}: nothing can be learnt",
            )
            taught = checkpoint.trainer
            gathered += checkpoint.announced
            poison += found
        self._announced = gathered or said
        return msgspec.structs.replace(checkpoint, announced=self._announced), poison

    def _checkpoint(self, batch: Batch, examples: Sequence[Example | None]) -> Checkpoint:
        snapshots: list[Snapshot] = []
        if isinstance(self._trainer, Contested) and self._trainer.grant(
            *self._store.promotion_requested(self.model)
        ):
            snapshots.append(self._trainer.next_snapshot())
        snapshots += self._trainer.learn(
            example for example in examples if example is None or example.model == self.model
        )
        if snapshots:
            self._announced = [
                Announcement(snapshot.version, sign_snapshot(self._signer, snapshot))
                for snapshot in snapshots
            ]
        figures = self._trainer.figures()
        return Checkpoint(self._trainer.dump(), batch.positions, batch.tick, self._announced, figures)

    def commit(self, checkpoint: Checkpoint) -> None:
        """Make the batch count. Raises `Fenced` if another trainer has taken the model."""
        begun = perf_counter()
        beside = self._beside.get(id(checkpoint), NOTHING)
        self._revision = self._store.save(self.model, self._revision, checkpoint, beside)
        self._beside.pop(id(checkpoint), None)
        self._handed.difference_update(beside.taken)
        self._tell(checkpoint)
        metrics.COMMIT_SECONDS.labels("learn").observe(perf_counter() - begun)

    def _tell(self, checkpoint: Checkpoint) -> None:
        """Do all that follows from a checkpoint; doing it again changes nothing."""
        for announcement in checkpoint.announced:
            if announcement.version > self._said:
                self._directory.announce(
                    LogKind.MODEL, self.sender, announcement.version, announcement.version, announcement.body
                )
                self._said = announcement.version
                metrics.MODEL_VERSION.labels(self.model).set(announcement.version)
                self._directory.drop(LogKind.MODEL, self.sender, self._outbox.in_force(self.sender) - KEPT)
                log.info("model_announced", model=self.model, version=announcement.version)
        moved = dict(checkpoint.positions.items() - self._acknowledged.items())
        self._outbox.advance(LANE, self.sender, moved)
        self._outbox.trim(LANE, self._consumers)
        self._acknowledged = checkpoint.positions

    def _show(self, figures: Mapping[str, float]) -> None:
        trainer, name = self._trainer, self.model
        metrics.MODEL_EXAMPLES.labels(name).inc(trainer.examples - self._learnt)
        self._learnt = trainer.examples
        for reason, count in (trainer.dropped - self._dropped).items():
            metrics.MODEL_DROPPED.labels(name, reason).inc(count)
            log.warning("model_examples_dropped", model=name, reason=reason, count=count)
        self._dropped = trainer.dropped.copy()
        for what, count in (trainer.drifts - self._drifts).items():
            metrics.MODEL_DRIFTS.labels(name, what).inc(count)
            log.warning("model_drift", model=name, what=what, examples=trainer.examples)
        self._drifts = trainer.drifts.copy()
        if trainer.promotions > self._promotions:
            log.info("model_promoted", model=name, learner=trainer.champion, examples=trainer.examples)
            self._promotions = trainer.promotions
        if trainer.examples:
            metrics.MODEL_TRAINED.labels(name).set(trainer.trained_ms / 1000)
        metrics.MODEL_PROMOTIONS.labels(name, trainer.champion).set(trainer.promotions)
        for figure, gauge in _GAUGES.items():
            if figure in figures:
                gauge.labels(name).set(figures[figure])
        for figure, value in figures.items():  # one for each action or group
            prefix, _, of = figure.partition("_")
            if prefix in _GAUGES_OF.get(name, {}):
                _GAUGES_OF[name][prefix].labels(of).set(value)


_GAUGES = {
    "log_loss": metrics.MODEL_LOG_LOSS,
    "auc": metrics.MODEL_AUC,
    "brier": metrics.MODEL_BRIER,
    "ece": metrics.MODEL_ECE,
    "delay_s": metrics.MODEL_DELAY,
    "hit_rate": metrics.MODEL_HIT_RATE,
}
_GAUGES_OF = {  # model -> what stands before the first `_` of its figures
    best_action.NAME: {"reward": metrics.MODEL_REWARD, "gain": metrics.POLICY_GAIN},
    recommendation_index.NAME: {"hits": metrics.RECOMMENDER_HIT_RATE, "mrr": metrics.RECOMMENDER_MRR},
    cluster_assigner.NAME: {"drift": metrics.CLUSTER_DRIFT, "share": metrics.CLUSTER_SHARE},
}
_DECODED = 16_384  # entries: all models of a process read the same lanes at about the same time
_decoder = msgspec.msgpack.Decoder(Example)
_encode = msgspec.msgpack.Encoder().encode


@lru_cache(maxsize=_DECODED)
def _decode(body: bytes) -> Example | None:
    try:
        return _decoder.decode(body)
    except (ValueError, RecursionError):  # a text that is no UTF-8 is no error of msgspec's own
        return None


# --- the dataflow


def dataflow(learnings: Sequence[Learning], stop: Stop) -> Dataflow:
    """Make the flow: one stream for each model; they share nothing."""
    flow = Dataflow("learn")
    for learning in learnings:
        batches = op.input(f"poll_{learning.model}", flow, steps_source(partial(_poll, learning, stop), stop))
        checkpoints = op.filter_map(f"learn_{learning.model}", batches, stop.guard(learning.learn))
        commit = partial(_commit, learning, stop)
        op.output(f"commit_{learning.model}", checkpoints, steps_sink(each(commit), stop))
    return flow


def _poll(learning: Learning, stop: Stop) -> list[Batch]:
    batch = learning.poll()
    if batch is None:
        stop.wait(IDLE_S)
        return []
    return [batch]


def _commit(learning: Learning, stop: Stop, checkpoint: Checkpoint) -> None:
    stop.patiently(lambda: learning.commit(checkpoint))


def run(deployment: "Deployment") -> None:
    """Train until SIGTERM or SIGINT. There is one process of this flow. Raises `Fatal`."""
    config = deployment.config
    all_trainers = trainers(config)
    consumers = [sender(trainer.name) for trainer in all_trainers]
    outbox, directory, store, signer = (
        deployment.outbox,
        deployment.directory,
        deployment.models,
        deployment.signer,
    )
    learnings = [
        Learning(trainer, outbox, directory, store, signer, config.shards.count, consumers)
        for trainer in all_trainers
    ]
    stop = Stop()
    run_flow(dataflow(learnings, stop), stop)
