"""Next best action in the shards: what is chosen, what is withheld and why, which rewards count, and what
leaves as an example."""

from collections.abc import Iterator
from typing import Any

import pytest

from flows.logic.bandit.choose import uniform
from flows.logic.bandit.learner import Learner, Rewarded
from flows.logic.bandit.settings import Settings
from flows.logic.bandit.snapshot import Decider
from flows.logic.models.best_action import FEATURES, NAME, actions_of, settings_of
from flows.logic.rules.action_catalogue import OPEN_MAX
from schemas.config.toml import rules_from
from schemas.errors import Foreign
from schemas.records.identity_graph import Order, WindowCommit, undo
from schemas.records.shard_log import LogKind
from schemas.wire.triggers import Decision, Example, Trigger
from tests.world import DAY, HOUR, MINUTE, SECOND, SHARDS, START_MS, World, document, person, visitor

ANA, BOB = person("ana"), person("bob")
PHONE = visitor("phone")
TWO = """
[best_action]
within = "1h"
reward = [{event = "Bought"}]
[[action]]
name = "mail"
cost = 0.1
channel = "email"
[[action]]
name = "none"
silent = true
[[trigger]]
name = "best"
on = {event = "Added"}
action = "best"
channel = "web"
purpose = "service"
"""


def chosen(world: World) -> list[Decision]:
    return [decision for decision in world.decisions() if decision.action]


def of_actions(world: World) -> list[Example]:
    return [example for example in world.examples() if example.model == NAME]


def decider(rules: str, liked: str = "", version: int = 1) -> Decider:
    """One that has learnt that `liked` is rewarded, and nothing else is."""
    announced = rules_from(document(rules))
    learner = Learner(NAME, FEATURES, actions_of(announced), settings_of(announced))
    contexts = [[float(number % 7) + place for place in range(len(FEATURES))] for number in range(400)]
    names = [action.name for action in announced.action]
    examples = [
        Rewarded(
            str(number),
            0,
            0,
            context,
            names[number % len(names)],
            0.5,
            float(names[number % len(names)] == liked),
            0,
        )
        for number, context in enumerate(contexts)
    ]
    learner.learn(examples)
    learner.version = version
    return Decider(learner.snapshot())


def announce(world: World, model: Decider) -> None:
    world.scorers[model.version] = model
    world.directory.announce(LogKind.MODEL, f"learn:{NAME}", model.version, model.version, b"")
    world.settle()


def many(world: World, count: int = 60, event: str = "Added", **properties: Any) -> Iterator[int]:
    for number in range(count):
        world.send(person(f"p{number}"), event, **properties)
        yield number


class TestChoosing:
    def test_before_there_is_a_model_all_eligible_actions_are_equally_probable(self) -> None:
        world = World(TWO)
        list(many(world))
        made = chosen(world)
        assert {decision.action for decision in made} == {"mail", "none"}
        assert all(decision.propensities == {"mail": 0.5, "none": 0.5} for decision in made)
        assert all(
            (decision.propensity, decision.version, decision.expected) == (0.5, 0, 0.0) for decision in made
        )

    def test_the_record_says_what_the_trigger_says_and_the_context_as_it_was(self) -> None:
        world = World(TWO)
        list(many(world))
        sent = {trigger.id: trigger for trigger in world.triggers()}
        by_id = {decision.id: decision for decision in chosen(world)}
        assert len(by_id) == 60
        assert {
            name for name, decision in by_id.items() if decision.action == "mail"
        } == sent.keys()  # doing nothing sends nothing
        assert {decision.reason for decision in by_id.values()} == {"chosen", "silent"}
        for name, trigger in sent.items():
            assert (trigger.action, trigger.channel, trigger.purpose) == ("mail", "email", "service")
            assert trigger.reasons["action.propensity"] == by_id[name].propensity
            assert len(by_id[name].context) == len(FEATURES)

    def test_the_draw_is_the_hash_of_the_triggers_id(self) -> None:
        world = World(TWO)
        list(many(world))
        for decision in chosen(world):
            assert decision.action == ("mail", "none")[int(uniform(decision.id.encode()) * 2)]

    @pytest.mark.parametrize("liked", ["mail", "none"])
    def test_what_is_learnt_decides_with_propensities_that_sum_to_one(self, liked: str) -> None:
        world = World(TWO)
        announce(world, decider(TWO, liked))
        list(many(world))
        made = chosen(world)
        assert [decision.action for decision in made].count(liked) > 50
        for decision in made:
            assert sum(decision.propensities.values()) == pytest.approx(1.0)
            assert decision.propensity == decision.propensities[decision.action] >= 0.0025
            assert decision.version == 1
        best = max(made, key=lambda decision: decision.propensity)
        assert best.expected > 0.4

    def test_a_snapshot_that_cannot_be_trusted_is_kept_out_and_the_last_good_one_stays(self) -> None:
        world = World(TWO)
        announce(world, decider(TWO, "mail"))
        world.directory.announce(
            LogKind.MODEL, f"learn:{NAME}", 2, 2, b"forged"
        )  # the loader gives None for it
        list(many(world))
        assert {decision.version for decision in chosen(world)} == {1}
        assert world.counters()["models_refused"] == SHARDS

    def test_a_model_of_an_older_feature_set_is_refused(self) -> None:
        old = Learner(NAME, ("recency",), actions_of(rules_from(document(TWO))), Settings())
        with pytest.raises(Foreign, match="features"):
            Decider.from_snapshot(old.snapshot().pack(), FEATURES)

    def test_an_action_that_the_model_has_never_heard_of_may_be_chosen(self) -> None:
        world = World(TWO)
        announce(world, decider(TWO, "mail"))
        world.announce(TWO + '[[action]]\nname = "call"\nvalue = 100.0\n')
        list(many(world))
        assert "call" in {decision.action for decision in chosen(world)}

    def test_a_removed_action_is_never_chosen(self) -> None:
        world = World(TWO + '[[action]]\nname = "call"\n')
        announce(world, decider(TWO + '[[action]]\nname = "call"\n', "call"))
        world.announce(TWO)
        list(many(world))
        assert {decision.action for decision in chosen(world)} == {"mail", "none"}


class TestWithheld:
    def test_who_is_not_eligible_is_told_in_record_and_trigger(self) -> None:
        world = World(
            TWO.replace("cost = 0.1", "when = 'properties.price > 10'").replace("silent = true", "to = []")
        )
        list(many(world, 5, price=3))
        for decision in chosen(world):
            assert (decision.action, decision.propensity, decision.withheld) == (
                "none",
                1.0,
                {"mail": "not_eligible"},
            )
        assert all(trigger.reasons["action.withheld.mail"] == "not_eligible" for trigger in world.triggers())

    def test_where_none_may_be_offered_nothing_is_sent_and_the_rules_cooldown_is_not_used_up(self) -> None:
        rules = TWO.replace("cost = 0.1", "when = 'properties.price > 10'").replace(
            "silent = true", "when = 'False'"
        )
        world = World(rules + 'cooldown = "1d"\n')
        world.send(ANA, "Added", price=3)
        (decision,) = world.decisions()
        assert (decision.reason, decision.withheld) == (
            "no_action",
            {"mail": "not_eligible", "none": "not_eligible"},
        )
        assert world.counters()["decisions:no_action"] == 1
        world.send(ANA, "Added", price=30)
        assert [trigger.action for trigger in world.triggers()] == ["mail"]

    def test_an_expression_that_raises_withholds_its_action_and_nothing_else(self) -> None:
        world = World(TWO)
        rules = world._rules_of(1)

        def raising(_view: object) -> bool:
            raise ZeroDivisionError

        rules.choices.conditions[0] = raising
        world._rules_of = lambda _version: rules  # type: ignore[method-assign]  # the shards shall see these
        world.restart()
        list(many(world, 5))
        assert {(decision.action, *decision.withheld.items()) for decision in chosen(world)} == {
            ("none", ("mail", "eligibility_failed"))
        }
        assert world.counters()["applied"] == 5

    def test_an_action_cools_down_for_each_customer(self) -> None:
        world = World(TWO.replace("cost = 0.1", 'cooldown = "1h"').replace("silent = true", "when = 'False'"))
        for _ in range(2):
            world.send(ANA, "Added")
            world.send(BOB, "Added")
        assert [decision.reason for decision in world.decisions()].count("no_action") == 2
        assert {
            decision.withheld["mail"] for decision in world.decisions() if decision.reason == "no_action"
        } == {"cooldown"}
        world.later(HOUR)
        world.send(ANA, "Added")
        assert len(world.triggers()) == 3

    @pytest.mark.parametrize(("limit", "why"), [("budget = 1.0", "budget"), ("capacity = 10", "capacity")])
    def test_what_is_used_up_is_withheld_until_the_next_period(self, limit: str, why: str) -> None:
        rules = TWO.replace("cost = 0.1", f"cost = 0.1\n{limit}").replace("silent = true", "when = 'False'")
        world = World(rules)
        list(many(world))
        assert len(world.triggers()) == 10  # both shards have used all of their half
        assert {
            decision.withheld["mail"] for decision in world.decisions() if decision.reason == "no_action"
        } == {why}
        world.restart()
        world.send(ANA, "Added")
        assert len(world.triggers()) == 10
        world.later(DAY)
        world.send(ANA, "Added")
        assert len(world.triggers()) == 11


class TestRewards:
    def test_a_reward_within_the_window_is_what_the_choice_earned(self) -> None:
        world = World(TWO)
        world.send(ANA, "Added")
        (decision,) = chosen(world)
        world.later(10 * MINUTE)
        world.send(ANA, "Bought")
        assert of_actions(world) == []  # one example, when the window has closed
        world.later(HOUR)
        (example,) = of_actions(world)
        assert (example.action, example.propensity, example.label) == (
            decision.action,
            decision.propensity,
            1.0,
        )
        assert example.eligible == [*decision.propensities]
        assert (example.decision, example.version, example.customer) == (decision.id, 0, world.root(ANA))
        assert example.features == pytest.approx(decision.context, rel=1e-6)  # as they were
        assert example.asked_ms == START_MS
        assert world.profile(ANA).open == {}

    def test_no_reward_is_a_reward_of_nothing(self) -> None:
        world = World(TWO)
        world.send(ANA, "Added")
        world.later(HOUR - SECOND)
        assert of_actions(world) == []
        world.later(SECOND)
        assert [example.label for example in of_actions(world)] == [0.0]

    def test_what_came_too_late_or_happened_before_does_not_count(self) -> None:
        world = World(TWO)
        world.send(ANA, "Added")
        world.send(ANA, "Bought", ago=5 * MINUTE)
        world.later(HOUR)
        world.send(ANA, "Bought")
        assert [example.label for example in of_actions(world)] == [0.0]

    def test_the_event_that_made_us_choose_is_no_reward(self) -> None:
        world = World(TWO.replace('"Bought"', '"Added"'))
        world.send(ANA, "Added")
        world.later(HOUR)
        assert [example.label for example in of_actions(world)] == [0.0]

    @pytest.mark.parametrize(("repeat", "earned"), [("first", 5.0), ("max", 20.0), ("sum", 32.0)])
    def test_several_rewards_become_one(self, repeat: str, earned: float) -> None:
        rules = TWO.replace('within = "1h"', f'within = "1h"\npolicy = "linucb"\nrepeat = "{repeat}"')
        world = World(rules.replace('{event = "Bought"}', '{event = "Bought", property = "total"}'))
        world.send(ANA, "Added")
        for total in (5, 20, 7):
            world.send(ANA, "Bought", total=total)
        world.later(HOUR)
        assert [example.label for example in of_actions(world)] == [earned]

    @pytest.mark.parametrize("total", [float("nan"), float("inf"), "much", None, [1], True])
    def test_an_amount_that_is_none_is_refused_and_counted(self, total: object) -> None:
        rules = TWO.replace('within = "1h"', 'within = "1h"\npolicy = "linucb"')
        world = World(rules.replace('{event = "Bought"}', '{event = "Bought", property = "total"}'))
        world.send(ANA, "Added")
        world.send(ANA, "Bought", total=total)
        world.later(HOUR)
        assert [example.label for example in of_actions(world)] == [0.0]
        assert world.counters()["rewards_refused:reward_range"] == 1

    def test_an_event_may_name_the_one_choice_that_it_answers(self) -> None:
        world = World(TWO.replace('{event = "Bought"}', '{event = "Bought", decision = "trigger"}'))
        world.send(ANA, "Added")
        world.send(ANA, "Added")
        first, second = chosen(world)
        world.send(ANA, "Bought", trigger=second.id)
        for unknown in ("trg_0", None, 7):
            world.send(ANA, "Bought", trigger=unknown)
        world.later(HOUR)
        assert {example.decision: example.label for example in of_actions(world)} == {
            first.id: 0.0,
            second.id: 1.0,
        }
        assert world.counters()["rewards_refused:unknown_decision"] == 3

    def test_a_reward_for_an_action_that_was_removed_is_refused_and_counted(self) -> None:
        world = World(TWO)
        for number in many(world, 20):
            assert number >= 0
        removed = [decision for decision in chosen(world) if decision.action == "mail"]
        world.announce(TWO.replace('name = "mail"', 'name = "letter"'))
        for number in range(20):
            world.send(person(f"p{number}"), "Bought")
        world.later(HOUR)
        assert world.counters()["rewards_refused:unknown_action"] == len(removed) > 0
        assert {example.action for example in of_actions(world)} == {"none"}

    def test_unrewarded_choices_of_a_removed_action_are_dropped_and_counted(self) -> None:
        world = World(TWO)
        list(many(world, 20))
        removed = [decision for decision in chosen(world) if decision.action == "mail"]
        world.announce(TWO.replace('name = "mail"', 'name = "letter"'))
        world.later(HOUR)
        assert world.counters()["decisions_dropped:unknown_action"] == len(removed) > 0

    def test_what_waits_is_bounded_and_the_oldest_leaves_first(self) -> None:
        world = World(TWO)
        for _ in range(OPEN_MAX + 3):
            world.send(ANA, "Added")
        assert len(world.profile(ANA).open) == OPEN_MAX
        made = chosen(world)
        assert [example.decision for example in of_actions(world)] == [decision.id for decision in made[:3]]


class TestUnions:
    def test_choices_go_where_their_customer_goes(self) -> None:
        world = World(TWO)
        world.send(PHONE, "Added")
        world.send(ANA, "Added")
        world.send([ANA, PHONE])  # one customer by now
        assert len(world.profile(ANA).open) == 2
        world.send(PHONE, "Bought")
        world.later(HOUR)
        assert [(example.label, example.customer) for example in of_actions(world)] == [
            (1.0, world.root(ANA))
        ] * 2

    def test_too_many_of_both_leave_the_latest(self) -> None:
        world = World(TWO)
        for who in (PHONE, ANA):
            for _ in range(OPEN_MAX - 2):
                world.send(who, "Added")
        world.send([ANA, PHONE])
        assert len(world.profile(ANA).open) == OPEN_MAX
        assert len(of_actions(world)) == OPEN_MAX - 4
        world.later(HOUR)
        assert len({example.decision for example in of_actions(world)}) == 2 * OPEN_MAX - 4


class TestUndoneUnions:
    """Each part keeps what it would have been chosen for alone, as it was really chosen, with what it earned
    by itself."""

    def united(self) -> tuple[World, list[Decision]]:
        world = World(TWO)
        world.send(PHONE, "Added")
        world.send(visitor("tablet"), "Added")
        world.later(MINUTE)
        self.order(world, Order("link", PHONE.hash, visitor("tablet").hash))
        world.send(PHONE, "Added")
        world.later(MINUTE)
        return world, chosen(world)

    def order(self, world: World, order: Order) -> None:
        before = self.position if hasattr(self, "position") else -1
        self.position = before + 1
        world.directory.commit(
            WindowCommit("orders", before, self.position, [], [], {}, [order], world.now_ms)
        )
        world.settle()

    def test_by_living_the_days_once_more(self) -> None:
        world, made = self.united()
        assert len(world.profile(PHONE).open) == 3
        world.send(visitor("tablet"), "Bought")
        assert [each.reward for each in world.profile(PHONE).open.values()] == [1.0] * 3
        self.order(world, undo(1))
        mine, theirs = world.profile(PHONE).open, world.profile(visitor("tablet")).open
        assert list(mine) == [made[0].id, made[2].id]
        assert list(theirs) == [made[1].id]
        assert [each.reward for each in mine.values()] == [0.0, 0.0]
        assert [each.reward for each in theirs.values()] == [1.0]
        real = {decision.id: decision.action for decision in made}
        assert {name: each.action for name, each in (mine | theirs).items()} == real
        sent = len(chosen(world))
        world.later(2 * HOUR)
        assert {example.decision: example.label for example in of_actions(world)} == {
            made[0].id: 0.0,
            made[1].id: 1.0,
            made[2].id: 0.0,
        }
        assert len(chosen(world)) == sent == 3  # in silence

    def test_where_the_past_was_given_up_they_stay_with_who_stays(self) -> None:
        world, made = self.united()
        world.later(31 * DAY)  # the past is kept no longer
        world.send(PHONE, "Added")
        waiting = list(world.profile(PHONE).open)
        self.order(world, undo(1))
        assert world.counters()["split_by_fragments"] == 1
        parts = [*world.profile(PHONE).open, *world.profile(visitor("tablet")).open]
        assert parts == waiting == [chosen(world)[-1].id]
        assert len(chosen(world)) == len(made) + 1


class TestFunctionOfTheLog:
    def test_restarts_and_small_batches_leave_no_trace(self) -> None:
        given = TWO.replace("cost = 0.1", "cost = 0.1\ncapacity = 9")
        outcomes = []
        for restarts in (False, True):
            world = World(given)
            announce(world, decider(given, "mail"))
            for number in range(40):
                world.send(person(f"p{number % 9}"), ("Added", "Bought", "Viewed")[number % 3])
                if restarts:
                    world.restart()
                if number % 8 == 0:
                    world.later(20 * MINUTE)
            world.later(2 * HOUR)
            outcomes.append(
                (
                    world.store.profiles,
                    world.store.outbox,
                    world.counters(),
                    [h.used for h in world.store.heads().values()],
                )
            )
        assert outcomes[0] == outcomes[1]


def test_triggers_without_a_choice_are_as_before() -> None:
    world = World('[[trigger]]\nname = "plain"\non = {event = "Added"}\naction = "mail"\n')
    world.send(ANA, "Added")
    (trigger,) = world.triggers()
    assert isinstance(trigger, Trigger)
    assert (trigger.action, trigger.reasons) == ("mail", {})
    assert world.decisions() == []
