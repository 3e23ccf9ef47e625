"""Which processes are given up, as their supervisors say it."""

import redis

from state.given_up import BELIEVED_MS, RedisGivenUp
from state.redis.names import Names


def test_each_supervisor_speaks_for_its_own_and_is_believed_for_a_while(redis_url: str) -> None:
    now_ms = 1_000_000
    store = RedisGivenUp(redis.Redis.from_url(redis_url), Names("t"), lambda: now_ms)
    assert store.all() == []
    store.say("a", ["resolve-1", "match-0"])
    now_ms += BELIEVED_MS - 1
    store.say("b/profile", ["profile-3"])
    assert store.all() == ["match-0@a", "profile-3@b/profile", "resolve-1@a"]
    now_ms += 1
    assert store.all() == ["profile-3@b/profile"], "a has not said it again"
    store.say("b/profile", [])
    assert store.all() == []
