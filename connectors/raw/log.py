"""The raw log: one interface, two implementations (Redis Streams, Kafka), one contract suite.

A raw log has named partitions; an entry has a position that only grows. Readers are told where to start: the
directory's offset is the only truth, no consumer group is asked.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from schemas.wire.events import RawBatch, RawEvent

START = -1  # the position before the first entry


class RawWriter(Protocol):
    """The gateway's side. Events of one key keep their order."""

    async def append(self, events: Sequence[tuple[str, RawEvent]]) -> None:
        """Store (key, event) pairs durably; returns when the log has them all. Raises `LogFull` where it has
        none of them, and `Unreachable` where it may have some."""

    async def ping(self) -> None:
        """Return when the log answers. Raises `Unreachable`. (`/readyz` asks.)"""

    async def close(self) -> None: ...


class RawReader(Protocol):
    """`resolve`'s side: one consumer for many partitions."""

    def partitions(self) -> list[str]:
        """Return all partitions of the log, sorted; worker k of n takes those at k modulo n."""

    def assign(self, positions: Mapping[str, int]) -> None:
        """Read these partitions, each from after the given position (`START` for all there is)."""

    def leave(self, partitions: Collection[str]) -> None:
        """Read these no longer; what was polled of them may be forgotten."""

    def join(self, positions: Mapping[str, int]) -> None:
        """Read these as well, as `assign` would."""

    def poll(self, timeout_ms: int) -> list[RawBatch]:
        """Return what has come, at most one batch for each partition, positions rising; [] after
        `timeout_ms`."""

    def lag(self) -> dict[str, int]:
        """Return the number of entries not yet polled, for each assigned partition."""

    def committed(self, positions: Mapping[str, int]) -> None:
        """Hear that the directory has these positions now: entries up to them may be trimmed (or the group
        offset be written)."""

    def close(self) -> None: ...
