"""The tables of the directory from one end to the other, some buckets at a time: for whoever looks at all
customers and must hold up nobody.

A bucket is a hash of about 64 fields, and a number says how far one has come: so there is no cursor of the
server to lose, and a server that came back older changes nothing.
"""

from collections.abc import Sequence
from typing import Any

import redis

from state.directory.layout import Layout
from state.redis.gather import Gather
from state.redis.names import Names


class Tables:
    """Reads them. Raises `Unreachable` where the server cannot be reached."""

    def __init__(self, client: redis.Redis, names: Names, layout: Layout) -> None:
        self._redis = client
        self._directory = names.directory
        self._gather = Gather(client, layout.buckets)
        self.buckets = layout.buckets

    def customers(self, first: int, count: int) -> list[list[bytes]]:
        """Return the customers in each of these buckets, by the name of their root; of who is being erased
        as well."""
        return [list(found) for found in self._each("HKEYS", b"r:", first, count)]

    def consents(self, first: int, count: int) -> dict[bytes, bytes]:
        """Return what origins in these buckets have said (`schemas.records.consents`)."""
        found: dict[bytes, bytes] = {}
        for bucket in self._each("HGETALL", b"c:", first, count):
            found |= bucket
        return found

    def roots(self, origins: Sequence[bytes]) -> list[bytes]:
        """Return the customer that each of these origins belongs to."""
        found = self._gather(self._directory + b"o:", origins)
        return [root or origin for origin, root in zip(origins, found, strict=True)]

    def _each(self, command: str, table: bytes, first: int, count: int) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for bucket in range(first, min(first + count, self.buckets)):
            pipeline.execute_command(  # type: ignore[no-untyped-call]  # untyped in the library
                command, self._directory + table + b"%d" % bucket
            )
        return pipeline.execute()
