"""Days in a row with activity: exact for events in any order, in any fragments, united, taken apart and
replayed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.logic.facets import vocabulary
from flows.logic.facets.streaks import DAYS_MAX, STREAK
from flows.logic.rules.ruleset import EvaluationContext
from flows.logic.shard.state import Live
from flows.logic.shard.view import present
from schemas.config.toml import rules_from
from schemas.records.customer_profile import Fragment, Profile
from tests.logic.shard import test_profile_replay as replay
from tests.logic.shard import test_unmerge as unmerge
from tests.world import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    START_MS,
    World,
    compiled,
    contents,
    document,
    fact,
    visitor,
)

ANA, PHONE = visitor("ana"), visitor("phone")
TAGS = """
[[tag]]
name = "regular"
when = "streak >= 3"
[[trigger]]
name = "kept"
on = {tag_entered = "regular"}
[[trigger]]
name = "broken"
on = {tag_left = "regular"}
"""
RULES = compiled(TAGS)


def naive(days: set[int], today: int) -> int:
    days = {day for day in days if day > max(days) - DAYS_MAX}
    at, found = today if today in days else today - 1, 0
    while at in days:
        at, found = at - 1, found + 1
    return found


def read(fragment: Fragment, now_ms: int) -> int:
    view = EvaluationContext(RULES.reads)
    view.p, view.f, view.now = Profile(), fragment, now_ms
    [reasons] = [trigger.reasons for trigger in compiled(ON_EVENT).on_event["Viewed"]]
    return int(reasons["streak"](view))


ON_EVENT = '[[trigger]]\nname = "t"\non = {event = "Viewed"}\nwhen = "streak > 1"\n'


@given(
    events=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2), st.integers(0, DAY - 1)), max_size=30),
    today=st.integers(-1, 14),
)
def test_it_is_that_of_the_set_of_days(events: list[tuple[int, int, int]], today: int) -> None:
    fragments = [Fragment() for _ in range(3)]
    for n, (day, which, into) in enumerate(events):
        moment = START_MS + day * DAY + into
        RULES.fragments.add(fragments[which], fact(at=moment), b"%06d" % n)
    total = Fragment()
    for fragment in fragments:
        total = RULES.fragments.merge(total, fragment)
    assert read(total, START_MS + today * DAY) == naive({day for day, _, _ in events}, today)


@given(st.permutations([*range(20), *range(300, 400), *range(420, 800, 3)]), st.integers(0, 300))
@settings(max_examples=20)
def test_what_is_kept_is_bounded_and_does_not_depend_on_the_order(days: list[int], cut: int) -> None:
    parts = [Fragment(), Fragment()]
    for n, day in enumerate(days):
        RULES.fragments.add(parts[n < cut], fact(at=START_MS + day * DAY), b"%06d" % n)
    state = RULES.fragments.merge(*parts).aggregates[STREAK.slot]
    ordered = Fragment()
    for day in sorted(days):
        RULES.fragments.add(ordered, fact(at=START_MS + day * DAY), b"x" * 6)
    assert state == ordered.aggregates[STREAK.slot]
    assert state[-1] - state[0] < DAYS_MAX


def test_a_long_streak_is_counted_up_to_a_year() -> None:
    fragment = Fragment()
    for day in range(DAYS_MAX + 9):
        RULES.fragments.add(fragment, fact(at=START_MS + day * DAY), b"x" * 6)
    assert read(fragment, START_MS + day * DAY) == DAYS_MAX


def days_of(world: World) -> int:
    root = world.root(ANA)
    live = Live(world.profile(ANA), RULES)
    return int(present(root, live.profile, live.total, RULES, world.now_ms, {})["streak"])


def test_it_grows_by_day_and_ends_at_the_midnight_after_a_day_without() -> None:
    world = World(TAGS)
    for expected in (1, 2, 3):
        world.send(ANA)
        world.send(ANA)
        assert days_of(world) == expected
        world.at(world.now_ms + DAY)
    assert days_of(world) == 3, "today is not over"
    assert world.rules_fired() == ["kept"]
    world.at(world.now_ms + DAY - SECOND)
    assert (days_of(world), world.rules_fired()) == (3, ["kept"])
    world.at(world.now_ms + SECOND)
    assert (days_of(world), world.rules_fired()) == (0, ["kept", "broken"])


def test_an_event_that_comes_late_joins_two_runs() -> None:
    world = World(TAGS)
    world.now_ms += 12 * HOUR
    world.send(ANA)
    world.at(world.now_ms + 2 * DAY)
    world.send(ANA)
    assert days_of(world) == 1
    world.send(ANA, ago=DAY + MINUTE)
    assert days_of(world) == 3
    assert world.rules_fired() == ["kept"]


def test_the_days_of_two_who_are_one_add_up() -> None:
    world = World(TAGS)
    for who in (ANA, PHONE, ANA):
        world.send(who)
        world.at(world.now_ms + DAY)
    assert world.rules_fired() == []
    world.send([ANA, PHONE])
    assert days_of(world) == 4
    assert set(world.rules_fired()) == {"kept"}


@pytest.mark.parametrize("seed", range(8))
def test_taken_apart_each_has_the_days_of_its_own(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmerge, "RULES", unmerge.RULES + TAGS)
    unmerge.compare(seed, 40)


@pytest.mark.parametrize("seed", range(8))
def test_a_replay_gives_the_same(seed: int) -> None:
    luck = random.Random(seed)
    world = World(TAGS, scorers=replay.MODELS)
    for _ in range(20):
        who = luck.choice([ANA, PHONE, [ANA, PHONE]])
        world.publish(who, ago=luck.choice([0, 0, HOUR, DAY]))
        if luck.random() < 0.5:
            world.later(luck.choice([HOUR, DAY, 2 * DAY]))
    world.later(SECOND)
    replay.finish(world.worker)
    assert any(STREAK.slot in f.aggregates for f in world.profile(ANA).fragments.values())
    assert contents(replay.replayed(world, luck)) == contents(world.store)


def test_the_check_knows_it() -> None:
    assert vocabulary.problems(rules_from(document(ON_EVENT))) == []
    [(place, _)] = vocabulary.problems(rules_from(document(ON_EVENT.replace("streak", "streek"))))
    assert place == "trigger[0].when"


def test_rules_that_do_not_name_it_neither_keep_nor_show_it() -> None:
    plain, fragment = compiled(TAGS.replace("streak", "events")), Fragment()
    plain.fragments.add(fragment, fact(), b"x" * 6)
    assert fragment.aggregates == {}
    assert "streak" not in present(b"r" * 12, Profile(), fragment, plain, START_MS, {})
