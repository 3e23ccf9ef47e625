"""The directory, on memory and on Redis: one suite, and for any sequence of windows the two are equal."""

from collections.abc import Callable

import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Fenced, Foreign, LogFull, Stale
from schemas.records.identity_graph import (
    Group,
    Identifier,
    Order,
    Put,
    Routed,
    WindowCommit,
    WindowResult,
)
from schemas.records.shard_log import Announced, LogKind, Retire, unpack_facts
from schemas.wire.triggers import Absorb
from state.directory.directory_protocol import Directory
from state.directory.layout import Layout
from state.directory.redis_directory import RedisDirectory
from state.memory.memory_directory import MemoryDirectory
from state.redis.names import Names

LAYOUT = Layout("test", shards=4, buckets=16, limits=(1, 2, 3))
Make = Callable[..., Directory]


def ident(strength: int, number: int) -> Identifier:
    return Identifier(strength, bytes([number, number * 7 % 256, strength]) + b"i" * 9)


def group(*identifiers: Identifier, facts: int = 1, expected: bytes | None = None) -> Group:
    ordered = sorted(set(identifiers), key=lambda i: (i.strength, i.hash))
    return Group(ordered, [Routed(n % len(ordered), b"fact%d" % n, expected) for n in range(facts)])


def window(before: int, after: int, *groups: Group, partition: str = "events/0") -> WindowCommit:
    return WindowCommit(
        partition=partition, before=before, after=after, groups=list(groups), dead=[], rejected={}
    )


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest, redis_url: str) -> Make:
    def build(log_max: int = 100_000) -> Directory:
        if request.param == "memory":
            return MemoryDirectory(LAYOUT, lambda: 1_700_000_000_000, log_max=log_max)
        directory = RedisDirectory(redis.Redis.from_url(redis_url), Names("t"), LAYOUT, log_max=log_max)
        directory.create()
        return directory

    return build


def everything(directory: Directory) -> list[tuple[int, int, str, bytes]]:
    entries = directory.read(dict.fromkeys(range(LAYOUT.shards), 0), 10_000, 0)
    return sorted((entry.shard, entry.seq, entry.kind, entry.body) for entry in entries)


def facts(directory: Directory) -> list[tuple[bytes, bytes, bytes]]:
    return [
        fact
        for *_, kind, body in everything(directory)
        if kind == LogKind.EVENTS
        for fact in unpack_facts(body)
    ]


USER, OTHER, MAIL, ANON = ident(0, 1), ident(0, 2), ident(1, 3), ident(2, 4)


def test_a_new_identifier_founds_a_customer_named_by_it(make: Make) -> None:
    directory = make()
    assert directory.commit(window(-1, 5, group(USER, ANON))) == WindowResult(created=1, journal=1)
    assert directory.lookup([USER.hash, ANON.hash, MAIL.hash]) == [USER.hash, USER.hash, None]
    assert directory.offsets() == {"events/0": 5}


def test_a_login_attaches_the_user_to_the_visitor(make: Make) -> None:
    directory = make()
    directory.commit(window(-1, 1, group(ANON)))
    result = directory.commit(window(1, 2, group(USER, ANON)))
    assert (result.created, result.attached, result.united) == (0, 1, 0)
    assert directory.lookup([USER.hash]) == [ANON.hash]


def test_two_known_customers_unite_and_the_loser_is_told_to_retire_after_its_events(make: Make) -> None:
    directory = make()
    directory.commit(window(-1, 1, group(ANON)))
    directory.commit(window(1, 2, group(USER)))
    result = directory.commit(window(2, 3, group(ANON), group(USER, ANON)))
    assert result.united == 1
    assert directory.lookup([ANON.hash]) == [USER.hash]
    shard = int.from_bytes(ANON.hash[:2]) % 4
    kinds = [(kind, body) for s, _, kind, body in everything(directory) if s == shard]
    assert kinds[-1] == (
        "r",
        msgspec.msgpack.encode(
            Retire(
                retired=ANON.hash,
                survivor=USER.hash,
                origins=[ANON.hash],
                union=1,
                one=USER.hash,
                other=ANON.hash,
            )
        ),
    )


def test_two_user_ids_never_unite_the_weaker_identifier_moves_to_the_one_last_seen(make: Make) -> None:
    directory = make()
    directory.commit(window(-1, 1, group(USER, ANON)))
    result = directory.commit(window(1, 2, group(OTHER, ANON)))
    assert (result.created, result.moved, result.united) == (1, 1, 0)
    assert directory.lookup([USER.hash, OTHER.hash, ANON.hash]) == [USER.hash, OTHER.hash, OTHER.hash]
    assert directory.commit(window(2, 3, group(USER, ANON))).moved == 1
    assert directory.lookup([ANON.hash]) == [USER.hash]


def test_a_namespace_over_its_limit_is_refused_and_the_event_still_lands(make: Make) -> None:
    directory = make()
    many = [ident(1, number) for number in (10, 11, 12)]  # the limit is 2
    result = directory.commit(window(-1, 1, group(USER, *many, facts=4)))
    assert result.refused == 1
    assert {root for root, _, _ in facts(directory)} == {USER.hash}


def test_a_stale_position_is_fenced_and_writes_nothing(make: Make) -> None:
    directory = make()
    directory.commit(window(-1, 5, group(USER)))
    before = everything(directory)
    with pytest.raises(Fenced):
        directory.commit(window(3, 9, group(OTHER)))
    assert everything(directory) == before
    assert directory.lookup([OTHER.hash]) == [None]


def test_a_plan_says_where_facts_land_and_a_commit_that_lands_elsewhere_is_stale(make: Make) -> None:
    directory = make()
    directory.commit(window(-1, 1, group(ANON)))
    assert directory.plan([group(USER, ANON, facts=2)]) == [ANON.hash, ANON.hash]
    assert directory.lookup([USER.hash]) == [None]  # a plan writes nothing
    with pytest.raises(Stale):
        directory.commit(window(1, 2, group(USER, ANON, expected=USER.hash)))
    assert directory.offsets() == {"events/0": 1}
    directory.commit(window(1, 2, group(USER, ANON, expected=ANON.hash)))


def test_a_full_log_is_back_pressure_and_writes_nothing(make: Make) -> None:
    directory = make(log_max=1)
    directory.commit(window(-1, 1, group(USER)))
    with pytest.raises(LogFull):
        directory.commit(window(1, 2, group(USER)))
    assert directory.offsets() == {"events/0": 1}
    directory.trim({int.from_bytes(USER.hash[:2]) % 4: 1})
    directory.commit(window(1, 2, group(USER)))


def test_what_is_announced_reaches_every_log_once(make: Make) -> None:
    directory = make()
    assert directory.announce(LogKind.MODEL, "learn:churn", 3, 3, b"weights")
    assert not directory.announce(LogKind.MODEL, "learn:churn", 3, 3, b"weights")
    assert [(s, kind, body) for s, _, kind, body in everything(directory)] == [
        (shard, "m", msgspec.msgpack.encode(Announced("learn:churn", 3))) for shard in range(4)
    ]
    assert directory.body(LogKind.MODEL, "learn:churn", 3) == b"weights"
    assert directory.body(LogKind.MODEL, "learn:churn", 4) is None


def test_bodies_that_nobody_needs_are_dropped(make: Make) -> None:
    directory = make()
    for version in (1, 2, 5):
        directory.announce(LogKind.MODEL, "learn:churn", version, version, b"v%d" % version)
    directory.drop(LogKind.MODEL, "learn:churn", 5)
    directory.drop(LogKind.MODEL, "learn:churn", -3)
    assert [directory.body(LogKind.MODEL, "learn:churn", version) for version in (1, 2, 5)] == [
        None,
        None,
        b"v5",
    ]


def test_a_tick_reaches_every_log_once_a_second(make: Make) -> None:
    directory = make()
    ticks = sum(directory.tick() for _ in range(3))
    assert 1 <= ticks <= 2  # the server's second may turn between two calls
    assert len(everything(directory)) == 4 * ticks


def test_an_absorb_follows_the_survivor_and_is_taken_once(make: Make) -> None:
    directory = make()
    directory.commit(window(-1, 1, group(ANON), group(MAIL), group(USER)))
    directory.commit(window(1, 2, group(MAIL, ANON)))
    survivor = directory.lookup([ANON.hash])[0]
    assert survivor is not None
    directory.commit(window(2, 3, group(USER, MAIL)))
    message = Absorb(survivor, b"gone-gone-go", b"general", b"")
    assert directory.forward(2, 1, message)
    assert not directory.forward(2, 1, message)
    absorbed = [
        (shard, body[:12]) for shard, _, kind, body in everything(directory) if kind == LogKind.ABSORB
    ]
    assert absorbed == [(int.from_bytes(USER.hash[:2]) % 4, USER.hash)]


def test_an_absorb_that_was_put_aside_is_forwarded_once_whatever_came_since(make: Make) -> None:
    directory = make()
    directory.commit(window(-1, 1, group(USER)))
    message = Absorb(USER.hash, b"gone-gone-go", b"general", b"")
    assert directory.forward(2, 7, Absorb(USER.hash, b"another-gone", b"general", b""))
    assert directory.forward_again("d:5-0", message)
    assert not directory.forward_again("d:5-0", message)
    bodies = [body for _, _, kind, body in everything(directory) if kind == LogKind.ABSORB]
    assert [b"gone-gone-go" in body for body in bodies] == [False, True]


def test_a_fact_that_is_let_in_again_follows_its_customer_and_is_taken_once(make: Make) -> None:
    directory = make()
    directory.commit(window(-1, 1, group(ANON), group(USER)))
    directory.commit(window(1, 2, group(USER, ANON)))
    before, ends = facts(directory), directory.heads()
    assert directory.readmit(1, ANON.hash, b"payload")
    assert not directory.readmit(1, ANON.hash, b"payload")
    assert directory.sent("readmitted") == 1
    assert [fact for fact in facts(directory) if fact not in before] == [(USER.hash, ANON.hash, b"payload")]
    home = int.from_bytes(USER.hash[:2]) % 4
    assert directory.heads() == ends | {home: ends[home] + 1}


def test_an_origin_is_never_given_twice(make: Make) -> None:
    directory = make()
    directory.commit(window(-1, 1, group(ANON)))
    directory.commit(window(1, 2, group(USER, ANON)))
    directory.commit(window(2, 3, group(OTHER, ANON)))  # ANON moves away from the origin that it founded
    assert directory.lookup([USER.hash, OTHER.hash]) == [ANON.hash, OTHER.hash]


def test_another_deployments_data_is_refused(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    RedisDirectory(client, Names("t"), LAYOUT).create()
    for wrong in (msgspec.structs.replace(LAYOUT, shards=8), msgspec.structs.replace(LAYOUT, name="other")):
        with pytest.raises(Foreign, match="fixed at creation"):
            RedisDirectory(client, Names("t"), wrong).create()


identifiers = st.builds(ident, st.integers(0, 2), st.integers(0, 5))
groups = st.lists(identifiers, min_size=1, max_size=4).map(
    lambda ids: group(
        *[i for n, i in enumerate(ids) if i.strength != 0 or all(j.strength != 0 for j in ids[:n])], facts=2
    )
)


@settings(max_examples=150, deadline=None)
@given(
    windows=st.lists(
        st.tuples(st.integers(0, 1), st.lists(groups, min_size=1, max_size=5)), min_size=1, max_size=16
    )
)
def test_redis_equals_memory_for_any_sequence_and_whichever_worker(
    redis_server: str, windows: list[tuple[int, list[Group]]]
) -> None:
    client = redis.Redis.from_url(redis_server)
    client.flushall()
    memory = MemoryDirectory(LAYOUT, lambda: 0)
    # each knows what it has seen of the graph
    workers = [RedisDirectory(client, Names("t"), LAYOUT) for _ in range(2)]
    for n, (worker, found) in enumerate(windows):
        assert memory.commit(window(n - 1, n, *found)) == workers[worker].commit(window(n - 1, n, *found))
    real = workers[0]
    assert everything(memory) == everything(real)
    assert memory.stats() == real.stats()
    known = [ident(s, n).hash for s in range(3) for n in range(6)]
    assert memory.lookup(known) == real.lookup(known)


# --- consent


def said(text: bytes) -> bytes:
    return b"mark." + text  # the first eight bytes differ


def saying(
    before: int, after: int, *puts: tuple[bytes, bytes], groups: tuple[Group, ...] = ()
) -> WindowCommit:
    commit = window(before, after, *groups)
    commit.puts = [Put("c", origin, said(text)) for origin, text in puts]
    return commit


def judged(directory: Directory, before: int, after: int, *groups: Group) -> WindowCommit:
    """A window that was judged by what its customers have said until now."""
    survey = directory.survey(groups)
    commit = window(before, after, *groups)
    commit.looked_at = [(standing.root, standing.mark) for standing in survey.standings]
    places = [fact for group in groups for fact in group.facts]
    for fact, origin, known in zip(places, survey.origins, survey.known, strict=True):
        fact.expected = None if known else origin
    return commit


def test_a_survey_says_what_each_customer_has_said(make: Make) -> None:
    directory = make()
    user, device, other = ident(0, 1), ident(2, 1), ident(0, 2)
    directory.commit(window(-1, 1, group(device), group(other)))
    directory.commit(window(1, 2, group(user)))
    assert not directory.has_consents()
    directory.commit(saying(2, 3, (device.hash, b"no"), (user.hash, b"yes")))
    assert directory.has_consents()
    survey = directory.survey([group(user, device), group(other), group(ident(1, 9))])
    assert survey.standings[0].records == {user.hash: said(b"yes"), device.hash: said(b"no")}
    assert set(survey.standings[0].members) == {user.hash, device.hash}
    assert survey.standings[1].records == {}
    assert survey.standings[1].root == other.hash
    assert survey.standings[2].members == (ident(1, 9).hash,)
    assert directory.standings([device.hash])[0].records == {device.hash: said(b"no")}


def test_a_window_is_stale_where_its_customer_has_said_something_else(make: Make) -> None:
    directory = make()
    user = ident(0, 1)
    directory.commit(window(-1, 1, group(user)))
    first = judged(directory, 1, 2, group(user))
    other = saying(-1, 1, (user.hash, b"no"))
    other.partition = "events/1"
    directory.commit(other)
    with pytest.raises(Stale):
        directory.commit(first)
    directory.commit(judged(directory, 1, 2, group(user)))


def test_a_window_is_stale_where_its_customer_was_united_with_one_who_said_something(make: Make) -> None:
    directory = make()
    user, device = ident(0, 1), ident(2, 1)
    directory.commit(saying(-1, 1, (device.hash, b"no"), groups=(group(user), group(device))))
    late = judged(directory, 1, 2, group(user))
    other = window(-1, 1, group(user, device), partition="events/1")
    directory.commit(other)
    with pytest.raises(Stale):
        directory.commit(late)
    assert set(directory.survey([group(user)]).standings[0].records) == {device.hash}


def test_after_an_unmerge_each_side_has_its_own_words(make: Make) -> None:
    directory = make()
    user, device = ident(0, 1), ident(2, 1)
    directory.commit(
        saying(-1, 1, (device.hash, b"no"), (user.hash, b"yes"), groups=(group(user), group(device)))
    )
    directory.commit(judged(directory, 1, 2, group(user, device)))
    assert len(directory.survey([group(user)]).standings[0].records) == 2
    parted = window(2, 3)
    parted.orders = [Order("unlink", user.hash, device.hash)]
    directory.commit(parted)
    survey = directory.survey([group(user), group(device)])
    assert [standing.records for standing in survey.standings] == [
        {user.hash: said(b"yes")},
        {device.hash: said(b"no")},
    ]


def test_a_window_for_which_nobody_was_asked_is_stale_once_somebody_has_said_something(make: Make) -> None:
    directory = make()
    unasked = window(-1, 1, group(ident(0, 1)))
    unasked.looked_at = None
    directory.commit(unasked)
    directory.commit(saying(1, 2, (ident(0, 1).hash, b"no")))
    unasked = window(2, 3, group(ident(0, 1)))
    unasked.looked_at = None
    with pytest.raises(Stale):
        directory.commit(unasked)


def test_words_of_a_customer_that_another_worker_founds_meanwhile_are_seen(make: Make) -> None:
    """Nobody is told of it as of a change: nobody knew the customer."""
    directory = make()
    user = ident(0, 1)
    late = judged(directory, -1, 1, group(user))
    other = saying(-1, 1, (user.hash, b"no"), groups=(group(user),))
    other.partition = "events/1"
    directory.commit(other)
    with pytest.raises(Stale):
        directory.commit(late)


def test_an_event_that_is_not_kept_must_land_where_it_was_judged_and_leaves_nothing(make: Make) -> None:
    """Else another customer's no would drop it: a tablet changes hands between judgement and commit."""
    directory = make()
    ana, bob, tablet = ident(0, 1), ident(0, 2), ident(2, 1)
    directory.commit(window(-1, 1, group(ana, tablet), group(bob)))
    dropped = judged(directory, 1, 2, group(tablet))
    dropped.groups[0].facts = [Routed(0, b"", ana.hash)]
    handed_over = window(-1, 1, group(bob, tablet), partition="events/1")
    directory.commit(handed_over)
    with pytest.raises(Stale):
        directory.commit(dropped)
    before, events = len(facts(directory)), directory.stats()["events"]
    again = judged(directory, 1, 2, group(tablet))
    again.groups[0].facts = [Routed(0, b"", bob.hash)]
    directory.commit(again)
    assert (len(facts(directory)), directory.stats()["events"]) == (before, events)
