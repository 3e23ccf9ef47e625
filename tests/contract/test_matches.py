"""What matching reads of the directory: the same from memory and from Redis."""

import pytest
import redis

from schemas.errors import Fenced
from schemas.records.identity_graph import Group, Order, Put, Routed, WindowCommit
from schemas.records.match_log import MatchKind
from state.directory.directory_protocol import Directory
from state.directory.matches import PARTITION, Matches, RedisMatches, Said
from state.directory.redis_directory import RedisDirectory
from state.memory.memory_directory import MemoryDirectory
from state.redis.names import Names
from tests.contract.test_directory import LAYOUT, ident

NAMES = Names("t")
ONE, OTHER, THIRD = ident(2, 1), ident(2, 2), ident(2, 3)


class World:
    def __init__(self, directory: Directory, matches: Matches) -> None:
        self.directory, self.matches = directory, matches
        self.at = -1

    def say(self, *records: tuple[bytes, bytes], time_ms: int = 5) -> None:
        """A window in which visitors say something that matching compares."""
        groups = [
            Group([identifier], [Routed(0, b"fact", identifier.hash, record)])
            for identifier in (ONE, OTHER, THIRD)
            for origin, record in records
            if origin == identifier.hash
        ]
        self.directory.commit(
            WindowCommit(
                partition="events/0",
                before=self.at,
                after=self.at + 1,
                groups=groups,
                dead=[],
                rejected={},
                orders=[],
                time_ms=time_ms,
            )
        )
        self.at += 1

    def match(self, before: int, after: int, *puts: Put, orders: tuple[Order, ...] = ()) -> None:
        self.directory.commit(
            WindowCommit(
                partition=PARTITION,
                before=before,
                after=after,
                groups=[],
                dead=[],
                rejected={},
                orders=list(orders),
                time_ms=9,
                puts=list(puts),
            )
        )


@pytest.fixture(params=["memory", "redis"])
def world(request: pytest.FixtureRequest, redis_url: str) -> World:
    if request.param == "memory":
        twin = MemoryDirectory(LAYOUT, lambda: 0)
        return World(twin, twin)
    client = redis.Redis.from_url(redis_url)
    directory = RedisDirectory(client, NAMES, LAYOUT)
    directory.create()
    return World(directory, RedisMatches(client, NAMES, LAYOUT))


def test_what_is_said_is_read_in_order_and_from_where_one_was(world: World) -> None:
    world.say((ONE.hash, b"a"), (OTHER.hash, b"bb"))
    world.say((THIRD.hash, b"c"), time_ms=7)
    first = ONE.hash + (1).to_bytes(4) + b"a" + OTHER.hash + (2).to_bytes(4) + b"bb"
    second = THIRD.hash + (1).to_bytes(4) + b"c"
    assert world.matches.said_since(0, 10, 0) == [
        Said(1, MatchKind.RECORDS, first, 5),
        Said(2, MatchKind.RECORDS, second, 7),
    ]
    assert world.matches.said_since(0, 1, 0) == [Said(1, MatchKind.RECORDS, first, 5)]
    assert world.matches.said_since(1, 10, 0) == [Said(2, MatchKind.RECORDS, second, 7)]


def test_what_was_put_aside_is_heard_again_once(world: World) -> None:
    world.say((ONE.hash, b"a"))
    assert world.directory.hear_again("e:1-0", "r", b"body", 6)
    assert not world.directory.hear_again("e:1-0", "r", b"body", 6)
    assert world.directory.hear_again("e:2-0", "d", b"decided", 7)
    world.say((OTHER.hash, b"b"))
    [_, *heard, last] = world.matches.said_since(0, 10, 0)
    assert heard == [Said(2, MatchKind.RECORDS, b"body", 6), Said(3, MatchKind.DECISIONS, b"decided", 7)]
    assert (last.seq, last.kind) == (4, MatchKind.RECORDS)
    assert world.directory.said_last() == 4


def test_a_window_that_says_nothing_is_no_entry(world: World) -> None:
    world.directory.commit(
        WindowCommit(
            partition="events/0",
            before=-1,
            after=0,
            groups=[Group([ONE], [Routed(0, b"fact")])],
            dead=[],
            rejected={},
        )
    )
    assert world.matches.said_since(0, 10, 0) == []


def test_what_was_put_is_kept_until_it_is_deleted(world: World) -> None:
    keys = [bytes([n]) * 8 for n in range(3)]
    world.match(
        -1,
        1,
        Put("mk", keys[0], b"zero"),
        Put("mk", keys[2], b"two"),
        Put("matcher", b"state", b"s"),
        Put("mr", ONE.hash, b"r"),
    )
    assert world.matches.keep("mk", keys) == [b"zero", None, b"two"]
    assert world.matches.keep("matcher", [b"state", b"other"]) == [b"s", None]
    assert world.matches.keep("mr", [OTHER.hash, ONE.hash]) == [None, b"r"]
    assert world.matches.bucket(int.from_bytes(ONE.hash[:4])) == {ONE.hash: b"r"}
    world.match(1, 2, Put("mk", keys[0], None), Put("mr", ONE.hash, None))
    assert world.matches.keep("mk", keys) == [None, None, b"two"]
    assert world.matches.bucket(int.from_bytes(ONE.hash[:4])) == {}
    assert world.matches.keep("mk", []) == []


def test_what_is_committed_leaves_the_log(world: World) -> None:
    for _ in range(3):
        world.say((ONE.hash, b"a"))
    world.match(-1, 2)
    assert [said.seq for said in world.matches.said_since(0, 10, 0)] == [3]


def test_position_and_puts_are_one(world: World) -> None:
    assert world.matches.position() == 0
    world.match(-1, 4, Put("matcher", b"state", b"new"))
    with pytest.raises(Fenced):
        world.match(-1, 5, Put("matcher", b"state", b"stale"))
    assert (world.matches.position(), world.matches.keep("matcher", [b"state"])) == (4, [b"new"])


def test_who_belongs_together_and_who_must_not(world: World) -> None:
    world.say((ONE.hash, b"a"), (OTHER.hash, b"b"), (THIRD.hash, b"c"))
    world.match(-1, 1, orders=(Order("link", ONE.hash, OTHER.hash, "match", origins=True),))
    (root, members), other = world.matches.customers([ONE.hash, OTHER.hash])
    assert root in members
    assert sorted(members) == sorted([ONE.hash, OTHER.hash])
    assert other == (root, members)
    assert world.matches.customers([ident(1, 9).hash]) == [(ident(1, 9).hash, [])]
    assert world.matches.cannot_link([ONE.hash]) == [[]]
    world.match(1, 2, orders=(Order("apart", ONE.hash, THIRD.hash, origins=True),))
    assert world.matches.cannot_link([ONE.hash, OTHER.hash, THIRD.hash]) == [[THIRD.hash], [], [ONE.hash]]


def test_matching_unites_nobody_whom_somebody_has_parted(world: World) -> None:
    world.say((ONE.hash, b"a"), (OTHER.hash, b"b"))
    link = Order("link", ONE.hash, OTHER.hash, "match", origins=True)
    world.match(-1, 1, orders=(link,))
    world.match(1, 2, orders=(Order("unlink", ONE.hash, OTHER.hash, origins=True),))
    world.match(2, 3, orders=(link,))
    assert world.matches.customers([ONE.hash, OTHER.hash]) == [
        (ONE.hash, [ONE.hash]),
        (OTHER.hash, [OTHER.hash]),
    ]
    world.match(3, 4, orders=(Order("link", ONE.hash, OTHER.hash, "steward", origins=True),))
    assert len({root for root, _ in world.matches.customers([ONE.hash, OTHER.hash])}) == 1


def test_a_decision_of_a_steward_is_told(world: World) -> None:
    world.say((ONE.hash, b"a"), (OTHER.hash, b"b"))
    world.match(-1, 1, orders=(Order("apart", ONE.hash, OTHER.hash, "review", origins=True),))
    [said] = world.matches.said_since(0, 10, 0)
    assert (said.kind, said.body) == (MatchKind.DECISIONS, ONE.hash + OTHER.hash + b"0")
