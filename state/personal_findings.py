"""What workers of `resolve` have found that looks like personal data in fields that nobody listed.

One hash: worker -> all that it has found, so that no two write the same. It is an estimate for a report to
people: losing the last of it, or having some of it twice, is harmless, and it is in no backup.
"""

from typing import Any, cast

import msgspec
import redis

from schemas.records.personal_findings import PersonalFindings
from state.redis.client import writing
from state.redis.names import Names


class RedisPersonalFindings:
    """That hash. Raises `Unreachable` where the server cannot be reached."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._redis = client
        self._key = names.personal

    def of(self, worker: int) -> PersonalFindings:
        """Return what this worker has found before; nothing where that cannot be read."""
        packed = cast(bytes | None, self._redis.hget(self._key, str(worker)))
        return _read(packed) if packed else PersonalFindings()

    def all(self) -> list[PersonalFindings]:
        """Return what each worker has found."""
        return [_read(packed) for packed in cast(list[bytes], self._redis.hvals(self._key))]

    def store(self, worker: int, findings: PersonalFindings) -> None:
        """Replace what this worker has found. Raises `LogFull` where the server has no room."""
        with writing():
            self._redis.hset(self._key, str(worker), cast(Any, _encode(findings)))


def _read(packed: bytes) -> PersonalFindings:
    try:
        return _decode(packed)
    except (msgspec.DecodeError, ValueError):  # it is found again
        return PersonalFindings()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PersonalFindings).decode
