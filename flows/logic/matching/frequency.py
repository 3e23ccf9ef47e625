"""How common a value is among customers, in bounded memory and without the values: a count sketch of hashes.

Agreement on `Featherstonehaugh` says more than agreement on `Smith`. Counted are customers, not records: ten
events of one customer do not make their name common.
"""

from array import array
from collections.abc import Callable
from typing import Final
from zlib import crc32

import msgspec

WIDTH_BITS: Final = 17
_EVEN: Final = 25  # values once and twice seen that the first guess is worth


class Frequencies:
    """A count-min sketch with conservative update (Estan and Varghese, 2002): two rows; an estimate is never
    below the truth.

    `seed` makes the cells of one company meaningless to another. `customers` is the number of customers
    counted.
    """

    __slots__ = ("_cells", "_mask", "_shift", "_starts", "_were", "by_field", "customers", "seed")

    def __init__(self, seed: int = 0, width_bits: int = WIDTH_BITS) -> None:
        self.seed = seed
        self._mask = (1 << width_bits) - 1
        self._shift = width_bits
        self._cells = array("I", bytes(4 << (width_bits + 1)))
        self.customers = 0
        self.by_field: dict[str, list[int]] = {}
        # cells as they were before each count since the savepoint
        self._were: list[tuple[int, int, int, int]] | None = None
        self._starts: dict[str, int] = {}  # the hash of each field, with which that of a value begins

    def _start(self, field: str) -> int:
        return self._starts.setdefault(field, crc32(field.encode(), self.seed))

    def savepoint(self) -> Callable[[], None]:
        """Return the way back to what is counted now, for as long as no other savepoint is asked for."""
        were: list[tuple[int, int, int, int]] = []
        customers, by_field = self.customers, {field: seen[:] for field, seen in self.by_field.items()}
        self._were = were

        def take_back() -> None:
            for first, least, second, other in reversed(were):
                self._cells[first], self._cells[second] = least, other
            were.clear()
            self.customers, self.by_field = customers, {field: seen[:] for field, seen in by_field.items()}

        return take_back

    def pack(self) -> bytes:
        """Return all of it as bytes."""
        return msgspec.msgpack.encode(
            (self.seed, self._shift, self._cells.tobytes(), self.customers, self.by_field)
        )

    @staticmethod
    def unpack(packed: bytes) -> "Frequencies":
        """Return what `pack` packed. Raises `msgspec.DecodeError` for anything else."""
        seed, bits, cells, customers, by_field = msgspec.msgpack.decode(
            packed, type=tuple[int, int, bytes, int, dict[str, list[int]]]
        )
        found = Frequencies(seed, bits)
        found._cells = array("I", cells)
        found.customers, found.by_field = customers, by_field
        return found

    def add(self, field: str, value: str) -> None:
        """Count a customer who has this value of the field, and did not have it before."""
        hashed = crc32(value.encode("utf-8", "surrogatepass"), self._starts.get(field) or self._start(field))
        first, second = hashed & self._mask, (((hashed * 0x9E3779B1) >> 13) & self._mask) | (1 << self._shift)
        cells = self._cells
        least, other = cells[first], cells[second]
        if self._were is not None:
            self._were.append((first, least, second, other))
        if other < least:
            least = other
        seen = self.by_field.get(field)
        if seen is None:
            seen = self.by_field[field] = [0, 0, 0, 0]
        seen[0] += 1
        seen[1] += 2 * least + 1  # the sum of squares of the counts: how often two customers agree by chance
        if least == 0:
            seen[2] += 1
        elif least == 1:
            seen[2] -= 1
            seen[3] += 1
        elif least == 2:
            seen[3] -= 1
        if cells[first] == least:
            cells[first] = least + 1
        if other == least:
            cells[second] = least + 1

    def count(self, field: str, value: str) -> int:
        """Return how many customers have this value, or a few more."""
        hashed = crc32(value.encode("utf-8", "surrogatepass"), self._starts.get(field) or self._start(field))
        return min(
            self._cells[hashed & self._mask],
            self._cells[(((hashed * 0x9E3779B1) >> 13) & self._mask) | (1 << self._shift)],
        )

    def total(self, field: str) -> int:
        """Return how many values of the field were counted."""
        seen = self.by_field.get(field)
        return seen[0] if seen else 0

    def unseen(self, field: str) -> float:
        """Return how many others are to be expected, among as many customers again, with a value that one
        has: 2 N2 / N1 (Good, 1953).

        Below 0.1 where values are each customer's own, as e-mail addresses are; near 0.5 for family names.
        """
        seen = self.by_field.get(field)
        return 0.5 if seen is None else (2 * seen[3] + _EVEN) / (seen[2] + 2 * _EVEN)

    def collision(self, field: str) -> float:
        """Return the chance that two customers have the same value of the field."""
        seen = self.by_field.get(field)
        return (seen[1] - seen[0]) / (seen[0] * seen[0]) if seen and seen[0] > 1 else 0.0
