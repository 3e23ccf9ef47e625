"""Undoing a union: both customers are what they would be had they never been united."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records.customer_profile import Profile
from schemas.records.identity_graph import Order, WindowCommit, shard_of, undo
from tests.world import DAY, HOUR, MINUTE, SECOND, SHARDS, World, visitor

RULES = """
[lifecycle]
new = "2d"
slipping = "3d"
lost = "6d"
won_back = "1d"

[[aggregate]]
name = "views"
of = "count"
on = ["Viewed"]
over = "2d"

[[aggregate]]
name = "warmth"
of = "count"
on = ["Viewed"]
half_life = "1d"

[[segment]]
name = "buyer"
when = "frequency >= 2"

[[segment]]
name = "rest"
when = "True"

[[tag]]
name = "keen"
when = "views >= 3"

[[tag]]
name = "just_bought"
when = "event == 'Order Completed'"
ttl = "1d"

[[tag]]
name = "loyal"
when = "frequency >= 3"
ttl = "4d"

[[trigger]]
name = "nudge"
on = {after = "Added", without = "Order Completed", within = "2h"}
cooldown = "5h"

[[trigger]]
name = "thanks"
on = {tag_entered = "loyal"}
cooldown = "2d"

[[trigger]]
name = "buyer"
on = {score_above = {purchase = 0.3}}
when = "score.deal < 0.9"

[churn]
horizon = "2d"
every = "12h"

[[model]]
name = "purchase"
yes = ["Order Completed"]
when = "properties.total > 2"
horizon = "30h"
every = "3h"

[[model]]
name = "deal"
yes = ["Order Completed"]
no = ["Left"]
on = ["Added"]
horizon = "1d"
every = "1h"

[recommendation]
touch = [{event = "Viewed", item = "total"}]

[clusters]
enabled = true
every = "6h"
"""
PEOPLE = [visitor(name) for name in "abcde"]
EVENTS = ("Viewed", "Viewed", "Added", "Order Completed", "Left")
Step = tuple[Any, ...]


class Scorer:
    """A model as good as any."""

    def score(self, values: list[float]) -> float:
        return round(1 / (1 + sum(values)), 6)

    def explain(self, values: list[float]) -> list[tuple[str, float]]:
        return [("everything", sum(values))]


class History:
    """A world that is told what happens step by step."""

    def __init__(self) -> None:
        self.world = World(RULES, scorers={1: Scorer()})
        for model in ("churn", "purchase", "deal"):
            self.world.announce_model(1, model)
        self.world.at(self.world.now_ms)
        self._messages = 0
        self._position = -1

    def order(self, order: Order) -> None:
        self.world.directory.commit(
            WindowCommit("orders", self._position, self._position + 1, [], [], {}, [order], self.world.now_ms)
        )
        self._position += 1
        self.world.settle()

    def live(self, step: Step) -> None:
        match step:
            case ("event", who, name, number, ago, backfill):
                self.world.send(
                    PEOPLE[who], name, message=f"m{number}", total=number % 7, ago=ago, backfill=backfill
                )
            case ("link", one, other):
                self.order(Order("link", PEOPLE[one].hash, PEOPLE[other].hash))
            case ("later", by):
                self.wait(by)

    def wait(self, by: int) -> None:
        """The clock passes each moment at which somebody is due."""
        until = self.world.now_ms + by
        while due := [
            at
            for timers in self.world.store.timers.values()
            for at in timers.values()
            if -(-at // SECOND) * SECOND <= until
        ]:
            self.world.at(max(self.world.now_ms, -(-min(due) // SECOND) * SECOND))
        self.world.at(until)

    def customers(self) -> dict[frozenset[bytes], Any]:
        """By the origins that belong to each: the profile, its timer."""
        found = {}
        for root, record in self.world.directory.graph.records.items():
            shard = shard_of(root, SHARDS)
            packed = self.world.store.profiles[shard].get(root)
            if packed is not None:
                profile = msgspec.msgpack.decode(packed, type=Profile)
                profile.waits.sort(key=lambda wait: wait.rule)
                found[frozenset(record.members)] = (
                    profile,
                    self.world.store.timers[shard].get(root),
                    bool(self.world.store.past[shard].get(root)),
                )
        return found


def lives(luck: random.Random, steps: int) -> tuple[History, list[Step]]:
    """A random history with unions and unmerges; and the steps of the one in which the undone unions never
    were."""
    history, told, standing = History(), list[Step](), dict[int, Step]()
    for number in range(steps):
        step: Step
        match luck.choices(["event", "link", "undo", "later"], [8, 2, 2, 4])[0]:
            case "link":
                one, other = luck.sample(range(len(PEOPLE)), 2)
                roots = history.world.directory.lookup([PEOPLE[one].hash, PEOPLE[other].hash])
                if None in roots or roots[0] == roots[1]:
                    continue
                step = ("link", one, other)
                standing[history.world.directory.graph.entries + 1] = step
                told.append(step)
                history.live(step)
            case "undo" if standing:
                seq = luck.choice(sorted(standing))
                gone = standing.pop(seq)
                told[next(at for at, one in enumerate(told) if one is gone)] = ("nothing",)
                history.order(undo(seq))
            case "later":
                told.append(("later", luck.choice([SECOND, MINUTE, HOUR, 3 * HOUR, DAY, 2 * DAY])))
                history.live(told[-1])
            case _:
                who, name, ago = (
                    luck.randrange(len(PEOPLE)),
                    luck.choice(EVENTS),
                    luck.choice([0, 0, 0, HOUR, DAY]),
                )
                told.append(("event", who, name, number, ago, luck.random() < 0.3))
                history.live(told[-1])
    return history, told


def compare(seed: int, steps: int) -> None:
    history, told = lives(random.Random(seed), steps)
    reference = History()
    for step in told:
        reference.live(step)
    ours, theirs = history.customers(), reference.customers()
    assert ours.keys() == theirs.keys()
    for members, (profile, timer, past) in theirs.items():
        assert ours[members][0] == msgspec.structs.replace(
            profile, history_bytes=ours[members][0].history_bytes
        )
        assert ours[members][1:] == (timer, past)
    assert history.world.counters().get("split_by_fragments", 0) == 0
    for name in {*history.world.counters(), *reference.world.counters()}:
        if name.startswith(("profiles", "tag:", "segment:", "stage:")):
            assert history.world.counters().get(name, 0) == reference.world.counters().get(name, 0), name


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_as_if_they_had_never_been_united(seed: int, steps: int) -> None:
    compare(seed, steps)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_ten_thousand_histories() -> None:
    for seed in range(10_000):
        compare(seed, 40)
