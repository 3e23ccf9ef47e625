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
    """One fact, packed, and which identifier of its group is its own strongest."""

    anchor: int
    payload: bytes


class Group(msgspec.Struct, array_like=True):
    """Events of one window that share identifiers. Identifiers are distinct, strongest first, at most one user id."""

    identifiers: list[Identifier]
    facts: list[Routed]
    expected: bytes | None = None  # the origin that personal data in `facts` was sealed for; another one is `Stale`


class WindowResult(msgspec.Struct):
    """What one window did to the directory (counts)."""

    created: int = 0  # new customers
    attached: int = 0  # new identifiers of known customers
    united: int = 0  # pairs of customers that became one
    moved: int = 0  # weaker identifiers that changed sides between two user ids
    refused: int = 0  # identifiers over the limit of their namespace
    journal: int = 0  # sequence of the window in the journal


def text_id(identity: bytes) -> str:
    """The form shown outside: 24 hex digits."""
    return identity.hex()
