"""What lies in a shard's log. Only the directory writes it; each entry has a dense sequence number from 1."""

from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct
from typing import Final, Literal

import msgspec

from schemas.records.identity_graph import ID_BYTES


class LogKind:
    """The letter of each kind of entry. Plain text rather than an `Enum`: the letters are compared for each
    entry."""

    EXPECT: Final = "x"  # another customer's shard is about to hand over what it has of these origins
    EVENTS: Final = "e"  # packed facts of one window, each behind its root and origin
    LEND: Final = "l"  # tell the customer that this identifier moved to which messages you have seen under it
    RETIRE: Final = "r"  # this customer is now part of another
    SPLIT: Final = "s"  # part of this customer was united with it by mistake: give it back
    ERASE: Final = "z"  # this customer is erased
    ABSORB: Final = "a"  # take in what another customer's shard hands over
    TICK: Final = "t"  # the time, once a second
    CONFIG: Final = "c"  # from here on these rules hold (the body lies in the directory)
    MODEL: Final = "m"  # from here on this model scores (the body lies in the directory)
    NOT_SENT: Final = "n"  # a trigger of this customer was refused at the door


Kind = Literal["x", "e", "l", "r", "s", "z", "a", "t", "c", "m", "n"]


class LogEntry(msgspec.Struct, frozen=True):
    shard: int
    seq: int
    kind: Kind
    body: bytes


class Expect(msgspec.Struct, array_like=True):
    """Facts of these origins (of a customer united with this one), or about this identifier (which moved
    here), are held until then."""

    root: bytes
    origins: list[bytes]
    identifier: bytes = b""
    home: bytes = b""  # the origin that it belongs to now


class Lend(msgspec.Struct, array_like=True):
    root: bytes
    to: bytes
    identifier: bytes
    origin: bytes  # of the identifier, before it moved
    # how often the same window moved it back to `root` after this: what comes of that is not waited for
    later: int = 0
    home: bytes = b""  # the origin that it belongs to now: where that goes, the ring goes


class Retire(msgspec.Struct, array_like=True):
    retired: bytes
    survivor: bytes
    origins: list[bytes] = []  # all that belong to it
    union: int = 0  # number in the ledger
    one: bytes = b""  # the origins that the evidence is about
    other: bytes = b""


class Split(msgspec.Struct, array_like=True):
    """A union is undone: `part`, with all these origins, is a customer of its own again."""

    root: bytes
    part: bytes
    origins: list[bytes]
    union: int  # number in the ledger


class NotSent(msgspec.Struct, array_like=True):
    """A trigger that fired, and was not sent: the decision record that comes of it says why."""

    id: str
    rule: str
    cause: str
    action: str
    connector: str
    reason: str  # a code, such as `consent`
    detail: str  # in words
    at_ms: int


class Erase(msgspec.Struct, array_like=True):
    """Nothing is on its way to it any more, and it owes nothing."""

    root: bytes


class Tick(msgspec.Struct, array_like=True):
    now_ms: int


class Announced(msgspec.Struct, array_like=True):
    """A config or model version; `sender` names the model, such as `learn:churn`."""

    sender: str
    version: int


def mark_of(entry: LogEntry) -> bytes:
    """Return 8 bytes that tell this entry from any other that a log may hold in its place."""
    hashed = blake2b(entry.seq.to_bytes(8), digest_size=8, person=b"log entry")
    hashed.update(entry.kind.encode())
    hashed.update(entry.body)
    return hashed.digest()


_HEADER = Struct(f">{ID_BYTES}s{ID_BYTES}sI")


def pack_fact(root: bytes, origin: bytes, payload: bytes) -> bytes:
    """Return one fact in the body of an `e` entry."""
    return _HEADER.pack(root, origin, len(payload)) + payload


def unpack_facts(body: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield (root, origin, payload) of each fact in the body of an `e` entry."""
    at, end = 0, len(body)
    while at < end:
        root, origin, size = _HEADER.unpack_from(body, at)
        at += _HEADER.size
        yield root, origin, body[at : at + size]
        at += size
