"""Codes by which customers confirm what they have agreed to: one for each customer and purpose, for a while.

Only a keyed hash of a code is kept. Whoever guesses has few tries.
"""

from importlib.resources import files
from typing import Final, Literal, cast

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
        self._try = client.register_script(files("state").joinpath("confirmation.lua").read_text())

    def age_s(self, customer: bytes, purpose: str, for_s: int) -> int | None:
        """Return how long ago one was asked for that lives `for_s`; None where there is none."""
        left = self._redis.ttl(self._key(customer, purpose))
        return None if left < 0 else for_s - left

    def put(self, customer: bytes, purpose: str, code: bytes, for_s: int) -> None:
        """Keep a code in place of the one before. Raises `LogFull`."""
        key = self._key(customer, purpose)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.delete(key)
        pipeline.hset(key, mapping={"code": code, "tries": 0})
        pipeline.expire(key, for_s)
        with writing():
            pipeline.execute()

    def tried(self, customer: bytes, purpose: str, code: bytes) -> Found:
        """Return whether this is the code that is kept. After too many wrong ones it is kept no longer."""
        with writing():
            return cast(bytes, self._try(keys=[self._key(customer, purpose)], args=[code, TRIES])).decode()  # type: ignore[return-value]

    def drop(self, customer: bytes, purpose: str) -> None:
        """Keep it no longer."""
        self._redis.delete(self._key(customer, purpose))
