"""A cluster: what all the records of one customer say, by field, with how many of them say it."""

from collections.abc import Iterable
from typing import Final

from flows.logic.matching.record import Record

RECORDS_MAX: Final = 24  # records kept: the newest
VALUES_MAX: Final = 8  # different values kept of a field: the most frequent and the newest


class Cluster:
    """Values of each field with their counts. Made from the records of a customer, and kept for as long as
    they do not change."""

    __slots__ = ("id", "records", "size", "values")

    def __init__(self, id: str) -> None:
        self.id = id
        self.size = 0
        self.records: list[Record] = []
        self.values: dict[str, dict[str, int]] = {}

    @staticmethod
    def of(id: str, records: Iterable[Record]) -> "Cluster":
        """Make a cluster of records."""
        cluster = Cluster(id)
        for record in records:
            cluster.add(record)
        return cluster

    def copy(self) -> "Cluster":
        """Return another cluster that says the same."""
        cluster = Cluster(self.id)
        cluster.become(self)
        return cluster

    def become(self, other: "Cluster") -> None:
        """Say what the other cluster says, under its name."""
        self.id, self.size, self.records = other.id, other.size, other.records[:]
        self.values = {field: counts.copy() for field, counts in other.values.items()}

    def add(self, record: Record) -> list[tuple[str, str]]:
        """Add a record; return the (field, value) pairs that the cluster did not have."""
        self.size += 1
        if not self.values:
            self.records = [record]
            self.values = {field: {value: 1} for field, value in record.values.items()}
            return list(record.values.items())
        self._keep([record])
        return [(field, value) for field, value in record.values.items() if self._count(field, value, 1)]

    def absorb(self, other: "Cluster") -> None:
        """Take in the records of another cluster."""
        self.size += other.size
        self._keep(other.records)
        for field, counts in other.values.items():
            for value, count in counts.items():
                self._count(field, value, count)

    def _keep(self, records: list[Record]) -> None:
        self.records += records
        del self.records[:-RECORDS_MAX]

    def _count(self, field: str, value: str, count: int) -> bool:
        """Count a value; return whether it is new."""
        counts = self.values.get(field)
        if counts is None:
            self.values[field] = {value: count}
            return True
        if value in counts:
            counts[value] += count
            return False
        if len(counts) >= VALUES_MAX:
            del counts[min(counts, key=counts.__getitem__)]
        counts[value] = count
        return True
