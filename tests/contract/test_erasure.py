"""Erasure in the directory, on memory and on Redis: who is detached is found by nobody, who is erased leaves
a name that is never given again."""

from collections.abc import Callable

import msgspec
import pytest
import redis

from schemas.records.consents import Consents, packed
from schemas.records.identity_graph import Order, Put, Union, WindowCommit, shard_of
from schemas.records.shard_log import Erase, NotSent
from schemas.wire.triggers import Absorb
from state.digest_entries import directory_entries
from state.directory.policy import Policy
from tests.contract.test_directory import LAYOUT, everything, group
from tests.contract.test_identity import ANON, DEVICE, MAIL, NAMES, OTHER, POST, USER, Both


@pytest.fixture
def both(redis_url: str) -> Callable[..., Both]:
    return lambda policy=Policy(), **more: Both(redis_url, policy, **more)  # noqa: B008  # frozen


Make = Callable[..., Both]


def detach(origin: bytes, *known: bytes) -> Order:
    return Order("detach", origin, by="privacy", note=b"".join(known), origins=True)


def erase(origin: bytes) -> Order:
    return Order("erase", origin, by="privacy", origins=True)


def test_nothing_leads_to_who_is_detached_and_later_events_found_another(both: Make) -> None:
    world = both()
    world.commit(group(USER, MAIL, ANON))
    world.commit(orders=(detach(USER.hash),))
    assert world.roots(USER.hash, MAIL.hash, ANON.hash) == [None, None, None]
    assert world.memory.erased([USER.hash, MAIL.hash]) == [True, False]
    assert world.commit(group(USER, ANON)).created == 1  # type: ignore[union-attr]
    [root, same] = world.roots(USER.hash, ANON.hash)
    assert root == same == bytes([*USER.hash[:-1], USER.hash[-1] + 1])
    assert world.commit(orders=(erase(USER.hash),)).erased == 1  # type: ignore[union-attr]
    assert world.roots(USER.hash, ANON.hash) == [root, root]
    assert world.memory.members(USER.hash) == ([], [])


def test_who_was_heard_of_since_it_was_decided_is_not_detached(both: Make) -> None:
    world = both()
    world.commit(group(USER))
    shard = shard_of(USER.hash, LAYOUT.shards)
    seen = world.memory.heads()[shard]
    unless = msgspec.structs.replace(detach(USER.hash, OTHER.hash), b=seen.to_bytes(12))
    world.commit(group(USER))
    assert world.commit(orders=(unless,)) is None
    world.same()
    assert world.roots(USER.hash) == [USER.hash]
    unless = msgspec.structs.replace(unless, b=(seen + 1).to_bytes(12))
    assert world.commit(orders=(unless,)) is not None
    assert world.roots(USER.hash) == [None]
    world.same()


def test_the_shard_hears_of_it_behind_all_that_came_before(both: Make) -> None:
    world = both()
    world.commit(group(USER))
    world.commit(group(USER), orders=(detach(USER.hash), erase(USER.hash)))
    *_, event, last = everything(world.memory)
    assert (event[2], last[2], msgspec.msgpack.decode(last[3], type=Erase)) == ("e", "z", Erase(USER.hash))
    world.same()


@pytest.mark.parametrize("order", ["link", "apart", "review", "unsure", "unlink"])
def test_no_order_reaches_who_is_detached(both: Make, order: str) -> None:
    world = both()
    world.commit(group(USER), group(ANON))
    world.commit(orders=(detach(USER.hash),))
    given = Order(order, USER.hash, ANON.hash, origins=True)  # type: ignore[arg-type]  # one of its literals
    assert world.commit(orders=(given,)).refused == 1  # type: ignore[union-attr]
    world.same()


def test_what_is_on_its_way_arrives_until_the_customer_is_erased(both: Make) -> None:
    world = both()
    world.commit(group(USER), group(ANON))
    world.commit(group(USER, ANON))
    world.commit(orders=(detach(USER.hash),))
    absorb = Absorb(USER.hash, ANON.hash, b"", b"")
    for directory in (world.memory, world.workers[0]):
        assert directory.forward(1, 1, absorb)
        assert not directory.readmit(1, ANON.hash, b"fact")  # but no event is let in again
    world.commit(orders=(erase(USER.hash),))
    before = everything(world.memory)
    for directory in (world.memory, world.workers[0]):
        assert not directory.forward(1, 2, absorb)
        assert not directory.forward_again("d:1-0", absorb)
        assert not directory.readmit(2, USER.hash, b"fact")
        assert directory.stats()["dropped_for_erased"] == 4
        assert directory.sent("shard:1") == 2
    assert everything(world.memory) == before
    world.same()


def test_what_is_dropped_about_the_erased_is_counted_and_changes_no_digest(both: Make) -> None:
    """A refusal of the door that comes behind the erasure is in no journal: a twin never hears of it."""
    world = both()
    world.commit(group(USER))
    world.commit(orders=(detach(USER.hash),))
    late = NotSent("t1", "offer", "m1", "", "crm", "consent", "", 0)
    for directory in (world.memory, world.workers[0]):
        before = set(directory_entries(directory, {}, {}))
        assert not directory.not_sent(USER.hash, late)
        assert directory.stats()["dropped_for_erased"] == 1
        assert set(directory_entries(directory, {}, {})) == before


def test_of_a_former_merge_only_that_side_goes(both: Make) -> None:
    world = both()
    world.commit(group(USER, POST), group(ANON, MAIL))
    world.commit(group(USER, ANON))
    [union] = world.ledger.unions(0, 10)
    world.undo(union.seq)
    world.commit(group(USER), group(OTHER, DEVICE))
    world.commit(group(DEVICE, USER))  # something else that the ledger keeps, or not
    assert world.roots(MAIL.hash, USER.hash) == [MAIL.hash, USER.hash]
    world.commit(orders=(detach(MAIL.hash), erase(MAIL.hash)))
    assert world.roots(MAIL.hash, ANON.hash, USER.hash, POST.hash) == [None, None, USER.hash, USER.hash]
    assert world.ledger.cannot_link([USER.hash, MAIL.hash]) == [[], []]
    assert all(MAIL.hash not in names(entry) for entry in world.ledger.unions(0, 10))


def names(entry: Union) -> tuple[bytes, ...]:
    return entry.retired, entry.survivor, entry.one, entry.other


def test_the_history_of_others_leads_past_what_named_the_erased(both: Make) -> None:
    world = both()
    a, b, c = (user.hash for user in (USER, ANON, DEVICE))
    world.commit(group(USER), group(ANON), group(DEVICE))
    world.order("link", a, c)
    world.order("unlink", a, c)
    world.order("link", a, b)  # 3 and 4 name whom we erase
    world.order("unlink", a, b)
    world.order("link", a, c)
    world.commit(orders=(detach(b), erase(b)))
    world.same()
    found, complete = world.ledger.about([a], 10)
    assert ([entry.seq for entry in found], complete) == ([5, 2, 1], True)
    assert world.ledger.about([b], 10) == ([], True)
    world.order("unlink", a, c)
    world.commit(orders=(detach(a), erase(a)))  # from now on entries 3 and 4 name nobody
    world.same()
    assert world.ledger.about([c], 10) == ([], True)


def test_what_was_said_about_consent_goes(both: Make, redis_url: str) -> None:
    world = both()
    world.commit(group(USER), group(OTHER))
    for origin in (USER.hash, OTHER.hash):
        window = WindowCommit(
            partition="events/0",
            before=world.at,
            after=world.at + 1,
            groups=[],
            dead=[],
            rejected={},
            puts=[Put("c", origin, packed(Consents(country="CN")))],
        )
        for directory in (world.memory, world.workers[0]):
            directory.commit(window)
        world.at += 1
    world.commit(orders=(detach(USER.hash), erase(USER.hash)))
    assert world.memory.kept.keys() == {("c", OTHER.hash)}
    client = redis.Redis.from_url(redis_url)
    held = {
        field for key in client.scan_iter(match=NAMES.directory + b"c:*") for field in client.hgetall(key)
    }
    assert held == {OTHER.hash}


def test_pairs_marks_and_suspensions_go(both: Make) -> None:
    world = both(Policy(guarded=(False, False, True), shared_customers=2, shared_moves=9))
    for user in (USER, OTHER):
        world.commit(group(user, DEVICE))
    world.commit(group(ANON))
    world.order("review", USER.hash, ANON.hash)
    world.order("apart", OTHER.hash, ANON.hash)
    assert len(world.ledger.reviews()) == 1
    world.commit(orders=(detach(USER.hash), detach(OTHER.hash), detach(DEVICE.hash)))
    world.same()
    assert world.ledger.reviews() == []
    assert world.workers[0].suspended() == {}


def test_in_redis_nothing_is_left_of_an_erased_origin_but_its_mark(both: Make, redis_url: str) -> None:
    world = both(Policy(at_limit=("refuse", "refuse", "newcomer")))
    world.commit(group(USER, MAIL), group(ANON, POST), group(DEVICE))
    world.commit(group(USER, ANON), group(DEVICE))
    world.order("apart", USER.hash, DEVICE.hash)
    world.order("review", MAIL.hash, DEVICE.hash)
    members, identifiers = world.memory.members(USER.hash)
    world.commit(orders=(detach(USER.hash), erase(USER.hash)))
    wanted = {*members, *(identifier.hash for identifier in identifiers)}
    client = redis.Redis.from_url(redis_url)
    client.config_set("rdbcompression", "no")  # so that bytes are seen where they are
    passing = (
        b"log:",
        b"journal",
        b"changes",
        b"rates:",
        b"moves:",
    )  # trimmed, or expire
    held = [
        key
        for key in client.scan_iter(match=NAMES.directory + b"*")
        if not key.startswith(tuple(NAMES.directory + name for name in (*passing, b"x:")))
        and any(one in client.dump(key) for one in wanted)
    ]
    assert held == []


def test_erased_twice_is_refused_and_of_an_unknown_origin_the_name_is_taken(both: Make) -> None:
    world = both()
    world.commit(group(USER))
    assert world.commit(orders=(erase(USER.hash),)).refused == 1  # type: ignore[union-attr]
    world.commit(orders=(detach(USER.hash), erase(USER.hash)))
    again = world.commit(orders=(detach(USER.hash), erase(USER.hash)))
    assert (again.refused, again.erased) == (2, 0)  # type: ignore[union-attr]
    world.commit(orders=(detach(OTHER.hash, OTHER.hash),))
    world.commit(group(OTHER))
    assert world.roots(OTHER.hash) == [bytes([*OTHER.hash[:-1], OTHER.hash[-1] + 1])]


def test_what_is_taken_again_in_the_window_that_suppressed_it_is_not_suppressed(both: Make) -> None:
    world = both()
    world.commit(group(USER, MAIL))
    again = Order("unsuppress", MAIL.hash)
    suppressed = msgspec.structs.replace(detach(USER.hash), forced=True)
    result = world.commit(orders=(suppressed, again, again))
    assert result.refused == 1  # type: ignore[union-attr]
    assert [*world.memory.suppressed()] == [USER.hash]
    world.same()
    assert world.commit(orders=(again,)).refused == 1  # type: ignore[union-attr]


def test_who_nobody_has_seen_can_be_suppressed_and_taken_again(both: Make) -> None:
    world = both()
    drop, take = Order("suppress", MAIL.hash), Order("unsuppress", MAIL.hash)
    assert world.commit(orders=(drop,)).refused == 0  # type: ignore[union-attr]
    assert [*world.memory.suppressed()] == [MAIL.hash]
    before = world.memory.erasures()
    assert world.commit(orders=(drop,)).refused == 1  # type: ignore[union-attr]  # nothing is new
    assert world.memory.erasures() == world.workers[0].erasures() == before
    assert world.commit(orders=(take, drop, take)).refused == 0  # type: ignore[union-attr]
    assert world.memory.suppressed() == frozenset()
    assert world.commit(orders=(drop, take)).refused == 0  # type: ignore[union-attr]  # as if nothing had been
    world.same()


def test_who_is_suppressed_keeps_what_it_has(both: Make) -> None:
    world = both()
    world.commit(group(USER, MAIL))
    world.commit(orders=(Order("suppress", USER.hash),))
    assert world.roots(USER.hash, MAIL.hash) == [USER.hash, USER.hash]
    world.same()
