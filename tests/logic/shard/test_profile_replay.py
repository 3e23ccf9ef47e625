"""A shard is a function of its log: batch boundaries, evictions and restarts leave no trace, bit for bit."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import profile as flow
from flows.logic.shard import machine as logic
from state.memory.memory_shards import MemoryShards
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
[best_action]
within = "2h"
reward = [{event = "Bought"}]
[[action]]
name = "call"
capacity = 40
cooldown = "1h"
[[action]]
name = "mail"
[[trigger]]
name = "best"
on = {event = "Viewed"}
action = "best"
[recommendation]
touch = [{event = "Bought", item = "sku"}, {event = "Viewed", item = "sku"}]
[clusters]
enabled = true
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


def live(world: World, luck: random.Random, steps: int) -> None:
    """Events of known and unknown people, late ones and repeated ones, time that passes, rules and models
    that change."""
    for _ in range(steps):
        match luck.choices(["event", "time", "settle", "rules", "model"], [20, 3, 6, 1, 1])[0]:
            case "event":
                retried = luck.random() < 0.1
                world.publish(
                    luck.choice(
                        [
                            [luck.choice(PEOPLE), luck.choice(VISITORS)],
                            [luck.choice(PEOPLE)],
                            [luck.choice(VISITORS)],
                        ]
                    ),
                    luck.choice(["Viewed", "Bought"]),
                    ago=luck.choice([0, 0, 0, MINUTE, DAY]),
                    message=f"retried{luck.randrange(4)}" if retried else None,
                    sealed={luck.choice(["email", "phone"]): luck.randbytes(3)}
                    if luck.random() < 0.2
                    else {},
                    traits={"plan": luck.randrange(3)},
                    sku=luck.choice("ab"),
                )
            case "time":
                world.later(luck.choice([SECOND, MINUTE, HOUR, HOUR, DAY, 3 * DAY, 40 * DAY]))
            case "settle":
                world.settle()
            case "rules":
                world.announce(luck.choice(RULES))
            case "model":
                world.announce_model(world.directory.sent("learn:churn") + 1)


def lived(luck: random.Random, steps: int) -> World:
    world = World(RULES[0], scorers=MODELS)
    live(world, luck, steps)
    world.later(60 * DAY)
    world.later(SECOND)
    finish(world.worker)
    return world


def finish(worker: flow.Worker) -> None:
    """Commit what is only ticks, too."""
    worker._idle_since = -1e9
    worker.commit([])


def replayed(world: World, luck: random.Random) -> MemoryShards:
    """The same log once more, in batches of any size, with a small cache, killed now and then before or after
    a commit."""
    store = MemoryShards(SHARDS)
    worker = world.new_worker(store, cache=luck.choice([1, 2, 4, 1_000]))
    while True:
        unread = {shard: luck.randint(0, 5) for shard in range(SHARDS)}
        behind = {shard: worker._read[shard] < world.directory.heads()[shard] for shard in range(SHARDS)}
        if not any(behind.values()):
            break
        entries = [
            entry
            for shard, n in unread.items()
            if n
            for entry in world.directory.read({shard: worker._read[shard]}, n, 0)
        ]
        touched = worker.apply(entries) if entries else []
        if luck.random() < 0.1:
            worker = world.new_worker(store, cache=luck.choice([1, 2, 4]))
            continue
        worker.commit(touched)
        if luck.random() < 0.1:
            worker = world.new_worker(store, cache=luck.choice([1, 2, 4]))
    finish(worker)
    return store


lives = {"seed": st.integers(0, 2**32), "steps": st.integers(1, 120)}


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(**lives)
def test_the_same_log_gives_the_same_state(seed: int, steps: int) -> None:
    luck = random.Random(seed)
    world = lived(luck, steps)
    assert contents(replayed(world, luck)) == contents(world.store)


@pytest.mark.long
@pytest.mark.breaking
@settings(max_examples=50, deadline=None)
@given(**lives)
def test_also_when_more_timers_are_due_than_one_tick_may_wake(seed: int, steps: int) -> None:
    luck = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        for module in (flow, logic):
            patch.setattr(module, "DUE_MAX", 1)
        world = lived(luck, steps)
        assert contents(replayed(world, luck)) == contents(world.store)
