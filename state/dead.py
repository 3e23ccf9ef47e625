"""Dead letters as an operator sees them: events that validation refused, and deliveries that failed for good.

They are written elsewhere: events by `directory.lua`, in one commit with their window; deliveries by `state.deliveries`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec
import redis

from schemas.events import DeadLetter
from schemas.triggers import Trigger
from state.names import Names

Fields = dict[bytes, bytes]
Entry = TypeVar("Entry")

PAGE = 100  # entries in one read; an event may have 32 KB
_read_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_read_trigger = msgspec.msgpack.Decoder(Trigger).decode


class DeadEvent(msgspec.Struct, frozen=True):
    id: str
    letter: DeadLetter

    @property
    def name(self) -> str:
        """What an operator calls it."""
        return f"e:{self.id}"


class DeadDelivery(msgspec.Struct, frozen=True):
    id: str
    connector: str
    body: bytes  # as it lay in the outbox
    reason: str

    @property
    def name(self) -> str:
        """What an operator calls it."""
        return f"d:{self.id}"

    @property
    def trigger(self) -> Trigger | None:
        """None where the outbox entry was broken, or came from the internal lane."""
        try:
            return _read_trigger(self.body)
        except msgspec.DecodeError:
            return None


class DeadLetters(Generic[Entry]):
    """One stream. Ids are `<Unix ms>-<n>`, as Redis gives them."""

    def __init__(self, client: redis.Redis, stream: bytes, read: Callable[[str, Fields], Entry]) -> None:
        self._redis = client
        self._stream = stream
        self._read = read

    def newest(self) -> Iterator[Entry]:
        """All of them, the newest first."""
        upto = "+"
        while found := cast(list[Any], self._redis.xrevrange(self._stream, upto, "-", PAGE)):
            yield from self._entries(found)
            upto = f"({found[-1][0].decode()}"

    def oldest(self) -> Iterator[Entry]:
        """Those that are there now, the oldest first; not what comes while they are looked at."""
        last = cast(list[Any], self._redis.xrevrange(self._stream, count=1))
        after = "-"
        while last and (found := cast(list[Any], self._redis.xrange(self._stream, after, last[0][0], PAGE))):
            yield from self._entries(found)
            after = f"({found[-1][0].decode()}"

    def find(self, ident: str) -> Entry | None:
        return next(self._entries(cast(list[Any], self._redis.xrange(self._stream, ident, ident))), None)

    def drop(self, idents: Sequence[str]) -> None:
        """Forget these."""
        if idents:
            self._redis.xdel(self._stream, *idents)

    def _entries(self, found: list[Any]) -> Iterator[Entry]:
        return (self._read(ident.decode(), fields) for ident, fields in found)


def events(client: redis.Redis, names: Names) -> DeadLetters[DeadEvent]:
    return DeadLetters(client, names.dead, lambda ident, fields: DeadEvent(ident, _read_letter(fields[b"b"])))


def deliveries(client: redis.Redis, names: Names) -> DeadLetters[DeadDelivery]:
    return DeadLetters(
        client, names.dead_deliveries, lambda ident, fields: DeadDelivery(ident, fields[b"c"].decode(), fields[b"b"], fields[b"r"].decode())
    )
