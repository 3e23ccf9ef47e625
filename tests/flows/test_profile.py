"""The flow `profile`: on Redis it gives what the twin gives, a second worker makes the first one stale,
nothing is read without room."""

import random
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
import redis
from bytewax.run import cli_main

from flows import profile as flow
from flows.profile import Worker, dataflow
from flows.runtime.engine import Stop
from schemas.errors import Fenced
from schemas.records.customer_profile import Head
from schemas.records.outbox_lanes import LANES, Lane
from schemas.records.shard_log import LogEntry, LogKind
from state.memory.memory_directory import MemoryDirectory
from state.memory.memory_shards import MemoryShards
from state.redis.names import Names
from state.shards.redis_shards import RedisOutbox, RedisShards
from tests.logic.shard.test_profile_replay import MODELS, RULES, finish, lived
from tests.world import HOUR, SECOND, SHARDS, START_MS, KeptDirectory, World, person

ANA, BOB = person("ana"), person("bob")


def run(worker: Worker, stop: Stop) -> None:
    """The real dataflow, until `stop`; a fault is raised as `run_flow` does."""
    cli_main(dataflow(worker, stop))
    if stop.fault is not None:
        raise stop.fault


class Ending(KeptDirectory):
    """Ends the flow when all has been read."""

    stop: Stop

    def read(self, after: Mapping[int, int], count: int, block_ms: int) -> list[LogEntry]:
        found = super().read(after, count, block_ms)
        if not found:
            self.stop.asked.set()
        return found

    def tick(self) -> bool:
        return False


def ending(world: World) -> Stop:
    """From here on the world's flow ends at the end of the log."""
    world.directory.__class__ = Ending
    world.directory.stop = Stop()  # type: ignore[attr-defined]
    return world.directory.stop  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("seed", range(4))
def test_the_dataflow_on_redis_gives_what_the_twin_gives(redis_url: str, seed: int) -> None:
    world = lived(random.Random(seed), 120)
    client, names = redis.Redis.from_url(redis_url), Names("t")
    store = RedisShards(client, names, SHARDS, 1)
    stop = ending(world)
    worker = world.new_worker(store, cache=3)  # type: ignore[arg-type]
    run(worker, stop)
    finish(worker)
    twin = world.store
    for shard in range(SHARDS):
        prefix = names.shard(shard) + b"p:"
        assert {
            key.removeprefix(prefix): client.get(key) for key in client.keys(prefix + b"*")
        } == twin.profiles[shard]
        assert client.hgetall(names.sealed(shard, 0)) == twin.sensitive[shard]
    everyone = dict.fromkeys(range(SHARDS), (2**52, 10_000))
    assert store.due(everyone) == twin.due(everyone)
    assert store.counters() == twin.counters()
    assert headless(store.heads()) == headless(twin.heads())
    every = dict.fromkeys(range(SHARDS), 0)
    for lane in LANES:
        ours = RedisOutbox(client, names, SHARDS).read(lane, every, 10_000, 0)
        assert sorted((e.shard, e.seq, e.body) for e in ours) == sorted(
            (e.shard, e.seq, e.body) for e in twin.read(lane, every, 10_000, 0)
        )


def headless(heads: dict[int, Head]) -> list[Any]:
    """Without the epochs, which count restarts."""
    return [(head.offset, head.clock_ms, head.outbox, head.rules, head.models) for head in heads.values()]


@pytest.mark.parametrize("on_redis", [False, True])
def test_a_second_worker_makes_the_first_one_stale(redis_url: str, on_redis: bool) -> None:
    world = World("")
    store: Any = (
        RedisShards(redis.Redis.from_url(redis_url), Names("t"), SHARDS, 1)
        if on_redis
        else MemoryShards(SHARDS)
    )
    first = world.new_worker(store, 10)
    second = world.new_worker(store, 10)
    world.publish(ANA)
    stop = ending(world)
    with pytest.raises(Fenced, match="its head is"):
        run(first, stop)
    assert store.heads()[0].offset == store.heads()[1].offset == 0
    run(second, ending(world))
    assert sum(counters.get("applied", 0) for counters in store.counters().values()) == 1


def test_a_worker_that_dies_at_any_step_leaves_no_trace() -> None:  # noqa: C901  # small steps of one life
    """Killed once at every call that it makes of directory or store, before and after the call took
    effect."""

    def life(die_at: int, after: bool) -> tuple[Any, int]:
        world, calls = World(RULES[0], scorers=MODELS), 0
        luck = random.Random(5)

        class Killed(Exception):
            pass

        class Mortal(MemoryShards):
            def __getattribute__(self, name: str) -> Any:
                found = super().__getattribute__(name)
                if name not in ("claim", "load_many", "due", "commit", "backlog"):
                    return found

                def call(*args: Any) -> Any:
                    nonlocal calls
                    calls += 1
                    if calls == die_at and not after:
                        raise Killed
                    answer = found(*args)
                    if calls == die_at:
                        raise Killed
                    return answer

                return call

        for _ in range(12):
            world.publish(
                [luck.choice([ANA, BOB])], luck.choice(["Viewed", "Bought"]), sku="a", sealed={"email": b"x"}
            )
            if luck.random() < 0.5:
                world.now_ms += HOUR
                world.directory.tick()
        store = Mortal(SHARDS)
        deaths = 0
        worker: Worker | None = None
        while True:
            try:
                worker = worker or world.new_worker(store, 1)
                entries = world.directory.read(worker._read, 3, 0)
                if not entries:
                    finish(worker)
                    break
                worker.commit(worker.apply(entries))
            except Killed:
                deaths += 1
                worker = None
        assert deaths == (die_at > 0 and calls >= die_at)
        plain = vars(store)
        return (
            plain["profiles"],
            plain["sensitive"],
            plain["timers"],
            plain["outbox"],
            plain["_counters"],
            headless(plain["_heads"]),
        ), calls

    expected, calls = life(0, False)
    assert calls > 15
    for die_at in range(1, calls + 1):
        for after in (False, True):
            assert life(die_at, after)[0] == expected, (
                f"killed {'after' if after else 'before'} call {die_at}"
            )


def test_what_is_committed_is_trimmed_from_the_log() -> None:
    world = World("")
    world.directory.__class__ = MemoryDirectory
    world.send(ANA)
    assert not any(entry.kind == LogKind.EVENTS for log in world.directory.logs.values() for entry in log)
    world.restart()
    world.send(ANA)
    assert world.counters()["applied"] == 2


def test_a_shard_whose_outbox_is_full_stops_reading_and_goes_on_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow, "ROOM_EVERY_S", 0)
    world = World('[[trigger]]\nname = "each"\non = {event = "Viewed"}\n')
    worker = Worker(
        range(SHARDS),
        world.directory,
        world.store,
        world.worker._machine,
        cache=10,
        outbox_max=2,
        clock_ms=lambda: START_MS,
    )
    for _ in range(12):
        world.publish(ANA)
        if entries := worker.read():
            worker.commit(worker.apply(entries))
    shard = next(shard for shard in range(SHARDS) if world.store.profiles[shard])
    assert len(world.store.outbox[shard, Lane.TRIGGERS]) == 2
    world.publish(BOB, "Other")
    world.store.advance(Lane.TRIGGERS, "crm", {shard: 2})
    world.store.trim(Lane.TRIGGERS, ["crm"])
    for _ in range(3):
        if entries := worker.read():
            worker.commit(worker.apply(entries))
    assert world.store.heads()[shard].outbox[Lane.TRIGGERS] > 2


def test_ticks_alone_are_committed_now_and_then_not_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("")
    world.settle()
    before = deepcopy(world.store.heads())
    for _ in range(5):
        world.later(SECOND)
    assert world.store.heads() == before
    monkeypatch.setattr(flow, "IDLE_COMMIT_S", 0)
    world.later(SECOND)
    assert {head.clock_ms for head in world.store.heads().values()} == {world.now_ms}


def test_where_all_shards_wait_their_clocks_are_committed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`learn` waits for them, and they may wait for `learn`."""
    world = World("")
    world.settle()
    world.later(SECOND)
    assert world.now_ms not in {head.clock_ms for head in world.store.heads().values()}
    monkeypatch.setattr(flow, "ROOM_EVERY_S", 0)
    monkeypatch.setattr(flow, "IDLE_COMMIT_S", 0)
    monkeypatch.setattr(world.worker._room, "_most", 0)
    assert world.worker.read() == []
    assert {head.clock_ms for head in world.store.heads().values()} == {world.now_ms}


def test_the_cache_is_bounded() -> None:
    world = World("", cache=SHARDS * 2)
    for n in range(20):
        world.send(person(f"p{n}"))
    assert all(len(state.live) <= 2 for state in world.worker._states.values())
    for n in range(20):
        world.send(person(f"p{n}"))
    assert world.counters()["profiles"] == 20
    assert world.counters()["applied"] == 40
