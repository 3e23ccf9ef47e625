"""The customers' requests, in a slot of their own: whoever drives them goes on where another one died."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import msgspec
import redis

from schemas.records.privacy_requests import PrivacyRequest
from state.redis.client import writing
from state.redis.names import Names

PAGE: Final = 1_000  # in one answer of the server, which does nothing else meanwhile
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PrivacyRequest).decode


class PrivacyRequests:
    """A hash: id -> packed request; and the ids of those that are not done, so that nobody reads all."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._redis = client
        self._all = names.requests
        self._open = names.open_requests

    def add(self, request: PrivacyRequest) -> bool:
        """Keep a new request, and return True; False where there is one with its id. Raises `LogFull`."""
        pipeline: Any = self._redis.pipeline(transaction=True)
        pipeline.sadd(self._open, request.id)  # one that is done already is taken out again by who reads it
        pipeline.hsetnx(self._all, request.id, _encode(request))
        with writing():
            is_open, is_new = pipeline.execute()
        if is_open and not is_new:
            self._redis.srem(self._open, request.id)
        return bool(is_new)

    def get(self, name: str) -> PrivacyRequest | None:
        """Return the request with this id."""
        packed = cast(bytes | None, self._redis.hget(self._all, name))
        return None if packed is None else _decode(packed)

    def unfinished(self) -> list[PrivacyRequest]:
        """Return those that are not done, the oldest first."""
        names = sorted(cast(set[bytes], self._redis.smembers(self._open)))
        packed = cast(list[bytes | None], self._redis.hmget(self._all, names)) if names else []
        found = [_decode(one) for one in packed if one is not None]
        return sorted(found, key=lambda request: (request.asked_ms, request.id))

    def everything(self) -> list[PrivacyRequest]:
        """Return all of them, the oldest first."""
        packed = cast(Iterator[tuple[bytes, bytes]], self._redis.hscan_iter(self._all, count=PAGE))
        found = [_decode(one) for one in dict(packed).values()]
        return sorted(found, key=lambda request: (request.asked_ms, request.id))

    def page(self, cursor: int, count: int) -> tuple[int, list[PrivacyRequest]]:
        """Return some of them, about `count`, from where the last page ended (0: from the first), and where
        the next one begins (0: there is none). What is written meanwhile may be missing, or come twice."""
        after, found = cast(tuple[int, dict[bytes, bytes]], self._redis.hscan(self._all, cursor, count=count))
        return after, [_decode(packed) for packed in found.values()]

    def forget(self, names: Sequence[str]) -> None:
        """Remove requests that are closed."""
        if names:
            self._redis.hdel(self._all, *names)

    def save(self, before: PrivacyRequest, request: PrivacyRequest, *, finished: bool = False) -> bool:
        """Replace `before`; return False where another one has gone on with it meanwhile. Raises
        `LogFull`."""
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.watch(self._all)  # type: ignore[no-untyped-call]  # untyped in the library
            if pipeline.hget(self._all, request.id) != _encode(before):
                return False
            pipeline.multi()
            pipeline.hset(self._all, request.id, cast(str, _encode(request)))
            if finished:
                pipeline.srem(self._open, request.id)
            try:
                with writing():
                    pipeline.execute()
            except redis.WatchError:  # another request was written: this one is tried again
                return False
        return True
