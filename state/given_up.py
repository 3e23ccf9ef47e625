"""Which processes a supervisor has given up, for those who ask the state and not the processes: status, and
the gateway's health.

A supervisor says it again and again while it lasts, for it may die without taking it back: what is older than
`BELIEVED_MS` is over.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import redis

from state.redis.client import writing
from state.redis.names import Names

BELIEVED_MS = 180_000


class _Said(msgspec.Struct, frozen=True):
    names: list[str]
    at_ms: int


class RedisGivenUp:
    """One hash: supervisor -> what it said last."""

    def __init__(
        self,
        client: redis.Redis,
        names: Names,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._redis = client
        self._key = names.given_up
        self._clock_ms = clock_ms

    def say(self, supervisor: str, names: Sequence[str]) -> None:
        """Say that these are, and no others of this supervisor. Raises `LogFull` where the server has no
        room."""
        with writing():
            if names:
                self._redis.hset(
                    self._key, supervisor, cast(Any, _encode(_Said(list(names), self._clock_ms())))
                )
            else:
                self._redis.hdel(self._key, supervisor)

    def all(self) -> list[str]:
        """Return `process@supervisor`, sorted."""
        found = cast(dict[bytes, bytes], self._redis.hgetall(self._key))
        said = {supervisor.decode(): _decode(packed) for supervisor, packed in found.items()}
        since_ms = self._clock_ms() - BELIEVED_MS
        return sorted(
            f"{name}@{supervisor}"
            for supervisor, each in said.items()
            if each.at_ms > since_ms
            for name in each.names
        )


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Said).decode
