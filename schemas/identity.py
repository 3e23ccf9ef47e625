"""Identity on its way into the directory, and what the directory answers.

An identifier is a *keyed hash* of (namespace, normalised value), `ID_BYTES` long; the plain value never gets here.
An origin (and so a customer, which is named by its root origin) is a value of the same kind.
"""

import msgspec

ID_BYTES = 12  # 96 bits: one accidental clash in 100 million times a billion customers


class Identifier(msgspec.Struct, array_like=True, frozen=True):
    """`strength` is the place of its namespace in the configuration: 0 is the strongest."""

    strength: int
    hash: bytes


class Routed(msgspec.Struct, array_like=True):
    """One fact, packed, and which identifier of its group is its own strongest (an index)."""

    anchor: int
    payload: bytes
    expected: bytes | None = None  # the origin that its personal data was sealed for; landing elsewhere is `Stale`


class Group(msgspec.Struct, array_like=True):
    """Events of one window that share identifiers. Identifiers are distinct, strongest first, at most one user id."""

    identifiers: list[Identifier]
    facts: list[Routed]


class WindowCommit(msgspec.Struct, array_like=True):
    """All that one window changes, committed at once."""

    partition: str
    before: int  # the position that the directory must hold
    after: int
    groups: list[Group]
    dead: list[bytes]  # packed `DeadLetter`s
    rejected: dict[str, int]  # reason -> count


class WindowResult(msgspec.Struct, array_like=True):
    """What one window did to the directory (counts)."""

    created: int = 0  # new customers
    attached: int = 0  # new identifiers of known customers
    united: int = 0  # pairs of customers that became one
    moved: int = 0  # weaker identifiers that changed sides between two user ids
    refused: int = 0  # identifiers, or unions, over the limit of a namespace
    journal: int = 0  # sequence of the window in the journal


def text_id(identity: bytes) -> str:
    """The form shown outside: 24 hex digits."""
    return identity.hex()


def shard_of(root: bytes, count: int) -> int:
    """The shard that holds the customer with this root origin."""
    return int.from_bytes(root[:2]) % count
