"""What delivery remembers beside its cursors: deliveries that failed for good, and endpoints that want nothing more."""

import time
from typing import Any, cast

import msgspec
import redis

from state.names import Names

DEAD_MAX = 100_000  # the oldest go first


class DeadDelivery(msgspec.Struct, frozen=True):
    """`body` is the packed trigger."""

    id: str
    connector: str
    body: bytes
    reason: str
    at_ms: int


class Deliveries:
    """One Redis hash slot of its own."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._redis = client
        self._dead = names.deliveries + b"dead"
        self._disabled = names.deliveries + b"disabled"

    def bury(self, connector: str, body: bytes, reason: str) -> None:
        """Keep a delivery that failed for good."""
        fields: dict[Any, Any] = {"c": connector, "b": body, "r": reason, "t": int(time.time() * 1000)}
        self._redis.xadd(self._dead, fields, maxlen=DEAD_MAX, approximate=True)

    def dead(self, count: int, after: str = "-") -> list[DeadDelivery]:
        """The oldest first; `after` is an id that was seen."""
        start = after if after == "-" else f"({after}"
        return [_dead_delivery(entry) for entry in cast(list[Any], self._redis.xrange(self._dead, min=start, count=count))]

    def drop(self, ident: str) -> None:
        """Forget one: it was sent again."""
        self._redis.xdel(self._dead, ident)

    def disable(self, connector: str, endpoint: str) -> None:
        """This endpoint answered 410."""
        self._redis.hset(self._disabled, connector, endpoint)

    def enable(self, connector: str) -> None:
        """Try it again."""
        self._redis.hdel(self._disabled, connector)

    def disabled(self) -> dict[str, str]:
        """connector -> endpoint"""
        return {name.decode(): endpoint.decode() for name, endpoint in cast(dict[bytes, bytes], self._redis.hgetall(self._disabled)).items()}


def _dead_delivery(entry: tuple[bytes, dict[bytes, bytes]]) -> DeadDelivery:
    ident, fields = entry
    return DeadDelivery(ident.decode(), fields[b"c"].decode(), fields[b"b"], fields[b"r"].decode(), int(fields[b"t"]))
