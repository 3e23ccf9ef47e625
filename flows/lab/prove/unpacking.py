"""What lies packed inside bytes, wherever in them it begins: gzip, zlib, lz4, zstd, and profiles as they lie
in Redis, compressed with a dictionary of this deployment; and what lies packed in that."""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow
from zstandard import (
    FORMAT_ZSTD1_MAGICLESS,
    ZstdCompressionDict,
    ZstdDecompressor,
    ZstdError,
)

_DEEP: Final = 3  # packed in packed in packed
_PACKED_MAX: Final = 4 << 20  # bytes of one piece that are looked into
_UNPACKED_MAX: Final = 64 << 20
_LEAST: Final = 16  # bytes: what unpacks to less was not packed
_WINDOW_MAX: Final = 1 << 27
_GZIP: Final = rb"\x1f\x8b\x08"
_ZLIB: Final = rb"\x78[\x01\x5e\x9c\xda]"
_ZSTD: Final = rb"\x28\xb5\x2f\xfd"
_LZ4: Final = rb"\x04\x22\x4d\x18"
_GZIP_OR_ZLIB: Final = 47  # of `zlib.decompressobj`: either, by its header


class Unpacker:
    """`dictionaries`: those that profiles are compressed with, by number."""

    def __init__(self, dictionaries: Mapping[int, bytes]) -> None:
        self._plain = ZstdDecompressor(max_window_size=_WINDOW_MAX)
        self._with = {
            number: ZstdDecompressor(
                dict_data=ZstdCompressionDict(made),
                format=FORMAT_ZSTD1_MAGICLESS,
                max_window_size=_WINDOW_MAX,
            )
            for number, made in dictionaries.items()
        }
        numbers = re.escape(bytes(sorted(dictionaries)))
        begins = [_GZIP, _ZLIB, _LZ4, _ZSTD, *([b"\xc1[%s]" % numbers] if dictionaries else [])]
        self._begins = re.compile(b"|".join(begins), re.DOTALL)

    def views(self, data: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
        """Yield the bytes themselves, and all that can be unpacked from them, each with how (empty for
        themselves)."""
        yield "", data
        if depth == _DEEP:
            return
        whole = memoryview(data)  # slices of it are no copies
        for match in self._begins.finditer(data):
            how, inside = self._unpacked(whole[match.start() : match.start() + _PACKED_MAX])
            if len(inside) >= _LEAST:
                for deeper, found in self.views(inside, depth + 1):
                    yield f"{how}{', ' if deeper else ''}{deeper}", found

    def _unpacked(self, data: memoryview) -> tuple[str, bytes]:
        """As much as can be read of it."""
        if data[0] == 0x28:
            return "zstd", _by_zstd(self._plain, data)
        if data[0] == 0x04:
            return "lz4", _by_lz4(data)
        if data[0] == 0xC1:
            return "zstd with dictionary", _by_zstd(self._with[data[1]], data[2:])
        return ("gzip" if data[0] == 0x1F else "zlib"), _by_zlib(data)


def _by_zlib(data: memoryview) -> bytes:
    tool = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        return tool.decompress(data, _UNPACKED_MAX)
    except zlib.error:
        return b""


def _by_lz4(data: memoryview) -> bytes:
    """One frame, cut where it ends: the library refuses what comes behind it."""
    try:
        stream = pyarrow.CompressedInputStream(pyarrow.BufferReader(data[: _lz4_end(data)]), "lz4")
        return bytes(stream.read())
    except (OSError, struct.error):
        return b""


def _lz4_end(data: memoryview) -> int:
    """Where the frame that begins there ends. Raises `struct.error` where its blocks do not hold."""
    flags = data[4] if len(data) > 4 else 0
    at = 7 + 8 * bool(flags & 0x08) + 4 * bool(flags & 0x01)  # magic, flags, sizes, dictionary, check
    while size := struct.unpack_from("<I", data, at)[0]:
        at += 4 + (size & 0x7FFF_FFFF) + 4 * bool(flags & 0x10)
    return at + 4 + 4 * bool(flags & 0x04)


def _by_zstd(tool: ZstdDecompressor, data: memoryview) -> bytes:
    try:
        return tool.decompressobj().decompress(data)
    except ZstdError:
        return b""
