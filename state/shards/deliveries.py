"""What delivery remembers beside its cursors: deliveries that failed for good, and endpoints that want
nothing more.

`state.dead_letter_logs` reads the former.
"""

import time
from collections.abc import Mapping
from typing import Any, cast

import redis

from state.redis.client import writing
from state.redis.names import Names

DEAD_MAX = 100_000  # the oldest go first


class Deliveries:
    """One Redis hash slot of its own."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._redis = client
        self._dead = names.dead_deliveries
        self._disabled = names.disabled
        self._counts = names.delivered

    def keep_dead(self, connector: str, body: bytes, reason: str) -> None:
        """Keep a delivery that failed for good. Raises `LogFull` where the server has no room."""
        words = reason.encode(errors="backslashreplace")  # they may be a receiver's
        fields: dict[Any, Any] = {"c": connector, "b": body, "r": words, "t": int(time.time() * 1000)}
        with writing():
            self._redis.xadd(self._dead, fields, maxlen=DEAD_MAX, approximate=True)

    def count(self, connector: str, more: Mapping[str, int]) -> None:
        """Add to the connector's attempts by outcome. For people: nothing is decided by them."""
        with writing():
            pipe = self._redis.pipeline(transaction=False)
            for outcome, number in more.items():
                pipe.hincrby(self._counts, f"{outcome}:{connector}", number)
            pipe.execute()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return connector -> outcome -> attempts so far."""
        found: dict[str, dict[str, int]] = {}
        for name, number in cast(dict[bytes, bytes], self._redis.hgetall(self._counts)).items():
            outcome, _, connector = name.decode().partition(":")
            found.setdefault(connector, {})[outcome] = int(number)
        return found

    def disable(self, connector: str, endpoint: str) -> None:
        """Note that this endpoint answered 410."""
        with writing():
            self._redis.hset(self._disabled, connector, endpoint)

    def enable(self, connector: str) -> None:
        """Try it again."""
        self._redis.hdel(self._disabled, connector)

    def disabled(self) -> dict[str, str]:
        """Return connector -> endpoint."""
        return {
            name.decode(): endpoint.decode()
            for name, endpoint in cast(dict[bytes, bytes], self._redis.hgetall(self._disabled)).items()
        }
