"""What a trainer raises on is put aside, and the model is bit for bit as if it had never come."""

import threading
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import redis
from bytewax.testing import run_main

from flows.cli import dead_letter_screen
from flows.learn import Learning, dataflow
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.challenger import Challenger
from flows.logic.models.churn import FEATURES
from flows.logic.models.recommendation_trainer import RecommendationTrainer
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop
from flows.runtime.release import BUILD
from flows.runtime.snapshots import sender
from schemas.config.toml import load
from schemas.errors import Fatal, LogFull
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Example
from tests.learning import SHARDS, SIGNER, World, drain, encode, lanes
from tests.waiting import eventually

POISON = b"poison-for-us"


def with_poison(
    given: list[list[tuple[int, bytes]]], seed: int, share: float
) -> tuple[list[list[tuple[int, bytes]]], int]:
    """Between these some that the defect hits; how many."""
    luck, sent = Random(seed), 0
    mixed: list[list[tuple[int, bytes]]] = []
    for lane in given:
        mixed.append([])
        for second, body in lane:
            if luck.random() < share:
                example = msgspec.structs.replace(msgspec.msgpack.decode(body, type=Example), customer=POISON)
                mixed[-1].append((second, encode(example)))
                sent += 1
            mixed[-1].append((second, body))
    return mixed, sent


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect that shows after the example has been taken by half, with words that it should not hold."""
    real = BinaryTrainer._take

    def broken(self: BinaryTrainer, chunk: list[Example]) -> None:
        real(self, chunk)
        if any(example.customer == POISON for example in chunk):
            raise KeyError("ann@example.org")

    monkeypatch.setattr(BinaryTrainer, "_take", broken)


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
@pytest.mark.parametrize("share", [0.01, 0.4])
@pytest.mark.parametrize("seed", range(2))
def test_the_model_is_as_if_it_had_never_come(seed: int, share: float) -> None:
    without, world, given = World(), World(), lanes(600, seed)
    without.fill(given, end=42)
    drain(without.learning())
    mixed, sent = with_poison(given, seed, share)
    world.fill(mixed, end=42)
    drain(world.learning())
    assert len(world.store.unlearnt) == sent > 0
    digest, _, tick, announced, _ = world.outcome()
    assert (digest, tick, announced) == (without.outcome()[0], without.outcome()[2], without.outcome()[3])
    assert world.outbox.read(Lane.EXAMPLES, dict.fromkeys(range(SHARDS), 0), 10, 0) == []
    assert {found.unlearnt.model for found in world.store.unlearnt} == {"churn"}
    assert not any("ann@" in found.unlearnt.detail for found in world.store.unlearnt)


@pytest.mark.breaking
def test_a_teacher_of_another_kind_goes_on_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it keeps in memory beside its checkpoint is as it was too."""
    real = Challenger.learn

    def broken(self: Challenger, touch: Any) -> None:
        real(self, touch)
        if touch.item == "poison":
            raise ZeroDivisionError

    def learnt(*, poison: bool) -> tuple[bytes, int]:
        luck, world, bodies = Random(5), World(), []
        rules = load(_file(tmp_path, "redis://unused"))
        for n in range(400):
            item = "poison" if (bad := luck.random() < 0.1) else f"sku{luck.randrange(9)}"
            touch = Example(
                "recommendation",
                b"c",
                n,
                n,
                [],
                None,
                0,
                1.0,
                action=item,
                recent=[f"sku{luck.randrange(9)}"],
                segment="all",
            )
            bodies += [encode(touch)] * (poison or not bad)
        world.commit(0, 5, bodies)
        for shard in range(SHARDS):
            world.commit(shard, 9, [])
        trainer = RecommendationTrainer(rules)
        learning = Learning(
            trainer, world.outbox, world.directory, world.store, SIGNER, SHARDS, [sender(trainer.name)]
        )
        drain(learning)
        return world.store.last(trainer.name).trainer, len(world.store.unlearnt)

    without, none = learnt(poison=False)
    monkeypatch.setattr(Challenger, "learn", broken)
    found, aside = learnt(poison=True)
    assert none == 0 < aside
    assert found == without


@pytest.mark.breaking
@pytest.mark.parametrize(
    "error",
    [redis.ConnectionError("away"), LogFull("full"), MemoryError(), OSError(28, "no space")],
    ids=repr,
)
def test_infrastructure_is_nobodys_poison(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def trouble(*_: object) -> None:
        raise error

    world = World()
    world.fill(lanes(60), end=42)
    monkeypatch.setattr(BinaryTrainer, "_take", trouble)
    with pytest.raises(type(error)):
        drain(world.learning())
    assert world.store.unlearnt == []
    assert world.store.last("churn") is None


@pytest.mark.breaking
def test_what_is_no_example_ends_the_flow_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.fill(lanes(60), end=42)
    monkeypatch.setattr(BinaryTrainer, "dump", lambda _: 1 / 0)
    with pytest.raises(
        Fatal,
        match=r"model churn: nothing can be learnt: ZeroDivisionError at .*This is a defect of millrace",
    ):
        drain(world.learning())
    assert world.store.last("churn") is None


def test_an_example_whose_text_is_none_is_dropped() -> None:
    world = World()
    broken = encode(
        Example("churn", b"c", 0, 1_000, [0.0] * len(FEATURES), None, 0, 1.0, action="what")
    ).replace(b"what", b"wh\xff\xfe")
    world.commit(0, 1, [broken, *(body for _, body in lanes(9)[0])])
    for shard in range(SHARDS):
        world.commit(shard, 50, [])
    drain(world.learning())
    assert world.trainer().dropped == {"undecodable": 1}


def _file(folder: Path, url: str) -> Path:
    file = folder / "millrace.toml"
    file.write_text(
        f"""
[redis]
url = "{url}"
[data]
folder = "{folder}"
[shards]
count = {SHARDS}
[recommendation]
touch = [{{event = "Product Viewed", item = "sku"}}]
"""
    )
    return file


@pytest.mark.breaking
def test_the_flow_goes_on_behind_it_through_a_restart_and_learns_it_when_it_is_mended(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load(_file(tmp_path, redis_url))
    Deployment(config).prepare()
    world = World(
        Deployment(config).shards,
        Deployment(config).outbox,
        Deployment(config).directory,
        Deployment(config).models,
    )
    running: list[tuple[Stop, threading.Thread]] = []

    def start() -> None:
        trainer, stop = BinaryTrainer("churn", FEATURES, 0.05), Stop()
        parts = (
            world.outbox,
            world.directory,
            world.store,
            Deployment(config).signer,
            SHARDS,
            [sender("churn")],
        )
        thread = threading.Thread(target=run_main, args=(dataflow([Learning(trainer, *parts)], stop),))
        thread.start()
        running.append((stop, thread))

    def over() -> None:
        stop, thread = running.pop()
        stop.asked.set()
        thread.join(60)
        assert stop.fault is None

    def learnt() -> int:
        last = world.store.last("churn")
        return (
            0
            if last is None
            else BinaryTrainer.load(trainer := BinaryTrainer("churn", FEATURES, 0.05), last.trainer)
            and trainer.examples
        )

    mixed, sent = with_poison(lanes(200, 3), 3, 0.05)
    with monkeypatch.context() as broken:
        plant(broken)
        start()
        world.fill(mixed, end=42)
        eventually(lambda: learnt() == 200)
        over()
        start()
        world.commit(0, 43, [body for _, body in lanes(20, 4)[0]])
        for shard in range(SHARDS):
            world.commit(shard, 90, [])
        more = len(lanes(20, 4)[0])
        eventually(lambda: learnt() == 200 + more)
        over()
    found = list(Deployment(config).dead_examples.oldest())
    assert len(found) == sent > 1
    assert found[0].build == BUILD
    assert found[0].unlearnt.detail.startswith("KeyError at tests.flows.test_learn_quarantine:")
    assert dead_letter_screen.listing(config, "poison", 100) == 0
    assert dead_letter_screen.show(config, found[0].name) == 0
    said = capsys.readouterr().out
    assert found[0].name in said
    assert POISON.hex() in said
    assert "ann@" not in said
    assert dead_letter_screen.replay(config, [], "poison") == 1, "this build raised on them"
    assert dead_letter_screen.replay(config, [each.name for each in found], None) == 0
    assert list(Deployment(config).dead_examples.oldest()) == []
    start()
    eventually(lambda: learnt() == 200 + more + sent)
    over()
    assert world.store.readmitted("churn", 10) == []


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
def test_what_is_let_in_again_and_raises_again_is_put_aside_again() -> None:
    world = World()
    mixed, sent = with_poison(lanes(60), 1, 0.1)
    world.fill(mixed, end=42)
    learning = world.learning()
    drain(learning)
    assert sent > 0
    for each in list(world.store.unlearnt):
        world.store.readmit(each)
    drain(learning)
    assert len(world.store.unlearnt) == sent
    assert world.store.readmitted("churn", 10) == []
