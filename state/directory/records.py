"""A customer's record in the graph as it lies in Redis: `graph.lua` reads it as well, `window.lua` writes it.

    members (2 bytes; 0: it is the only one) | these | for each identifier its strength (1 byte) and its hash

The hash of the identifier that gave the customer its id is left out, and its strength is `ITSELF` more.
Releases before format 3 left out nothing.
"""

from typing import Final

import msgspec

from schemas.records.identity_graph import ID_BYTES

ITSELF: Final = 0x80


class Record(msgspec.Struct, frozen=True):
    """A root customer: its member origins and its identifiers, oldest first. A value, so that copies of a
    graph may share it."""

    members: tuple[bytes, ...] = ()
    identifiers: tuple[tuple[int, bytes], ...] = ()

    def count(self, strength: int) -> int:
        return sum(1 for held, _ in self.identifiers if held == strength)

    def user(self) -> bytes | None:
        return next((identifier for strength, identifier in self.identifiers if strength == 0), None)


def unpack(root: bytes, packed: bytes) -> Record:
    count = int.from_bytes(packed[:2])
    at = 2 + count * ID_BYTES
    members = tuple(packed[start : start + ID_BYTES] for start in range(2, at, ID_BYTES)) or (root,)
    identifiers = []
    while at < len(packed):
        strength = packed[at]
        if strength >= ITSELF:
            identifiers.append((strength - ITSELF, root))
            at += 1
        else:
            identifiers.append((strength, packed[at + 1 : at + 1 + ID_BYTES]))
            at += 1 + ID_BYTES
    return Record(members, tuple(identifiers))
