"""What counts in a digest: each entry, hashed alone; a unit's digest is the sum of these modulo 2^256: no
order, no sorting, hardly any memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from schemas.records.customer_profile import Head, Sensitive
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind
from schemas.wire.triggers import Trigger
from state.directory.records import Record
from state.keys import DataKey, DataKeys

_BYTES = 32
# counted, and in no journal: nothing came of it, so a twin never hears of it
_UNHEARD = frozenset(["dropped_for_erased"])
_SENSITIVE = msgspec.msgpack.Decoder(Sensitive).decode
_TRIGGER = msgspec.msgpack.Decoder(Trigger).decode

Entry = tuple[bytes, bytes, bytes]  # kind, key, value
Sealing = tuple[bytes, str, bytes]  # origin, field, sealed value
Unseal = Callable[[Sequence[Sealing]], list[bytes]]


class Unit(msgspec.Struct, frozen=True):
    """A shard, or the directory. `position`: its offset in its log, or the length of the journal."""

    digest: str  # 64 hex digits
    entries: int
    position: int


class Digest(msgspec.Struct, frozen=True):
    whole: str  # 64 hex digits
    directory: Unit
    shards: tuple[Unit, ...]


class FewKeys(Protocol):
    """The part of a directory that is small enough to be asked for at once."""

    def offsets(self) -> dict[str, int]: ...
    def heads(self) -> dict[int, int]: ...
    def stats(self) -> dict[str, int]: ...
    def body(self, kind: str, sender: str, version: int) -> bytes | None: ...


class Sum:
    """The digest of a set of entries, in whatever order they come."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.total = self.entries = 0
        self.add_all(entries)

    def add(self, entry: Entry) -> None:
        kind, key, value = entry
        hashed = blake2b(len(key).to_bytes(4), digest_size=_BYTES, person=kind)
        hashed.update(key)
        hashed.update(value)
        self.total += int.from_bytes(hashed.digest())
        self.entries += 1

    def add_all(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.add(entry)

    def unit(self, position: int) -> Unit:
        return Unit((self.total % 2 ** (8 * _BYTES)).to_bytes(_BYTES).hex(), self.entries, position)


def whole(directory: Unit, shards: Sequence[Unit]) -> Digest:
    """Return the digest of all units as one."""
    hashed = blake2b(digest_size=_BYTES)
    for unit in (directory, *shards):
        hashed.update(bytes.fromhex(unit.digest))
    return Digest(hashed.hexdigest(), directory, tuple(shards))


def as_stored(values: Sequence[Sealing]) -> list[bytes]:
    """Take sealed values by their bytes: for copies, and where nothing is sealed."""
    return [sealed for _origin, _field, sealed in values]


def as_said(keys: DataKeys) -> Unseal:
    """Take sealed values by what they say. What no key opens any more is told apart from what was damaged."""

    def unsealed(values: Sequence[Sealing]) -> list[bytes]:
        found = keys.of({origin for origin, _field, _sealed in values})
        said = []
        for origin, field, sealed in values:
            key = found.get(origin)
            said.append(b"erased" if key is None else _opened(key, field, sealed))
        return said

    return unsealed


def _opened(key: DataKey, field: str, sealed: bytes) -> bytes:
    plain = key.open(field, sealed)
    return b"damaged:" + sealed if plain is None else b"plain:" + plain


def number_text(value: int) -> bytes:
    return b"%d" % value


def number_entries(kind: bytes, found: Mapping[str, int]) -> Iterator[Entry]:
    """Yield an entry for each number; zero is as good as absent."""
    return ((kind, name.encode(), number_text(n)) for name, n in found.items() if n)


def head_entries(head: Head) -> Iterator[Entry]:
    """Yield a head without the epoch: it counts who has claimed the shard, not what happened in it. And
    without the mark of the last entry: it goes by the bytes of seals, which are others in a rebuilt log."""
    fixed = {"offset": head.offset, "clock": head.clock_ms, "rules": head.rules}
    yield from number_entries(b"head", fixed)
    yield from number_entries(b"out-seq", head.outbox)
    yield from number_entries(b"model", head.models)


def sealed_entries(records: Iterable[tuple[bytes, bytes]], unseal: Unseal) -> Iterator[Entry]:
    """Yield one entry for each field of sensitive records."""
    fields = []
    for root, packed in records:
        try:
            held = _SENSITIVE(packed).origins
        except msgspec.MsgspecError:
            yield b"unreadable", root, packed
            continue
        for origin, found in held.items():
            fields += [
                (root + origin + name.encode(), sealed.moment, (origin, name, sealed.value))
                for name, sealed in found.items()
            ]
    if fields:
        for (key, moment, _), said in zip(fields, unseal([sealing for _, _, sealing in fields]), strict=True):
            yield b"sensitive", key, number_text(moment) + b":" + said


def queued_entry(lane: str, seq: int, body: bytes) -> Entry:
    """Return a trigger by its id: its body also says when it was handled, and that is different each time."""
    said = _TRIGGER(body).id.encode() if lane == Lane.TRIGGERS else body
    return b"out:" + lane.encode(), number_text(seq), said


def record_value(record: Record) -> bytes:
    members = b"".join(record.members)
    held = b"".join(bytes([strength]) + identifier for strength, identifier in record.identifiers)
    return len(record.members).to_bytes(2) + members + held


def directory_entries(
    directory: FewKeys, senders: Mapping[str, int], marks: Mapping[str, int]
) -> Iterator[Entry]:
    """Yield all but the graph. `marks`: length of the journal, last tick."""
    offsets = {partition: position + 2 for partition, position in directory.offsets().items()}  # never 0
    yield from number_entries(b"offset", offsets)
    yield from number_entries(b"log", {str(shard): seq for shard, seq in directory.heads().items()})
    heard = {name: n for name, n in directory.stats().items() if name not in _UNHEARD}
    yield from number_entries(b"stat", heard)
    yield from number_entries(b"mark", marks)
    yield from number_entries(b"sender", senders)
    for sender, version in senders.items():
        for kind in (LogKind.CONFIG, LogKind.MODEL):
            if (body := directory.body(kind, sender, version)) is not None:
                yield b"body", f"{kind}:{sender}:{version}".encode(), body
