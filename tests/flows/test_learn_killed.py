"""The flow `learn` dies, is overtaken, or finds its server older than it was: the model is the same."""

import os
import random
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from flows.learn import Learning
from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.churn import FEATURES
from flows.runtime.snapshots import sender
from schemas.config import Config
from schemas.errors import Fenced
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import Announced, LogKind
from schemas.wire.triggers import UNANSWERED, Example
from state.directory.layout import Layout
from state.directory.redis_directory import RedisDirectory
from state.model_store import RedisModels, Signer
from state.redis.names import Names
from state.shards.redis_shards import RedisOutbox, RedisShards
from tests.key_files import load_keys
from tests.learning import SHARDS, SIGNER, Killed, World, drain, encode, killed_everywhere, killing, lanes

FRAUD = BINARY["fraud"].features


def filled(lanes: list[list[tuple[int, bytes]]]) -> World:
    world = World()
    world.fill(lanes, end=42)
    return world


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_effect_it_ends_as_if_it_had_not_been(after: bool) -> None:
    undisturbed = filled(lanes(1_150))
    drain(undisturbed.learning())
    expected = undisturbed.outcome()
    for at, world in killed_everywhere(
        lambda: filled(lanes(1_150)), lambda world: drain(world.learning()), after
    ):
        assert world.outcome() == expected, f"killed {'after' if after else 'before'} effect {at}"
    assert at > 8  # more than one checkpoint, announcement and acknowledgement were tried


def two() -> list[BinaryTrainer]:
    """One of them is also told of what has no answers yet."""
    return [
        BinaryTrainer("churn", FEATURES, 0.05),
        BinaryTrainer("fraud", FRAUD, 0.05, positive_weight=5.0, unsupervised=BINARY["fraud"].unsupervised),
    ]


def learnings(world: World) -> list[Learning]:
    """Two models side by side."""
    consumers = [sender(trainer.name) for trainer in two()]
    return [
        Learning(trainer, world.outbox, world.directory, world.store, SIGNER, SHARDS, consumers)
        for trainer in two()
    ]


def drain_both(both: list[Learning]) -> None:
    while batches := [(learning, batch) for learning in both if (batch := learning.poll()) is not None]:
        for learning, batch in batches:
            learning.commit(learning.learn(batch))


def outcomes(world: World) -> list[Any]:
    """Of each model what it knows, where it is, and what it said."""
    records = [
        msgspec.msgpack.decode(e.body, type=Announced)
        for e in world.directory.read({0: 0}, 1_000, 0)
        if e.kind == LogKind.MODEL
    ]
    found = []
    for trainer in two():
        last = world.store.last(trainer.name)
        assert last is not None
        trainer.load(last.trainer)
        said = [
            (who.version, world.directory.body(LogKind.MODEL, who.sender, who.version))
            for who in records
            if who.sender == sender(trainer.name)
        ]
        found.append(
            (
                trainer.snapshot().digest,
                trainer.contest(),
                trainer.delays,
                trainer.history,
                last.positions,
                last.tick,
                said,
            )
        )
    return found


def mixed(count: int) -> list[list[tuple[int, bytes]]]:
    """Questions without an answer, and answers, of both models."""
    luck, found = random.Random(5), lanes(count)
    for lane in found:
        for at in range(len(lane)):
            second, body = lane[at]
            if luck.random() < 0.6:
                known = msgspec.msgpack.decode(body, type=Example)
                label = luck.choice([UNANSWERED, UNANSWERED, 0.0, 0.0, known.label])
                fraud = msgspec.structs.replace(
                    known, model="fraud", features=(known.features * 2)[: len(FRAUD)], label=label
                )
                lane[at] = second, encode(fraud)
    return found


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_two_models_side_by_side_killed_at_any_effect_end_as_if_they_had_not_been(after: bool) -> None:
    undisturbed = filled(mixed(1_300))
    drain_both(learnings(undisturbed))
    expected = outcomes(undisturbed)
    assert [len(announced) for *_, announced in expected] == [2, 2]
    assert undisturbed.outbox.read(Lane.EXAMPLES, dict.fromkeys(range(SHARDS), 0), 10, 0) == []
    for at, world in killed_everywhere(
        lambda: filled(mixed(1_300)), lambda world: drain_both(learnings(world)), after
    ):
        assert outcomes(world) == expected, f"killed {'after' if after else 'before'} effect {at}"
    assert at > 15


def test_killed_again_and_again_it_ends_as_if_it_had_not_been() -> None:
    given = lanes(1_150, seed=3)
    undisturbed, world = World(), World()
    for each in (undisturbed, world):
        each.fill(given, end=42)
    drain(undisturbed.learning())
    luck, deaths = random.Random(3), 0
    for _ in range(60):
        killer = killing(world, luck.randint(1, 5), luck.random() < 0.5)
        next(killer)
        try:
            drain(world.learning())
        except Killed:
            deaths += 1
        next(killer, None)
    drain(world.learning())
    assert deaths > 5
    assert world.outcome() == undisturbed.outcome()


def test_a_checkpoint_that_came_back_older_is_made_up_for() -> None:
    """Redis lost the tail of the checkpoint's slot; the examples are still in the lanes."""
    world, given = World(), lanes(700)
    world.outbox.trim = lambda lane, consumers: None
    world.fill([lane[:100] for lane in given], end=15)
    drain(world.learning())
    older = deepcopy(world.store)
    world.fill([lane[100:] for lane in given], end=42)
    drain(world.learning())
    expected = world.outcome()
    world.store = older
    drain(world.learning())
    assert world.outcome() == expected


def test_a_directory_that_came_back_older_is_told_again() -> None:
    """Redis lost the tail of the directory's slot; the checkpoint has moved on since."""
    world, given = World(), lanes(200)
    older = deepcopy(world.directory)
    world.fill([lane[:40] for lane in given], end=22)
    drain(world.learning())
    expected = world.announced()
    world.fill([lane[40:] for lane in given], end=42)
    drain(world.learning())  # no snapshot falls due
    world.directory = older
    world.learning()
    assert world.announced() == expected != []


def test_of_two_trainers_the_older_one_is_fenced() -> None:
    world = World()
    world.fill(lanes(200), end=42)
    zombie = world.learning()
    batch = zombie.poll()
    assert batch is not None
    learnt = zombie.learn(batch)
    drain(world.learning())
    expected = world.outcome()
    with pytest.raises(Fenced):
        zombie.commit(learnt)
    assert world.outcome() == expected


_PROCESS = """
import sys
from flows import learn
from flows.runtime.deployment import Deployment
from schemas.config import Config, Keys, Redis, Secret, Shards
url, keys, shards = sys.argv[1:]
redis = Redis(url=Secret(url), prefix="test")
config = Config(name="test", redis=redis, keys=Keys(path=keys), shards=Shards(count=int(shards)))
learn.run(Deployment(config))
"""


def test_processes_that_are_really_killed_learn_the_same_model(redis_url: str, tmp_path: Path) -> None:
    given = lanes(12_000)
    keys = load_keys(tmp_path / "keys.json", create=True)
    signer, names = Signer(keys.sign), Names("test")
    layout = Layout.of("test", SHARDS, Config().identity.capacity, [1, 3, 5, 20, 100], keys.fingerprint)
    with redis.Redis.from_url(redis_url) as client:
        directory = RedisDirectory(client, names, layout)
        directory.create()
        world = World(
            RedisShards(client, names, SHARDS, 1),
            RedisOutbox(client, names, SHARDS),
            directory,
            RedisModels(client, names, signer),
        )
        for shard, lane in enumerate(given):
            world.commit(shard, 41, [body for _, body in lane])
            world.commit(shard, 42, [])

        def progress() -> int:
            return sum(world.outbox.cursors(Lane.EXAMPLES, sender("churn")).values())

        for upto in (2_000, 6_000, 12_000):
            command = [sys.executable, "-c", _PROCESS, redis_url, str(tmp_path / "keys.json"), str(SHARDS)]
            with subprocess.Popen(
                command,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": "."},
            ) as process:
                until = time.monotonic() + 30
                while progress() < upto and process.poll() is None and time.monotonic() < until:
                    time.sleep(0.002)
                last = upto == 12_000
                process.send_signal(signal.SIGTERM if last else signal.SIGKILL)
                _, said = process.communicate(timeout=10)
            assert process.returncode == (0 if last else -signal.SIGKILL), said.decode()
        assert progress() == 12_000

        _, checkpoint = world.store.take("churn")
        plain = BinaryTrainer("churn", FEATURES, 0.05)
        order = sorted(
            (second, shard, seq) for shard, lane in enumerate(given) for seq, (second, _) in enumerate(lane)
        )
        plain.learn(msgspec.msgpack.decode(given[shard][seq][1], type=Example) for _, shard, seq in order)
        trainer = BinaryTrainer("churn", FEATURES, 0.05)
        assert checkpoint is not None
        trainer.load(checkpoint.trainer)
        assert trainer.snapshot().digest == plain.snapshot().digest
        assert [version for version, _ in world.announced()] == list(range(1, plain.version + 1))
