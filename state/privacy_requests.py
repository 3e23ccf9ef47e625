"""What customers and other systems ask for, in a slot of its own: whoever drives it goes on where another one
died."""

from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import Any, Final, Generic, TypeVar, cast

import msgspec
import redis

from schemas.records.mandates import Mandate
from schemas.records.privacy_requests import PrivacyRequest
from state.redis.client import writing
from state.redis.names import Names

PAGE: Final = 1_000  # in one round trip, in which the server does nothing else
Asked = TypeVar("Asked", PrivacyRequest, Mandate)
_encode = msgspec.msgpack.Encoder().encode


class _Kept(Generic[Asked]):
    """A hash: id -> packed; and the ids of those that are not done, so that nobody reads all."""

    def __init__(self, client: redis.Redis, everything: bytes, unfinished: bytes, kind: type[Asked]) -> None:
        self._redis = client
        self._all = everything
        self._open = unfinished
        self._decode: Callable[[bytes], Asked] = msgspec.msgpack.Decoder(kind).decode
        self._replace = client.register_script(files("state").joinpath("replace_request.lua").read_text())

    def add(self, one: Asked) -> bool:
        """Keep a new one, and return True; False where there is one with its id. Raises `LogFull`."""
        return self.add_all([one])[0]

    def add_all(self, many: Sequence[Asked]) -> list[bool]:
        """`add` each, a thousand in a round trip."""
        added = []
        for at in range(0, len(many), PAGE):
            added += self._add_page(many[at : at + PAGE])
        return added

    def _add_page(self, page: Sequence[Asked]) -> list[bool]:
        pipeline: Any = self._redis.pipeline(transaction=True)
        for one in page:
            pipeline.sadd(self._open, one.id)  # one that is done already is taken out again below
            pipeline.hsetnx(self._all, one.id, _encode(one))
        with writing():
            said = pipeline.execute()
        done = [
            one.id
            for one, is_open, is_new in zip(page, said[::2], said[1::2], strict=True)
            if is_open and not is_new
        ]
        if done:
            self._redis.srem(self._open, *done)
        return [bool(is_new) for is_new in said[1::2]]

    def get(self, name: str) -> Asked | None:
        """Return the one with this id."""
        return self.get_all([name])[0]

    def get_all(self, names: Sequence[str]) -> list[Asked | None]:
        """Return those with these ids, a thousand in a round trip."""
        found: list[Asked | None] = []
        for at in range(0, len(names), PAGE):
            page = cast(list[bytes | None], self._redis.hmget(self._all, list(names[at : at + PAGE])))
            found += [None if packed is None else self._decode(packed) for packed in page]
        return found

    def are_done(self, names: Sequence[str]) -> bool:
        """Return whether none of these is open, a thousand in a round trip."""
        for at in range(0, len(names), PAGE):
            if any(cast(list[int], self._redis.smismember(self._open, list(names[at : at + PAGE])))):
                return False
        return True

    def unfinished(self) -> list[Asked]:
        """Return those that are not done, the oldest first."""
        names = sorted(cast(set[bytes], self._redis.smembers(self._open)))
        packed = cast(list[bytes | None], self._redis.hmget(self._all, names)) if names else []
        found = [self._decode(one) for one in packed if one is not None]
        return sorted(found, key=lambda one: (one.asked_ms, one.id))

    def everything(self) -> list[Asked]:
        """Return all of them, the oldest first."""
        packed = cast(Iterator[tuple[bytes, bytes]], self._redis.hscan_iter(self._all, count=PAGE))
        found = [self._decode(one) for one in dict(packed).values()]
        return sorted(found, key=lambda one: (one.asked_ms, one.id))

    def page(self, cursor: int, count: int) -> tuple[int, list[Asked]]:
        """Return some of them, about `count`, from where the last page ended (0: from the first), and where
        the next one begins (0: there is none). What is written meanwhile may be missing, or come twice."""
        after, found = cast(tuple[int, dict[bytes, bytes]], self._redis.hscan(self._all, cursor, count=count))
        return after, [self._decode(packed) for packed in found.values()]

    def forget(self, names: Sequence[str]) -> None:
        """Remove those that are closed."""
        if names:
            self._redis.hdel(self._all, *names)

    def save(self, before: Asked, after: Asked, *, finished: bool = False) -> bool:
        """Replace `before`; return False where another one has gone on with it meanwhile, so that it has to
        be looked at again. Raises `LogFull`."""
        args: list[str | bytes | int] = [after.id, _encode(before), _encode(after), int(finished)]
        with writing():
            return bool(self._replace(keys=[self._all, self._open], args=args))


class PrivacyRequests(_Kept[PrivacyRequest]):
    """What customers ask of their own data."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        super().__init__(client, names.requests, names.open_requests, PrivacyRequest)


class Mandates(_Kept[Mandate]):
    """What other systems ask about customers."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        super().__init__(client, names.mandates, names.open_mandates, Mandate)
