"""Sources whose events are not taken for now, because too many of the last were rejected; and the word of an
operator to go on.

One hash of the directory's slot, so it survives restarts and goes into backups. `resolve` writes it, the
gateway, `resolve` and the commands read it: it is small, and who reads it often keeps it for about a second.
"""

from typing import Any, Protocol, cast

import msgspec
import redis

from state.redis.client import writing
from state.redis.names import Names


class Suspension(msgspec.Struct, frozen=True):
    """What is known of a source that is suspended, or was. Times in Unix milliseconds."""

    since_ms: int
    events: int = 0  # among this many of the last ones ...
    rejects: int = 0  # ... of which these were rejected
    reasons: dict[str, int] = {}  # lately
    # 0 while it is suspended; then, what was received up to here counts towards no new suspension
    resumed_ms: int = 0

    @property
    def holds(self) -> bool:
        return not self.resumed_ms


class Sources(Protocol):
    """Raises `Unreachable` where the server cannot be reached."""

    def all(self) -> dict[str, Suspension]:
        """Return what is known of every source that was ever suspended."""

    def suspend(self, source: str, suspension: Suspension) -> None:
        """Suspend a source. Raises `LogFull` where the server has no room."""

    def resume(self, source: str, now_ms: int) -> bool:
        """Let it go on; False if it is not suspended. Raises `LogFull` as above."""


class RedisSources:
    """`Sources` on Redis."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._redis = client
        self._key = names.sources

    def all(self) -> dict[str, Suspension]:
        found = cast(dict[bytes, bytes], self._redis.hgetall(self._key))
        return {source.decode(): _decode(packed) for source, packed in found.items()}

    def suspend(self, source: str, suspension: Suspension) -> None:
        with writing():
            self._redis.hset(self._key, source, cast(Any, msgspec.json.encode(suspension)))

    def resume(self, source: str, now_ms: int) -> bool:
        known = self.all().get(source)
        if known is None or not known.holds:
            return False
        self.suspend(source, msgspec.structs.replace(known, resumed_ms=now_ms))
        return True


_decode = msgspec.json.Decoder(Suspension).decode
