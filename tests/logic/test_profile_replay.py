"""A shard is a function of its log: batch boundaries, evictions and restarts leave no trace, bit for bit."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import profile as flow
from flows.logic import profile as logic
from schemas.identity import Identifier
from state.memory import MemoryShards
from tests.world import DAY, HOUR, MINUTE, SECOND, SHARDS, World, contents, person, visitor

PLAIN = """
[[aggregate]]
name = "bought"
of = "count"
on = ["Bought"]
over = "30d"
[[aggregate]]
name = "kinds"
of = "top_k"
on = ["*"]
value = "sku"
[[tag]]
name = "buyer"
when = "bought > 0"
ttl = "5d"
[[tag]]
name = "quiet"
when = "inactive_days >= 3"
[[segment]]
name = "good"
when = "bought >= 2 or 'a' in kinds"
[[segment]]
name = "rest"
when = "True"
[churn]
horizon = "2d"
every = "1h"
"""
RULES = (
    PLAIN
    + """
[[trigger]]
name = "thanks"
on = {event = "Bought"}
when = "bought > 0"
cooldown = "1h"
[[trigger]]
name = "left"
on = {after = "Viewed", without = "Bought", within = "30m"}
[[trigger]]
name = "now_good"
on = {segment_entered = "good"}
when = "'a' in kinds or bought > 1"
[[trigger]]
name = "no_buyer"
on = {tag_left = "buyer"}
[[trigger]]
name = "risky"
on = {score_above = {churn = 0.5}}
""",
    PLAIN.replace('"30d"', '"10d"').replace('name = "quiet"', 'name = "still"'),
)


class Model:
    """A scorer that looks at what it gets."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def score(self, values: list[float]) -> float:
        return min(1.0, self.weight * sum(values) / (1 + sum(values)))

    def explain(self, values: list[float]) -> list[tuple[str, float]]:
        return [(f"f{n}", value) for n, value in enumerate(values)]


MODELS = {1: Model(0.4), 2: Model(0.9)}
PEOPLE, VISITORS = [person(name) for name in "abc"], [visitor(name) for name in "uvwxyz"]
Step = Callable[[World], Any]


def sent(who: list[Identifier], name: str, sku: str, ago: int, message: int | None, secret: bytes) -> Step:
    known = None if message is None else f"retried{message}"
    return lambda world: world.publish(who, name, sku=sku, ago=ago, message=known, sealed={"email": secret} if secret else {}, traits={"sku": sku})


steps = st.one_of(
    *[
        st.builds(
            sent,
            st.tuples(st.sampled_from(PEOPLE), st.sampled_from(VISITORS)).map(list) | st.sampled_from(VISITORS).map(lambda one: [one]),
            st.sampled_from(["Viewed", "Bought"]),
            st.sampled_from("ab"),
            st.sampled_from([0, 0, MINUTE, DAY]),
            st.none() | st.integers(0, 3),
            st.sampled_from([b"", b"", b"one", b"two"]),
        )
    ]
    * 3,
    st.sampled_from([SECOND, MINUTE, HOUR, HOUR, DAY, 3 * DAY, 40 * DAY]).map(lambda by: lambda world: world.later(by)),
    st.sampled_from([lambda world: world.settle()] * 3 + [lambda world: world.announce(RULES[0]), lambda world: world.announce(RULES[1])]),
    st.just(lambda world: world.announce_model(world.directory.sent("learn:churn") + 1)),
)


def lived(life: list[Step]) -> World:
    world = World(RULES[0], scorers=MODELS)
    for step in life:
        step(world)
    world.later(60 * DAY)
    world.settle()
    world.later(SECOND)
    finish(world.worker)
    return world


def finish(worker: flow.Worker) -> None:
    """Commit what is only ticks, too."""
    worker._idle_since = -1e9
    worker.commit([])


def replayed(world: World, luck: random.Random) -> MemoryShards:
    """The same log once more, in batches of any size, with a small cache, killed now and then before or after a commit."""
    store = MemoryShards(SHARDS)
    worker = world.new_worker(store, cache=luck.choice([1, 2, 4, 1_000]))
    while True:
        unread = {shard: luck.randint(0, 5) for shard in range(SHARDS)}
        behind = {shard: worker._read[shard] < world.directory.heads()[shard] for shard in range(SHARDS)}
        if not any(behind.values()):
            break
        entries = [entry for shard, n in unread.items() if n for entry in world.directory.read({shard: worker._read[shard]}, n, 0)]
        touched = worker.apply(entries) if entries else []
        if luck.random() < 0.1:
            worker = world.new_worker(store, cache=luck.choice([1, 2, 4]))
            continue
        worker.commit(touched)
        if luck.random() < 0.1:
            worker = world.new_worker(store, cache=luck.choice([1, 2, 4]))
    finish(worker)
    return store


@settings(max_examples=150, deadline=None)
@given(life=st.lists(steps, max_size=40), seed=st.integers(0, 2**32))
def test_the_same_log_gives_the_same_state(life: list[Step], seed: int) -> None:
    world = lived(life)
    assert contents(replayed(world, random.Random(seed))) == contents(world.store)


@settings(max_examples=40, deadline=None)
@given(life=st.lists(steps, max_size=30), seed=st.integers(0, 2**32))
def test_also_when_more_timers_are_due_than_one_tick_may_wake(life: list[Step], seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (flow, logic):
            patch.setattr(module, "DUE_MAX", 1)
        world = lived(life)
        assert contents(replayed(world, random.Random(seed))) == contents(world.store)
