"""Sessions of the privacy centre on a real Redis: one for each link, and all of it ends."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from schemas.records.centre_sessions import CentreSession
from state.centre_sessions import CentreSessions
from state.redis.names import Names

HOUR = 3_600_000
NONCE = b"n" * 13
SESSION = CentreSession(b"a" * 12, "csrf", "en", until_ms=2 * HOUR)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def sessions(client: redis.Redis) -> CentreSessions:
    return CentreSessions(client, Names("mr"))


def begun(sessions: CentreSessions, nonce: bytes = NONCE, idle_ms: int = HOUR) -> str:
    cookie = sessions.begin(nonce, HOUR, SESSION, idle_ms)
    assert cookie is not None
    return cookie


def test_a_link_lets_one_in_however_many_come_at_once(sessions: CentreSessions, client: redis.Redis) -> None:
    with ThreadPoolExecutor(16) as many:
        cookies = [*many.map(lambda _: sessions.begin(NONCE, HOUR, SESSION, HOUR), range(64))]
    [cookie] = [one for one in cookies if one is not None]
    assert sessions.visit(cookie, HOUR, 0) == SESSION
    assert sessions.is_used(NONCE)
    assert not sessions.is_used(b"m" * 13)
    assert len(client.keys("mr:{centre}:session:*")) == 1


def test_redis_holds_nothing_that_gets_in(sessions: CentreSessions, client: redis.Redis) -> None:
    cookie = begun(sessions)
    for key in client.keys("*"):
        assert cookie.encode() not in key + (client.dump(key) or b"")


def test_all_of_it_expires(sessions: CentreSessions, client: redis.Redis) -> None:
    begun(sessions)
    assert all(0 < client.pttl(key) <= HOUR for key in client.keys("*"))
    cookie = begun(sessions, b"m" * 13, idle_ms=50)
    time.sleep(0.2)
    assert sessions.visit(cookie, HOUR, 0) is None


def test_a_look_that_nobody_took_leaves_the_end_where_it_was(
    sessions: CentreSessions, client: redis.Redis
) -> None:
    cookie = begun(sessions, idle_ms=1_000)
    [key] = client.keys("mr:{centre}:session:*")
    assert sessions.visit(cookie, None, 0) == SESSION
    assert client.pttl(key) <= 1_000
    assert sessions.visit(cookie, HOUR, 0) == SESSION
    assert client.pttl(key) > 1_000


def test_a_visit_is_no_longer_than_it_may_be_however_busy(sessions: CentreSessions) -> None:
    cookie = begun(sessions)
    assert sessions.visit(cookie, HOUR, SESSION.until_ms - 1) == SESSION
    assert sessions.visit(cookie, HOUR, SESSION.until_ms) is None
    assert sessions.visit(cookie, HOUR, 0) is None


def test_each_visit_makes_it_last(sessions: CentreSessions, client: redis.Redis) -> None:
    cookie = begun(sessions, idle_ms=1_000)
    sessions.visit(cookie, HOUR, 0)
    [key] = client.keys("mr:{centre}:session:*")
    assert client.pttl(key) > 1_000


def test_what_ended_is_not_written_again(sessions: CentreSessions) -> None:
    cookie = begun(sessions)
    sessions.end(cookie)
    sessions.save(cookie, SESSION)
    assert sessions.visit(cookie, HOUR, 0) is None


@pytest.mark.parametrize("cookie", ["", "x", "é" * 43, "A" * 43, "A" * 5_000])
def test_what_is_no_cookie_is_nobody(sessions: CentreSessions, cookie: str) -> None:
    begun(sessions)
    assert sessions.visit(cookie, HOUR, 0) is None
