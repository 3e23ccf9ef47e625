"""What logic raises on is put aside with its place, everything else is as if it had never come, however the
log was cut into batches."""

import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from flows.logic.profile.fragments import FragmentRules
from flows.logic.shard import follow_up, profile_merge
from flows.logic.shard.changes import Poisoned
from flows.runtime.limits import SOURCES_MAX, PoisonBrake, SlidingSample
from flows.runtime.release import BUILD
from schemas.config import Config, Validate
from schemas.errors import Fatal, LogFull, Torn
from schemas.records.customer_profile import Fragment, Sealed
from schemas.records.identity_graph import shard_of
from schemas.records.outbox_lanes import Lane
from schemas.wire.events import Fact, Quarantined
from state.memory.memory_shards import MemoryShards
from state.suspended import Suspension
from tests.logic.shard.test_profile_replay import finish
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
    entries = store.read(Lane.QUARANTINE, dict.fromkeys(range(SHARDS), 0), 10_000, 0)
    return [msgspec.msgpack.decode(entry.body, type=Quarantined) for entry in entries]


def without_quarantine(store: MemoryShards) -> dict[str, Any]:
    found = contents(store)
    for shard in range(SHARDS):
        found["outbox"][shard, Lane.QUARANTINE] = []
        found["counters"][shard].pop("poisoned", None)
        found["heads"][shard].outbox.pop(Lane.QUARANTINE, None)
        found["heads"][shard].offset, found["heads"][shard].mark = (
            0,
            b"",
        )  # one entry more for each event more
    return found


def busy(world: World, seed: int, *, poison: bool) -> int:
    """Publishes; the events that the defect hits are there or are not. Gives how many they are."""
    luck, sent = random.Random(seed), 0
    for n in range(60):
        who = luck.choice([ANA, BOB, PHONE, [ANA, PHONE], [BOB, PHONE]])
        bad, move, early = luck.random() < 0.2, luck.random() < 0.2, luck.random() < 0.3
        if not bad:
            world.publish(
                who, message=f"good{n}", total=n, sealed={"email": b"%d" % n} if luck.random() < 0.5 else {}
            )
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
    assert found.trace[-2].startswith("flows.logic.shard.machine:")
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
    # The directory has the phone's customer even if all that it ever did was put aside; the shard has it from
    # its first good event on.
    assert without_quarantine(with_it.store)["profiles"] == without_quarantine(without.store)["profiles"]
    assert sorted(trigger.id for trigger in with_it.triggers()) == sorted(
        trigger.id for trigger in without.triggers()
    )


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
        if luck.random() < 0.5 and (
            more := world.directory.read(worker._read, 3, 0)
        ):  # two batches before a commit
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
    assert re.fullmatch(r"OverflowError at flows\.logic\.shard\.quarantine:\d+ _turn", found.where), (
        "it has no frame of its own: written there"
    )
    assert sum(fragment.events for fragment in world.profile(ANA).fragments.values()) == 2**64 - 1


def test_nobody_makes_a_sum_outgrow_64_bits() -> None:
    """Some ten thousand of the largest amounts, sent with a public key, made each further event of that
    customer a fault of ours."""
    world = World(RULES)
    grown_to(
        world, lambda fragment: fragment[AGGREGATES].update(dict.fromkeys(fragment[AGGREGATES], -(2**63)))
    )
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
        broken.setattr(follow_up, "AFTER_TIMER", tuple(map(raising, follow_up.AFTER_TIMER)))
        world.later(HOUR)
        world.later(HOUR)
    assert [(found.error, found.payload) for found in quarantined(world.store)] == [
        ("ZeroDivisionError", b"")
    ]
    assert "gone" not in world.rules_fired()
    world.later(DAY)
    assert world.rules_fired().count("gone") == 1


@pytest.mark.breaking
def test_what_another_customer_brought_stays_when_a_rule_raises_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(RULES)
    world.send(ANA)
    world.send(PHONE)
    monkeypatch.setattr(follow_up, "at_union", raising(follow_up.at_union))
    world.send([ANA, PHONE])
    assert sum(fragment.events for fragment in world.profile(ANA).fragments.values()) == 3
    assert [found.error for found in quarantined(world.store)] == ["ZeroDivisionError"]


@pytest.mark.breaking
def test_what_is_no_event_stops_the_worker_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(RULES)
    monkeypatch.setattr(profile_merge, "expect", raising(profile_merge.expect))
    world.publish(ANA)
    world.publish(PHONE)
    with pytest.raises(
        Fatal,
        match=r"shard \d: entry \d+ of its log cannot be applied: ZeroDivisionError at .* broken\."
        " This is a defect",
    ):
        world.send([ANA, PHONE])


def test_the_limit_is_a_share_of_the_last_events_and_of_one_defect() -> None:
    limit = SlidingSample(5, 1_000)
    assert limit.exceeded(900, Counter({"KeyError at a": 45, "ValueError at b": 40})) is None
    assert limit.exceeded(100, Counter({"KeyError at a": 5})) is None
    assert limit.exceeded(100, Counter()) is None, (
        "the first 900 still count, without them there is no sample"
    )
    assert limit.exceeded(1_000, Counter({"KeyError at a": 50})) is None
    assert SlidingSample(5, 100).exceeded(200, Counter({"KeyError at a": 61, "b": 1})) == (
        200,
        61,
        "KeyError at a",
    )


class Held:
    """`state.suspended.Sources` in memory. `full`: there is no room for so many writes."""

    def __init__(self) -> None:
        self.known: dict[str, Suspension] = {}
        self.full = 0

    def all(self) -> dict[str, Suspension]:
        return dict(self.known)

    def suspend(self, source: str, suspension: Suspension) -> None:
        if self.full:
            self.full -= 1
            raise LogFull("no room", 1)
        self.known[source] = suspension

    def resume(self, source: str, now_ms: int) -> bool:
        self.known[source] = msgspec.structs.replace(self.known[source], resumed_ms=now_ms)
        return True

    def suspended(self) -> set[str]:
        return {source for source, found in self.known.items() if found.holds}


LIMITS = Config(validate=Validate(poison_percent=5, reject_sample=10))


@pytest.fixture
def held() -> Held:
    return Held()


def limited(held: Held) -> World:
    world = World(RULES)
    world.worker._poison = PoisonBrake(LIMITS, held)
    return world


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
def test_what_one_source_sends_suspends_that_source_and_ends_no_flow(held: Held) -> None:
    world = limited(held)
    with capture_logs() as said:
        for n in range(40):
            world.publish(ANA, message=f"web{n}", channel="web", **({"boom": 1} if n % 4 == 0 else {}))
            world.publish(BOB, message=f"shop{n}", channel="shop", total=1)
            world.settle()
    assert held.suspended() == {"web"}
    found = held.known["web"]
    (reason,) = found.reasons
    assert (found.events, found.rejects, found.reasons[reason]) == (10, 3, 3)
    assert reason.startswith("poison, KeyError at tests.")
    (line,) = [line for line in said if line["event"] == "source_suspended"]
    assert (line["source"], line["poison_percent"], line["go_on"]) == ("web", 5, "millrace source resume web")
    assert world.counters()["applied"] == 70, (
        "all that is good of both, what the source had sent before as well"
    )
    assert len(quarantined(world.store)) == 10


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
def test_what_came_before_its_resume_counts_no_more(held: Held) -> None:
    world = limited(held)

    def send(count: int) -> None:
        for _ in range(count):
            world.publish(ANA, channel="web", boom=1)
        world.settle()

    send(20)
    assert held.suspended() == {"web"}
    held.resume("web", world.now_ms)
    send(20)
    assert held.suspended() == set(), "it was received before"
    world.now_ms += 1
    send(20)
    assert held.suspended() == {"web"}


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
def test_where_redis_has_no_room_for_the_word_the_next_batch_says_it(held: Held) -> None:
    world, held.full = limited(held), 1
    for suspended in (set(), {"web"}):
        for _ in range(20):
            world.publish(ANA, channel="web", boom=1)
        world.settle()
        assert held.suspended() == suspended


def test_timers_are_no_sources(held: Held) -> None:
    PoisonBrake(LIMITS, held).count({"web": 10}, [Poisoned("KeyError at a")] * 100)
    assert held.known == {}


def test_sources_that_an_app_invents_are_bounded(held: Held) -> None:
    brake = PoisonBrake(LIMITS, held)
    for number in range(2 * SOURCES_MAX):
        brake.count({}, [Poisoned("KeyError at a", f"made-up-{number}", 1)])
    assert len(brake._samples) == SOURCES_MAX


@pytest.mark.breaking
@pytest.mark.usefixtures("defect")
@pytest.mark.parametrize("together", [True, False])
def test_what_a_customer_is_called_by_stays(together: bool) -> None:
    """`resolve` says a user id once, with the first event of it: where that one is poison, no later one
    brings it."""
    world = World(RULES)
    world.publish(ANA, boom=1, sealed={"user_id": b"u", "email": b"e"})
    if not together:
        world.settle()
    world.publish(ANA, total=3)
    world.settle()
    [origin] = world.sensitive(ANA).origins.values()
    assert origin == {"user_id": Sealed(0, b"u")}
    assert world.counters()["profiles"] == 1
    assert world.counters()["applied"] == 1


# --- a log that does not fit


def test_a_shard_ahead_of_its_log_stops_and_names_the_repair() -> None:
    world = World(RULES)
    world.send(ANA)
    shard = shard_of(world.root(ANA), SHARDS)
    world.directory._heads[shard] -= 1
    expected = (
        rf"shard {shard} has read its log up to entry 2, and the log ends at 1.*millrace repair shard {shard}"
    )
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
