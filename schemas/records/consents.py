"""What was stated about consent at one origin, as the directory keeps it.

The record begins with a mark of what follows. The directory compares marks, and reads nothing else of it: a
window that was judged by other statements than there are by now is `Stale`.
"""

from hashlib import blake2b
from typing import Any, Final

import msgspec

MARK_BYTES: Final = 8


class Word(msgspec.Struct, array_like=True, frozen=True):
    """One word on one thing."""

    granted: bool
    moment: int  # when it was stated: see `flows.logic.fields.stated`
    source: str  # the channel that it came by
    version: str  # of what was agreed to, where the event says so
    proof: str  # the messageId of the event
    # the other origins of the customer at that time: their older words are overruled, for as long as they are
    # one customer
    over: tuple[bytes, ...] = ()


class Consents(msgspec.Struct, array_like=True):
    """The last word on each thing, and the country that the customer was last said to be in."""

    words: dict[str, Word] = {}
    country: str = ""
    country_at: int = 0


class Standing(msgspec.Struct):
    """A customer as its consent is judged: its origins, its own first, and the records of those that have
    one."""

    root: bytes
    members: tuple[bytes, ...]
    records: dict[bytes, bytes]
    read: Any = None  # what a reader has made of it, for the next time

    @property
    def mark(self) -> bytes:
        """Return what changes whenever anything that was said does."""
        return b"".join(
            self.records[member][:MARK_BYTES] for member in self.members if member in self.records
        )

    @property
    def whole_mark(self) -> bytes:
        """Return what also changes with who is one customer."""
        return self.mark + b"".join(self.members)


def packed(consents: Consents) -> bytes:
    """Return the record; the same statements give the same bytes."""
    ordered = Consents(dict(sorted(consents.words.items())), consents.country, consents.country_at)
    body = _encode(ordered)
    return blake2b(body, digest_size=MARK_BYTES).digest() + body


def unpacked(record: bytes) -> Consents:
    """Return what a record says."""
    return _decode(record[MARK_BYTES:])


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Consents).decode
