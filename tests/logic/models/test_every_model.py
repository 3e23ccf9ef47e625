"""What every model must do, whatever it asks: one suite for all of `BINARY` and for both learners."""

import math
import random
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from flows.logic.models.binary import BINARY, ModelName
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.features import NAMES
from flows.logic.models.linear import Scorer, probability
from flows.logic.models.newton import BLOCK, Newton
from flows.logic.models.scorer_set import LinearScorerSet
from flows.logic.models.trainers import binary_trainers
from schemas.config import Model, Rules
from schemas.errors import Foreign
from schemas.wire.triggers import Example


@pytest.fixture(params=BINARY)
def name(request: pytest.FixtureRequest) -> ModelName:
    return request.param


@pytest.fixture(params=["newton", "adagrad"])
def champion(request: pytest.FixtureRequest) -> str:
    return request.param


def new(name: ModelName, champion: str = "newton") -> BinaryTrainer:
    trainer = BinaryTrainer(name, BINARY[name].features, 0.05)
    trainer.promote(champion)
    return trainer


def stream(name: ModelName, count: int, seed: int = 1) -> Iterator[Example]:
    """The answer hangs on the first feature in a straight line and on the second one bent."""
    luck, width = random.Random(seed), len(BINARY[name].features)
    for at in range(count):
        x = [luck.gauss(0, 1) for _ in range(width)]
        logit = 1.5 * x[0] + 2.0 * abs(x[1]) - 3.0
        yield Example(
            model=name,
            customer=b"c",
            asked_ms=0,
            answered_ms=at * 1000,
            features=x,
            predicted=None,
            version=0,
            label=float(luck.random() < 1 / (1 + math.exp(-logit))),
        )


def test_it_learns_and_is_calibrated(name: ModelName, champion: str) -> None:
    trainer = new(name, champion)
    trainer.learn(stream(name, 4_000))
    figures = trainer.figures()
    assert figures["auc"] > 0.75
    assert figures["ece"] < 0.05


def test_packed_and_loaded_it_goes_on_as_if_nothing_had_been(name: ModelName, champion: str) -> None:
    whole, first = new(name, champion), new(name, champion)
    examples = list(stream(name, 1_300))
    expected = whole.learn(examples)
    snapshots = first.learn(examples[:733])  # within a block
    second = new(name)
    assert second.load(first.dump())
    assert snapshots + second.learn(examples[733:]) == expected
    assert second.snapshot() == whole.snapshot()
    assert second.contest() == whole.contest()
    assert second.drifts == whole.drifts


def test_the_same_stream_gives_the_same_bytes(name: ModelName) -> None:
    a, b = new(name), new(name)
    a.learn(stream(name, 600))
    for example in stream(name, 600):
        b.learn([example])
    assert a.dump() == b.dump()


def test_versions_only_go_up(name: ModelName, champion: str) -> None:
    trainer = new(name, champion)
    versions = [snapshot.version for snapshot in trainer.learn(stream(name, 1_600))]
    assert versions == list(range(1, len(versions) + 1))
    again = new(name)
    again.load(trainer.dump())
    assert [snapshot.version for snapshot in again.learn(stream(name, 500, seed=2))] == [versions[-1] + 1]


@pytest.mark.parametrize("value", [0.0, -1e6, 1e6, 1e300, -1e300])
def test_features_never_seen_before_give_a_probability(name: ModelName, champion: str, value: float) -> None:
    trainer = new(name, champion)
    trainer.learn(stream(name, 500))
    scorer = Scorer.from_snapshot(trainer.snapshot().pack(), BINARY[name].features)
    width = len(BINARY[name].features)
    for x in ([value] * width, [value, *[0.0] * (width - 1)]):
        assert 0.0 <= scorer.score(x) <= 1.0
        assert 0.0 < trainer.probability(x) < 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e200])
def test_a_value_that_is_none_is_dropped_and_counted(name: ModelName, value: float) -> None:
    trainer, clean = new(name), new(name)
    for each in (trainer, clean):
        each.learn(stream(name, 100))
    width = len(BINARY[name].features)
    trainer.learn(
        [
            Example(
                model=name,
                customer=b"c",
                asked_ms=0,
                answered_ms=0,
                features=[value] + [0.0] * (width - 1),
                predicted=None,
                version=0,
                label=1.0,
            )
        ]
    )
    assert trainer.dropped == {"feature_range": 1}
    assert trainer.snapshot() == clean.snapshot()


def test_scores_and_reasons_of_the_snapshot_are_those_of_the_trainer(name: ModelName, champion: str) -> None:
    trainer = new(name, champion)
    trainer.learn(stream(name, 40 * BLOCK))
    scorer = Scorer.from_snapshot(trainer.snapshot().pack(), BINARY[name].features)
    for example in stream(name, 100, seed=5):
        p = scorer.score(example.features)
        assert p == pytest.approx(trainer.probability(example.features), abs=1e-6)
        logit = sum(part for _, part in scorer.explain(example.features)) + scorer.snapshot.intercept
        assert probability(logit) == pytest.approx(p, abs=1e-12)


def test_all_models_at_once_score_as_each_alone() -> None:
    scorers = []
    for name in BINARY:
        trainer = new(name)
        trainer.learn(stream(name, 300))
        scorers.append(Scorer.from_snapshot(trainer.snapshot().pack()))
    together = LinearScorerSet(scorers, NAMES)
    assert together.models == tuple(BINARY)
    luck = random.Random(3)
    for _ in range(50):
        x = [luck.gauss(0, 3) for _ in NAMES]
        alone = [
            scorer.score([x[place] for place in BINARY[scorer.snapshot.model].places]) for scorer in scorers
        ]  # type: ignore[index]
        assert together.scores(x) == pytest.approx(alone, abs=1e-9)


def _sizes(name: ModelName, count: int) -> list[int]:
    trainer, sizes = new(name), []
    examples = stream(name, count)
    for _ in range(5):
        trainer.learn(next(examples) for _ in range(count // 5))
        sizes.append(len(trainer.dump()))
    return sizes


@pytest.mark.long
def test_memory_is_bounded() -> None:
    sizes = _sizes("churn", 50_000)
    assert max(sizes) < 256 * 1024
    assert sizes[-1] < 1.1 * sizes[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_is_bounded_after_a_million(name: ModelName) -> None:
    sizes = _sizes(name, 1_000_000)
    assert sizes[-1] < 1.1 * sizes[0]


@pytest.mark.long
def test_rare_answers_may_weigh_more_and_probabilities_stay_right() -> None:
    luck, width = random.Random(2), len(BINARY["fraud"].features)
    trainer = BinaryTrainer("fraud", BINARY["fraud"].features, 0.05, positive_weight=10.0)
    for _ in range(12_000):
        x = [luck.gauss(0, 1) for _ in range(width)]
        trainer.learn(
            [
                Example(
                    model="fraud",
                    customer=b"c",
                    asked_ms=0,
                    answered_ms=0,
                    features=x,
                    predicted=None,
                    version=0,
                    label=float(luck.random() < 1 / (1 + math.exp(4.0 - x[0]))),
                )
            ]
        )
    assert trainer.figures()["ece"] < 0.03


def test_a_challenger_that_is_better_becomes_champion_and_one_that_is_not_does_not() -> None:
    trainer = new("churn", "adagrad")  # straight lines only
    trainer.promotions = 0
    trainer.learn(stream("churn", 8_000))
    assert (trainer.champion, trainer.promotions) == ("newton", 1)
    assert trainer.snapshot().learner == "newton"


@pytest.mark.long
def test_an_error_that_jumps_raises_the_alarm_and_forgetting_helps() -> None:
    losses = {}
    for forget in (False, True):
        trainer = BinaryTrainer("churn", BINARY["churn"].features, 0.05, forget_on_drift=forget)
        trainer.learn(stream("churn", 6_000))
        assert not trainer.drifts["log_loss"]
        turned = [
            Example(
                model=e.model,
                customer=b"",
                asked_ms=0,
                answered_ms=0,
                features=[-e.features[0], *e.features[1:]],
                predicted=None,
                version=0,
                label=e.label,
            )
            for e in stream("churn", 5_000, seed=2)
        ]
        trainer.learn(turned)
        assert trainer.drifts["log_loss"]
        losses[forget] = trainer.contest()["newton"]["log_loss"]
    assert losses[True] < losses[False]


def test_a_feature_that_moves_raises_the_alarm() -> None:
    trainer = new("churn")
    trainer.learn(stream("churn", 3_000))
    before = sum(trainer.drifts.values())
    trainer.learn(
        Example(
            model=e.model,
            customer=b"",
            asked_ms=0,
            answered_ms=0,
            features=[*e.features[:3], e.features[3] + 2.0, *e.features[4:]],
            predicted=None,
            version=0,
            label=e.label,
        )
        for e in stream("churn", 3_000)
    )
    assert trainer.drifts[BINARY["churn"].features[3]]
    assert before == 0


def test_configured_models_have_a_trainer_each_and_switched_off_ones_too() -> None:
    rules = Rules(
        model=(Model(name="deal", yes=("Deal Won",), enabled=False), Model(name="fraud", yes=("Chargeback",)))
    )
    assert [trainer.name for trainer in binary_trainers(rules)] == ["churn", "deal", "fraud"]


def test_a_checkpoint_of_other_learners_is_foreign(name: ModelName) -> None:
    trainer = new(name)
    trainer.learn(stream(name, 60))
    body = trainer.dump().replace(b"adagrad", b"adagrid")
    with pytest.raises(Foreign):
        new(name).load(body)


@pytest.mark.parametrize("count", [600, 1_504, 4_000])
def test_a_newton_of_before_frames_were_kept_goes_on_as_well_as_it_did(count: int) -> None:
    def loss(of: Newton) -> float:
        said = [probability(logit) for logit in of.logits(rows[count:]).tolist()]
        return -sum(
            math.log(p if yes else 1.0 - p) for p, yes in zip(said, answers[count:].tolist(), strict=True)
        )

    examples = list(stream("churn", count + 2_000))
    rows, answers = (
        np.array([example.features for example in examples]),
        np.array([example.label for example in examples]),
    )
    now, before = Newton(rows.shape[1]), Newton(rows.shape[1])
    for at in range(0, count, BLOCK):
        now.learn(rows[at : at + BLOCK], answers[at : at + BLOCK], np.ones(len(rows[at : at + BLOCK])))
    state = msgspec.msgpack.decode(now.dump())[:-2]
    state[-1] = state[-1] if count <= 1_000 else [b"", b"", b""]
    before.load(msgspec.msgpack.encode(state))
    for at in range(count, count + 1_600, BLOCK):
        for each in (now, before):
            each.learn(rows[at : at + BLOCK], answers[at : at + BLOCK], np.ones(len(rows[at : at + BLOCK])))
    assert loss(before) < 1.05 * loss(now)
