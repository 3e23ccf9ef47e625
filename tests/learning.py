"""A trainer and all that outlives it, and ways to kill it."""

import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import msgspec

from flows.learn import Learning
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.churn import FEATURES
from flows.runtime.snapshots import sender
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import Announced, LogKind
from schemas.wire.triggers import Example
from state.directory.layout import Layout
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_models import MemoryModels
from state.memory.memory_shards import MemoryShards
from state.model_store import Signer
from state.shards.shard_protocols import ShardCommit

SHARDS = 3
SIGNER = Signer(bytes(range(32)))
LAYOUT = Layout("test", SHARDS, 16, (1, 3, 5))
encode = msgspec.msgpack.encode


class Killed(BaseException):
    """kill -9: nothing in the flow can catch it."""


class World:
    """All that outlives a trainer: the lanes, the directory and the checkpoint."""

    def __init__(
        self, shards: Any = None, outbox: Any = None, directory: Any = None, store: Any = None
    ) -> None:
        self.shards = shards or MemoryShards(SHARDS)
        self.outbox = outbox or self.shards
        self.directory = directory or MemoryDirectory(LAYOUT, lambda: 0)
        self.store = store or MemoryModels(SIGNER)
        self.sequences = dict.fromkeys(range(SHARDS), 0)
        self.shards.claim(range(SHARDS))

    def commit(self, shard: int, second: int, bodies: list[bytes]) -> None:
        """A shard's commit: its clock is `second` now, and it has emitted these."""
        before = self.shards.heads()[shard]
        head = deepcopy(before)
        head.clock_ms = second * 1000
        first = self.sequences[shard] + 1
        self.sequences[shard] += len(bodies)
        outbox = [(Lane.EXAMPLES, seq, body) for seq, body in enumerate(bodies, first)]
        self.shards.commit(
            [
                ShardCommit(
                    shard=shard,
                    before=before,
                    head=head,
                    counters={},
                    profiles={},
                    sensitive={},
                    timers={},
                    outbox=outbox,
                )
            ],
            0,
        )

    def fill(self, lanes: list[list[tuple[int, bytes]]], end: int) -> None:
        """All lanes at once: (second, body) in each."""
        for shard, lane in enumerate(lanes):
            for second, body in lane:
                self.commit(shard, second, [body])
            self.commit(shard, end, [])

    def learning(self) -> Learning:
        """A new process."""
        trainer = BinaryTrainer("churn", FEATURES, 0.05)
        return Learning(trainer, self.outbox, self.directory, self.store, SIGNER, SHARDS, [sender("churn")])

    def trainer(self) -> BinaryTrainer:
        """As the checkpoint has it."""
        last = self.store.last("churn")
        trainer = BinaryTrainer("churn", FEATURES, 0.05)
        assert last is not None
        trainer.load(last.trainer)
        return trainer

    def announced(self) -> list[tuple[int, bytes]]:
        """(version, body) as shard 0 finds them in its log."""
        records = [
            msgspec.msgpack.decode(e.body, type=Announced)
            for e in self.directory.read({0: 0}, 1_000, 0)
            if e.kind == LogKind.MODEL
        ]
        return [
            (record.version, self.directory.body(LogKind.MODEL, record.sender, record.version))
            for record in records
        ]

    def outcome(self) -> tuple[str, dict[int, int], int, list[tuple[int, bytes]], dict[int, int]]:
        """The model, what it has read, what was announced, and what the outbox was told."""
        _, checkpoint = self.store.take("churn")
        trainer = BinaryTrainer("churn", FEATURES, 0.05)
        trainer.load(checkpoint.trainer)
        return (
            trainer.snapshot().digest,
            checkpoint.positions,
            checkpoint.tick,
            self.announced(),
            self.outbox.cursors(Lane.EXAMPLES, sender("churn")),
        )


def drain(learning: Learning) -> None:
    """What the dataflow does, until there is nothing to do."""
    while (batch := learning.poll()) is not None:
        learning.commit(learning.learn(batch))


def lanes(count: int, seed: int = 1, seconds: int = 40) -> list[list[tuple[int, bytes]]]:
    luck = random.Random(seed)
    found: list[list[tuple[int, bytes]]] = [[] for _ in range(SHARDS)]
    for at in range(count):
        second = 1 + at * seconds // count
        x = [luck.gauss(0, 1) for _ in FEATURES]
        label = float(luck.random() < (0.8 if x[0] > 0.3 else 0.2))
        example = Example(
            model="churn",
            customer=b"c",
            asked_ms=0,
            answered_ms=second * 1000 + luck.randrange(1000),
            features=x,
            predicted=luck.random(),
            version=0,
            label=label,
        )
        found[luck.randrange(SHARDS)].append((second, encode(example)))
    return found


def killing(world: World, at: int, after: bool) -> Iterator[Callable[[], int]]:
    """Kill at the `at`-th effect from now: before or after it takes place."""
    seen = 0
    patched = [
        (world.store, "save"),
        (world.directory, "announce"),
        (world.outbox, "advance"),
        (world.outbox, "trim"),
    ]
    for target, name in patched:
        whole = getattr(target, name)

        def step(*args: Any, whole: Callable[..., Any] = whole, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == at and not after:
                raise Killed
            answer = whole(*args, **kwargs)
            if seen == at:
                raise Killed
            return answer

        setattr(target, name, step)
    yield lambda: seen
    for target, name in patched:
        delattr(target, name)


def killed_everywhere(
    make: Callable[[], World], learn: Callable[[World], None], after: bool
) -> Iterator[tuple[int, World]]:
    """For each effect that learning has: its number, and a world where it was killed there (before or after
    it took place) and ended by another process. In the last one nothing was left to be killed at."""
    at, died = 0, True
    while died:
        at += 1
        world, died = make(), False
        killer = killing(world, at, after)
        next(killer)
        try:
            learn(world)
        except Killed:
            died = True
        next(killer, None)
        learn(world)
        yield at, world
