"""Features as a profile keeps them until their question is answered: 32-bit floats, of which most are nearly
always zero.

    number of values (1 byte) | which are not zero (1 bit each) | these, big-endian | one byte more where the
    length is a multiple of four

What is a multiple of four bytes long has all values one after the other, as it was stored before.
"""

import struct
from collections.abc import Sequence


def pack(values: Sequence[float]) -> bytes:
    """Pack up to 255 values."""
    present = [value for value in values if value]
    mask = sum(1 << place for place, value in enumerate(values) if value)
    packed = struct.pack(f">B{len(present)}f", len(values), *present)
    packed = packed[:1] + mask.to_bytes((len(values) + 7) // 8) + packed[1:]
    return packed if len(packed) % 4 else packed + b"\0"


def unpack(packed: bytes) -> list[float]:
    """Return the values that were packed, in either form."""
    if len(packed) % 4 == 0:
        return list(struct.unpack(f">{len(packed) // 4}f", packed))
    start = 1 + (packed[0] + 7) // 8
    mask = int.from_bytes(packed[1:start])
    present = iter(struct.unpack_from(f">{mask.bit_count()}f", packed, start))
    return [next(present) if mask >> place & 1 else 0.0 for place in range(packed[0])]
