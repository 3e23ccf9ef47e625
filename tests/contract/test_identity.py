"""Guards, budgets, links and unmerges: on memory and on Redis, and for any sequence the two are equal."""

from collections.abc import Callable

import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Stale
from schemas.records.identity_graph import Group, Order, Routed, WindowCommit, WindowResult, shard_of, undo
from schemas.records.shard_log import Expect, LogKind, unpack_facts
from state.directory.layout import Layout
from state.directory.ledger import RedisLedger
from state.directory.matches import RedisMatches
from state.directory.policy import Policy
from state.directory.redis_directory import RedisDirectory
from state.memory.memory_directory import MemoryDirectory
from state.redis.names import Names
from tests.contract.test_directory import LAYOUT, everything, group, groups, ident

NAMES = Names("t")
USER, OTHER, MAIL, POST, ANON, DEVICE = (
    ident(0, 1),
    ident(0, 2),
    ident(1, 3),
    ident(1, 4),
    ident(2, 4),
    ident(2, 5),
)


class Both:
    """The twin and the real one, which must always agree."""

    def __init__(self, url: str, policy: Policy, limits: tuple[int, ...] = (1, 2, 3)) -> None:
        client = redis.Redis.from_url(url)
        client.flushall()
        layout = Layout("test", LAYOUT.shards, LAYOUT.buckets, limits, policy=policy)
        self.memory = MemoryDirectory(layout, lambda: 0)
        self.workers = [RedisDirectory(client, NAMES, layout) for _ in range(2)]
        self.ledger = RedisLedger(client, NAMES, layout)
        self.matches = RedisMatches(client, NAMES, layout)
        self.at = -1

    def commit(
        self, *found: Group, orders: tuple[Order, ...] = (), time_ms: int = 0, worker: int = 0
    ) -> WindowResult | None:
        """None where the window rests on what is evidence no longer."""
        window = WindowCommit(
            partition="events/0",
            before=self.at,
            after=self.at + 1,
            groups=list(found),
            dead=[],
            rejected={},
            orders=list(orders),
            time_ms=time_ms,
        )
        try:
            expected = self.memory.commit(window)
        except Stale:
            with pytest.raises(Stale):
                self.workers[worker].commit(window)
            return None
        result = self.workers[worker].commit(window)
        assert result == expected
        self.at += 1
        return result

    def order(self, kind: str, a: bytes, b: bytes = b"", **more: bool) -> WindowResult | None:
        # one of its literals
        return self.commit(orders=(Order(kind, a, b, **more),))  # type: ignore[arg-type]

    def undo(self, seq: int) -> WindowResult | None:
        return self.commit(orders=(undo(seq),))

    def same(self) -> None:
        real = self.workers[0]
        assert everything(self.memory) == everything(real)
        assert self.memory.stats() == real.stats()
        known = [ident(s, n).hash for s in range(3) for n in range(6)]
        assert self.memory.lookup(known) == real.lookup(known)
        assert self.memory.unions(0, 1000) == self.ledger.unions(0, 1000)
        assert self.memory.newest(7, 4) == self.ledger.newest(7, 4)
        for count in (2, 100):
            assert self.memory.about(known, count) == self.ledger.about(known, count)
            assert self.memory.about(known[:1], count) == self.ledger.about(known[:1], count)
        assert self.memory.homes(known) == self.ledger.homes(known)
        assert self.memory.cannot_link(known) == self.ledger.cannot_link(known)
        assert self.memory.suppressed() == real.suppressed()
        assert self.memory.erasures() == real.erasures()
        assert self.memory.erased(known) == real.erased(known)
        assert self.memory.alone(known) == self.ledger.alone(known)
        assert self.memory.suspended() == self.workers[0].suspended()
        assert self.memory.reviews() == self.ledger.reviews()
        assert self.memory.said_since(0, 1000, 0) == self.matches.said_since(0, 1000, 0)
        roots = {root for root in self.memory.lookup(known) if root}
        assert self.memory.holdings(sorted(roots)) == self.ledger.holdings(sorted(roots))
        assert {root: self.memory.edges(root) for root in roots} == {
            root: self.ledger.edges(root) for root in roots
        }
        assert {root: self.memory.members(root) for root in roots} == {
            root: self.ledger.members(root) for root in roots
        }

    def roots(self, *identifiers: bytes) -> list[bytes | None]:
        self.same()
        return self.memory.lookup(identifiers)


@pytest.fixture
def both(redis_url: str) -> Callable[..., Both]:
    return lambda policy=Policy(), **more: Both(redis_url, policy, **more)  # noqa: B008  # frozen


Make = Callable[..., Both]


def test_an_undone_union_gives_back_what_was_united(both: Make) -> None:
    world = both()
    world.commit(group(ANON, MAIL), group(USER))
    assert world.commit(group(USER, ANON)).united == 1  # type: ignore[union-attr]
    assert world.roots(ANON.hash, MAIL.hash, USER.hash) == [USER.hash] * 3
    [union] = world.ledger.unions(0, 10)
    assert (union.retired, union.survivor, union.by, union.evidence) == (
        *(MAIL.hash, USER.hash, "event"),
        bytes([0]) + USER.hash + bytes([2]) + ANON.hash,
    )
    assert world.undo(union.seq).divided == 1  # type: ignore[union-attr]
    assert world.roots(ANON.hash, MAIL.hash, USER.hash) == [MAIL.hash, MAIL.hash, USER.hash]
    # what was taken apart stays apart ...
    assert world.commit(group(USER, ANON)).refused == 1  # type: ignore[union-attr]
    assert world.roots(ANON.hash) == [MAIL.hash]
    world.order("link", USER.hash, ANON.hash)  # ... until somebody says otherwise
    assert world.roots(ANON.hash, MAIL.hash) == [USER.hash] * 2
    assert [entry.kind for entry in world.ledger.unions(0, 10)] == ["union", "undo", "union"]


def test_a_new_identifier_that_unites_two_is_the_evidence(both: Make) -> None:
    world = both()
    world.commit(group(ANON), group(DEVICE))
    world.commit(group(USER, ANON, DEVICE))
    [union] = world.ledger.unions(0, 10)
    assert union.evidence == bytes([0]) + USER.hash + bytes([2]) + DEVICE.hash
    world.same()


def test_facts_of_the_part_are_awaited_where_it_comes_back_to(both: Make) -> None:
    world = both()
    world.commit(group(ANON), group(USER))
    world.commit(group(USER, ANON))
    world.order("unlink", USER.hash, ANON.hash)
    world.commit(group(ANON))
    home = shard_of(ANON.hash, LAYOUT.shards)
    [*_, (_, expected), (kind, body)] = [
        (kind, body) for shard, _, kind, body in everything(world.memory) if shard == home
    ]
    assert msgspec.msgpack.decode(expected, type=Expect) == Expect(ANON.hash, [ANON.hash])
    assert (kind, [fact[:2] for fact in unpack_facts(body)]) == (LogKind.EVENTS, [(ANON.hash, ANON.hash)])
    world.same()


def test_an_inner_union_is_undone_without_the_outer_one(both: Make) -> None:
    world = both()
    world.commit(group(ANON), group(DEVICE), group(USER))
    world.order("link", ANON.hash, DEVICE.hash)
    world.order("link", ANON.hash, USER.hash)
    inner = world.ledger.unions(0, 10)[0]
    world.undo(inner.seq)
    apart, kept = inner.retired, inner.survivor
    assert world.roots(USER.hash, kept, apart) == [USER.hash, USER.hash, apart]


def test_evidence_says_with_whom_the_others_stay(both: Make) -> None:
    """A and B, then A and C: without the first, C is with A, though it had to retire into B."""
    world = both()
    a, b, c = ident(2, 1), ident(2, 0), ident(2, 3)
    world.commit(group(a), group(b), group(c))
    world.order("link", a.hash, b.hash)
    world.order("link", a.hash, c.hash)
    assert world.roots(a.hash, c.hash) == [b.hash] * 2
    world.undo(1)
    root_a, root_b, root_c = world.roots(a.hash, b.hash, c.hash)
    assert (root_a == root_c, root_a == root_b) == (True, False)


def test_what_was_never_united_cannot_be_undone(both: Make) -> None:
    world = both()
    world.commit(group(ANON), group(USER))
    for order in (undo(1), undo(2**40), Order("link", ANON.hash, b"?" * 12)):
        result = world.commit(orders=(order,))
        assert result is not None
        assert (result.refused, result.divided, result.united) == (1, 0, 0)
    assert world.roots(ANON.hash, USER.hash) == [ANON.hash, USER.hash]


def test_an_identifier_is_taken_out_of_the_origin_that_it_shares(both: Make) -> None:
    world = both()
    world.commit(group(USER, MAIL))
    assert world.order("unlink", USER.hash, MAIL.hash).divided == 1  # type: ignore[union-attr]
    assert world.roots(USER.hash, MAIL.hash) == [USER.hash, MAIL.hash]
    world.commit(group(USER, MAIL))
    assert world.roots(USER.hash, MAIL.hash) == [USER.hash, MAIL.hash]


def test_the_oldest_leaves_at_the_limit(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "oldest", "refuse")))
    for mail in (1, 2, 3):
        world.commit(group(USER, ident(1, mail)))
    assert world.roots(*(ident(1, mail).hash for mail in (1, 2, 3))) == [None, USER.hash, USER.hash]


def test_who_was_pushed_out_in_the_same_window_is_nobodys(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "oldest", "refuse")))
    mails = [ident(1, n) for n in range(4)]
    world.commit(group(mails[0], mails[1]))
    world.commit(group(mails[0], mails[2], mails[3]), group(mails[1]))  # room for two
    assert world.roots(mails[1].hash) == [mails[1].hash]


def test_a_union_over_the_limit_is_put_before_a_steward(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "review", "refuse")))
    world.commit(group(USER, ident(1, 1), ident(1, 2)), group(ANON, MAIL))
    assert world.commit(group(USER, ANON)).refused == 1  # type: ignore[union-attr]
    [pair] = world.ledger.reviews()
    assert ({pair.a, pair.b}, pair.by) == ({USER.hash, MAIL.hash}, "limit")
    world.order("apart", USER.hash, ANON.hash)
    assert world.ledger.reviews() == []
    world.same()


MADE_UP = Policy(guarded=(False, False, True), breaker_unions=3, breaker_within_s=60)


def test_a_device_of_too_many_users_is_evidence_no_longer(both: Make) -> None:
    world = both(Policy(guarded=(False, False, True), shared_customers=3))
    users = [ident(0, n) for n in range(6)]
    suspended = 0
    for user in users[:5]:
        result = world.commit(group(user, DEVICE))
        suspended += result.suspended if result else 0
    assert suspended == 1
    assert DEVICE.hash in world.workers[0].suspended()
    assert world.commit(group(users[5], DEVICE)) is None  # the window has to be grouped anew, without it
    world.commit(group(users[5]), group(DEVICE))
    root = world.roots(DEVICE.hash)[0]
    assert root not in world.roots(*(user.hash for user in users))
    world.order("release", DEVICE.hash)
    assert world.commit(group(users[5], DEVICE)) is not None


def test_a_constant_user_id_trips_the_breaker_and_can_be_undone(both: Make) -> None:
    world = both(Policy(breaker_unions=3, breaker_within_s=60), limits=(1, 2, 100))
    constant = ident(0, 0)
    visitors = [ident(2, n) for n in range(6)]
    world.commit(group(constant), *(group(visitor) for visitor in visitors))
    for visitor in visitors[:4]:
        world.commit(group(constant, visitor), time_ms=1_000)
    assert constant.hash in world.workers[0].suspended()
    assert world.commit(group(constant, visitors[4]), time_ms=2_000) is None
    for union in world.ledger.unions(0, 10):
        world.undo(union.seq)
    assert world.roots(*(visitor.hash for visitor in visitors)) == [visitor.hash for visitor in visitors]


def test_new_identifiers_under_a_constant_user_id_trip_the_breaker(both: Make) -> None:
    """Though they unite nobody: in one window, or one after the other."""
    for windows, held in (([[0, 1, 2, 3, 4]], 3), ([[0], [1], [2], [3], [4]], 4)):  # the first came with it
        world = both(Policy(breaker_unions=3, breaker_within_s=60), limits=(1, 2, 100))
        for window in windows:
            world.commit(Group([USER, *(ident(2, n) for n in window)], [Routed(0, b"x")]), time_ms=1_000)
        assert USER.hash in world.workers[0].suspended()
        assert world.roots(*(ident(2, n).hash for n in range(5))) == [USER.hash] * held + [None] * (5 - held)


def test_made_up_identifiers_suspend_nobody(both: Make) -> None:
    """One client makes up an anonymous id for each call: in one window, or one after the other. What is
    beyond the rate is not taken up."""
    for windows, held in (
        ([[0, 1, 2, 3, 4]], 3),
        ([[0], [1], [2], [3], [4]], 4),
    ):  # the first came with the user
        world = both(MADE_UP, limits=(1, 2, 100))
        for window in windows:
            assert (
                world.commit(Group([USER, *(ident(2, n) for n in window)], [Routed(0, b"x")]), time_ms=1_000)
                is not None
            )
        assert world.workers[0].suspended() == {}
        assert world.roots(*(ident(2, n).hash for n in range(5))) == [USER.hash] * held + [None] * (5 - held)
        assert world.commit(group(USER, ident(2, 5)), time_ms=61_000).attached == 1  # type: ignore[union-attr]  # the next minute


@pytest.mark.parametrize("at_once", [True, False])
def test_but_with_an_address_each_they_are_people(both: Make, at_once: bool) -> None:
    """A phone number that a whole shop states is no evidence, whatever its visitors' browsers are called."""
    world = both(MADE_UP, limits=(2, 1, 100))
    phone, people = ident(0, 0), [(ident(1, n), ident(2, n)) for n in range(1, 6)]
    windows = [[one for both_of in people for one in both_of]] if at_once else people
    for window in windows:
        world.commit(group(phone, *window), time_ms=1_000)
    assert list(world.workers[0].suspended()) == [phone.hash]
    world.same()


def test_made_up_identifiers_do_not_use_up_what_unions_are_allowed(both: Make) -> None:
    world = both(MADE_UP, limits=(1, 2, 100))
    world.commit(group(USER), group(DEVICE))
    for n in range(20, 30):
        world.commit(group(USER, ident(2, n)), time_ms=1_000)
    assert world.commit(group(USER, DEVICE), time_ms=1_000).united == 1  # type: ignore[union-attr]
    assert world.workers[0].suspended() == {}
    world.same()


def test_newcomers_leave_room_for_a_visitor_of_its_own(both: Make) -> None:
    """However many made-up ids a user was given before: who was there on its own is united, and stays."""
    world = both(
        msgspec.structs.replace(MADE_UP, at_limit=("refuse", "refuse", "newcomer")), limits=(1, 2, 4)
    )
    visitors, made_up = [ident(2, n) for n in (1, 2)], [ident(2, n) for n in range(30, 60)]
    world.commit(group(USER), *(group(visitor) for visitor in visitors))
    minute = iter(range(60_000, 10_000_000, 60_000))
    for n, one in enumerate(made_up):
        world.commit(group(USER, one), time_ms=next(minute))
        if n in (10, 20):
            assert world.commit(group(USER, visitors[n // 20]), time_ms=next(minute)).united == 1  # type: ignore[union-attr]
    assert world.roots(*(visitor.hash for visitor in visitors)) == [USER.hash] * 2
    assert world.memory.lookup([one.hash for one in made_up]) == [None] * 28 + [USER.hash] * 2
    assert world.workers[0].suspended() == {}


def test_newcomers_leave_a_quarter_of_the_limit_at_once(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "refuse", "newcomer")), limits=(1, 2, 8))
    made_up = [ident(2, n) for n in range(30, 39)]
    for one in made_up:
        world.commit(group(USER, one))
    world.same()
    assert world.memory.lookup([one.hash for one in made_up]) == [None] * 2 + [USER.hash] * 7


def test_where_no_newcomer_can_leave_one_too_many_is_refused(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "refuse", "newcomer")), limits=(1, 2, 2))
    visitors = [ident(2, n) for n in range(3)]
    world.commit(group(USER), *(group(visitor) for visitor in visitors))
    for visitor in visitors:
        world.commit(group(USER, visitor))
    assert world.commit(group(USER, ident(2, 5))).refused == 1  # type: ignore[union-attr]
    assert world.roots(*(visitor.hash for visitor in visitors), ident(2, 5).hash) == [USER.hash] * 2 + [
        visitors[2].hash,
        None,
    ]


def test_a_union_undone_gives_the_newcomers_back_to_whom_they_came_with(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "refuse", "newcomer")), limits=(1, 2, 3))
    made_up = [ident(2, n) for n in range(30, 34)]
    world.commit(group(USER, *made_up[:2]), group(MAIL, *made_up[2:]))
    world.commit(group(USER, MAIL))
    assert world.roots(*(one.hash for one in made_up)) == [None] + [USER.hash] * 3
    world.undo(1)
    assert world.roots(*(one.hash for one in made_up)) == [None, USER.hash] + [MAIL.hash] * 2


def test_who_had_an_event_to_itself_is_a_newcomer_no_longer(both: Make) -> None:
    """Else that event, sent again, would count for somebody else. Known to the worker, or new in the very
    same group."""
    world = both(Policy(at_limit=("refuse", "refuse", "newcomer")), limits=(1, 2, 3))
    used, seen, anew, *made_up = [ident(2, n) for n in range(30, 40)]
    world.commit(group(USER, used, seen))
    for _ in range(2):
        world.commit(group(USER, used, seen))
    world.commit(group(used), worker=1)
    assert world.memory.alone([used.hash, seen.hash]) == [True, False]
    world.commit(Group([USER, anew], [Routed(0, b"x"), Routed(1, b"y")]))
    for one in made_up:
        world.commit(group(USER, one))
    world.same()
    assert world.memory.lookup([used.hash, seen.hash, anew.hash, made_up[-1].hash]) == [
        USER.hash,
        None,
        USER.hash,
        USER.hash,
    ]


def test_a_visitor_of_its_own_needs_no_note_that_it_is_one(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "refuse", "newcomer")))
    world.commit(group(ANON))
    world.commit(group(ANON), group(USER, ANON))
    world.commit(group(ANON))
    assert world.memory.alone([ANON.hash]) == world.ledger.alone([ANON.hash]) == [False]


def test_who_went_over_from_another_user_is_no_newcomer(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "refuse", "newcomer")), limits=(1, 2, 2))
    world.commit(group(OTHER, ANON))
    world.commit(group(USER, ANON))
    for n in range(30, 36):
        world.commit(group(USER, ident(2, n)))
    assert world.roots(ANON.hash) == [USER.hash]


def test_who_leaves_in_a_window_is_no_longer_routed_by_what_the_worker_knew(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "refuse", "oldest")), limits=(1, 2, 2))
    made_up = [ident(2, n) for n in range(3)]
    world.commit(group(USER, *made_up[:2]), group(MAIL))
    world.commit(group(MAIL))
    world.commit(group(made_up[0]))  # the worker knows whose it is
    world.commit(group(USER, made_up[2]), group(made_up[0]))
    assert world.roots(*(one.hash for one in made_up)) == [made_up[0].hash, USER.hash, USER.hash]


def test_nor_where_the_customer_that_it_left_became_another_meanwhile(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "refuse", "oldest")), limits=(1, 2, 2))
    made_up = [ident(2, n) for n in range(3)]
    world.commit(group(POST, *made_up[:2]), group(MAIL))
    world.commit(group(made_up[0]))
    world.commit(group(POST, made_up[2]), group(USER, POST, MAIL), group(made_up[0]))
    assert world.roots(made_up[0].hash) == [made_up[0].hash]


def test_a_newcomer_that_leaves_and_comes_again_in_one_window(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "refuse", "newcomer")), limits=(1, 2, 2))
    made_up = [ident(2, n) for n in range(3)]
    for _ in range(2):
        world.commit(group(USER, MAIL, *made_up[:2]))
    world.commit(group(USER, made_up[2]), group(MAIL, made_up[0]))
    assert world.roots(*(one.hash for one in made_up)) == [USER.hash, None, USER.hash]


def test_what_is_refused_at_a_limit_again_and_again_trips_nothing(both: Make) -> None:
    world = both(Policy(breaker_unions=3, breaker_within_s=60))
    for n in range(9):
        world.commit(group(USER, ident(1, n)), time_ms=1_000)
    assert world.workers[0].suspended() == {}
    assert world.roots(*(ident(1, n).hash for n in range(3))) == [USER.hash] * 2 + [None]


def test_the_worker_that_suspends_forgets_what_it_knew(both: Make) -> None:
    world = both(Policy(breaker_unions=2, breaker_within_s=60), limits=(1, 2, 100))
    visitors = [ident(2, n) for n in range(5)]
    world.commit(group(USER))
    world.commit(*(group(USER, visitor) for visitor in visitors), time_ms=1_000)
    assert USER.hash in world.workers[0].suspended()
    assert world.commit(group(USER, visitors[0]), time_ms=2_000) is None


def test_many_new_customers_at_once_trip_nothing(both: Make) -> None:
    world = both(Policy(breaker_unions=3, breaker_within_s=60))
    world.commit(*(group(ident(0, n), ident(1, n), ident(2, n)) for n in range(6)), time_ms=1_000)
    assert world.workers[0].suspended() == {}


def test_a_device_that_goes_to_and_fro_is_evidence_no_longer(both: Make) -> None:
    """By rate: two users are enough, and only within the time."""
    world = both(Policy(guarded=(False, False, True), shared_customers=9, shared_moves=3, shared_within_s=60))
    for at, user in enumerate([USER, OTHER] * 2):  # three moves, in slots of their own
        world.commit(group(user, DEVICE), time_ms=at * 120_000)
    assert world.workers[0].suspended() == {}
    for user in [USER, OTHER, USER]:
        world.commit(group(user, DEVICE), time_ms=600_000)
    assert DEVICE.hash in world.workers[0].suspended()


def test_one_too_many_waits_for_a_steward_who_may_let_it_in(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "review", "refuse")))
    mails = [ident(1, n) for n in range(4)]
    for mail in mails:
        world.commit(group(USER, mail))
    [third, fourth] = world.ledger.reviews()
    assert world.roots(*(mail.hash for mail in mails)) == [USER.hash, USER.hash, mails[2].hash, mails[3].hash]
    # it waits, and is not asked about twice
    assert world.commit(group(USER, mails[2])).refused == 1  # type: ignore[union-attr]
    assert world.ledger.reviews() == [third, fourth]
    assert world.commit(orders=(Order("link", third.a, third.b, "steward", origins=True),)).refused == 1  # type: ignore[union-attr]
    world.commit(orders=(Order("link", third.a, third.b, "review", origins=True),))
    assert world.roots(mails[2].hash, mails[3].hash) == [USER.hash, mails[3].hash]
    world.undo(world.ledger.newest(2**40, 1)[0].seq)
    assert world.roots(mails[0].hash, mails[2].hash) == [USER.hash, mails[2].hash]


def test_a_steward_cannot_make_two_users_one(both: Make) -> None:
    world = both(Policy(at_limit=("review", "refuse", "refuse")))
    world.commit(group(USER), group(OTHER))
    assert world.commit(orders=(Order("link", USER.hash, OTHER.hash, "review"),)).refused == 1  # type: ignore[union-attr]
    assert world.roots(USER.hash, OTHER.hash) == [USER.hash, OTHER.hash]


@pytest.mark.parametrize(
    "policy",
    [Policy(), Policy(at_limit=("review", "refuse", "refuse")), Policy(verified=(False, True, False))],
)
def test_nobody_is_asked_about_a_pair_that_cannot_be_accepted(both: Make, policy: Policy) -> None:
    """Both have a user id, or one mail address too many, or are verified."""
    world = both(policy)
    mails = [ident(1, n) for n in range(4)]
    world.commit(
        group(USER), group(OTHER), group(mails[0], mails[1]), group(mails[2], mails[3]), group(ident(2, 7))
    )
    asked = [(USER, OTHER), (mails[0], mails[2]), (USER, ident(2, 7))]
    world.commit(orders=tuple(Order("review", a.hash, b.hash, "match", origins=True) for a, b in asked))
    [pair] = world.ledger.reviews()
    assert {pair.a, pair.b} == {USER.hash, ident(2, 7).hash}
    world.same()


def test_a_limit_that_a_steward_cannot_lift_is_no_question_though_another_is(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "review", "refuse")))
    world.commit(group(USER, ident(1, 1), ident(1, 2)), group(OTHER, MAIL))
    assert world.commit(orders=(Order("link", USER.hash, OTHER.hash, "link"),)).refused == 1  # type: ignore[union-attr]
    assert world.ledger.reviews() == []
    world.same()


def test_where_the_queue_is_full_one_too_many_is_refused(both: Make) -> None:
    world = both(Policy(at_limit=("refuse", "review", "refuse"), reviews=1))
    for n in range(4):
        world.commit(group(USER, ident(1, n)))
    assert len(world.ledger.reviews()) == 1
    assert world.roots(ident(1, 2).hash, ident(1, 3).hash) == [ident(1, 2).hash, None]


def test_a_history_is_found_behind_many_entries_about_others(both: Make) -> None:
    world = both(Policy(breaker_unions=1_000), limits=(1, 2, 100))
    one, other = ident(2, 1), ident(2, 2)
    world.commit(group(one), group(other))
    world.order("link", one.hash, other.hash)
    world.undo(1)
    strangers = [ident(2, n) for n in range(10, 60)]
    world.commit(group(USER), *(group(stranger) for stranger in strangers))
    for stranger in strangers:
        world.commit(group(USER, stranger))
    found, complete = world.ledger.about([other.hash], 10)
    assert ([entry.seq for entry in found], complete) == ([2, 1], True)
    found, complete = world.ledger.about([USER.hash], 10)
    assert ([entry.seq for entry in found], complete) == (list(range(52, 42, -1)), False)
    world.same()


def test_a_window_has_a_budget_of_unions(both: Make) -> None:
    world = both(Policy(budget=1))
    world.commit(group(ANON), group(DEVICE), group(USER))
    assert world.commit(group(USER, ANON, DEVICE)).united == 1  # type: ignore[union-attr]
    assert world.commit(group(USER, ANON, DEVICE)).united == 1  # type: ignore[union-attr]
    world.same()


def test_two_verified_customers_are_united_by_force_only(both: Make) -> None:
    world = both(Policy(verified=(False, True)))
    world.commit(group(MAIL), group(POST), group(ANON, MAIL))
    assert world.commit(group(MAIL, POST)).refused == 1  # type: ignore[union-attr]
    assert world.order("link", MAIL.hash, POST.hash).refused == 1  # type: ignore[union-attr]
    assert world.order("link", MAIL.hash, POST.hash, forced=True).united == 1  # type: ignore[union-attr]
    assert len(set(world.roots(MAIL.hash, POST.hash))) == 1


def test_aliases_in_a_circle_unite_once(both: Make) -> None:
    world = both()
    ring = [ident(2, n) for n in range(3)]
    world.commit(*(group(one) for one in ring))
    for one, other in zip(ring, ring[1:] + ring[:1], strict=True):
        world.commit(group(one, other))
    assert len(set(world.roots(*(one.hash for one in ring)))) == 1
    assert world.memory.stats()["united"] == 2


def test_the_oldest_entries_of_the_ledger_are_dropped_and_cannot_be_undone(redis_url: str) -> None:
    memory = MemoryDirectory(Layout("test", 2, 16, (1, 2, 3), policy=Policy(ledger=1)), lambda: 0)
    for at, found in enumerate(
        ([group(ANON), group(DEVICE), group(USER)], [group(USER, ANON)], [group(USER, DEVICE)])
    ):
        memory.commit(
            WindowCommit(partition="p", before=at - 1, after=at, groups=found, dead=[], rejected={})
        )
    result = memory.commit(
        WindowCommit(
            partition="p", before=2, after=3, groups=[], dead=[], rejected={}, orders=[undo(1), undo(2)]
        )
    )
    assert (result.refused, result.divided) == (1, 1)


KINDS = ["link", "link", "apart", "unlink", "unlink", "review", "unsure"]
hashes = st.builds(ident, st.integers(0, 2), st.integers(0, 5)).map(lambda identifier: identifier.hash)
orders = st.one_of(
    st.builds(
        Order,
        st.sampled_from(["link", "link", "apart", "unlink", "unlink", "review"]),
        hashes,
        hashes,
        st.sampled_from(["x", "review"]),
        st.binary(max_size=3),
        origins=st.booleans(),
    ),
    st.builds(undo, st.integers(1, 12)),
    st.builds(Order, st.just("release"), hashes),
    st.builds(
        Order,
        st.sampled_from(["detach", "erase", "erase"]),
        hashes,
        forced=st.booleans(),
        origins=st.just(True),
    ),
    st.builds(Order, st.sampled_from(["suppress", "unsuppress"]), hashes),
)
AT_LIMIT = ["refuse", "oldest", "review", "newcomer"]
policies = st.builds(
    Policy,
    at_limit=st.tuples(st.just("refuse"), st.sampled_from(AT_LIMIT), st.sampled_from(AT_LIMIT)),
    verified=st.tuples(st.just(False), st.booleans(), st.just(False)),
    guarded=st.tuples(st.just(False), st.booleans(), st.booleans()),
    shared_customers=st.integers(1, 3),
    shared_moves=st.integers(1, 4),
    breaker_unions=st.integers(1, 4),
    budget=st.integers(1, 5),
    reviews=st.integers(1, 3),
)
steps = st.tuples(
    st.integers(0, 1), st.lists(groups, max_size=3), st.lists(orders, max_size=3), st.integers(0, 200_000)
)


@settings(max_examples=200, deadline=None)
@given(policy=policies, windows=st.lists(steps, min_size=1, max_size=16))
def test_redis_equals_memory_whatever_is_ordered(
    redis_server: str, policy: Policy, windows: list[tuple[int, list[Group], list[Order], int]]
) -> None:
    world = Both(redis_server, policy)
    for worker, found, given_orders, time_ms in windows:
        facts = [
            Group(one.identifiers, [Routed(fact.anchor, fact.payload) for fact in one.facts]) for one in found
        ]
        world.commit(*facts, orders=tuple(given_orders), time_ms=time_ms, worker=worker)
    world.same()
