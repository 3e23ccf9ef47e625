"""What logic raises on is put aside with its place, everything else is as if it had never come, however the log was cut into batches."""

import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from flows.build import BUILD
from flows.limits import PoisonLimit
from flows.logic import handover, profile
from flows.logic.fragments import FragmentRules
from schemas.errors import Fatal, TooManyRejects, Torn
from schemas.events import Fact, Quarantined
from schemas.identity import shard_of
from schemas.profile import Fragment
from state.memory import MemoryShards
from state.shards import QUARANTINE
from tests.logic.test_profile_replay import finish
from tests.world import DAY, HOUR, SHARDS, World, contents, person, visitor

ANA, BOB, PHONE = person("ana"), person("bob"), visitor("phone")
RULES = """
[[aggregate]]
name = "spent"
of = "sum"
value = "total"
[[tag]]
name = "here"
when = "events > 0"
[[segment]]
name = "all"
when = "True"
[[trigger]]
name = "each"
on = {event = "Viewed"}
[[trigger]]
name = "first"
on = {tag_entered = "here"}
[[trigger]]
name = "gone"
on = {after = "Viewed", without = "Order Completed", within = "30m"}
"""
SECRET = "ana@example.com"


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logic that raises half-way through some facts, with a message that holds what it should not."""
    add = FragmentRules.add

    def broken(self: FragmentRules, fragment: Any, fact: Fact, message: bytes) -> None:
        add(self, fragment, fact, message)
        if "boom" in fact.properties:
            raise KeyError(SECRET)

    monkeypatch.setattr(FragmentRules, "add", broken)


def quarantined(store: MemoryShards) -> list[Quarantined]:
    entries = store.read(QUARANTINE, dict.fromkeys(range(SHARDS), 0), 10_000, 0)
    return [msgspec.msgpack.decode(entry.body, type=Quarantined) for entry in entries]


def without_quarantine(store: MemoryShards) -> dict[str, Any]:
    found = contents(store)
    for shard in range(SHARDS):
        found["outbox"][shard, QUARANTINE] = []
        found["counters"][shard].pop("poisoned", None)
        found["heads"][shard].outbox.pop(QUARANTINE, None)
        found["heads"][shard].offset, found["heads"][shard].mark = 0, b""  # one entry more for each event more
    return found


def busy(world: World, seed: int, *, poison: bool) -> int:
    """Publishes; the events that the defect hits are there or are not. Gives how many they are."""
    luck, sent = random.Random(seed), 0
    for n in range(60):
        who = luck.choice([ANA, BOB, PHONE, [ANA, PHONE], [BOB, PHONE]])
        bad, move, early = luck.random() < 0.2, luck.random() < 0.2, luck.random() < 0.3
        if not bad:
            world.publish(who, message=f"good{n}", total=n, sealed={"email": b"%d" % n} if luck.random() < 0.5 else {})
        elif poison:
            sent += 1
            world.publish(PHONE, message=f"bad{n}", boom=1, sealed={"email": b"x"})
        if move:
            world.now_ms += HOUR // 3
            world.directory.tick()
        if early:
            world.settle()
    world.settle()
    return sent


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
def test_it_is_put_aside_and_the_customer_is_as_before() -> None:
    world = World(RULES)
    world.send(ANA, total=3)
    before = world.profile(ANA)
    with capture_logs() as said:
        world.send(ANA, message="m-bad", boom=SECRET)
    world.send(ANA, total=4)
    (found,) = quarantined(world.store)
    assert (found.error, found.build, found.root) == ("KeyError", BUILD, world.root(ANA))
    assert found.trace[-1].endswith(" broken")
    assert found.trace[-2].startswith("flows.logic.profile:")
    assert found.position == 3  # behind the rules and the first event
    assert msgspec.msgpack.decode(found.payload, type=Fact).message == "m-bad"
    assert SECRET not in repr((found.error, found.trace, said))
    assert said == [
        {
            "event": "events_quarantined",
            "log_level": "error",
            "shard": shard_of(found.root, SHARDS),
            "where": found.where,
            "count": 1,
            "see": "millrace dead list --reason poison",
        }
    ]
    assert [sum(f.events for f in p.fragments.values()) for p in (before, world.profile(ANA))] == [1, 2]
    assert world.counters()["applied"] == 2
    assert world.counters()["poisoned"] == 1


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
def test_the_first_event_of_a_customer_leaves_nobody_behind() -> None:
    world = World(RULES)
    world.send(ANA, boom=1, sealed={"email": b"sealed"})
    assert world.store.profiles == world.store.sensitive == {shard: {} for shard in range(SHARDS)}
    assert world.counters() == {"poisoned": 1}
    assert not world.triggers()


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
@pytest.mark.parametrize("seed", range(6))
def test_the_rest_is_as_if_it_had_never_come(seed: int) -> None:
    with_it, without = World(RULES), World(RULES)
    sent = busy(with_it, seed, poison=True)
    busy(without, seed, poison=False)
    assert len(quarantined(with_it.store)) == sent > 0
    # The directory has the phone's customer even if all that it ever did was put aside; the shard has it from its first good event on.
    assert without_quarantine(with_it.store)["profiles"] == without_quarantine(without.store)["profiles"]
    assert sorted(trigger.id for trigger in with_it.triggers()) == sorted(trigger.id for trigger in without.triggers())


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
@pytest.mark.parametrize("cache", [1, 1_000])
@pytest.mark.parametrize("seed", range(4))
def test_it_does_not_depend_on_the_batches(seed: int, cache: int) -> None:
    world = World(RULES)
    busy(world, seed, poison=True)
    again = MemoryShards(SHARDS)
    worker = world.new_worker(again, cache)
    luck = random.Random(seed)
    while entries := world.directory.read(worker._read, luck.choice([1, 2, 5, 50]), 0):
        touched = worker.apply(entries)
        if luck.random() < 0.5 and (more := world.directory.read(worker._read, 3, 0)):  # two batches before a commit
            touched = list({*touched, *worker.apply(more)})
        worker.commit(touched)
    finish(worker)
    finish(world.worker)
    assert contents(again) == contents(world.store)


EVENTS, AGGREGATES = map(Fragment.__struct_fields__.index, ("events", "aggregates"))


def grown_to(world: World, change: Callable[[list[Any]], None]) -> None:
    """Ana, who has bought once, with a figure that would take years."""
    world.send(ANA, total=1)
    root = world.root(ANA)
    table = world.store.profiles[shard_of(root, SHARDS)]
    grown = msgspec.msgpack.decode(table[root])
    change(next(iter(grown[0].values())))
    table[root] = msgspec.msgpack.encode(grown)
    world.restart()


def test_a_figure_that_outgrows_64_bits_is_found_at_the_commit() -> None:
    world = World(RULES)
    grown_to(world, lambda fragment: fragment.__setitem__(EVENTS, 2**64 - 2))
    world.send(ANA, "Viewed", total=5)
    world.send(ANA, "Other")
    [found] = quarantined(world.store)
    assert re.fullmatch(r"OverflowError at flows\.logic\.quarantine:\d+ _turn", found.where), "it has no frame of its own: written there"
    assert sum(fragment.events for fragment in world.profile(ANA).fragments.values()) == 2**64 - 1


def test_nobody_makes_a_sum_outgrow_64_bits() -> None:
    """Some ten thousand of the largest amounts, sent with a public key, made each further event of that customer a fault of ours."""
    world = World(RULES)
    grown_to(world, lambda fragment: fragment[AGGREGATES].update(dict.fromkeys(fragment[AGGREGATES], -(2**63))))
    for _ in range(3):
        world.send(ANA, total=-1e9)
    assert quarantined(world.store) == []
    assert [fragment.events for fragment in world.profile(ANA).fragments.values()] == [4]


def raising(then: Callable[..., None]) -> Callable[..., None]:
    def broken(*args: Any) -> None:
        then(*args)
        raise ZeroDivisionError

    return broken


@pytest.mark.breaking
def test_a_timer_is_looked_at_again_a_day_later(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(RULES)
    world.send(ANA)
    with monkeypatch.context() as broken:
        broken.setattr(profile, "expire", raising(profile.expire))
        world.later(HOUR)
        world.later(HOUR)
    assert [(found.error, found.payload) for found in quarantined(world.store)] == [("ZeroDivisionError", b"")]
    assert "gone" not in world.rules_fired()
    world.later(DAY)
    assert world.rules_fired().count("gone") == 1


@pytest.mark.breaking
def test_what_another_customer_brought_stays_when_a_rule_raises_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(RULES)
    world.send(ANA)
    world.send(PHONE)
    monkeypatch.setattr(handover, "derive", raising(handover.derive))
    world.send([ANA, PHONE])
    assert sum(fragment.events for fragment in world.profile(ANA).fragments.values()) == 3
    assert [found.error for found in quarantined(world.store)] == ["ZeroDivisionError"]


@pytest.mark.breaking
def test_what_is_no_event_stops_the_worker_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(RULES)
    monkeypatch.setattr(handover, "expect", raising(handover.expect))
    world.publish(ANA)
    world.publish(PHONE)
    with pytest.raises(Fatal, match=r"shard \d: entry \d+ of its log cannot be applied: ZeroDivisionError at .* broken\. This is a defect"):
        world.send([ANA, PHONE])


def test_too_much_of_it_stops_the_flow_and_is_not_committed() -> None:
    limit = PoisonLimit(5, 1_000)
    limit.add(900, Counter({"KeyError at a": 45, "ValueError at b": 40}))
    limit.add(100, Counter({"KeyError at a": 5}))
    limit.add(100, Counter())  # the first 900 still count, without them there is no sample
    with pytest.raises(TooManyRejects, match=r"KeyError at a on 61 of the last 200 events.*poison_percent = 5: nothing of this batch"):
        PoisonLimit(5, 100).add(200, Counter({"KeyError at a": 61}))
    limit.add(1_000, Counter({"KeyError at a": 50}))


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
def test_a_worker_over_the_limit_leaves_the_batch_in_the_log() -> None:
    world = World(RULES)
    world.worker._poison = PoisonLimit(5, 10)
    for n in range(10):
        world.publish(ANA, message=f"m{n}", **({"boom": 1} if n == 5 else {}))
    with pytest.raises(TooManyRejects, match="KeyError at tests"):
        world.settle()
    assert not world.counters()


# --- a log that does not fit ----------------------------------------------------------------------------------------


def test_a_shard_ahead_of_its_log_stops_and_names_the_repair() -> None:
    world = World(RULES)
    world.send(ANA)
    shard = shard_of(world.root(ANA), SHARDS)
    world.directory._heads[shard] -= 1
    expected = rf"shard {shard} has read its log up to entry 2, and the log ends at 1.*millrace repair shard {shard}"
    with pytest.raises(Torn, match=expected):
        world.restart()
    world.worker._room_at = -10
    with pytest.raises(Torn, match=expected):
        world.worker.read()


def test_a_log_without_the_next_entry_stops() -> None:
    world = World(RULES)
    world.publish(ANA)
    world.publish(ANA)
    for log in world.directory.logs.values():
        del log[:2]
    with pytest.raises(Torn, match=r"up to entry 0, and the next one there is 3: what lies between is gone"):
        world.settle()
