"""The shards and their outboxes, on memory and on Redis: one suite, and for any sequence of commits the two
are equal."""

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Fenced
from schemas.records.customer_profile import Head
from schemas.records.outbox_lanes import LANES, Lane
from state.memory.memory_shards import MemoryShards
from state.redis.names import Names
from state.shards.redis_shards import RedisOutbox, RedisShards
from state.shards.shard_protocols import OutboxEntry, ShardCommit

COUNT = 3
A, B, C = (bytes([n]) * 12 for n in (1, 2, 3))


class Both:
    """Shards and outbox, which are two classes on Redis and one twin in memory."""

    def __init__(self, shards: Any, outbox: Any) -> None:
        self.shards = shards
        self.outbox = outbox


def on_redis(url: str) -> Both:
    client = redis.Redis.from_url(url)
    return Both(RedisShards(client, Names("t"), COUNT, 3), RedisOutbox(client, Names("t"), COUNT))


def in_memory() -> Both:
    shards = MemoryShards(COUNT)
    return Both(shards, shards)


@pytest.fixture(params=["memory", "redis"])
def both(request: pytest.FixtureRequest, redis_url: str) -> Both:
    return in_memory() if request.param == "memory" else on_redis(redis_url)


Change = Callable[..., ShardCommit]


def following(head: Head, shard: int = 0, **changes: Any) -> ShardCommit:
    """A commit that moves the head on by one entry."""
    after = deepcopy(head)
    after.offset += 1
    after.clock_ms += 1_000
    for lane, seq, _ in changes.get("outbox", ()):
        after.outbox[lane] = seq
    empty: dict[str, Any] = {"counters": {}, "profiles": {}, "sensitive": {}, "timers": {}, "outbox": []}
    return ShardCommit(shard, head, after, **(empty | changes))


def everything(both: Both) -> Any:
    roots = [A, B, C]
    every = dict.fromkeys(range(COUNT), 0)
    return (
        both.shards.heads(),
        both.shards.counters(),
        both.shards.load_many(dict.fromkeys(range(COUNT), roots), dict.fromkeys(range(COUNT), roots)),
        both.shards.due(dict.fromkeys(range(COUNT), (2**52, 100))),
        [
            sorted(both.outbox.read(lane, every, 100, 0), key=lambda entry: (entry.shard, entry.seq))
            for lane in LANES
        ],
    )


def test_a_claim_raises_the_epoch_and_keeps_the_rest(both: Both) -> None:
    first = both.shards.claim([0, 2])
    assert first == {0: Head(epoch=1), 2: Head(epoch=1)}
    commit = following(first[0])
    both.shards.commit([commit], 1)
    assert both.shards.claim([0])[0] == Head(epoch=2, offset=1, clock_ms=1_000)
    assert both.shards.heads()[1] == Head()


def test_a_rewound_shard_reads_on_from_there_and_its_writer_is_stale(both: Both) -> None:
    head = both.shards.claim([0])[0]
    both.shards.commit([following(head)], 1)
    both.shards.rewind(0, 0)
    assert both.shards.heads()[0] == Head(epoch=2, offset=0, clock_ms=1_000)
    with pytest.raises(Fenced):
        both.shards.commit([following(following(head).head)], 2)


def test_a_commit_writes_everything_at_once(both: Both) -> None:
    head = both.shards.claim([0])[0]
    outbox = [(Lane.TRIGGERS, 1, b"trigger"), (Lane.TRIGGERS, 2, b"another"), (Lane.EXAMPLES, 1, b"example")]
    commit = following(
        head,
        counters={"n": 3},
        profiles={A: b"a", B: b"b"},
        sensitive={A: b"secret"},
        timers={A: 50, B: 40},
        outbox=outbox,
    )
    both.shards.commit([commit], 777)
    assert both.shards.heads()[0] == commit.head
    assert both.shards.counters()[0] == {"n": 3}
    assert both.shards.load(0, [A, B, C]) == {A: b"a", B: b"b", C: None}
    assert both.shards.load_many({0: [B], 1: [A]}, {0: [A, B]}) == ([b"b", None], [b"secret", None])
    assert both.shards.due({0: (100, 10)}) == {0: [(40, B), (50, A)]}
    assert both.outbox.read(Lane.TRIGGERS, {0: 0}, 10, 0) == [
        OutboxEntry(0, 1, b"trigger", 777),
        OutboxEntry(0, 2, b"another", 777),
    ]
    assert both.outbox.read(Lane.EXAMPLES, {0: 0, 1: 0}, 10, 0) == [OutboxEntry(0, 1, b"example", 777)]
    assert both.outbox.clocks() == {0: 1_000, 1: 0, 2: 0}


def test_what_is_deleted_is_gone_and_a_timer_of_zero_too(both: Both) -> None:
    head = both.shards.claim([0])[0]
    first = following(head, profiles={A: b"a", B: b"b"}, sensitive={A: b"x"}, timers={A: 5, B: 6})
    both.shards.commit([first], 1)
    both.shards.commit(
        [following(first.head, profiles={A: None, C: None}, sensitive={A: None}, timers={A: 0, C: 0, B: 7})],
        2,
    )
    assert both.shards.load(0, [A, B]) == {A: None, B: b"b"}
    assert both.shards.load_many({}, {0: [A]}) == ([], [None])
    assert both.shards.due({0: (100, 10)}) == {0: [(7, B)]}


def test_counters_that_did_not_change_stay(both: Both) -> None:
    head = both.shards.claim([0])[0]
    first = following(head, counters={"n": 3})
    both.shards.commit([first], 1)
    both.shards.commit([following(first.head)], 2)
    assert both.shards.counters() == {0: {"n": 3}, 1: {}, 2: {}}


def test_a_stale_writer_is_fenced_and_nothing_of_its_commit_is_written(both: Both) -> None:
    old = both.shards.claim([0, 1])
    new = both.shards.claim([1])
    before = everything(both)
    commits = [
        following(old[shard], shard, profiles={A: b"stale"}, timers={A: 1}, outbox=[(Lane.TRIGGERS, 1, b"x")])
        for shard in (0, 1)
    ]
    with pytest.raises(Fenced):
        both.shards.commit(commits, 1)
    assert everything(both) == before
    both.shards.commit([following(new[1], 1)], 1)
    with pytest.raises(Fenced):
        both.shards.commit([following(new[1], 1)], 1)  # its own commit, once more


def test_a_claim_between_look_and_write_is_noticed(redis_url: str) -> None:
    """The commit watches the head: what happens after its check makes the transaction fail as a whole."""
    slow, quick = on_redis(redis_url), on_redis(redis_url)
    head = slow.shards.claim([0])[0]
    commit = following(head, profiles={A: b"stale"})
    pipeline = slow.shards._redis.pipeline

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        made = pipeline(*args, **kwargs)
        begin = made.multi

        def multi() -> None:
            quick.shards.claim([0])
            begin()

        made.multi = multi
        return made

    slow.shards._redis.pipeline = interrupted
    with pytest.raises(Fenced):
        slow.shards.commit([commit], 1)
    assert quick.shards.load(0, [A]) == {A: None}
    assert quick.shards.heads()[0] == Head(epoch=2)


def test_due_is_bounded_by_time_and_number_and_ordered_by_time_and_customer(both: Both) -> None:
    heads = both.shards.claim([0, 1])
    both.shards.commit(
        [following(heads[0], timers={C: 10, B: 10, A: 20}), following(heads[1], 1, timers={A: 5})], 1
    )
    assert both.shards.due({0: (20, 2), 1: (4, 10)}) == {0: [(10, B), (10, C)], 1: []}
    assert both.shards.due({0: (19, 10), 1: (5, 10)}) == {0: [(10, B), (10, C)], 1: [(5, A)]}


def test_an_outbox_is_read_behind_a_place_and_trimmed_behind_the_slowest(both: Both) -> None:
    head = both.shards.claim([0])[0]
    both.shards.commit(
        [
            following(
                head,
                outbox=[(Lane.TRIGGERS, seq, b"%d" % seq) for seq in range(1, 7)]
                + [(Lane.DECISIONS, 1, b"d")],
            )
        ],
        1,
    )
    assert [entry.seq for entry in both.outbox.read(Lane.TRIGGERS, {0: 2}, 3, 0)] == [3, 4, 5]
    assert both.outbox.cursors(Lane.TRIGGERS, "crm") == {0: 0, 1: 0, 2: 0}
    both.outbox.advance(Lane.TRIGGERS, "crm", {0: 4})
    both.outbox.advance(Lane.TRIGGERS, "mail", {0: 2})
    assert both.outbox.cursors(Lane.TRIGGERS, "crm") == {0: 4, 1: 0, 2: 0}
    both.outbox.trim(Lane.TRIGGERS, ["crm", "mail"])
    assert [entry.seq for entry in both.outbox.read(Lane.TRIGGERS, {0: 0}, 10, 0)] == [3, 4, 5, 6]
    both.outbox.trim(Lane.TRIGGERS, ["crm", "mail", "new"])
    both.outbox.trim(Lane.TRIGGERS, [])
    assert [entry.seq for entry in both.outbox.read(Lane.TRIGGERS, {0: 0}, 10, 0)] == [3, 4, 5, 6]
    both.outbox.trim(Lane.TRIGGERS, ["crm"])
    assert [entry.seq for entry in both.outbox.read(Lane.TRIGGERS, {0: 0}, 10, 0)] == [5, 6]
    assert both.shards.backlog([0, 1]) == {0: {"t": 2, "i": 0, "x": 0}, 1: {"t": 0, "i": 0, "x": 0}}
    assert (
        both.shards.oldest(0, Lane.TRIGGERS),
        both.shards.oldest(0, Lane.EXAMPLES),
        both.shards.oldest(1, Lane.TRIGGERS),
    ) == (
        b"5",
        None,
        None,
    )
    assert (both.shards.readers(0), both.shards.readers(1)) == ({"t:crm": 4, "t:mail": 2}, {})


def test_a_cursor_only_rises_unless_it_is_set_back(both: Both) -> None:
    """A stale consumer is late, and must not move back what its follower has moved on."""
    both.outbox.advance(Lane.TRIGGERS, "crm", {0: 4, 1: 12})
    both.outbox.advance(Lane.TRIGGERS, "crm", {0: 3, 1: 9, 2: 1})
    both.outbox.advance(Lane.TRIGGERS, "mail", {0: 2})
    assert both.outbox.cursors(Lane.TRIGGERS, "crm") == {0: 4, 1: 12, 2: 1}
    both.outbox.advance(Lane.TRIGGERS, "crm", {0: 2**53, 1: 100})
    assert both.outbox.cursors(Lane.TRIGGERS, "crm") == {0: 2**53, 1: 100, 2: 1}
    both.outbox.set_back(Lane.TRIGGERS, "crm", 0, 7)
    assert both.outbox.cursors(Lane.TRIGGERS, "crm") == {0: 7, 1: 100, 2: 1}
    assert both.outbox.cursors(Lane.TRIGGERS, "mail") == {0: 2, 1: 0, 2: 0}


def test_the_numbers_of_an_outbox_go_on_after_everything_was_trimmed(both: Both) -> None:
    head = both.shards.claim([0])[0]
    first = following(head, outbox=[(Lane.TRIGGERS, 1, b"1")])
    both.shards.commit([first], 1)
    both.outbox.advance(Lane.TRIGGERS, "crm", {0: 1})
    both.outbox.trim(Lane.TRIGGERS, ["crm"])
    both.shards.commit([following(first.head, outbox=[(Lane.TRIGGERS, 2, b"2")])], 2)
    assert [
        entry.seq
        for entry in both.outbox.read(Lane.TRIGGERS, both.outbox.cursors(Lane.TRIGGERS, "crm"), 10, 0)
    ] == [2]


roots = st.sampled_from([A, B, C])
# nothing that was packed begins so
packed = st.none() | st.binary(min_size=1, max_size=4).filter(lambda body: body[0] != 0xC1)
changes = st.fixed_dictionaries(
    {
        "counters": st.dictionaries(st.sampled_from("ab"), st.integers(-5, 5)),
        "profiles": st.dictionaries(roots, packed),
        "sensitive": st.dictionaries(roots, packed),
        "timers": st.dictionaries(roots, st.integers(0, 2**45)),
        "emit": st.lists(st.sampled_from(LANES), max_size=3),
    }
)
actions = st.one_of(
    st.tuples(st.just("commit"), st.dictionaries(st.integers(0, COUNT - 1), changes, min_size=1)),
    st.tuples(st.just("claim"), st.lists(st.integers(0, COUNT - 1), unique=True)),
    st.tuples(
        st.just("advance"), st.tuples(st.sampled_from(LANES), st.integers(0, COUNT - 1), st.integers(0, 3))
    ),
)


@settings(max_examples=100, deadline=None)
@given(history=st.lists(actions, max_size=12))
def test_redis_equals_memory_for_any_history(redis_server: str, history: list[tuple[str, Any]]) -> None:
    """Claims are not told to the writer here, so some commits are stale: both refuse the same ones."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    twins = [in_memory(), on_redis(redis_server)]
    heads, _ = (twin.shards.claim(range(COUNT)) for twin in twins)
    for kind, what in history:
        match kind:
            case "claim":
                assert twins[0].shards.claim(what) == twins[1].shards.claim(what)
            case "advance":
                lane, shard, seq = what
                for twin in twins:
                    twin.outbox.advance(lane, "c", {shard: seq})
                    twin.outbox.trim(lane, ["c"])
            case "commit":
                commits = []
                for shard, changed in what.items():
                    fields = dict(changed)
                    sequences = dict(heads[shard].outbox)
                    outbox = []
                    for lane in fields.pop("emit"):
                        sequences[lane] = sequences.get(lane, 0) + 1
                        outbox.append((lane, sequences[lane], lane.encode()))
                    commits.append(following(heads[shard], shard, outbox=outbox, **fields))
                refused = []
                for twin in twins:
                    try:
                        twin.shards.commit(commits, 1)
                        refused.append(False)
                    except Fenced:
                        refused.append(True)
                assert refused[0] == refused[1]
                if not refused[0]:
                    heads |= {commit.shard: commit.head for commit in commits}
                else:
                    heads = twins[0].shards.claim(range(COUNT))
                    twins[1].shards.claim(range(COUNT))
        assert everything(twins[0]) == everything(twins[1])


@pytest.mark.parametrize("seed", range(6))
def test_of_many_timers_those_that_are_due_first_are_found(redis_url: str, seed: int) -> None:
    """Most of them in one bucket, and many at the same time."""
    luck = random.Random(seed)
    twins = in_memory().shards, on_redis(redis_url).shards
    for _ in range(4):
        roots = [
            b"root" + luck.choice([0, 0, 0, 1, 2]).to_bytes(4) + luck.randrange(300).to_bytes(4)
            for _ in range(150)
        ]
        timers = {root: luck.choice([0, luck.randrange(1, 50), luck.randrange(1, 5_000)]) for root in roots}
        for twin in twins:
            twin.commit([following(twin.heads()[0], timers=timers)], 0)
        for limit in (1, 7, 60, 1_000):
            for upto in (0, 30, 2_000, 6_000):
                memory, stored = (twin.due({0: (upto, limit)}) for twin in twins)
                assert stored == memory


def test_what_format_1_stored_is_read_and_goes_when_its_customer_is_written(redis_url: str) -> None:
    client, shards = redis.Redis.from_url(redis_url), on_redis(redis_url).shards
    client.mset({b"t:{s00}:x:" + root: b"former " + root for root in (A, B, C)})
    client.zadd(b"t:{s00}:timers", {A: 10, B: 20, C: 30})
    assert shards.load_many({}, {0: [A, B, C]})[1] == [b"former " + root for root in (A, B, C)]
    assert shards.due({0: (25, 10)}) == {0: [(10, A), (20, B)]}
    shards.commit([following(Head(), sensitive={A: b"now", B: None}, timers={A: 22, C: 0})], 0)
    assert shards.load_many({}, {0: [A, B, C]})[1] == [b"now", None, b"former " + C]
    assert shards.due({0: (99, 10)}) == {0: [(20, B), (22, A)]}
    assert not client.exists(b"t:{s00}:x:" + A, b"t:{s00}:x:" + B)
    assert client.zrange(b"t:{s00}:timers", 0, -1) == [B]
