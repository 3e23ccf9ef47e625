"""Thousands of needles in one pass over bytes: where any four bytes of one may stand is seen with NumPy, and
only there it is looked closer."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Tag = TypeVar("Tag")

_WINDOW: Final = 4  # bytes, as one number
_TABLE_BITS: Final = 18
_SPREAD: Final = np.uint32(2_654_435_761)  # Knuth's multiplicative hash
_SHIFT: Final = np.uint32(32 - _TABLE_BITS)


class ByteSearch(Generic[Tag]):
    """Looks for needles of at least four bytes, each with a tag of the caller's."""

    def __init__(self, needles: Iterable[tuple[bytes, Tag]]) -> None:
        """Raises `ValueError` for a needle that is too short."""
        held = list(needles)
        if short := [needle for needle, _ in held if len(needle) < _WINDOW]:
            raise ValueError(f"expected needles of at least {_WINDOW} bytes, got one of {len(short[0])}")
        # Of each needle the window that the fewest have: what all have in common is everywhere.
        common = Counter(window for needle, _ in held for window in {*_windows(needle)})
        self._by_anchor: dict[int, list[tuple[bytes, int, Tag]]] = {}
        for needle, tag in held:
            at = min(range(len(needle) - _WINDOW + 1), key=lambda at: common[needle[at : at + _WINDOW]])
            anchor = int.from_bytes(needle[at : at + _WINDOW], "little")
            self._by_anchor.setdefault(anchor, []).append((needle, at, tag))
        self._anchors = np.array(sorted(self._by_anchor), np.uint32)
        self._table = np.zeros(1 << _TABLE_BITS, bool)
        self._table[_slots(self._anchors)] = True

    def find(self, data: bytes) -> Iterator[tuple[int, Tag]]:
        """Yield where each needle begins, as often as it is there; overlapping ones as well."""
        for shift in range(_WINDOW):
            count = (len(data) - shift) // _WINDOW
            if count <= 0 or not len(self._anchors):
                return
            words = np.frombuffer(data, "<u4", count, shift)
            for at in self._candidates(words).tolist():
                begin = at * _WINDOW + shift
                for needle, offset, tag in self._by_anchor[int(words[at])]:
                    if begin >= offset and data.startswith(needle, begin - offset):
                        yield begin - offset, tag

    def _candidates(self, words: NDArray[np.uint32]) -> NDArray[np.intp]:
        """Where an anchor stands."""
        likely = np.flatnonzero(self._table[_slots(words)])
        found = words[likely]
        nearest = np.minimum(np.searchsorted(self._anchors, found), len(self._anchors) - 1)
        candidates: NDArray[np.intp] = likely[self._anchors[nearest] == found]
        return candidates


def _windows(needle: bytes) -> Iterator[bytes]:
    return (needle[at : at + _WINDOW] for at in range(len(needle) - _WINDOW + 1))


def _slots(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return (words * _SPREAD) >> _SHIFT
