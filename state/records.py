"""A customer's record in the graph as it lies in Redis: `graph.lua` reads it as well, `window.lua` writes it.

    members (2 bytes; 0: it is the only one) | these | for each identifier its strength (1 byte) and its hash

The hash of the identifier that gave the customer its id is left out, and its strength is `ITSELF` more. Releases before format 3 left
out nothing.
"""

from typing import Final

from schemas.identity import ID_BYTES
from state.graph import Record

ITSELF: Final = 0x80


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
