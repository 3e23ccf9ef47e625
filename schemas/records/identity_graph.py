"""Identity on its way into the directory, and what the directory answers.

An identifier is a *keyed hash* of (namespace, normalised value), `ID_BYTES` long; the plain value never gets
here. An origin (and so a customer, which is named by its root origin) is a value of the same kind.
"""

from typing import Literal

import msgspec

ID_MAX = 256  # characters of a plain identifier
ID_BYTES = 12  # 96 bits: one accidental clash in 100 million times a billion customers


class Identifier(msgspec.Struct, array_like=True, frozen=True):
    """`strength` is the place of its namespace in the configuration: 0 is the strongest."""

    strength: int
    hash: bytes


class Routed(msgspec.Struct, array_like=True):
    """One fact, packed, and which identifier of its group is its own strongest (an index)."""

    anchor: int
    payload: bytes  # empty where its customer does not allow it: then only where it would land counts
    # the origin that its personal data was sealed for; landing elsewhere is `Stale`
    expected: bytes | None = None
    match: bytes = b""  # what it says of the customer that matching compares, sealed for the same origin


class Group(msgspec.Struct, array_like=True):
    """Events of one window that share identifiers. Identifiers are distinct, strongest first, at most one
    user id."""

    identifiers: list[Identifier]
    facts: list[Routed]


OrderKind = Literal[
    "link",
    "apart",
    "unlink",
    "undo",
    "review",
    "unsure",
    "release",
    "detach",
    "erase",
    "suppress",
    "unsuppress",
]


class Order(msgspec.Struct, array_like=True, frozen=True):
    """What is to happen to two customers (or one), by somebody's word rather than by a shared identifier.

    link     they are one: unite them, if limits and guards allow; keeps them apart no longer. By "match":
             unless they are kept apart
    apart    they are not one: never unite them
    unlink   undo the last union that made them one; where none did, the weaker becomes a customer of its own
    undo     undo the union with the number `a` in the ledger (big-endian)
    review   a steward is to say whether they are one
    unsure   the steward cannot say: the pair leaves the queue, and comes back if something new speaks for it
    release  the identifier `a` is evidence again
    detach   nothing leads to the customer of the origin `a` any more: it is about to be erased. `note`: its
             origins, as they are known. `forced`: events that name its identifiers are dropped from now on.
             `b`, if any: a number (big-endian). The window is `Stale` where its shard's log has come further
    suppress  events whose strongest identifier is `a` are dropped from now on, also where nobody has it yet
    unsuppress  they are taken again
    erase    what is left of a customer that was detached goes
    """

    kind: OrderKind
    a: bytes  # an identifier, but for undo a number
    b: bytes = b""  # an identifier, but for detach a number
    by: str = "link"  # who says so; the ledger keeps it
    note: bytes = b""  # evidence; the ledger (review: the queue) keeps it
    forced: bool = False  # link: though both are verified
    origins: bool = False  # `a` and `b` are origins


class Union(msgspec.Struct, array_like=True, frozen=True):
    """One entry of the ledger: two customers became one, or again two."""

    seq: int
    kind: Literal["union", "undo"]
    retired: bytes  # undo: the one that is a customer again
    survivor: bytes
    # an origin of either, which the evidence is about: a customer is its origins and these edges between them
    one: bytes
    other: bytes
    undone: int  # undo: the number of the union
    by: str  # "event": an event carried identifiers of both; else the order's
    evidence: bytes  # event: two pairs of strength (1 byte) and identifier; else the order's note
    time_ms: int
    partition: str
    position: int


def undo(seq: int, by: str = "undo") -> Order:
    """Return the order to undo a union."""
    return Order("undo", seq.to_bytes(ID_BYTES), by=by)


class Pair(msgspec.Struct, array_like=True, frozen=True):
    """Two customers, each named by an origin, that may be one."""

    a: bytes
    b: bytes
    by: str  # "limit", or who asked
    note: bytes
    time_ms: int


class Put(msgspec.Struct, array_like=True, frozen=True):
    """What matching keeps: blocking keys, records, its own state; and what an origin has said about consent.
    None deletes."""

    table: Literal["mk", "mr", "matcher", "c"]
    field: bytes
    value: bytes | None


class WindowCommit(msgspec.Struct, array_like=True):
    """All that one window changes, committed at once."""

    partition: str
    before: int  # the position that the directory must hold
    after: int
    groups: list[Group]
    dead: list[bytes]  # packed `DeadLetter`s
    rejected: dict[str, int]  # reason -> count
    orders: list[Order] = []  # carried out after the groups
    time_ms: int = 0  # when its last event was received: what the ledger and the guards go by
    puts: list[Put] = []
    # customers by whose consent it was judged, each with the mark of what it had said (of those who say
    # something in this window, the whole mark): another one by now is `Stale`. None: as nobody has said
    # anything yet
    looked_at: list[tuple[bytes, bytes]] | None = []
    # erasures that its worker knows of: with others it is `Stale`; -1: it does not depend on them
    erasures: int = -1


class WindowResult(msgspec.Struct, array_like=True):
    """What one window did to the directory (counts)."""

    created: int = 0  # new customers
    attached: int = 0  # new identifiers of known customers
    united: int = 0  # pairs of customers that became one
    moved: int = 0  # weaker identifiers that changed sides between two user ids
    refused: int = 0  # identifiers, or unions, over the limit of a namespace
    journal: int = 0  # sequence of the window in the journal
    divided: int = 0  # unions that were undone, identifiers that were taken out
    suspended: int = 0  # identifiers that are evidence no longer
    erased: int = 0  # customers


def text_id(identity: bytes) -> str:
    """Return the form shown outside: 24 hex digits."""
    return identity.hex()


def following(origin: bytes) -> bytes:
    """Return the name that is tried after one that is taken."""
    number: int = (int.from_bytes(origin) + 1) % (1 << 8 * ID_BYTES)
    return number.to_bytes(ID_BYTES)


def shard_of(root: bytes, count: int) -> int:
    """Return the shard that holds the customer with this root origin."""
    return int.from_bytes(root[:2]) % count
