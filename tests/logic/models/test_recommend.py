"""Recommendation: companions, cold starts, decay and bounds; and the factors that learn beside the counts."""

import random
from collections import Counter as Plain
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.models.challenger import Challenger
from flows.logic.models.recommend import Counter, Interaction, Recommender
from flows.logic.models.recommendation_index import COMPANIONS_MAX, RecommendationIndex
from schemas.errors import Foreign

DAY = 86_400_000


def interaction(
    item: str, *recent: str, at_ms: int = 0, weight: float = 2.0, segment: str = "new"
) -> Interaction:
    return Interaction(at_ms=at_ms, item=item, weight=weight, recent=list(recent), segment=segment)


def learned(*interactions: Interaction, half_life_ms: int = 30 * DAY) -> Recommender:
    recommender = Recommender(half_life_ms)
    recommender.learn(interactions)
    return recommender


def index_of(recommender: Recommender) -> RecommendationIndex:
    return RecommendationIndex.from_snapshot(recommender.snapshot(1, recommender.learnt, 0, {}).pack())


def items(recommender: Recommender, *recent: str, segment: str = "new", k: int = 3) -> list[str]:
    return index_of(recommender).recommend(recent, segment, k)


def test_what_goes_together_is_recommended_and_what_they_have_is_not() -> None:
    together = [
        interaction("tea"),
        interaction("cup", "tea"),
        interaction("tea"),
        interaction("cup", "tea"),
        interaction("tea"),
        interaction("pot", "tea"),
    ]
    recommender = learned(*together, *[interaction("tv")] * 20)
    assert items(recommender, "tea")[:2] == ["cup", "pot"]
    assert "tea" not in items(recommender, "tea")
    assert index_of(recommender).recommend(["tea"], "new", 1, exclude=["cup"]) == ["pot"]


def test_cold_starts_take_the_segment_and_then_everyone() -> None:
    recommender = learned(
        *[interaction("a", segment="vip")] * 3,
        interaction("b", segment="vip"),
        *[interaction("c", segment="new")] * 9,
    )
    assert items(recommender, segment="vip") == ["a", "b", "c"]
    assert items(recommender, "never seen", segment="unheard of") == ["c", "a", "b"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3)), max_size=40
    )
)
def test_companions_are_by_the_cosine_of_plain_counts(stream: list[tuple[str, list[str]]]) -> None:
    total: Plain[str] = Plain()
    together: Plain[tuple[str, str]] = Plain()
    for item, recent in stream:
        total[item] += 1
        for other in set(recent) - {item}:
            if total[other]:
                together[item, other] += 1
                together[other, item] += 1
    companions = index_of(
        learned(*(interaction(item, *recent, weight=1.0) for item, recent in stream))
    ).snapshot.companions
    found = {(item, other): score for item, others in companions.items() for other, score in others}
    assert found == pytest.approx(
        {pair: count / sqrt(total[pair[0]] * total[pair[1]]) for pair, count in together.items()}
    )


def test_a_rare_item_does_not_inherit_what_others_left() -> None:
    recommender = Recommender(30 * DAY, neighbours=4)
    recommender.learn(
        interaction(item, "tea")
        for number in range(60)
        for item in ("tea", "cup", "pot", "jug", f"once-{number}")
    )
    assert items(recommender, "tea") == ["cup", "jug", "pot"]


def test_old_companions_fade() -> None:
    old = [interaction("a"), *[interaction("b", "a")] * 4]
    recent = [interaction("c", "a", at_ms=120 * DAY)]
    assert items(learned(*old, *recent), "a")[0] == "c"


def test_scores_stay_finite_over_many_half_lives() -> None:
    recommender = learned(
        *[interaction("b", "a", at_ms=number * DAY) for number in range(0, 3_000, 7)],
        interaction("a", "b", at_ms=2_999 * DAY),
        half_life_ms=DAY,
    )
    assert Recommender.unpack(recommender.pack()).pack() == recommender.pack()


def test_an_order_says_more_than_a_view() -> None:
    assert (
        items(
            learned(interaction("a"), interaction("b", "a", weight=0.2), interaction("c", "a", weight=2.0)),
            "a",
        )[0]
        == "c"
    )


def test_memory_is_bounded_by_items_and_neighbours() -> None:
    recommender = Recommender(DAY, items_max=50, neighbours=4)
    recommender.learn(
        interaction(f"i{number}", f"i{number - 1}", f"i{number - 2}", segment=f"s{number}")
        for number in range(2_000)
    )
    before = len(recommender.pack())
    recommender.learn(
        interaction(f"i{number}", f"i{number - 1}", f"i{number - 2}", segment=f"s{number}")
        for number in range(2_000, 4_000)
    )
    assert len(recommender.pack()) < before * 1.2
    assert recommender.learnt == 4_000


def test_the_same_touches_give_the_same_bytes_however_often_it_was_stopped() -> None:
    interactions = [
        interaction(f"i{number * number % 23}", f"i{number % 7}", at_ms=number * DAY) for number in range(300)
    ]
    stopped = Recommender(DAY)
    for start in range(0, 300, 37):
        stopped = Recommender.unpack(stopped.pack())
        stopped.learn(interactions[start : start + 37])
    assert stopped.pack() == learned(*interactions, half_life_ms=DAY).pack()


def test_touches_that_say_nothing_are_counted() -> None:
    recommender = learned(
        interaction(""), interaction("a", weight=0.0), interaction("a", weight=float("nan"))
    )
    assert (recommender.learnt, recommender.dropped) == (0, 3)
    assert items(recommender, "a") == []


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0.1, 5)), max_size=60))
def test_space_saving_overestimates_by_the_least_at_most(stream: list[tuple[str, float]]) -> None:
    counter = Counter(3)
    truth: dict[str, float] = {}
    for name, amount in stream:
        counter.add(name, amount)
        truth[name] = truth.get(name, 0.0) + amount
    assert len(counter.scores) <= 3
    least = min(counter.scores.values(), default=0.0)
    for name, score in counter.scores.items():
        assert truth[name] - 1e-9 <= score <= truth[name] + least + 1e-9
        assert counter.surely().get(name, 0.0) <= truth[name] + 1e-9


@pytest.mark.parametrize("body", [b"", b"\x90", b"nonsense"])
def test_damage_is_refused(body: bytes) -> None:
    with pytest.raises(Foreign):
        Recommender.unpack(body)


def test_the_challenger_learns_within_bounds_and_goes_on_from_what_it_dumped() -> None:
    whole, first, second = (Challenger(items_max=5) for _ in range(3))
    interactions = [
        interaction(f"i{number * number % 11}", f"i{number % 7}", f"i{number % 5}", weight=number % 4 + 0.5)
        for number in range(300)
    ]
    for each in interactions:
        whole.learn(each)
    for each in interactions[:133]:
        first.learn(each)
    second.load(first.dump())
    for each in interactions[133:]:
        second.learn(each)
    assert second.dump() == whole.dump()
    assert second.companions() == whole.companions()
    assert len(whole.companions()) == 5
    with pytest.raises(Foreign):
        whole.load(b"nonsense")


def test_the_challengers_companions_are_those_that_river_predicts_best() -> None:
    challenger = Challenger()
    for number in range(2_000):
        challenger.learn(interaction(f"i{number * number % 23}", f"i{number % 17}", f"i{number % 5}"))
    model, names = challenger._model, challenger._names
    level = model.global_mean.get()
    for item, companions in challenger.companions().items():
        own = level + model.u_biases[item]
        predicted = {other: model.predict_one(item, other) - own for other in names if other != item}
        best = sorted(
            (other for other in predicted if predicted[other] > 0), key=lambda other: -predicted[other]
        )[:COMPANIONS_MAX]
        assert [other for other, _ in companions] == best
        assert [score for _, score in companions] == pytest.approx([predicted[other] for other in best])


def test_the_challenger_tells_of_two_that_were_never_seen_together() -> None:
    """Of each item one that goes with it is never seen with it: all others say so."""
    challenger, luck, count = Challenger(), random.Random(1), 30
    for _ in range(8_000):
        place, one, other = luck.choice("ab"), luck.randrange(count), luck.randrange(count)
        if one + other != count - 1:
            challenger.learn(interaction(f"{place}{one}", f"{place}{other}"))
    told = challenger._model.predict_one
    for one in range(count):
        unseen = told(f"a{one}", f"a{count - 1 - one}")
        assert unseen > max(told(f"a{one}", f"b{other}") for other in range(count))


@pytest.mark.parametrize("weight", [1e-3, 1_000.0])
def test_the_challenger_stays_finite(weight: float) -> None:
    challenger = Challenger()
    for number in range(3_000):
        challenger.learn(interaction(f"i{number % 2}", f"i{1 - number % 2}", "i0", "i1", weight=weight))
    assert all(
        0.0 < score < 2.0 for companions in challenger.companions().values() for _, score in companions
    )
