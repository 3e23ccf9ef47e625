"""Every message counts once, in whatever order shards get on, while people log in and out, share devices and
send everything again."""

import random
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records.customer_profile import Profile
from schemas.records.identity_graph import Identifier
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Absorb
from tests.world import SHARDS, World, person, sums_of, visitor

EACH = '[[trigger]]\nname = "each"\non = {event = "Viewed"}\n'
PEOPLE, VISITORS = [person(name) for name in "abc"], [visitor(name) for name in "uvwxyz"]


def happen(world: World, luck: random.Random, steps: int) -> int:
    """New messages and repeated ones; shards and the internal lane get on a little at a time. How many
    different messages there were."""
    published: list[list[Identifier]] = []
    forwarded = dict.fromkeys(range(SHARDS), 0)
    for _ in range(steps):
        match luck.choices(["new", "again", "apply", "forward"], [4, 2, 4, 2])[0]:
            case "new":
                published.append(
                    luck.choice(
                        [
                            [luck.choice(PEOPLE), luck.choice(VISITORS)],
                            [luck.choice(PEOPLE)],
                            [luck.choice(VISITORS)],
                        ]
                    )
                )
                world.publish(published[-1], message=f"m{len(published)}")
            case "again" if published:
                number = luck.randrange(len(published))
                world.publish(published[number], message=f"m{number + 1}")
            case "apply":
                shard = luck.randrange(SHARDS)
                if entries := world.directory.read({shard: world.worker._read[shard]}, luck.randint(1, 4), 0):
                    world.worker.commit(world.worker.apply(entries))
            case "forward":
                shard = luck.randrange(SHARDS)
                for entry in world.store.read(Lane.ABSORBS, {shard: forwarded[shard]}, luck.randint(1, 2), 0):
                    world.directory.forward(shard, entry.seq, msgspec.msgpack.decode(entry.body, type=Absorb))
                    forwarded[shard] = entry.seq
    world.settle()
    return len(published)


def profiles(world: World) -> Iterator[Profile]:
    return (
        msgspec.msgpack.decode(packed, type=Profile)
        for table in world.store.profiles.values()
        for packed in table.values()
    )


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 120))
def test_every_message_counts_once(seed: int, steps: int) -> None:
    world = World(EACH)
    messages = happen(world, random.Random(seed), steps)
    assert sums_of(profiles(world)) == messages
    assert sorted({trigger.cause for trigger in world.triggers()}) == sorted(
        f"m{number + 1}" for number in range(messages)
    )
    assert len(world.triggers()) == messages
    assert all(profile.in_flight is None or not profile.in_flight.held for profile in profiles(world))
    counters = world.counters()
    assert counters.get("applied", 0) == messages
    assert counters.get("profiles", 0) == len(list(profiles(world)))
