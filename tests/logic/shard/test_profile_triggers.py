"""When a trigger fires and what it says: events, tags, segments, scores; and what did not happen in time."""

from typing import Any

import pytest

from flows.logic.facets.decisions import trigger_id
from tests.people import ANA, BOB, LEFT, ORDERS, RISK, SCORES, V, events, segment, tag, trigger, waited
from tests.world import DAY, HOUR, MINUTE, SECOND, START_MS, World

# --- triggers -------------------------------------------------------------------------------------


def test_an_event_fires_a_trigger_with_reasons_and_receipt() -> None:
    world = World(
        ORDERS
        + tag("buyer", "orders > 0")
        + trigger(
            "thanks",
            'event = "Bought"',
            when="orders >= 1 and properties.total > 10 and 'buyer' in tags",
            action="thank",
            channel="email",
        )
        + 'purpose = "service"\nto = ["crm"]\n'
        + '[[connector]]\nname = "crm"\ntype = "file"\npath = "crm.jsonl"\n'
    )
    world.at(START_MS)
    world.send(ANA, "Bought", total=5, message="m-cheap")
    world.send(ANA, "Bought", total=20, message="m-dear", ago=MINUTE)
    (fired,) = world.triggers()
    assert (fired.rule, fired.action, fired.channel, fired.purpose, fired.to) == (
        "thanks",
        "thank",
        "email",
        "service",
        ["crm"],
    )
    assert fired.customer == ANA.hash.hex()
    assert fired.cause == "m-dear"
    assert fired.id == trigger_id("m-dear", ANA.hash, "thanks")
    assert fired.reasons == {"orders": 2, "properties.total": 20, "tags": ["buyer"]}
    assert fired.properties == {"total": 20}
    receipt = fired.receipt
    assert (receipt.event_ms, receipt.received_ms, receipt.resolved_ms) == (
        START_MS - MINUTE,
        START_MS,
        START_MS,
    )
    assert receipt.applied_ms >= receipt.resolved_ms
    assert world.counters()["triggers:thanks"] == 1


@pytest.mark.parametrize(("kind", "fires"), [("page", True), ("screen", False)])
def test_a_type_fires_as_well_as_a_name(kind: Any, fires: bool) -> None:
    world = World(trigger("seen", 'event = "page"'))
    world.send(ANA, "Home", type=kind)
    assert world.rules_fired() == (["seen"] if fires else [])


def test_a_tag_that_comes_on_and_goes_off_fires_once_each() -> None:
    world = World(
        ORDERS
        + tag("recent", "week > 0")
        + trigger("on", 'tag_entered = "recent"')
        + trigger("off", 'tag_left = "recent"', when="orders > 1")
    )
    world.at(START_MS)
    world.send(ANA, "Bought")
    world.send(ANA, "Bought")
    world.later(8 * DAY)
    world.later(DAY)
    on, off = world.triggers()
    assert (on.rule, off.rule) == ("on", "off")
    assert off.cause.startswith("timer:wake:")
    assert off.reasons == {"orders": 2}


def test_a_segment_that_is_entered_and_left_fires() -> None:
    world = World(
        ORDERS
        + segment("good", "week > 0")
        + segment("rest", "True")
        + trigger("in", 'segment_entered = "good"')
        + trigger("out", 'segment_left = "good"')
        + trigger("first", 'segment_entered = "rest"')
    )
    world.at(START_MS)
    world.send(ANA)
    world.send(ANA, "Bought")
    world.later(8 * DAY)
    assert world.rules_fired() == ["first", "in", "out", "first"]


def test_a_score_fires_when_it_crosses_and_says_why() -> None:
    world = World(RISK, scorers=SCORES)
    fired = []
    for version in (0, 1, 2, 2, 1, 1):  # a first score that is low has not fallen
        if version:
            world.announce_model(len(fired))
            world.scorers[len(fired)] = SCORES[version]
        world.send(ANA)
        fired.append(len(world.triggers()))
    assert fired == [0, 0, 1, 1, 2, 2]
    risky, safe = world.triggers()
    assert (risky.rule, safe.rule) == ("risky", "safe")
    assert risky.scores == {"churn": {"score": 0.9, "version": 2}}
    assert risky.reasons == {
        "score.churn because of recency": 1.2346,
        "score.churn because of age": -0.5,
        "score.churn because of events": 0.25,
    }


def test_a_model_that_is_refused_leaves_the_last_good_one() -> None:
    world = World(RISK, scorers=SCORES)
    world.announce_model(2)
    world.announce_model(3)
    world.send(ANA)
    assert world.profile(ANA).scores == {"churn": (0.9, 2)}


def test_tags_and_segments_see_the_score_of_now() -> None:
    world = World(RISK + tag("going", "score.churn > 0.8"), scorers=SCORES)
    world.announce_model(2)
    world.send(ANA)
    assert "going" in world.profile(ANA).tags


def test_where_churn_is_off_nothing_is_asked_nor_scored() -> None:
    world = World(RISK, scorers=SCORES)
    world.announce_model(2)
    world.send(ANA)
    world.announce("[churn]\nenabled = false\n")
    world.send(ANA)
    world.send(BOB)
    assert world.profile(ANA).scores == {}
    assert world.profile(BOB).questions == []


def test_a_cooldown_silences_and_the_decision_says_so() -> None:
    world = World(trigger("thanks", 'event = "Bought"', cooldown="1h"))
    world.at(START_MS)
    world.send(ANA, "Bought", message="m1")
    world.send(ANA, "Bought", message="m2")
    world.send(BOB, "Bought", message="m3")
    world.later(HOUR)
    world.send(ANA, "Bought", message="m4")
    assert sorted(fired.cause for fired in world.triggers()) == ["m1", "m3", "m4"]
    (decision,) = world.decisions()
    assert (decision.customer, decision.rule, decision.cause, decision.at_ms, decision.reason) == (
        ANA.hash,
        "thanks",
        "m2",
        START_MS,
        "cooldown",
    )


# --- "A, then no B" -------------------------------------------------------------------------------


def test_a_then_no_b_fires_when_the_time_is_over() -> None:
    world = World(LEFT)
    world.at(START_MS)
    world.send(ANA, "Added", message="m1")
    world.later(30 * MINUTE - SECOND)
    assert world.triggers() == []
    world.later(SECOND)
    (fired,) = world.triggers()
    assert fired.cause == "timer:left:m1"
    assert fired.id == trigger_id(fired.cause, ANA.hash, "left")
    assert fired.receipt.event_ms == START_MS + 30 * MINUTE
    assert waited(world) == [fired]


def test_b_in_time_ends_the_wait() -> None:
    world = World(LEFT)
    world.at(START_MS)
    world.send(ANA, "Added")
    world.later(29 * MINUTE)
    world.send(ANA, "Bought")
    assert waited(world) == []


def test_another_a_begins_the_wait_anew() -> None:
    world = World(LEFT)
    world.at(START_MS)
    world.send(ANA, "Added", message="m1")
    world.later(20 * MINUTE)
    world.send(ANA, "Added", message="m2")
    world.later(20 * MINUTE)
    assert world.triggers() == []
    assert [fired.cause.rpartition(":")[2] for fired in waited(world)] == ["m2"]


def test_a_b_that_happened_before_a_does_not_end_the_wait() -> None:
    world = World(LEFT)
    world.at(START_MS)
    world.send(ANA, "Added")
    world.send(ANA, "Bought", ago=HOUR)
    assert len(waited(world)) == 1


def test_an_a_that_comes_late_does_not_wait_for_a_b_that_was_there_before_it() -> None:
    world = World(LEFT)
    world.at(START_MS)
    world.send(ANA, "Bought", ago=5 * SECOND)
    world.send(ANA, "Added", ago=10 * SECOND)
    assert waited(world) == []


def test_an_order_right_after_the_login_ends_the_wait_of_the_visitor() -> None:
    """The visitor's fragment arrives a moment after the order."""
    world = World(LEFT)
    world.at(START_MS)
    world.send(ANA)
    world.send(V, "Added")
    world.later(MINUTE)
    world.publish([ANA, V], "Logged In")
    world.publish(ANA, "Bought")
    world.settle()
    assert waited(world) == []


def test_a_wait_whose_rule_is_gone_ends_in_silence() -> None:
    world = World(LEFT)
    world.at(START_MS)
    world.send(ANA, "Added")
    world.announce("")
    assert waited(world) == []
    assert world.profile(ANA).waits == []


# --- history --------------------------------------------------------------------------------------

BUYER = (
    ORDERS
    + tag("buyer", "orders > 0")
    + segment("regular", "orders > 1")
    + trigger("thanks", 'event = "Bought"', cooldown="1h")
    + trigger("hello", 'tag_entered = "buyer"')
    + trigger("welcome", 'segment_entered = "regular"')
    + LEFT
)


def test_history_counts_and_sends_nothing() -> None:
    world = World(BUYER + RISK, scorers=SCORES)
    world.at(START_MS)
    world.announce_model(2)
    for days in (30, 20, 10):
        world.send(ANA, "Bought", ago=days * DAY, backfill=True)
    world.send(ANA, "Added", ago=MINUTE, backfill=True)
    profile = world.profile(ANA)
    assert (events(world), set(profile.tags), profile.segment) == (4, {"buyer"}, "regular")
    assert profile.scores["churn"] == (0.9, 2)
    assert (profile.cooldowns, profile.waits) == ({}, [])
    assert waited(world) == []
    assert world.counters()["decisions:backfill"] > 0


def test_what_is_live_fires_after_history_as_ever_and_tells_no_old_news() -> None:
    world = World(BUYER)
    world.at(START_MS)
    world.send(ANA, "Bought", ago=30 * DAY, backfill=True)
    world.send(ANA, "Bought")
    assert world.rules_fired() == ["welcome", "thanks"]  # a buyer she was before


def test_history_ends_a_wait_and_begins_none() -> None:
    world = World(BUYER)
    world.at(START_MS)
    world.send(ANA, "Added")
    world.later(MINUTE)
    world.send(ANA, "Bought", ago=SECOND, backfill=True)
    assert waited(world) == []


@pytest.mark.parametrize("visits", [True, False])  # whether it is history
@pytest.mark.parametrize("buys", [True, False])
@pytest.mark.parametrize("unites", [True, False])
@pytest.mark.parametrize("who", [[ANA, V], [V]])
def test_a_union_is_news_only_if_nothing_of_it_is_history(
    visits: bool, buys: bool, unites: bool, who: Any
) -> None:
    world = World(BUYER)
    world.at(START_MS)
    world.send(V, "Bought", ago=DAY, backfill=visits)
    world.send(ANA, "Bought", ago=DAY, backfill=buys)
    before = world.rules_fired()
    world.publish([ANA, V], "Viewed", backfill=unites)
    world.publish(who, "Viewed", backfill=unites)
    world.settle()
    assert world.profile(ANA).segment == "regular"
    assert [rule for rule in world.rules_fired()[len(before) :] if rule == "welcome"] == (
        [] if visits or unites else ["welcome"]
    )


def test_history_that_joins_a_customer_who_is_there_sends_nothing() -> None:
    world = World(BUYER)
    world.at(START_MS)
    world.send(ANA, "Bought")
    world.send(V, "Bought", ago=DAY, backfill=True)
    before = world.rules_fired()
    world.send([ANA, V], "Viewed", backfill=True)
    assert world.profile(ANA).segment == "regular"
    assert world.rules_fired() == before
