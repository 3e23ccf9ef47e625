"""Dead letters as an operator sees them: events that validation refused, facts that a shard's logic raised
on, examples that a trainer raised on, and deliveries that failed for good.

They are written elsewhere: events by `directory.lua`, in one commit with their window; facts by the commits
of their shards; examples with the checkpoints of their models; deliveries by `state.shards.deliveries`.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from typing import Any, Generic, TypeVar, cast

import msgspec
import redis

from schemas.records.outbox_lanes import Lane
from schemas.wire.events import DeadLetter, Quarantined, Unlearnt
from schemas.wire.triggers import Trigger
from state.redis.names import Names

Fields = dict[bytes, bytes]
Entry = TypeVar("Entry")

PAGE = 100  # entries in one read; an event may have 32 KB
_read_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_read_quarantined = msgspec.msgpack.Decoder(Quarantined).decode
_read_unlearnt = msgspec.msgpack.Decoder(Unlearnt).decode
_read_trigger = msgspec.msgpack.Decoder(Trigger).decode


class DeadEvent(msgspec.Struct, frozen=True):
    id: str
    letter: DeadLetter

    @property
    def name(self) -> str:
        """Return what an operator calls it."""
        return f"e:{self.id}"

    @property
    def build(self) -> str:
        """Return the version that raised on it, where that is known."""
        return self.letter.build


class DeadFact(msgspec.Struct, frozen=True):
    id: str  # in its shard's lane
    shard: int
    when_ms: int
    quarantined: Quarantined

    @property
    def name(self) -> str:
        """Return what an operator calls it."""
        return f"q:{self.shard}-{self.id.partition('-')[0]}"

    @property
    def build(self) -> str:
        return self.quarantined.build


class DeadExample(msgspec.Struct, frozen=True):
    id: str
    unlearnt: Unlearnt

    @property
    def name(self) -> str:
        """Return what an operator calls it."""
        return f"x:{self.id}"

    @property
    def build(self) -> str:
        return self.unlearnt.build


class DeadDelivery(msgspec.Struct, frozen=True):
    id: str
    connector: str
    body: bytes  # as it lay in the outbox
    reason: str

    @property
    def name(self) -> str:
        """Return what an operator calls it."""
        return f"d:{self.id}"

    @property
    def trigger(self) -> Trigger | None:
        """Return the trigger, None where the outbox entry was broken, or came from the internal lane."""
        try:
            return _read_trigger(self.body)
        except (ValueError, RecursionError):
            return None


class DeadLetters(Generic[Entry]):
    """One stream. Ids are `<Unix ms>-<n>`, as Redis gives them."""

    def __init__(self, client: redis.Redis, stream: bytes, read: Callable[[str, Fields], Entry]) -> None:
        self._redis = client
        self._stream = stream
        self._read = read

    def newest(self) -> Iterator[Entry]:
        """Yield all of them, the newest first."""
        upto = "+"
        while found := cast(list[Any], self._redis.xrevrange(self._stream, upto, "-", PAGE)):
            yield from self._entries(found)
            upto = f"({found[-1][0].decode()}"

    def oldest(self) -> Iterator[Entry]:
        """Yield those that are there now, the oldest first; not what comes while they are looked at."""
        last = cast(list[Any], self._redis.xrevrange(self._stream, count=1))
        after = "-"
        while last and (found := cast(list[Any], self._redis.xrange(self._stream, after, last[0][0], PAGE))):
            yield from self._entries(found)
            after = f"({found[-1][0].decode()}"

    def older(self, before_ms: int, count: int) -> list[str]:
        """Return the ids of up to `count` of those that were put here before then, the oldest first."""
        found = cast(list[Any], self._redis.xrange(self._stream, "-", f"({before_ms}-0", count))
        return [ident.decode() for ident, _ in found]

    def since_ms(self) -> int:
        """Return when the oldest was put here; 0: there is none."""
        found = cast(list[Any], self._redis.xrange(self._stream, count=1))
        return int(found[0][0].partition(b"-")[0]) if found else 0

    def find(self, ident: str) -> Entry | None:
        return next(self._entries(cast(list[Any], self._redis.xrange(self._stream, ident, ident))), None)

    def drop(self, idents: Sequence[str]) -> None:
        """Forget these."""
        if idents:
            self._redis.xdel(self._stream, *idents)

    def _entries(self, found: list[Any]) -> Iterator[Entry]:
        return (self._read(ident.decode(), fields) for ident, fields in found)


class DeadFacts:
    """The quarantine lanes of all shards."""

    def __init__(self, client: redis.Redis, names: Names, count: int) -> None:
        self._lanes = [
            DeadLetters(client, names.outbox(shard, Lane.QUARANTINE), _fact_of(shard))
            for shard in range(count)
        ]

    def newest(self) -> Iterator[DeadFact]:
        """Yield all of them, the newest first."""
        return merge(*(lane.newest() for lane in self._lanes), key=lambda dead: dead.when_ms, reverse=True)

    def oldest(self) -> Iterator[DeadFact]:
        """Yield those that are there now, shard by shard, the oldest of each first."""
        return (dead for lane in self._lanes for dead in lane.oldest())

    def drop(self, dead: DeadFact) -> None:
        """Forget it."""
        self._lanes[dead.shard].drop([dead.id])

    def find(self, shard: int, seq: int) -> DeadFact | None:
        return self._lanes[shard].find(f"{seq}-0") if shard < len(self._lanes) else None


def _fact_of(shard: int) -> Callable[[str, Fields], DeadFact]:
    return lambda ident, fields: DeadFact(ident, shard, int(fields[b"t"]), _read_quarantined(fields[b"b"]))


def events(client: redis.Redis, names: Names) -> DeadLetters[DeadEvent]:
    return DeadLetters(client, names.dead, lambda ident, fields: DeadEvent(ident, _read_letter(fields[b"b"])))


def facts(client: redis.Redis, names: Names, count: int) -> DeadFacts:
    return DeadFacts(client, names, count)


def examples(client: redis.Redis, names: Names) -> DeadLetters[DeadExample]:
    return DeadLetters(
        client, names.unlearnt, lambda ident, fields: DeadExample(ident, _read_unlearnt(fields[b"b"]))
    )


def deliveries(client: redis.Redis, names: Names) -> DeadLetters[DeadDelivery]:
    return DeadLetters(
        client,
        names.dead_deliveries,
        lambda ident, fields: DeadDelivery(ident, fields[b"c"].decode(), fields[b"b"], fields[b"r"].decode()),
    )
