"""The dead letters on Redis: how many are kept, and how large they are together."""

from typing import Any, cast

import pytest
import redis

from schemas.records.identity_graph import WindowCommit
from state.directory.redis_directory import RedisDirectory
from state.redis.names import Names
from tests.resolving import LAYOUT

BYTES = 10_000


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def bury(client: redis.Redis, *windows: list[bytes]) -> list[bytes]:
    """These, window by window; what is left of all, the oldest first."""
    directory = RedisDirectory(client, Names("t"), LAYOUT, dead_bytes=BYTES)
    directory.create()
    at = directory.offsets().get("p", -1)
    for number, letters in enumerate(windows):
        directory.commit(
            WindowCommit(
                partition="p",
                before=at + number,
                after=at + number + 1,
                groups=[],
                dead=letters,
                rejected={"not_json": len(letters)},
            )
        )
    return [fields[b"b"] for _, fields in cast(Any, client.xrange("t:{dir}:dead"))]


def test_the_oldest_go_when_all_together_are_too_large(client: redis.Redis) -> None:
    letters = [b"%03d" % n + b"." * 997 for n in range(25)]
    assert bury(client, letters[:9]) == letters[:9]
    assert bury(client, letters[9:12], [], letters[12:25]) == letters[-10:]
    assert bury(client, [b"small"] * 3) == [*letters[-9:], *[b"small"] * 3]


def test_one_window_may_bring_more_than_is_kept(client: redis.Redis) -> None:
    letters = [b"%03d" % n + b"." * 2_997 for n in range(100)]
    assert bury(client, letters) == letters[-3:]


def test_letters_of_before_that_do_not_say_how_large_they_are_go_first(client: redis.Redis) -> None:
    bury(client)
    for _ in range(3):
        client.xadd("t:{dir}:dead", {"b": b"old"})
    new = [b"%03d" % n + b"." * 997 for n in range(11)]
    assert bury(client, new[:9]) == [b"old"] * 3 + new[:9]
    assert bury(client, new[9:]) == new[-10:]
