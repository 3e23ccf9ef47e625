"""A gzip body is unpacked in one pass, in short turns, and never to more than it may be."""

import re
import zlib
from typing import Final

from connectors.gateway.refusals import Refused, too_large
from connectors.gateway.turns import Turns

MAGIC: Final = b"\x1f\x8b"
MEMBERS: Final = 256  # a body packed block by block has a few; each costs as much as a small request
_WINDOW = 31  # zlib's name for "with a gzip header"
_PACKED = 16 * 1024  # bytes that go in at once: what zlib gives back unread is copied, so it has to be little
_UNPACKED = 128 * 1024  # bytes that come out at once
# what fills up a block is no part of the file (gzip(1); RFC 1952 has no word for it)
_padding: Final = re.compile(rb"\0*+").match


async def gunzip(body: bytes, limit: int) -> bytes:
    """Unpack; at most `limit` bytes come out, so a bomb costs no more memory than an honest body. Raises
    `Refused`."""
    packed, at, room = memoryview(body), 0, limit
    parts: list[bytes] = []
    members, stream, turns = 1, zlib.decompressobj(_WINDOW), Turns()
    while at < len(packed):
        if stream.eof:  # a gzip file may have several members
            padding = _padding(body, at)
            assert padding is not None  # it may be empty
            at = padding.end()
            if at == len(packed):
                break
            members, stream = members + 1, zlib.decompressobj(_WINDOW)
            if members > MEMBERS:
                raise Refused(
                    "gzip_invalid", f"the gzip body has more than {MEMBERS} members: pack it as one"
                )
        piece = packed[at : at + _PACKED]
        try:
            part = stream.decompress(piece, min(room + 1, _UNPACKED))
        except zlib.error as error:
            raise Refused("gzip_invalid", "the body is no gzip") from error
        at += len(piece) - len(stream.unconsumed_tail) - len(stream.unused_data)
        room -= len(part)
        if room < 0:
            raise too_large(limit)
        parts.append(part)
        await turns.pause()
    if not stream.eof:
        raise Refused("gzip_invalid", "the gzip body is truncated")
    return b"".join(parts)
