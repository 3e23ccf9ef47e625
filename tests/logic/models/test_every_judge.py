"""What every judge of the unusual must do: half-space trees, and the one that a shard scores with."""

import math
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from flows.logic.models.anomaly import Unusual, Usual

WIDTH = 5
JUDGES: dict[str, Callable[[], Any]] = {
    "half_space_trees": lambda: Unusual(WIDTH, seed=1),
    "usual": lambda: Usual.of(WIDTH, range(WIDTH)),
}


@pytest.fixture(params=JUDGES)
def new(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return JUDGES[request.param]


def stream(count: int, seed: int = 1) -> Iterator[list[float]]:
    luck = random.Random(seed)
    for _ in range(count):
        yield [luck.gauss(0, 1) for _ in range(WIDTH)]


def packed(judge: Any) -> bytes:
    """`Usual` lies in checkpoints as its numbers; the trees are only ever pickled."""
    return msgspec.msgpack.encode(judge) if isinstance(judge, Usual) else pickle.dumps(judge)


def loaded(body: bytes, judge: Any) -> Any:
    return (
        msgspec.msgpack.decode(body, type=Usual) if isinstance(judge, Usual) else pickle.loads(body)
    )  # our own, of just now


def judged(judge: Any, features: list[float]) -> float:
    """Before it is learnt."""
    if isinstance(judge, Unusual):
        return judge.see(features)
    judge.see(features)
    return float(judge.ring[-1])


def test_what_lies_apart_is_more_unusual(new: Callable[[], Any]) -> None:
    judge = new()
    ordinary = [judged(judge, features) for features in stream(1_500)][1_000:]
    apart = [judged(judge, [value + 4.0 for value in features]) for features in stream(20, seed=2)]
    assert sum(apart) / len(apart) > sum(ordinary) / len(ordinary)
    assert min(apart) > sorted(ordinary)[len(ordinary) // 2]


def test_packed_and_loaded_it_goes_on_as_if_nothing_had_been(new: Callable[[], Any]) -> None:
    whole, first, given = new(), new(), list(stream(1_300))
    expected = [judged(whole, features) for features in given]
    begun = [judged(first, features) for features in given[:733]]  # within a window of the trees
    second = loaded(packed(first), first)
    assert begun + [judged(second, features) for features in given[733:]] == expected


def test_the_same_stream_gives_the_same_judgements(new: Callable[[], Any]) -> None:
    one, other = new(), new()
    assert [judged(one, features) for features in stream(600)] == [
        judged(other, features) for features in stream(600)
    ]


def test_another_seed_makes_other_trees() -> None:
    one, other = Unusual(WIDTH, seed=1), Unusual(WIDTH, seed=2)
    assert [one.see(features) for features in stream(600)] != [
        other.see(features) for features in stream(600)
    ]


@pytest.mark.parametrize("value", [0.0, -1e6, 1e6, 1e300, -1e300])
def test_features_never_seen_before_leave_it_finite(new: Callable[[], Any], value: float) -> None:
    judge = new()
    for features in stream(600):
        judged(judge, features)
    for features in ([value] * WIDTH, [value, *[0.0] * (WIDTH - 1)], *stream(300, seed=3)):
        assert math.isfinite(judged(judge, features))


@pytest.mark.parametrize("count", [0, WIDTH - 1, WIDTH + 1])
def test_features_that_are_missing_are_an_error(count: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        Unusual(WIDTH, seed=1).see([0.0] * count)


def _sizes(new: Callable[[], Any], count: int) -> list[int]:
    judge, sizes, given = new(), [], stream(count)
    for _ in range(5):
        for _ in range(count // 5):
            judge.see(next(given))
        sizes.append(len(packed(judge)))
    return sizes


@pytest.mark.long
def test_memory_is_bounded(new: Callable[[], Any]) -> None:
    sizes = _sizes(new, 6_000)
    assert sizes[-1] < 1.1 * sizes[0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_is_bounded_after_a_million(new: Callable[[], Any]) -> None:
    sizes = _sizes(new, 1_000_000)
    assert sizes[-1] < 1.1 * sizes[0]
