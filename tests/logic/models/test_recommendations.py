"""Recommendations as a contest: judged by what shards serve, promoted by rule or by hand, and exactly so
after any stop."""

import random
from collections.abc import Iterable, Iterator

import msgspec
import pytest

from flows.logic.models import challenger
from flows.logic.models.announced import Snapshot as Announced
from flows.logic.models.recommend import Recommender
from flows.logic.models.recommendation_index import ITEM_TO_ITEM, NAME, RecommendationIndex, Snapshot
from flows.logic.models.recommendation_trainer import HITS_OF, RecommendationTrainer
from schemas.config import Recommendation, Rules, Touch
from schemas.errors import Foreign
from schemas.wire.triggers import Example

PROMOTED = 9_000  # interactions: the challenger has won by then where counts are thin


def new() -> RecommendationTrainer:
    return RecommendationTrainer(Rules(recommendation=Recommendation(touch=(Touch(event="Viewed"),))))


def thin(count: int) -> Iterator[Example]:
    """Four tastes, each with 500 items of which most are touched seldom: too few pairs to count, but any item
    tells the taste."""
    luck = random.Random(1)
    for at in range(count):
        taste = luck.randrange(4)
        item, before = (f"{taste}-{int(500 * luck.random() ** 3)}" for _ in range(2))
        yield example(at, item, before)


def mates(count: int) -> Iterator[Example]:
    """Each of 200 items goes with one other, and no two pairs have anything in common: counts know it all."""
    luck = random.Random(1)
    for at in range(count):
        pair, side = luck.randrange(100), luck.randrange(2)
        yield example(at, f"{pair}-{side}", f"{pair}-{1 - side}")


def example(at: int, item: str, *recent: str) -> Example:
    return Example(
        model=NAME,
        customer=b"c",
        asked_ms=at * 1_000,
        answered_ms=at * 1_000,
        features=[],
        predicted=None,
        version=0,
        label=1.0,
        action=item,
        recent=list(recent),
        segment="s",
    )


def learners(snapshots: Iterable[Announced]) -> list[str]:
    return [snapshot.learner for snapshot in snapshots if isinstance(snapshot, Snapshot)]


class TestByRule:
    def test_a_challenger_that_sees_further_takes_over_and_is_served_at_once(self) -> None:
        trainer = new()
        served = learners(trainer.learn(thin(PROMOTED)))
        assert (trainer.champion, trainer.promotions) == (challenger.NAME, 1)
        assert served == [ITEM_TO_ITEM] * 8 + [
            challenger.NAME
        ]  # after 64, 128 ... 8,192 interactions; and when it won, though none was due
        assert set(trainer.contest()) == {ITEM_TO_ITEM, challenger.NAME}
        assert trainer.figures()["hit_rate"] == trainer.contest()[challenger.NAME]["hit_rate"]

    def test_one_that_does_not_stays_what_it_is(self) -> None:
        trainer = new()
        assert set(learners(trainer.learn(mates(PROMOTED)))) == {ITEM_TO_ITEM}
        assert (trainer.champion, trainer.promotions) == (ITEM_TO_ITEM, 0)
        assert trainer.contest()[ITEM_TO_ITEM]["hit_rate"] > 0.9

    @pytest.mark.long
    def test_stopped_before_and_after_the_promotion_it_says_the_same(self) -> None:
        whole, given = new(), list(thin(PROMOTED))
        expected = [snapshot.pack() for snapshot in whole.learn(given)]
        stopped, said = new(), []
        for begin in range(0, PROMOTED, 1_999):
            after = new()
            if begin:
                assert after.load(stopped.dump())
            said += [snapshot.pack() for snapshot in after.learn(given[begin : begin + 1_999])]
            stopped = after
        assert said == expected
        assert stopped.dump() == whole.dump()


class TestByHand:
    def test_there_and_back_each_once(self) -> None:
        trainer = new()
        trainer.learn(mates(100))
        assert trainer.grant(1, challenger.NAME)
        snapshot = trainer.next_snapshot()
        assert (trainer.champion, snapshot.learner, snapshot.version) == (
            challenger.NAME,
            challenger.NAME,
            trainer.version,
        )
        assert not trainer.grant(1, challenger.NAME)
        again = new()
        assert again.load(trainer.dump())
        assert not again.grant(1, challenger.NAME)
        assert not again.grant(2, "nobody")
        assert again.grant(3, ITEM_TO_ITEM)
        assert (again.champion, again.promotions, again.next_snapshot().learner) == (
            ITEM_TO_ITEM,
            2,
            ITEM_TO_ITEM,
        )


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_is_compared_is_what_the_shards_serve(by_hand: bool) -> None:
    """Each index, taken up as a shard would, asked of what the customer had before."""
    trainer = new()
    served, hits, looks = None, 0.0, 0.0
    if by_hand:
        trainer.promote(challenger.NAME)
    for at, each in enumerate(thin(3_000)):
        if served is not None and at % 4 == 0 and each.action not in each.recent:
            found = served.recommend(each.recent, each.segment, HITS_OF)
            looks, hits = looks * 0.999 + 1.0, hits * 0.999 + (each.action in found)
        for snapshot in trainer.learn([each]):
            served = RecommendationIndex.from_snapshot(snapshot.pack())
    assert looks > 0.0
    assert trainer.figures()["hit_rate"] == pytest.approx(hits / looks)


@pytest.mark.parametrize(
    "damage",
    [
        {"champion": "nobody"},
        {"sides": {}},
        {"duels": {"nobody": []}},
        {"wishes": "many"},
        {"factors": b"\x90"},
    ],
)
def test_a_contest_that_is_none_is_refused(damage: dict[str, object]) -> None:
    *kept, more = msgspec.msgpack.decode(new().dump())
    with pytest.raises(Foreign):
        new().load(msgspec.msgpack.encode([*kept, {"contest": more["contest"] | damage}]))


class TestOfOlderReleases:
    def test_a_checkpoint_goes_on_counting_and_the_contest_begins_anew(self) -> None:
        trainer = new()
        trainer.learn(mates(500))
        body, version, *rest = msgspec.msgpack.decode(trainer.dump())
        sides = {"item_to_item": [3.0, 2.0, 1.0], "biased_mf": [3.0, 1.0, 1.0]}
        more = {"looks": 3.0, "hits": 2.0, "challenger": b"of customers", "sides": sides}
        again = new()
        assert again.load(msgspec.msgpack.encode([body, version, *rest[:-1], more]))
        assert (again.version, again.examples, again.champion) == (version, 500, ITEM_TO_ITEM)
        assert again.figures() == {}
        again.learn(list(mates(1_000))[500:])
        assert again.contest()[ITEM_TO_ITEM]["hit_rate"] > 0.8

    def test_a_snapshot_is_that_of_item_to_item(self) -> None:
        snapshot = Recommender(1_000).snapshot(1, 0, 0, {})
        older = {name: value for name, value in msgspec.to_builtins(snapshot).items() if name != "learner"}
        assert RecommendationIndex.from_snapshot(msgspec.msgpack.encode(older)).snapshot == snapshot
