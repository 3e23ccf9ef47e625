"""Codes by which customers confirm what they have agreed to: one for each customer and purpose, for a while.

Only a keyed hash of a code is kept. Whoever guesses has few tries.
"""

from importlib.resources import files
from typing import Any, Final, Literal, cast

import redis

from state.redis.client import writing
from state.redis.names import Names

TRIES: Final = 5
Found = Literal["good", "wrong", "none"]


class Confirmations:
    """Each is a hash that expires."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._redis = client
        self._key = names.confirmation
        script = files("state").joinpath("confirmation_put.lua").read_text()
        self._put: Any = client.register_script(script)
        self._try = client.register_script(files("state").joinpath("confirmation.lua").read_text())

    def put(self, customer: bytes, purpose: str, code: bytes, for_s: int, again_s: int) -> int | None:
        """Keep a code for `for_s` in place of the one before, and return None; where that one was put less
        than `again_s` ago, keep that one, and return how many seconds ago. Raises `LogFull`."""
        with writing():
            age_s = self._put(keys=[self._key(customer, purpose)], args=[code, for_s, again_s])
        return None if age_s < 0 else cast(int, age_s)

    def tried(self, customer: bytes, purpose: str, code: bytes) -> Found:
        """Return whether this is the code that is kept. After too many wrong ones it is kept no longer."""
        with writing():
            return cast(bytes, self._try(keys=[self._key(customer, purpose)], args=[code, TRIES])).decode()  # type: ignore[return-value]

    def use_up(self, customer: bytes, purpose: str) -> None:
        """Forget the code, and not when it was put."""
        self._redis.hdel(self._key(customer, purpose), "code")

    def drop(self, customer: bytes, purpose: str) -> None:
        """Forget both, of a code that nobody was sent."""
        self._redis.delete(self._key(customer, purpose))
