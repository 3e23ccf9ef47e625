"""What a shard does with its log: profiles, tags, segments, stages, questions, timers, customers that become
one."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.logic.facets.decisions import trigger_id
from flows.logic.fields.stated import stated_at
from flows.logic.models import churn
from flows.logic.profile.fragments import add_traits, dedupe_id, join_traits
from flows.logic.shard.state import FRAGMENTS_MAX, SEALED_MAX, add_sensitive
from flows.logic.shard.view import newest
from schemas.records.customer_profile import MICRO, Sealed, Sensitive
from tests.people import ANA, BOB, LEFT, ORDERS, RISK, SCORES, V, events, segment, tag, trigger, waited
from tests.world import DAY, HOUR, MINUTE, SECOND, START_MS, World, person, visitor

# --- facts ----------------------------------------------------------------------------------------


def test_events_add_up_in_the_fragment_of_their_origin() -> None:
    world = World(ORDERS)
    world.send([ANA, V], "Bought", total=2.5)
    world.send(ANA, "Bought", total=1)
    (fragment,) = world.profile(ANA).fragments.values()
    assert (fragment.events, fragment.orders, fragment.spent) == (2, 2, 3_500_000)
    assert world.counters()["profiles"] == 1


def test_what_should_be_a_number_and_is_none_is_counted_by_source_and_property() -> None:
    """For purchases, for figures, and for rules that compare; a missing one is missing, and a repeated
    message counts once."""
    rules = '[[aggregate]]\nname = "best"\nof = "max"\non = ["*"]\nvalue = "score.of"\n'
    world = World(
        ORDERS
        + rules
        + trigger("large", 'event = "Viewed"', when="properties.price >= 100 and properties['a b'] < 5")
    )
    for _ in range(2):
        world.send(ANA, "Bought", message="bad", total="6_20", score={"of": "abc"})
    world.send(ANA, "Bought", total="¥1,620.00", score={"of": None}, price="dear")
    world.send(ANA, "Viewed", price="dear", **{"a b": [1], "total": "any"})
    world.send(ANA, "Viewed", price="99,5", score={"of": 1e30})
    world.send(ANA, "Viewed", price="")
    assert {name: n for name, n in world.counters().items() if name.startswith("unread:")} == {
        "unread:web:properties.total": 1,
        "unread:web:properties.score.of": 2,
        "unread:web:properties.price": 1,
        "unread:web:properties.a b": 1,
    }
    assert world.profile(ANA).fragments.popitem()[1].spent == 1_620 * MICRO


def test_a_message_that_comes_again_changes_nothing() -> None:
    world = World(ORDERS + trigger("each", 'event = "Bought"'))
    for _ in range(3):
        world.send(ANA, "Bought", message="same")
    assert events(world) == 1
    assert world.rules_fired() == ["each"]
    assert world.counters()["duplicates"] == 2


def test_a_message_that_comes_again_is_known_in_all_fragments_of_a_customer() -> None:
    world = World("")
    world.send(V, message="same")
    world.send(ANA)
    world.send([ANA, V])
    world.send(ANA, message="same")
    assert events(world) == 3


def test_the_ring_is_as_long_as_configured() -> None:
    world = World("", dedupe=2)
    for message in ("a", "b", "c", "a"):
        world.send(ANA, message=message)
    assert events(world) == 4
    world.send(ANA, message="a")
    assert events(world) == 4


def sealed_of(world: World) -> dict[bytes, dict[str, tuple[int, bytes]]]:
    """By origin and field: the millisecond, and what was sealed."""
    found = world.sensitive(ANA).origins
    return {
        origin: {name: ((one.moment - stated_at(0, bytes(3))) >> 20, one.value) for name, one in of.items()}
        for origin, of in found.items()
    }


@given(
    order=st.permutations(range(6)),
    nonces=st.permutations(range(6)),
    origins=st.lists(st.booleans(), min_size=6, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_of_events_at_one_time_one_wins_whichever_comes_first(
    order: list[int], nonces: list[int], origins: list[bool]
) -> None:
    """In all that it states: a value, what entry noted about it, and what is sealed, which has other bytes
    each time that it is."""
    world = World("")
    world.send([ANA, V], ago=HOUR)
    for n in order:
        traits = {
            "plan": 9 - n,
            "city": f"c{n % 3}-{n}",
            "$quality.phone": f"ok {(n * 7) % 6}",
            "$derived.phone": {"carrier": n},
        }
        sealed = {name: bytes([nonces[n]]) + str(n).encode() for name in ("phone", "$original.phone")}
        world.send(
            V if origins[n] else ANA, type="identify", message=f"message {n}", traits=traits, sealed=sealed
        )
    held = world.profile(ANA).fragments
    total: dict[str, tuple[int, Any]] = {}
    for fragment in held.values():
        join_traits(total, fragment.traits)
    stated = [
        (name, one.moment, one.value[1:].decode())
        for of in world.sensitive(ANA).origins.values()
        for name, one in of.items()
    ]
    wins = max(range(6), key=lambda n: stated_at(START_MS, dedupe_id(f"message {n}")))
    view = {name: value for name, (_, value) in total.items()} | newest(stated)
    assert view == {
        "plan": 9 - wins,
        "city": f"c{wins % 3}-{wins}",
        "$quality.phone": f"ok {(wins * 7) % 6}",
        "$derived.phone": {"carrier": wins},
        "phone": str(wins),
        "$original.phone": str(wins),
    }


def test_a_record_of_before_is_older_or_newer_by_its_milliseconds() -> None:
    record = Sensitive({b"a": {"x": Sealed(START_MS, b"old"), "y": Sealed(START_MS, b"old")}})
    traits = {"x": (START_MS, "old"), "y": (START_MS, "old")}
    for name, at in (("x", START_MS - 1), ("y", START_MS + 1)):
        add_sensitive(record, Sensitive({b"a": {name: Sealed(stated_at(at, b"abc"), b"new")}}))
        add_traits(traits, {name: (stated_at(at, b"abc"), "new")})
    assert {name: one.value for name, one in record.origins[b"a"].items()} == {"x": b"old", "y": b"new"}
    assert {name: value for name, (_, value) in traits.items()} == {"x": "old", "y": "new"}


def test_sealed_fields_of_many_events_stand_side_by_side_and_the_later_one_wins() -> None:
    world = World("")
    world.send(ANA, sealed={"email": b"old"}, ago=HOUR)
    world.send(ANA, sealed={"phone": b"phone"})
    world.send(ANA, sealed={"email": b"new"}, ago=MINUTE)
    world.send(ANA, sealed={"email": b"oldest"}, ago=2 * HOUR)
    assert sealed_of(world) == {
        ANA.hash: {"email": (START_MS - MINUTE, b"new"), "phone": (START_MS, b"phone")}
    }


def test_sealed_fields_are_bounded() -> None:
    world = World("")
    world.send(ANA, sealed={f"f{n:03}": b"x" for n in range(50)})
    world.send(ANA, sealed={f"g{n:03}": b"x" for n in range(50)})
    assert len(world.sensitive(ANA).origins[ANA.hash]) == SEALED_MAX


def test_fragments_are_bounded_and_what_folds_together_is_not_lost() -> None:
    world = World("")
    visitors = [visitor(f"v{n}") for n in range(FRAGMENTS_MAX + 20)]
    for n, one in enumerate(visitors):
        world.send(one, ago=(100 - n) * MINUTE)
    for one in visitors:
        world.send([ANA, one])
    profile = world.profile(ANA)
    assert len(profile.fragments) <= FRAGMENTS_MAX
    assert events(world) == 2 * len(visitors)


# --- tags, segments, stages -----------------------------------------------------------------------


def test_a_tag_is_on_while_its_expression_holds() -> None:
    world = World(ORDERS + tag("recent", "week > 0"))
    world.send(ANA, "Bought")
    assert world.profile(ANA).tags == {"recent": (START_MS, 0)}
    assert world.counters()["tag:recent"] == 1
    world.at(START_MS + 8 * DAY)
    assert world.profile(ANA).tags == {}
    assert "tag:recent" not in world.counters()


def test_a_tag_with_a_ttl_stays_so_long_after_its_expression_last_held_and_ends_in_time() -> None:
    world = World(tag("here", "event == 'Viewed'", ttl="2h"))
    world.at(START_MS)
    world.send(ANA)
    world.later(HOUR)
    world.send(ANA)
    world.send(ANA, "Other")
    world.at(START_MS + 3 * HOUR - SECOND)
    assert world.profile(ANA).tags == {"here": (START_MS, START_MS + 3 * HOUR)}
    world.later(SECOND)
    assert world.profile(ANA).tags == {}


def test_the_first_segment_that_holds_is_the_customers() -> None:
    world = World(
        ORDERS + segment("high", "orders >= 2") + segment("middle", "orders == 1") + segment("rest", "True")
    )
    seen = []
    for name in ("Viewed", "Bought", "Bought"):
        world.send(ANA, name)
        seen.append(world.profile(ANA).segment)
    assert seen == ["rest", "middle", "high"]
    assert {name: n for name, n in world.counters().items() if name.startswith("segment:")} == {
        "segment:high": 1
    }


def test_stages_follow_inactivity() -> None:
    world = World("")
    world.at(START_MS)
    world.send(ANA)
    stages = []
    for days in (0, 6.9, 7.1, 29, 30.1, 89, 90.1):
        world.at(START_MS + round(days * DAY))
        stages.append(world.profile(ANA).stage)
    assert stages == ["new", "new", "active", "active", "slipping", "slipping", "lost"]


def test_who_comes_back_from_lost_is_won_back_for_a_while() -> None:
    world = World("")
    world.at(START_MS)
    world.send(ANA)
    world.later(100 * DAY)
    assert world.profile(ANA).stage == "lost"
    world.send(ANA)
    assert world.profile(ANA).stage == "won_back"
    back = world.now_ms
    world.at(back + 20 * DAY)
    world.send(ANA)
    assert world.profile(ANA).stage == "won_back"
    world.at(back + 30 * DAY + SECOND)
    assert world.profile(ANA).stage == "active"


def test_a_late_event_from_before_does_not_win_anybody_back() -> None:
    world = World("")
    world.at(START_MS)
    world.send(ANA)
    world.later(100 * DAY)
    world.send(ANA, ago=99 * DAY)
    assert world.profile(ANA).stage == "lost"


def test_tags_and_segments_see_the_stage_that_is_reached_now() -> None:
    world = World(
        tag("going", "stage == 'slipping'")
        + segment("risk", "stage in ('slipping', 'lost')")
        + segment("rest", "True")
    )
    world.at(START_MS)
    world.send(ANA)
    world.at(START_MS + 30 * DAY)
    profile = world.profile(ANA)
    assert (profile.stage, profile.segment, list(profile.tags)) == ("slipping", "risk", ["going"])


# --- questions ------------------------------------------------------------------------------------


def test_a_question_is_answered_when_its_time_is_over() -> None:
    world = World(RISK, scorers=SCORES)
    world.announce_model(1)
    world.at(START_MS)
    world.send(ANA)
    world.send(BOB)
    world.later(DAY)
    world.send(BOB)
    world.later(DAY)
    found = {example.customer: example for example in world.examples()}
    quiet, busy = found[ANA.hash], found[BOB.hash]
    assert (quiet.label, busy.label) == (1.0, 0.0)
    assert (quiet.model, quiet.asked_ms, quiet.answered_ms) == ("churn", START_MS, START_MS + 2 * DAY)
    assert (quiet.predicted, quiet.version) == (0.2, 1)
    assert len(quiet.features) == len(churn.FEATURES)


def test_one_question_at_a_time_and_no_more_often_than_configured() -> None:
    world = World(RISK)
    world.at(START_MS)
    for _ in range(10):
        world.send(ANA)
        world.later(12 * HOUR)
    assert [example.asked_ms for example in world.examples()] == [START_MS + days * DAY for days in (0, 2)]


# --- timers ---------------------------------------------------------------------------------------


def test_a_profile_that_nothing_can_happen_to_any_more_sleeps_for_a_year_at_a_time() -> None:
    world = World("")
    world.at(START_MS)
    world.send(ANA)
    for _ in range(100):
        world.later(DAY)
    (due,) = [due for timers in world.store.timers.values() for due in timers.values()]
    assert due == world.profile(ANA).indexed_ms
    assert due > START_MS + 365 * DAY
    for _ in range(365):
        world.later(DAY)
    assert world.profile(ANA).indexed_ms == due + 365 * DAY


def test_a_figure_over_a_longer_window_is_looked_at_until_it_is_empty() -> None:
    world = World(
        '[[aggregate]]\nname = "year"\nof = "count"\non = ["*"]\nover = "365d"\n' + tag("known", "year > 0")
    )
    world.at(START_MS)
    world.send(ANA)
    for _ in range(37):
        world.later(10 * DAY)
    assert world.profile(ANA).tags == {}


def test_a_tag_whose_rule_is_gone_goes_too_and_nobody_is_woken_for_it_again_and_again() -> None:
    world = World(tag("old", "True", ttl="1h") + tag("older", "True"))
    world.at(START_MS)
    world.send(ANA)
    world.announce("")
    world.later(2 * HOUR)
    assert world.profile(ANA).tags == {}
    assert not any(name.startswith("tag:") for name in world.counters())
    wakes = set()
    for _ in range(5):
        world.later(SECOND)
        wakes.add(world.profile(ANA).indexed_ms)
    assert len(wakes) == 1


def test_one_tick_wakes_a_bounded_number_and_the_next_ones_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("flows.logic.shard.machine", "flows.profile"):
        monkeypatch.setattr(f"{module}.DUE_MAX", 2)
    world = World(LEFT)
    world.at(START_MS)
    for n in range(10):
        world.send(person(f"p{n}"), "Added")
    fired = []
    for by in (30 * MINUTE, *[SECOND] * 9):
        world.later(by)
        fired.append(len(world.triggers()))
    assert fired[0] <= 4
    assert fired[-1] == 10
    assert max(b - a for a, b in pairwise(fired)) <= 4


def test_the_index_is_never_later_than_what_it_is_for() -> None:
    world = World(LEFT + tag("here", "event == 'Viewed'", ttl="2h"))
    world.at(START_MS)
    world.send(ANA)
    world.send(ANA, "Added")
    profile = world.profile(ANA)
    dues = [wait.due_ms for wait in profile.waits] + [until for _, until in profile.tags.values() if until]
    assert 0 < profile.indexed_ms <= min(dues)


# --- customers that become one --------------------------------------------------------------------


def test_two_customers_become_one_with_all_that_both_did() -> None:
    world = World(ORDERS + segment("all", "True"))
    world.send(ANA, "Bought", total=1, sealed={"email": b"a"})
    world.send(V, "Bought", total=2, sealed={"phone": b"v"})
    world.send([ANA, V], "Viewed")
    profile = world.profile(ANA)
    assert set(profile.fragments) == {ANA.hash, V.hash}
    assert sum(fragment.spent for fragment in profile.fragments.values()) == 3 * MICRO
    assert sealed_of(world) == {ANA.hash: {"email": (START_MS, b"a")}, V.hash: {"phone": (START_MS, b"v")}}
    counters = world.counters()
    assert (counters["profiles"], counters["segment:all"], counters["stage:new"], counters["absorbed"]) == (
        1,
        1,
        1,
        1,
    )
    assert sum(len(table) for table in world.store.profiles.values()) == 1
    assert sum(len(table) for table in world.store.sensitive.values()) == 1


def test_figures_see_the_sum_of_all_fragments() -> None:
    world = World(ORDERS + trigger("third", 'event = "Bought"', when="orders == 3"))
    world.send(ANA, "Bought")
    world.send(V, "Bought")
    world.send([ANA, V], "Viewed")
    world.restart()
    world.send(V, "Bought")
    (fired,) = world.triggers()
    assert fired.reasons == {"orders": 3}


def test_what_was_promised_to_one_holds_for_both() -> None:
    world = World(
        ORDERS
        + LEFT
        + tag("kept", "event == 'Added'", ttl="3d")
        + trigger("thanks", 'event = "Bought"', cooldown="1d")
    )
    world.at(START_MS)
    world.send(ANA, "Viewed")
    world.send(V, "Bought")
    world.send(V, "Added", message="m-added")
    world.later(MINUTE)
    world.send([ANA, V], "Bought", message="m-both")
    world.send(ANA, "Bought", message="m-ana")
    profile = world.profile(ANA)
    assert profile.tags["kept"] == (START_MS, START_MS + 3 * DAY)
    assert profile.cooldowns["thanks"] >= START_MS + DAY
    assert [decision.cause for decision in world.decisions()][-1] == "m-ana"


def test_a_cart_left_by_the_visitor_is_remembered_for_the_customer() -> None:
    world = World(LEFT)
    world.at(START_MS)
    world.send(ANA)
    world.send(V, "Added")
    world.later(MINUTE)
    world.send([ANA, V], "Logged In")
    (fired,) = waited(world)
    assert fired.customer == ANA.hash.hex()


def test_a_customer_that_absorbs_is_bounded_too() -> None:
    world = World("")
    first, second = [visitor(f"a{n}") for n in range(30)], [visitor(f"b{n}") for n in range(30)]
    head, other = (
        min([visitor("x"), visitor("y")], key=lambda one: one.hash),
        max([visitor("x"), visitor("y")], key=lambda one: one.hash),
    )
    for one in first:
        world.send(one)
        world.send(sorted([head, one], key=lambda i: i.hash))
    for one in second:
        world.send(one)
        world.send(sorted([other, one], key=lambda i: i.hash))
    world.send(sorted([head, other], key=lambda i: i.hash))
    assert len(world.profile(head).fragments) <= FRAGMENTS_MAX
    assert events(world, head) == 121


# --- rules that change ----------------------------------------------------------------------------


def test_new_rules_hold_from_their_place_in_the_log_on() -> None:
    world = World(trigger("old", 'event = "Bought"'))
    world.publish(ANA, "Bought")
    world.announce(ORDERS + trigger("new", 'event = "Bought"', when="orders == 1"))
    world.publish(ANA, "Bought")
    world.settle()
    assert world.rules_fired() == ["old", "new"]
    assert world.store.heads()[0].rules == world.store.heads()[1].rules == 2


def test_a_figure_that_comes_back_goes_on_where_it_was() -> None:
    world = World(ORDERS)
    world.send(ANA, "Bought")
    world.announce("")
    world.send(ANA, "Bought")
    world.announce(ORDERS + trigger("now", 'event = "Bought"', when="orders > 0"))
    world.send(ANA, "Bought")
    assert world.triggers()[0].reasons == {"orders": 2}


def test_an_id_is_made_of_cause_subject_and_rule_alone() -> None:
    ids = {
        trigger_id(cause, subject, rule)
        for cause in ("m1", "m2")
        for subject in (b"s" * 12, b"t" * 12)
        for rule in ("a", "b")
    }
    assert len(ids) == 8
    assert (
        trigger_id("m1", b"s" * 12, "a") == "trg_e60a0c8c89afafc1433cf8a90519242c"
    )  # for ever: receivers drop repeats by it
