"""What every model must do that gives no probability: the bandit under each policy, recommendations,
groups."""

import math
import random
from collections.abc import Callable, Iterator

import pytest

from flows.logic.bandit.settings import POLICIES, Policy
from flows.logic.models import best_action, cluster_assigner
from flows.logic.models.best_action_trainer import BestActionTrainer
from flows.logic.models.cluster_trainer import ClusterTrainer
from flows.logic.models.recommendation_trainer import RecommendationTrainer
from flows.logic.models.trainer import Trainer
from schemas.config import Action, BestAction, Clusters, Recommendation, Reward, Rules, Touch
from schemas.errors import Foreign
from schemas.wire.triggers import Example


def _bandit(policy: Policy) -> Callable[[], Trainer]:
    rules = Rules(
        best_action=BestAction(policy=policy, reward=(Reward(event="Order"),)),
        action=tuple(Action(name=f"a{number}") for number in range(4)),
    )
    return lambda: BestActionTrainer(rules)


MODELS: dict[str, Callable[[], Trainer]] = {
    **{policy: _bandit(policy) for policy in POLICIES},
    "recommendation": lambda: RecommendationTrainer(
        Rules(recommendation=Recommendation(touch=(Touch(event="Viewed", item="id"),)))
    ),
    "clusters": lambda: ClusterTrainer(Rules(clusters=Clusters(enabled=True, k=3))),
}
WIDTH = {best_action.NAME: len(best_action.FEATURES), cluster_assigner.NAME: len(cluster_assigner.FEATURES)}


@pytest.fixture(params=MODELS)
def new(request: pytest.FixtureRequest) -> Callable[[], Trainer]:
    return MODELS[request.param]


def stream(trainer: Trainer, count: int, seed: int = 1) -> Iterator[Example]:
    """Actions pay by the first feature; items come in pairs; groups lie apart."""
    luck, width = random.Random(seed), WIDTH.get(trainer.name, 0)
    for at in range(count):
        x = [luck.gauss(3.0 * (at % 3), 1.0) for _ in range(width)]
        number = luck.randrange(4)
        item, recent = f"i{luck.randrange(50)}", [f"i{luck.randrange(50)}"]
        pays = float(luck.random() < 1 / (1 + math.exp(number - x[0]))) if x else 0.5
        name = f"a{number}" if trainer.name == best_action.NAME else item
        yield Example(
            model=trainer.name,
            customer=b"c%d" % luck.randrange(90),
            asked_ms=at,
            answered_ms=at * 1000,
            features=x,
            predicted=None,
            version=0,
            label=pays,
            action=name,
            propensity=0.25,
            recent=recent,
            segment="s",
        )


def test_packed_and_loaded_it_goes_on_as_if_nothing_had_been(new: Callable[[], Trainer]) -> None:
    whole, first, second = new(), new(), new()
    examples = list(stream(whole, 1_300))
    expected = [snapshot.pack() for snapshot in whole.learn(examples)]
    given = [snapshot.pack() for snapshot in first.learn(examples[:733])]
    assert second.load(first.dump())
    assert given + [snapshot.pack() for snapshot in second.learn(examples[733:])] == expected
    assert second.dump() == whole.dump()


def test_the_same_stream_gives_the_same_bytes_one_at_a_time(new: Callable[[], Trainer]) -> None:
    at_once, one_by_one = new(), new()
    at_once.learn(stream(at_once, 700))
    for example in stream(one_by_one, 700):
        one_by_one.learn([example])
    assert at_once.dump() == one_by_one.dump()


def test_versions_only_go_up(new: Callable[[], Trainer]) -> None:
    trainer = new()
    versions = [snapshot.version for snapshot in trainer.learn(stream(trainer, 2_100))]
    assert versions == list(range(1, len(versions) + 1))
    assert versions
    again = new()
    again.load(trainer.dump())
    assert again.version == versions[-1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_features_that_are_none_leave_the_model_finite(new: Callable[[], Trainer], value: float) -> None:
    trainer = new()
    examples = list(stream(trainer, 600))
    for example in examples[100:200]:
        example.features = [value] * len(example.features)
    trainer.learn(examples)
    assert all(math.isfinite(figure) for figure in trainer.figures().values())
    again = new()
    assert again.load(trainer.dump())


def test_what_cannot_be_learnt_is_counted(new: Callable[[], Trainer]) -> None:
    trainer = new()
    trainer.learn([None, *stream(trainer, 20)])
    assert trainer.dropped["undecodable"] == 1
    assert trainer.examples == 20


def test_damage_is_foreign(new: Callable[[], Trainer]) -> None:
    with pytest.raises(Foreign):
        new().load(b"nonsense")


def _sizes(new: Callable[[], Trainer], count: int) -> list[int]:
    trainer, sizes = new(), []
    examples = stream(trainer, count)
    for _ in range(5):
        trainer.learn(next(examples) for _ in range(count // 5))
        sizes.append(len(trainer.dump()))
    return sizes


def test_memory_is_bounded(new: Callable[[], Trainer]) -> None:
    sizes = _sizes(new, 10_000)
    assert sizes[-1] < 1.1 * sizes[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_is_bounded_after_a_million(new: Callable[[], Trainer]) -> None:
    sizes = _sizes(new, 1_000_000)
    assert sizes[-1] < 1.1 * sizes[0]
