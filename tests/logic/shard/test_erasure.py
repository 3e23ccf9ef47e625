"""An erased customer leaves its shard whole, and takes nothing of anybody else along."""

import pytest

from flows.logic.shard.in_flight import pending
from schemas.records.identity_graph import ID_BYTES, Order, WindowCommit, undo
from schemas.wire.triggers import Absorb
from tests.world import HOUR, World, contents, person, visitor

ANA, BEA = person("ana"), person("bea")
PHONE, TABLET = visitor("phone"), visitor("tablet")
RULES = """
[[tag]]
name = "keen"
when = "events >= 2"
[[segment]]
name = "busy"
when = "events >= 3"
[[segment]]
name = "rest"
when = "True"
[[trigger]]
name = "seen"
on = {event = "Viewed"}
[[trigger]]
name = "left"
on = {after = "Viewed", without = "Bought", within = "30m"}
"""


def order(world: World, *orders: Order) -> None:
    before = world.directory.offsets().get("privacy", -1)
    world.directory.commit(
        WindowCommit(
            partition="privacy",
            before=before,
            after=before + 1,
            groups=[],
            dead=[],
            rejected={},
            orders=list(orders),
        )
    )


def detach(world: World, root: bytes) -> None:
    order(world, Order("detach", root, origins=True))


def erase(world: World, root: bytes) -> None:
    order(world, Order("erase", root, origins=True))
    world.settle()


def held(world: World, *origins: bytes) -> list[str]:
    """Where these still lie in the shards, looked for byte by byte; not in the lanes, which others empty."""
    store = world.store
    tables = {"p": store.profiles, "x": store.sensitive, "u": store.past, "t": store.timers}
    return [
        f"{kind}:{root.hex()}"
        for kind, shards in tables.items()
        for table in shards.values()
        for root, packed in table.items()
        if root in origins or (isinstance(packed, bytes) and any(origin in packed for origin in origins))
    ]


def test_nothing_is_left_in_the_shard_and_its_counts_are_as_without() -> None:
    world, without = World(RULES), World(RULES)
    for each in (world, without):
        for _ in range(3):
            each.send(BEA)
    world.send(ANA, sealed={"email": b"sealed"})
    world.send([ANA, PHONE])
    root = world.root(ANA)
    detach(world, root)
    erase(world, root)
    assert held(world, root) == []
    counters = world.counters()
    assert counters.pop("erased") == 1
    assert counters["profiles"] == without.counters()["profiles"] == 1
    assert {name: n for name, n in counters.items() if name.startswith("segment")} == {
        name: n for name, n in without.counters().items() if name.startswith("segment")
    }
    assert world.profile(BEA) == without.profile(BEA)


def test_a_timer_of_who_was_erased_wakes_nobody() -> None:
    world = World(RULES)
    world.send(ANA)
    root = world.root(ANA)
    detach(world, root)
    erase(world, root)
    fired = world.rules_fired()
    world.later(HOUR)
    assert world.rules_fired() == fired == ["seen"]


def test_later_events_are_of_another_customer_who_has_no_past() -> None:
    world = World(RULES)
    for _ in range(3):
        world.send([ANA, PHONE])
    root = world.root(ANA)
    detach(world, root)
    world.send(PHONE)
    erase(world, root)
    world.send([ANA, PHONE])
    assert world.root(ANA) != root
    assert {origin: fragment.events for origin, fragment in world.profile(ANA).fragments.items()} == {
        PHONE.hash: 2
    }
    assert all(root not in table for table in world.store.profiles.values())


def test_what_is_on_its_way_arrives_first_and_then_all_of_it_goes() -> None:
    world = World(RULES)
    world.send(PHONE)
    world.send(ANA)
    world.publish([ANA, PHONE])  # they become one: `retire` is in the log, nobody has read it
    root = world.root(ANA)
    detach(world, root)
    while entries := world.unread():  # the retired one is in the lane now, not forwarded yet
        world.worker.commit(world.worker.apply(entries))
    live = world.worker._states
    waiting = [found for state in live.values() if (found := state.live.get(root)) is not None]
    assert [pending(found.profile.in_flight) for found in waiting if found.profile.in_flight] == [True]
    world.settle()
    assert not any(found.profile.in_flight for found in waiting)
    erase(world, root)
    assert held(world, ANA.hash, PHONE.hash) == []


@pytest.mark.parametrize("settled", [True, False])
def test_of_a_former_merge_only_that_side_goes_and_the_other_is_as_it_was(settled: bool) -> None:
    world, without = World(RULES), World(RULES)
    for each in (world, without):
        each.send(PHONE)
        each.send(ANA)
        each.send([ANA, PHONE])
        each.send(BEA)
        order(each, undo(1))
        if settled:
            each.settle()
    detach(world, PHONE.hash)
    for each in (world, without):
        each.settle()
    erase(world, PHONE.hash)
    assert world.profile(ANA) == without.profile(ANA)
    assert held(world, PHONE.hash) == []
    assert without.profile(PHONE).fragments.keys() == {PHONE.hash}


def test_who_waits_for_a_ring_of_the_erased_is_given_it() -> None:
    world = World(RULES)
    world.send([ANA, TABLET])
    world.publish([BEA, TABLET])  # the tablet moves: its former customer owes what it has seen
    root = world.root(ANA)
    detach(world, root)
    world.settle()
    erase(world, root)
    world.send(TABLET)
    assert sum(fragment.events for fragment in world.profile(BEA).fragments.values()) == 2


def test_what_comes_too_late_for_the_erased_is_dropped_and_counted() -> None:
    world = World(RULES)
    world.send(ANA)
    root = world.root(ANA)
    detach(world, root)
    erase(world, root)
    before = contents(world.store)
    assert not world.directory.forward(0, 10**6, Absorb(root, bytes(ID_BYTES), b"", b""))
    assert not world.directory.readmit(1, root, b"a fact")
    world.settle()
    assert contents(world.store) == before
    assert world.directory.stats()["dropped_for_erased"] == 2
