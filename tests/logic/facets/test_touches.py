"""Items that customers touch, what is recommended to them, and the group that they belong to."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.logic.facets.item_interactions import ITEM_MAX, ITEMS_MAX, items_of
from flows.logic.models import challenger, cluster_assigner, recommendation_index
from flows.logic.models.cluster_assigner import FEATURES, Assigner
from flows.logic.models.clusters import Clusters
from flows.logic.models.recommend import Interaction, Recommender
from flows.logic.models.recommendation_index import ITEM_TO_ITEM, RECENT_MAX, RecommendationIndex
from flows.logic.models.recommendation_trainer import RecommendationTrainer
from flows.logic.rules.ruleset import CompiledRules
from flows.logic.shard.state import Live
from flows.logic.shard.view import present
from schemas.config.toml import rules_from
from schemas.errors import Foreign
from schemas.records.shard_log import LogKind
from schemas.wire.triggers import Example
from tests.world import HOUR, World, document, person, visitor

ANA, BOB, PHONE = person("ana"), person("bob"), visitor("phone")
RULES = """
[[segment]]
name = "new"
when = "events <= 1"
[[segment]]
name = "known"
when = "True"
[recommendation]
k = 2
touch = [{event = "Viewed", item = "sku", weight = 0.5}, {event = "Bought", item = "lines.sku"}]
[clusters]
enabled = true
every = "1h"
[[trigger]]
name = "like"
on = {event = "Asked"}
when = "len(recommended) > 0"
[[trigger]]
name = "group"
on = {event = "Asked"}
when = "cluster == 'c1'"
"""

PLAIN = st.none() | st.text() | st.integers() | st.floats()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


def of(world: World, model: str) -> list[Example]:
    return [example for example in world.examples() if example.model == model]


def announce(world: World, model: str, made: object, version: int = 1) -> None:
    world.scorers[version] = made
    world.directory.announce(LogKind.MODEL, f"learn:{model}", version, version, b"")
    world.settle()


def filled_index(version: int = 1) -> RecommendationIndex:
    recommender = Recommender(HOUR)
    recommender.learn(
        [
            Interaction(0, "cup", 1.0, ["tea"], "known"),
            Interaction(0, "pot", 0.5, ["tea"], "known"),
            Interaction(0, "tea", 1.0, [], "known"),
        ]
    )
    return RecommendationIndex.from_snapshot(recommender.snapshot(version, 3, 0, {}).pack())


class TestTouches:
    def test_each_item_is_learnt_with_those_before_it(self) -> None:
        world = World(RULES)
        world.send(ANA, sku="a")
        world.send(ANA, sku="b")
        world.send(ANA, "Bought", lines=[{"sku": "c"}, {"sku": "a"}, {"other": 1}])
        assert [
            (each.action, each.label, each.recent, each.segment)
            for each in of(world, recommendation_index.NAME)
        ] == [
            ("a", 0.5, [], ""),
            ("b", 0.5, ["a"], "new"),
            ("c", 1.0, ["b", "a"], "known"),
            ("a", 1.0, ["c", "b", "a"], "known"),  # which says that it is not new to them
        ]
        assert world.profile(ANA).recent == ["a", "c", "b"]

    def test_what_is_kept_of_a_customer_is_bounded(self) -> None:
        world = World(RULES)
        for number in range(RECENT_MAX + 5):
            world.send(ANA, sku=f"i{number}")
        assert world.profile(ANA).recent == [f"i{number}" for number in range(RECENT_MAX + 4, 4, -1)]

    def test_united_customers_have_touched_what_either_did(self) -> None:
        world = World(RULES)
        for who, items in ((ANA, "abc"), (PHONE, "xbz")):
            for item in items:
                world.send(who, sku=item)
        world.send([ANA, PHONE], "Asked")
        assert set(world.profile(ANA).recent) == set("abcxz")
        assert set(world.profile(ANA).recent[:2]) == {"c", "z"}

    @pytest.mark.parametrize("item", [None, "", "x" * (ITEM_MAX + 1), True, 1.5, {"a": 1}])
    def test_what_is_no_id_is_no_touch(self, item: object) -> None:
        world = World(RULES)
        world.send(ANA, sku=item)
        assert of(world, recommendation_index.NAME) == []
        assert world.counters()["applied"] == 1

    @given(
        st.recursive(
            st.none() | st.text() | st.integers() | st.floats(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_any_properties_give_a_few_ids(self, value: object) -> None:
        found = items_of({"a": value}, ["a", "b"]) + items_of({"a": value}, ["a"])
        assert all(0 < len(item) <= ITEM_MAX for item in found)
        assert len(found) <= 2 * ITEMS_MAX


class TestRecommended:
    def test_until_there_is_an_index_nothing_is_recommended(self) -> None:
        world = World(RULES)
        world.send(ANA, sku="tea")
        world.send(ANA, "Asked")
        assert world.rules_fired() == []

    def test_companions_then_what_the_segment_likes_and_the_trigger_says_which(self) -> None:
        world = World(RULES)
        announce(world, recommendation_index.NAME, filled_index())
        world.send(ANA, sku="tea")
        world.send(ANA, "Asked")
        world.send(BOB, "Asked")
        first, second = world.triggers()
        assert set(first.reasons["recommended"]) == {"cup", "pot"}
        assert first.reasons["recommended"][0] in ("cup", "pot")
        assert len(second.reasons["recommended"]) == 2  # nothing is known of him: what everyone likes

    def test_profiles_show_it(self) -> None:
        world = World(RULES)
        world.send(ANA, sku="tea")
        rules: CompiledRules = world._rules_of(1)
        live = Live(world.profile(ANA), rules)
        shown = present(world.root(ANA), live.profile, live.total, rules, world.now_ms, {}, filled_index())
        assert set(shown["recommended"]) == {"cup", "pot"}
        assert (shown["cluster"], shown["waiting_for_reward"]) == ("", {})

    def test_a_challenger_that_was_promoted_is_what_customers_get(self) -> None:
        taught, luck = RecommendationTrainer(rules_from(document(RULES))), random.Random(1)
        for at in range(600):  # what goes together by chance alone, two learners see differently
            item, before = luck.sample(["tea", *(f"i{number}" for number in range(12))], 2)
            taught.learn(
                [
                    Example(
                        recommendation_index.NAME,
                        b"c",
                        at,
                        at,
                        [],
                        None,
                        0,
                        1.0,
                        action=item,
                        recent=[before],
                        segment="known",
                    )
                ]
            )
        world = World(RULES)
        world.send(ANA, sku="tea")
        indexes = []
        for learner in (ITEM_TO_ITEM, challenger.NAME, ITEM_TO_ITEM):
            taught.grant(len(indexes) + 1, learner)
            indexes.append(RecommendationIndex.from_snapshot(taught.next_snapshot().pack()))
            announce(world, recommendation_index.NAME, indexes[-1], taught.version)
            world.send(ANA, "Asked")
        assert [made.snapshot.learner for made in indexes] == [ITEM_TO_ITEM, challenger.NAME, ITEM_TO_ITEM]
        served = [trigger.reasons["recommended"] for trigger in world.triggers()]
        assert served == [made.recommend(["tea"], "new", 2) for made in indexes]
        assert served[0] != served[1]

    @pytest.mark.parametrize("body", [b"", b"\x90", b"nonsense"])
    def test_a_damaged_index_is_refused(self, body: bytes) -> None:
        with pytest.raises(Foreign):
            RecommendationIndex.from_snapshot(body)


class TestGroups:
    def assigner(self) -> Assigner:
        model = Clusters(FEATURES, 2)
        far = [
            [float(side) * 3 + place * 0.01 * (number % 5) for place in range(len(FEATURES))]
            for number in range(64)
            for side in (0, 1)
        ]
        (snapshot, *_rest) = model.learn(far)
        return Assigner.from_snapshot(snapshot.pack(), FEATURES)

    def test_a_customer_is_looked_at_once_in_a_while(self) -> None:
        world = World(RULES)
        for _ in range(5):
            world.send(ANA)
        assert len(of(world, cluster_assigner.NAME)) == 1
        world.later(HOUR)
        world.send(ANA)
        assert [len(each.features) for each in of(world, cluster_assigner.NAME)] == [len(FEATURES)] * 2

    def test_the_group_is_counted_shown_and_drives_a_trigger(self) -> None:
        world = World(RULES)
        announce(world, cluster_assigner.NAME, self.assigner())
        for who in (ANA, BOB):
            world.send(who, "Asked")
        group = world.profile(ANA).cluster
        assert group in ("c1", "c2")
        assert world.counters()[f"cluster:{group}"] == 2
        assert world.rules_fired() == (["group"] * 2 if group == "c1" else [])

    def test_counts_follow_unions_and_the_switch(self) -> None:
        world = World(RULES)
        announce(world, cluster_assigner.NAME, self.assigner())
        world.send(PHONE)
        world.send(ANA)
        world.send([ANA, PHONE])
        assert sum(n for name, n in world.counters().items() if name.startswith("cluster:")) == 1
        world.announce(RULES.replace("enabled = true", "enabled = false"))
        world.send(ANA)
        assert world.profile(ANA).cluster == ""
        assert not any(name.startswith("cluster:") for name in world.counters())
