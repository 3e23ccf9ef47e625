"""The flow `learn` on the twins (and once on Redis): the model is a function of the lanes, whatever dies when."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from bytewax.run import cli_main
from prometheus_client import REGISTRY

from flows.engine import Stop
from flows.learn import BATCH_EXAMPLES, READ_EXAMPLES, Learning, dataflow
from flows.logic.models.binary import BINARY
from flows.logic.models.churn import FEATURES
from flows.logic.models.trainer import Trainer
from flows.models import open_snapshot, scorers, seal, sender
from schemas.config import Config
from schemas.errors import Fenced, Foreign
from schemas.log import Announced
from schemas.triggers import UNANSWERED, Example
from state.directory import Layout, RedisDirectory
from state.keys import load_keys
from state.memory import MemoryDirectory, MemoryShards
from state.models import MemoryModels, RedisModels, Signer
from state.names import Names
from state.shards import RedisOutbox, RedisShards, ShardCommit

SHARDS = 3
FRAUD = BINARY["fraud"].features
SIGNER = Signer(bytes(range(32)))
LAYOUT = Layout("test", SHARDS, 16, (1, 3, 5))
encode = msgspec.msgpack.encode


class Killed(BaseException):
    """kill -9: nothing in the flow can catch it."""


class World:
    """All that outlives a trainer: the lanes, the directory and the checkpoint."""

    def __init__(self, shards: Any = None, outbox: Any = None, directory: Any = None, store: Any = None) -> None:
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
        outbox = [("x", seq, body) for seq, body in enumerate(bodies, first)]
        self.shards.commit([ShardCommit(shard, before, head, {}, {}, {}, {}, outbox)], 0)

    def fill(self, lanes: list[list[tuple[int, bytes]]], end: int) -> None:
        """All lanes at once: (second, body) in each."""
        for shard, lane in enumerate(lanes):
            for second, body in lane:
                self.commit(shard, second, [body])
            self.commit(shard, end, [])

    def learning(self) -> Learning:
        """A new process."""
        trainer = Trainer("churn", FEATURES, 0.05)
        return Learning(trainer, self.outbox, self.directory, self.store, SIGNER, SHARDS, [sender("churn")])

    def trainer(self) -> Trainer:
        """As the checkpoint has it."""
        last = self.store.last("churn")
        trainer = Trainer("churn", FEATURES, 0.05)
        assert last is not None
        trainer.load(last.trainer)
        return trainer

    def announced(self) -> list[tuple[int, bytes]]:
        """(version, body) as shard 0 finds them in its log."""
        records = [msgspec.msgpack.decode(e.body, type=Announced) for e in self.directory.read({0: 0}, 1_000, 0) if e.kind == "m"]
        return [(record.version, self.directory.body("m", record.sender, record.version)) for record in records]

    def outcome(self) -> tuple[str, dict[int, int], int, list[tuple[int, bytes]], dict[int, int]]:
        """The model, what it has read, what was announced, and what the outbox was told."""
        _, checkpoint = self.store.take("churn")
        trainer = Trainer("churn", FEATURES, 0.05)
        trainer.load(checkpoint.trainer)
        return (
            trainer.snapshot().digest,
            checkpoint.positions,
            checkpoint.tick,
            self.announced(),
            self.outbox.cursors("x", sender("churn")),
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
        example = Example("churn", b"c", 0, second * 1000 + luck.randrange(1000), x, luck.random(), 0, label)
        found[luck.randrange(SHARDS)].append((second, encode(example)))
    return found


def test_a_model_is_learnt_and_announced_and_the_lanes_are_emptied() -> None:
    world = World()
    world.fill(lanes(600), end=42)
    drain(world.learning())
    assert [version for version, _ in world.announced()] == [1, 2]
    assert open_snapshot(SIGNER, "churn", world.announced()[-1][1]).snapshot.examples == 500
    assert world.outbox.read("x", dict.fromkeys(range(SHARDS), 0), 10, 0) == []


def test_the_model_is_the_one_that_a_plain_loop_learns() -> None:
    world, given = World(), lanes(600)
    world.fill(given, end=42)
    drain(world.learning())
    plain = Trainer("churn", FEATURES, 0.05)
    order = sorted((second, shard, seq) for shard, lane in enumerate(given) for seq, (second, _) in enumerate(lane))
    plain.learn(msgspec.msgpack.decode(given[shard][seq][1], type=Example) for _, shard, seq in order)
    assert world.outcome()[0] == plain.snapshot().digest


def test_nothing_is_learnt_of_a_second_that_is_not_over_in_all_shards() -> None:
    world = World()
    body = lanes(1)[0] + lanes(1)[1] + lanes(1)[2]
    world.commit(0, 9, [body[0][1]])
    world.commit(1, 9, [])
    learning = world.learning()
    assert learning.poll() is None  # shard 2 has not said anything yet
    world.commit(2, 1, [])
    assert learning.poll() is None  # it may still answer within second 1
    world.commit(2, 2, [])
    assert learning.poll() is not None


@pytest.mark.parametrize("seed", range(8))
def test_pace_and_batches_change_nothing(seed: int) -> None:
    """Shards that commit when they like, a trainer that looks when it likes and is now and then started anew."""
    whole, world, given = World(), World(), lanes(700, seed)
    whole.fill(given, end=42)
    drain(whole.learning())
    luck, learning = random.Random(seed), world.learning()
    at, clock = [0] * SHARDS, [0] * SHARDS
    while min(clock) < 42:
        shard = luck.randrange(SHARDS)
        clock[shard] = min(42, clock[shard] + luck.randint(0, 4))
        bodies = []
        while at[shard] < len(given[shard]) and given[shard][at[shard]][0] <= clock[shard]:
            bodies.append(given[shard][at[shard]][1])
            at[shard] += 1
        world.commit(shard, clock[shard], bodies)
        if luck.random() < 0.2:
            learning = world.learning()
        if luck.random() < 0.5:
            drain(learning)
    drain(learning)
    assert world.outcome() == whole.outcome()


def killing(world: World, at: int, after: bool) -> Iterator[Callable[[], int]]:
    """Kill at the `at`-th effect from now: before or after it takes place."""
    seen = 0
    patched = [(world.store, "save"), (world.directory, "announce"), (world.outbox, "advance"), (world.outbox, "trim")]
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


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_effect_it_ends_as_if_it_had_not_been(after: bool) -> None:
    given = lanes(1_150)
    undisturbed = World()
    undisturbed.fill(given, end=42)
    drain(undisturbed.learning())
    expected = undisturbed.outcome()
    at, died = 0, True
    while died:
        at += 1
        world, died = World(), False
        world.fill(given, end=42)
        killer = killing(world, at, after)
        next(killer)
        try:
            drain(world.learning())
        except Killed:
            died = True
        next(killer, None)
        drain(world.learning())
        assert world.outcome() == expected, f"killed {'after' if after else 'before'} effect {at}"
    assert at > 8  # more than one checkpoint, announcement and acknowledgement were tried


def two() -> list[Trainer]:
    """One of them is also told of what has no answers yet."""
    return [Trainer("churn", FEATURES, 0.05), Trainer("fraud", FRAUD, 0.05, positive_weight=5.0, unsupervised=BINARY["fraud"].unsupervised)]


def learnings(world: World) -> list[Learning]:
    """Two models side by side."""
    consumers = [sender(trainer.name) for trainer in two()]
    return [Learning(trainer, world.outbox, world.directory, world.store, SIGNER, SHARDS, consumers) for trainer in two()]


def drain_both(both: list[Learning]) -> None:
    while batches := [(learning, batch) for learning in both if (batch := learning.poll()) is not None]:
        for learning, batch in batches:
            learning.commit(learning.learn(batch))


def outcomes(world: World) -> list[Any]:
    """Of each model what it knows, where it is, and what it said."""
    records = [msgspec.msgpack.decode(e.body, type=Announced) for e in world.directory.read({0: 0}, 1_000, 0) if e.kind == "m"]
    found = []
    for trainer in two():
        last = world.store.last(trainer.name)
        assert last is not None
        trainer.load(last.trainer)
        said = [(who.version, world.directory.body("m", who.sender, who.version)) for who in records if who.sender == sender(trainer.name)]
        found.append((trainer.snapshot().digest, trainer.contest(), trainer.delays, trainer.history, last.positions, last.tick, said))
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
                fraud = msgspec.structs.replace(known, model="fraud", features=(known.features * 2)[: len(FRAUD)], label=label)
                lane[at] = second, encode(fraud)
    return found


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_two_models_side_by_side_killed_at_any_effect_end_as_if_they_had_not_been(after: bool) -> None:
    given = mixed(1_300)
    undisturbed = World()
    undisturbed.fill(given, end=42)
    drain_both(learnings(undisturbed))
    expected = outcomes(undisturbed)
    assert [len(announced) for *_, announced in expected] == [2, 2]
    assert undisturbed.outbox.read("x", dict.fromkeys(range(SHARDS), 0), 10, 0) == []
    at, died = 0, True
    while died:
        at += 1
        world, died = World(), False
        world.fill(given, end=42)
        killer = killing(world, at, after)
        next(killer)
        try:
            drain_both(learnings(world))
        except Killed:
            died = True
        next(killer, None)
        drain_both(learnings(world))
        assert outcomes(world) == expected, f"killed {'after' if after else 'before'} effect {at}"
    assert at > 15


def test_a_learner_promoted_by_hand_is_promoted_once_and_told_at_once() -> None:
    world = World()
    world.fill(lanes(200), end=42)
    world.store.wish("churn", "adagrad")
    world.store.wish("churn", "no such learner")
    drain(world.learning())
    assert world.trainer().champion == "newton"  # the last wish is the one that counts
    world.store.wish("churn", "adagrad")
    world.fill(lanes(50), end=43)
    drain(world.learning())
    assert (world.trainer().champion, world.trainer().promotions) == ("adagrad", 1)
    assert open_snapshot(SIGNER, "churn", world.announced()[-1][1]).snapshot.learner == "adagrad"
    world.store.wish("churn", "newton")
    killer = killing(world, 1, after=True)  # the checkpoint is written, nothing is told yet
    next(killer)
    world.fill(lanes(50), end=44)
    with pytest.raises(Killed):
        drain(world.learning())
    next(killer, None)
    drain(world.learning())
    assert (world.trainer().champion, world.trainer().promotions) == ("newton", 2)
    assert open_snapshot(SIGNER, "churn", world.announced()[-1][1]).snapshot.learner == "newton"


def test_a_checkpoint_stands_for_its_batch_alone_even_if_more_was_polled() -> None:
    """The engine may poll ahead of the steps behind it."""
    given = lanes(3 * BATCH_EXAMPLES)
    undisturbed, world = World(), World()
    for each in (undisturbed, world):
        each.fill(given, end=42)
    drain(undisturbed.learning())
    learning = world.learning()
    first, second = learning.poll(), learning.poll()
    assert first is not None
    assert second is not None
    learning.commit(learning.learn(first))  # and killed before the second
    drain(world.learning())
    assert world.outcome() == undisturbed.outcome()


def test_a_shard_far_ahead_waits_for_the_others() -> None:
    """More of one second than is read at once, and a slow shard with earlier and later ones."""
    bodies = [body for lane in lanes(5 * READ_EXAMPLES) for _, body in lane]
    at = [msgspec.structs.replace(msgspec.msgpack.decode(body, type=Example), answered_ms=5_000) for body in bodies]
    ahead = [encode(example) for example in at]
    later = encode(msgspec.structs.replace(at[0], answered_ms=6_000))
    undisturbed, world = World(), World()
    undisturbed.fill([[(5, body) for body in ahead], [(6, later)], []], end=42)
    drain(undisturbed.learning())
    learning = world.learning()
    world.commit(0, 42, ahead)
    world.commit(2, 42, [])
    for _ in range(4):
        assert learning.poll() is None  # but it reads as much as it may
    world.commit(1, 42, [later])
    drain(learning)
    assert world.outcome() == undisturbed.outcome()


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


def test_bad_examples_are_counted_and_dropped() -> None:
    world = World()
    good = lanes(60)
    width = len(FEATURES)
    bad = [
        b"",
        b"\xc1",
        encode("text"),
        encode(Example("churn", b"c", 0, 5_000, [0.0] * (width - 1), None, 0, 1.0)),
        encode(Example("churn", b"c", 0, 5_000, [float("nan")] * width, None, 0, 1.0)),
        encode(Example("churn", b"c", 0, 5_000, [float("inf")] * width, None, 0, 1.0)),
        encode(Example("churn", b"c", 0, 5_000, [0.0] * width, None, 0, 7.0)),
        encode(Example("other", b"c", 0, 5_000, [0.0] * width, None, 0, 1.0)),
    ]
    plain = World()
    plain.fill(good, end=42)
    world.fill([good[0], [*((5, body) for body in bad), *good[1]], good[2]], end=42)

    def dropped(reason: str) -> float:
        return REGISTRY.get_sample_value("millrace_model_examples_dropped_total", {"model": "churn", "reason": reason}) or 0.0

    reasons = ("undecodable", "features_count", "feature_range", "label_range")
    before = [dropped(reason) for reason in reasons]
    for each in (plain, world):
        drain(each.learning())
    assert [dropped(reason) - n for reason, n in zip(reasons, before, strict=True)] == [3, 1, 2, 1]
    assert [version for version, _ in world.announced()] == [1]
    assert world.outbox.read("x", dict.fromkeys(range(SHARDS), 0), 10, 0) == []


def test_examples_that_are_gone_are_told_and_learning_goes_on() -> None:
    world = World()
    world.fill(lanes(100), end=42)
    world.outbox.advance("x", "other", {0: 5})
    world.outbox.trim("x", ["other"])
    before = REGISTRY.get_sample_value("millrace_model_examples_lost_total", {"model": "churn"}) or 0.0
    drain(world.learning())
    assert REGISTRY.get_sample_value("millrace_model_examples_lost_total", {"model": "churn"}) == before + 5
    assert world.outbox.cursors("x", sender("churn")) == world.sequences


def test_memory_is_bounded_however_long_the_lanes() -> None:
    world = World()
    world.fill([lane * 10 for lane in lanes(400)], end=42)
    learning = world.learning()
    most = 0
    while (batch := learning.poll()) is not None:
        assert len(batch.examples) <= BATCH_EXAMPLES
        most = max(most, len(learning._merge) + len(batch.examples))
        learning.commit(learning.learn(batch))
    assert 0 < most <= 2 * READ_EXAMPLES * SHARDS


def test_a_checkpoint_of_another_key_stops_the_flow() -> None:
    world = World()
    world.fill(lanes(60), end=42)
    drain(world.learning())
    world.store._signer = Signer(bytes(32))
    with pytest.raises(Foreign, match="signature"):
        world.learning()


class TestScorers:
    @pytest.fixture
    def world(self) -> World:
        world = World()
        world.fill(lanes(600), end=42)
        drain(world.learning())
        return world

    def test_what_was_announced_scores(self, world: World) -> None:
        scorer_of = scorers(world.directory, SIGNER)
        scorer = scorer_of("learn:churn", 2)
        assert scorer is not None
        assert scorer.version == 2
        assert scorer.score([2.0] + [0.0] * (len(FEATURES) - 1)) > scorer.score([-2.0] + [0.0] * (len(FEATURES) - 1))
        assert scorer_of("learn:churn", 2) is scorer

    def test_what_cannot_be_trusted_does_not(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        (_, first), (_, second) = world.announced()
        snapshot = open_snapshot(SIGNER, "churn", first).snapshot
        forged = {
            11: second[:-1] + bytes([second[-1] ^ 1]),  # damaged
            12: seal(Signer(bytes(32)), snapshot),  # of another key
            13: SIGNER.sign("checkpoint:churn", snapshot.pack()),  # signed as something else
            14: first,  # an old one said again
            15: seal(SIGNER, msgspec.structs.replace(snapshot, version=15, features=("other",) * len(FEATURES))),
            16: b"",
        }
        for version, body in forged.items():
            assert world.directory.announce("m", "learn:churn", version, version, body)
        scorer_of = scorers(world.directory, SIGNER)
        assert [scorer_of("learn:churn", version) for version in forged] == [None] * len(forged)
        assert scorer_of("learn:churn", 99) is None  # never announced
        assert scorer_of("learn:unknown", 1) is None
        assert capsys.readouterr().out.count("model_snapshot_refused") == len(forged) + 2


class TestDataflow:
    def test_the_flow_learns_until_it_is_stopped(self) -> None:
        world, stop = World(), Stop()
        given = lanes(1_150)
        world.fill(given, end=42)
        advance = world.outbox.advance

        def stop_when_done(lane: str, consumer: str, upto: dict[int, int]) -> None:
            advance(lane, consumer, upto)
            if world.outbox.cursors(lane, consumer) == world.sequences:
                stop.asked.set()

        world.outbox.advance = stop_when_done
        cli_main(dataflow([world.learning()], stop))
        assert stop.fault is None
        undisturbed = World()
        undisturbed.fill(given, end=42)
        drain(undisturbed.learning())
        assert world.outcome() == undisturbed.outcome()

    def test_it_ends_by_itself_when_another_trainer_takes_over(self) -> None:
        world, stop = World(), Stop()
        world.fill(lanes(100), end=42)
        learning = world.learning()
        world.learning()
        cli_main(dataflow([learning], stop))
        assert isinstance(stop.fault, Fenced)
        assert world.announced() == []

    def test_an_asked_stop_ends_an_idle_flow(self) -> None:
        stop = Stop()
        stop.asked.set()
        cli_main(dataflow([World().learning()], stop))
        assert stop.fault is None


def test_on_redis_it_is_the_same_model(redis_url: str) -> None:
    given = lanes(600)
    memory = World()
    memory.fill(given, end=42)
    drain(memory.learning())
    with redis.Redis.from_url(redis_url) as client:
        names = Names("test")
        directory = RedisDirectory(client, names, LAYOUT)
        directory.create()
        world = World(
            RedisShards(client, names, SHARDS, 1), RedisOutbox(client, names, SHARDS), directory, RedisModels(client, names, SIGNER)
        )
        world.fill(given, end=42)
        learning = world.learning()
        for _ in range(2):  # and started anew in between
            batch = learning.poll()
            assert batch is not None
            learning.commit(learning.learn(batch))
            learning = world.learning()
        drain(learning)
        assert world.outcome() == memory.outcome()
        assert world.outbox.read("x", dict.fromkeys(range(SHARDS), 0), 10, 0) == []


_PROCESS = """
import sys
from flows import learn
from schemas.config import Config, Keys, Redis, Secret, Shards
url, keys, shards = sys.argv[1:]
learn.run(Config(name="test", redis=Redis(url=Secret(url), prefix="test"), keys=Keys(path=keys), shards=Shards(count=int(shards))))
"""


def test_processes_that_are_really_killed_learn_the_same_model(redis_url: str, tmp_path: Path) -> None:
    given = lanes(12_000)
    signer = Signer(load_keys(tmp_path / "keys.json", create=True).sign)
    names = Names("test")
    with redis.Redis.from_url(redis_url) as client:
        directory = RedisDirectory(client, names, Layout.of("test", SHARDS, Config().identity.capacity, [1, 3, 5, 20, 100]))
        world = World(
            RedisShards(client, names, SHARDS, 1), RedisOutbox(client, names, SHARDS), directory, RedisModels(client, names, signer)
        )
        for shard, lane in enumerate(given):
            world.commit(shard, 41, [body for _, body in lane])
            world.commit(shard, 42, [])

        def progress() -> int:
            return sum(world.outbox.cursors("x", sender("churn")).values())

        for upto in (2_000, 6_000, 12_000):
            command = [sys.executable, "-c", _PROCESS, redis_url, str(tmp_path / "keys.json"), str(SHARDS)]
            with subprocess.Popen(
                command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": "."}
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
        plain = Trainer("churn", FEATURES, 0.05)
        order = sorted((second, shard, seq) for shard, lane in enumerate(given) for seq, (second, _) in enumerate(lane))
        plain.learn(msgspec.msgpack.decode(given[shard][seq][1], type=Example) for _, shard, seq in order)
        trainer = Trainer("churn", FEATURES, 0.05)
        assert checkpoint is not None
        trainer.load(checkpoint.trainer)
        assert trainer.snapshot().digest == plain.snapshot().digest
        assert [version for version, _ in world.announced()] == list(range(1, plain.version + 1))
