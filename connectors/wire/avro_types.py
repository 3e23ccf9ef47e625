"""Logical types of Avro 1.12 that fastavro does not know: without these a time is a large number, and a
number is base64.

`install` teaches them to fastavro, for all readers of this process. What the bytes do not hold raises as any
other misfit does.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any, Final
from uuid import UUID

import fastavro
from fastavro.read import LOGICAL_READERS

# decimal places, or zeros: far beyond any number that is meant, and none that fills the memory
_SCALE_MAX: Final = 1_000
_NANOS: Final = 1_000_000_000
_UNSCALED: Final = fastavro.parse_schema("bytes")
_SCALE: Final = fastavro.parse_schema("int")


def install() -> None:
    """Add what is missing; what fastavro knows itself stays as it is."""
    for name, reader in _READERS.items():
        LOGICAL_READERS.setdefault(name, reader)


def nanos(value: int, *_: Any) -> str:
    """Return RFC 3339 with all nine digits, which `datetime` has no room for.

    >>> nanos(1_795_392_000_123_456_789)
    '2026-11-23T00:00:00.123456789Z'
    """
    return local_nanos(value) + "Z"


def local_nanos(value: int, *_: Any) -> str:
    """Return the same without a zone: the clock on somebody's wall."""
    seconds, rest = divmod(value, _NANOS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}"


def big_decimal(value: bytes, *_: Any) -> Decimal:
    """Return a number that brings its own scale: the unscaled integer as Avro `bytes`, then the scale as Avro
    `int`."""
    stream = BytesIO(value)
    unscaled = fastavro.schemaless_reader(stream, _UNSCALED, None)
    scale = fastavro.schemaless_reader(stream, _SCALE, None)
    if (
        stream.read(1)
        or not isinstance(unscaled, bytes)
        or not isinstance(scale, int)
        or abs(scale) > _SCALE_MAX
    ):
        raise ValueError("not a big-decimal")
    sign, digits, _exponent = Decimal(int.from_bytes(unscaled, signed=True)).as_tuple()
    return Decimal((sign, digits, -scale))


def duration(value: bytes, *_: Any) -> str:
    """Return months, days and milliseconds (unsigned, little-endian), as ISO 8601 writes them.

    >>> duration(bytes([1, 0, 0, 0, 2, 0, 0, 0, 0xA6, 0x0E, 0, 0]))
    'P1M2DT3.750S'
    """
    months, days, ms = (int.from_bytes(value[at : at + 4], "little") for at in (0, 4, 8))
    return f"P{months}M{days}DT{ms // 1000}.{ms % 1000:03d}S"


def fixed_uuid(value: bytes, *_: Any) -> UUID:
    """Return a UUID as its sixteen bytes."""
    return UUID(bytes=value)


_READERS: Final[dict[str, Callable[..., Any]]] = {
    "long-timestamp-nanos": nanos,
    "long-local-timestamp-nanos": local_nanos,
    "bytes-big-decimal": big_decimal,
    "fixed-duration": duration,
    "fixed-uuid": fixed_uuid,
}
