"""Which keys change while a backup copies: the server itself says so (CLIENT TRACKING in broadcast mode).

The writers know nothing of it, and nothing has to be marked or paused.
"""

import time
from types import TracebackType
from typing import Any, Self

import redis

from schemas.errors import Unreachable
from state.redis.names import Names

BARRIER_S = 10.0


class Changes:
    """A context: from entering it on, `take` gives every key below the prefix that was written or removed."""

    def __init__(self, client: redis.Redis, names: Names, below: bytes = b"") -> None:
        """`below`: only keys that begin so, behind the prefix."""
        self._redis = client
        self._names = names
        self._prefixes = [names.prefix + b":" + below, names.barrier] if below else [names.prefix + b":"]
        self._changed: set[bytes] = set()
        self._pool: Any = client.connection_pool
        self._heard: Any = None
        self._tracked: Any = None
        self._barrier = b""  # a key that nobody else writes

    def __enter__(self) -> Self:
        self._heard, self._tracked = self._pool.get_connection(), self._pool.get_connection()
        heard = self._call(self._heard, "CLIENT", "ID")
        self._barrier = self._names.barrier + b"%d" % heard
        self._call(self._heard, "SUBSCRIBE", "__redis__:invalidate")
        prefixes = [word for prefix in self._prefixes for word in (b"PREFIX", prefix)]
        self._call(self._tracked, "CLIENT", "TRACKING", "ON", "REDIRECT", heard, "BCAST", *prefixes)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for connection in (self._tracked, self._heard):
            connection.disconnect()  # both have a state that nobody else should meet
            self._pool.release(connection)

    def take(self) -> set[bytes]:
        """Return the keys that changed before this call, and since the last one. Raises `Unreachable`."""
        self._redis.set(self._barrier, "", ex=60)
        deadline = time.monotonic() + BARRIER_S
        while self._barrier not in self._changed:
            if time.monotonic() > deadline or not self._heard.can_read(timeout=BARRIER_S):
                raise Unreachable(f"Redis did not tell of changed keys within {BARRIER_S:g} s")
            self._hear()
        changed, self._changed = self._changed, set()
        return {key for key in changed if not key.startswith(self._names.barrier)}

    def listen(self) -> None:
        """Empty the connection's buffer, which the server limits. To be called now and then. Raises
        `Unreachable`."""
        while self._heard.can_read(timeout=0):
            self._hear()

    def _hear(self) -> None:
        keys = self._heard.read_response(disable_decoding=True)[2]
        if keys is None:
            raise Unreachable("Redis was emptied while it was copied")
        self._changed.update(keys)

    def _call(self, connection: Any, *words: Any) -> Any:
        connection.send_command(*words)
        return connection.read_response()
