"""What every model must do that gives no probability: the bandit under each policy, recommendations,
groups."""

import math
import random
from collections.abc import Callable, Iterator

import pytest

from flows.logic.bandit.settings import POLICIES, Policy
from flows.logic.models import best_action, segments_learnt
from flows.logic.models.lessons import BestActions, Groups, Recommendations, Teacher
from schemas.config import Action, BestAction, Clusters, Recommendation, Reward, Rules, Touch
from schemas.errors import Foreign
from schemas.wire.triggers import Example


def _bandit(policy: Policy) -> Callable[[], Teacher]:
    rules = Rules(
        best_action=BestAction(policy=policy, reward=(Reward(event="Order"),)),
        action=tuple(Action(name=f"a{number}") for number in range(4)),
    )
    return lambda: BestActions(rules)


MODELS: dict[str, Callable[[], Teacher]] = {
    **{policy: _bandit(policy) for policy in POLICIES},
    "recommendation": lambda: Recommendations(
        Rules(recommendation=Recommendation(touch=(Touch(event="Viewed", item="id"),)))
    ),
    "clusters": lambda: Groups(Rules(clusters=Clusters(enabled=True, k=3))),
}
WIDTH = {best_action.NAME: len(best_action.FEATURES), segments_learnt.NAME: len(segments_learnt.FEATURES)}


@pytest.fixture(params=MODELS)
def new(request: pytest.FixtureRequest) -> Callable[[], Teacher]:
    return MODELS[request.param]


def stream(teacher: Teacher, count: int, seed: int = 1) -> Iterator[Example]:
    """Actions pay by the first feature; items are touched in pairs; groups lie apart."""
    luck, width = random.Random(seed), WIDTH.get(teacher.name, 0)
    for at in range(count):
        x = [luck.gauss(3.0 * (at % 3), 1.0) for _ in range(width)]
        number = luck.randrange(4)
        item, recent = f"i{luck.randrange(50)}", [f"i{luck.randrange(50)}"]
        pays = float(luck.random() < 1 / (1 + math.exp(number - x[0]))) if x else 0.5
        name = f"a{number}" if teacher.name == best_action.NAME else item
        yield Example(
            teacher.name,
            b"c%d" % luck.randrange(90),
            at,
            at * 1000,
            x,
            None,
            0,
            pays,
            action=name,
            propensity=0.25,
            recent=recent,
            segment="s",
        )


def test_packed_and_loaded_it_goes_on_as_if_nothing_had_been(new: Callable[[], Teacher]) -> None:
    whole, first, second = new(), new(), new()
    examples = list(stream(whole, 1_300))
    expected = [snapshot.pack() for snapshot in whole.learn(examples)]
    given = [snapshot.pack() for snapshot in first.learn(examples[:733])]
    assert second.load(first.dump())
    assert given + [snapshot.pack() for snapshot in second.learn(examples[733:])] == expected
    assert second.dump() == whole.dump()


def test_the_same_stream_gives_the_same_bytes_one_at_a_time(new: Callable[[], Teacher]) -> None:
    at_once, one_by_one = new(), new()
    at_once.learn(stream(at_once, 700))
    for example in stream(one_by_one, 700):
        one_by_one.learn([example])
    assert at_once.dump() == one_by_one.dump()


def test_versions_only_go_up(new: Callable[[], Teacher]) -> None:
    teacher = new()
    versions = [snapshot.version for snapshot in teacher.learn(stream(teacher, 2_100))]
    assert versions == list(range(1, len(versions) + 1))
    assert versions
    again = new()
    again.load(teacher.dump())
    assert again.version == versions[-1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_features_that_are_none_leave_the_model_finite(new: Callable[[], Teacher], value: float) -> None:
    teacher = new()
    examples = list(stream(teacher, 600))
    for example in examples[100:200]:
        example.features = [value] * len(example.features)
    teacher.learn(examples)
    assert all(math.isfinite(figure) for figure in teacher.figures().values())
    again = new()
    assert again.load(teacher.dump())


def test_what_cannot_be_learnt_is_counted(new: Callable[[], Teacher]) -> None:
    teacher = new()
    teacher.learn([None, *stream(teacher, 20)])
    assert teacher.dropped["undecodable"] == 1
    assert teacher.examples == 20


def test_damage_is_foreign(new: Callable[[], Teacher]) -> None:
    with pytest.raises(Foreign):
        new().load(b"nonsense")


def _sizes(new: Callable[[], Teacher], count: int) -> list[int]:
    teacher, sizes = new(), []
    examples = stream(teacher, count)
    for _ in range(5):
        teacher.learn(next(examples) for _ in range(count // 5))
        sizes.append(len(teacher.dump()))
    return sizes


def test_memory_is_bounded(new: Callable[[], Teacher]) -> None:
    sizes = _sizes(new, 10_000)
    assert sizes[-1] < 1.1 * sizes[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_is_bounded_after_a_million(new: Callable[[], Teacher]) -> None:
    sizes = _sizes(new, 1_000_000)
    assert sizes[-1] < 1.1 * sizes[0]
