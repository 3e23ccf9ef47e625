"""What the sweep of retention remembers, and who is on hold.

Beside the customers' requests, and apart from the directory, which a rebuild makes anew.
"""

from typing import cast

import msgspec
import redis

from schemas.records.retention import Hold, Sweep
from state.redis.client import writing
from state.redis.names import Names

_encode = msgspec.msgpack.Encoder().encode
_decode_sweep = msgspec.msgpack.Decoder(Sweep).decode
_decode_hold = msgspec.msgpack.Decoder(Hold).decode


class SweepRecords:
    """A string, and a hash: origin -> its hold. Raises `Unreachable` where the server cannot be reached."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._redis = client
        self._sweep = names.sweep
        self._held = names.held

    def load(self) -> Sweep:
        """Return how far the sweep has come."""
        packed = cast(bytes | None, self._redis.get(self._sweep))
        return _decode_sweep(packed) if packed else Sweep()

    def save(self, sweep: Sweep) -> None:
        """Replace it. Raises `LogFull` where the server has no room."""
        with writing():
            self._redis.set(self._sweep, _encode(sweep))

    def holds(self) -> dict[bytes, Hold]:
        """Return who is on hold, by origin."""
        found = cast(dict[bytes, bytes], self._redis.hgetall(self._held))
        return {origin: _decode_hold(packed) for origin, packed in found.items()}

    def hold(self, origin: bytes, hold: Hold) -> None:
        """Put an origin on hold. Raises `LogFull` as above."""
        with writing():
            self._redis.hset(self._held, cast(str, origin), cast(str, _encode(hold)))

    def release(self, origin: bytes) -> bool:
        """Take an origin off hold; return whether it was."""
        return bool(self._redis.hdel(self._held, cast(str, origin)))
