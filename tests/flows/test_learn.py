"""The flow `learn` on the twins (and once on Redis): the model is a function of the lanes, whatever the
pace."""

import random

import msgspec
import pytest
import redis
from bytewax.run import cli_main
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from flows import learn
from flows.learn import BATCH_EXAMPLES, READ_EXAMPLES, dataflow
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.churn import FEATURES
from flows.runtime.engine import Stop
from flows.runtime.snapshots import open_snapshot, scorers, sender, sign_snapshot
from schemas.errors import Fenced, Foreign
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind
from schemas.wire.triggers import Example
from state.directory.redis_directory import RedisDirectory
from state.model_store import RedisModels, Signer
from state.redis.names import Names
from state.shards.redis_shards import RedisOutbox, RedisShards
from tests.learning import LAYOUT, SHARDS, SIGNER, Killed, World, drain, encode, killing, lanes


def test_examples_that_wait_say_for_which_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(learn, "monotonic", lambda: now)
    waiting = encode(Example("churn", b"c", 0, 4_000, [0.0 for _ in FEATURES], 0.5, 0, 1.0))
    world = World()
    for shard, second in ((0, 5), (1, 3), (2, 9)):
        world.commit(shard, second, [waiting] if shard == 0 else [])
    learning = world.learning()
    with capture_logs() as said:
        for second in range(80):
            now = float(second)
            assert learning.poll() is None
    lines = [
        (line["behind"], line["clock_ms"], line["examples"])
        for line in said
        if line["event"] == "learn_waits"
    ]
    assert lines == [("shard 1", 3_000, 1)] * 2
    with capture_logs() as said:
        world.commit(1, 7, [])
        assert learning.poll() is not None
        now += 60.0
        assert learning.poll() is None
    assert [line for line in said if line["event"] == "learn_waits"] == [], "nothing waits"


def test_a_model_is_learnt_and_announced_and_the_lanes_are_emptied() -> None:
    world = World()
    world.fill(lanes(600), end=42)
    drain(world.learning())
    assert [version for version, _ in world.announced()] == [1, 2]
    assert open_snapshot(SIGNER, "churn", world.announced()[-1][1]).snapshot.examples == 500
    assert world.outbox.read(Lane.EXAMPLES, dict.fromkeys(range(SHARDS), 0), 10, 0) == []


def test_the_model_is_the_one_that_a_plain_loop_learns() -> None:
    world, given = World(), lanes(600)
    world.fill(given, end=42)
    drain(world.learning())
    plain = BinaryTrainer("churn", FEATURES, 0.05)
    order = sorted(
        (second, shard, seq) for shard, lane in enumerate(given) for seq, (second, _) in enumerate(lane)
    )
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
    """Shards that commit when they like, a trainer that looks when it likes and is now and then started
    anew."""
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


def test_a_learner_promoted_by_hand_is_promoted_once_and_told_at_once() -> None:
    world = World()
    world.fill(lanes(200), end=42)
    world.store.request_promotion("churn", "adagrad")
    world.store.request_promotion("churn", "no such learner")
    drain(world.learning())
    assert world.trainer().champion == "newton"  # the last wish is the one that counts
    world.store.request_promotion("churn", "adagrad")
    world.fill(lanes(50), end=43)
    drain(world.learning())
    assert (world.trainer().champion, world.trainer().promotions) == ("adagrad", 1)
    assert open_snapshot(SIGNER, "churn", world.announced()[-1][1]).snapshot.learner == "adagrad"
    world.store.request_promotion("churn", "newton")
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
    at = [
        msgspec.structs.replace(msgspec.msgpack.decode(body, type=Example), answered_ms=5_000)
        for body in bodies
    ]
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
        return (
            REGISTRY.get_sample_value(
                "millrace_model_examples_dropped_total", {"model": "churn", "reason": reason}
            )
            or 0.0
        )

    reasons = ("undecodable", "features_count", "feature_range", "label_range")
    before = [dropped(reason) for reason in reasons]
    for each in (plain, world):
        drain(each.learning())
    assert [dropped(reason) - n for reason, n in zip(reasons, before, strict=True)] == [3, 1, 2, 1]
    assert [version for version, _ in world.announced()] == [1]
    assert world.outbox.read(Lane.EXAMPLES, dict.fromkeys(range(SHARDS), 0), 10, 0) == []


def test_examples_that_are_gone_are_told_and_learning_goes_on() -> None:
    world = World()
    world.fill(lanes(100), end=42)
    world.outbox.advance(Lane.EXAMPLES, "other", {0: 5})
    world.outbox.trim(Lane.EXAMPLES, ["other"])
    before = REGISTRY.get_sample_value("millrace_model_examples_lost_total", {"model": "churn"}) or 0.0
    drain(world.learning())
    assert REGISTRY.get_sample_value("millrace_model_examples_lost_total", {"model": "churn"}) == before + 5
    assert world.outbox.cursors(Lane.EXAMPLES, sender("churn")) == world.sequences


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
        assert scorer.score([2.0] + [0.0] * (len(FEATURES) - 1)) > scorer.score(
            [-2.0] + [0.0] * (len(FEATURES) - 1)
        )
        assert scorer_of("learn:churn", 2) is scorer

    def test_what_cannot_be_trusted_does_not(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        (_, first), (_, second) = world.announced()
        snapshot = open_snapshot(SIGNER, "churn", first).snapshot
        forged = {
            11: second[:-1] + bytes([second[-1] ^ 1]),  # damaged
            12: sign_snapshot(Signer(bytes(32)), snapshot),  # of another key
            13: SIGNER.sign("checkpoint:churn", snapshot.pack()),  # signed as something else
            14: first,  # an old one said again
            15: sign_snapshot(
                SIGNER, msgspec.structs.replace(snapshot, version=15, features=("other",) * len(FEATURES))
            ),
            16: b"",
        }
        for version, body in forged.items():
            assert world.directory.announce(LogKind.MODEL, "learn:churn", version, version, body)
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
            RedisShards(client, names, SHARDS, 1),
            RedisOutbox(client, names, SHARDS),
            directory,
            RedisModels(client, names, SIGNER),
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
        assert world.outbox.read(Lane.EXAMPLES, dict.fromkeys(range(SHARDS), 0), 10, 0) == []
