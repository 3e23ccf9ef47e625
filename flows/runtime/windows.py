"""What `resolve` reads, in windows: the events of one partition that are resolved together."""

import time
from collections.abc import Callable, Collection, Mapping
from math import ceil

import msgspec

from connectors.raw.log import START, RawReader
from flows.logic.message import Checked
from flows.logic.resolution.consents import Ruling
from flows.logic.resolution.joint_window import Joint
from schemas.config import Window as WindowConfig
from schemas.records.identity_graph import Order
from schemas.wire.events import RawBatch, RawEvent, Reject

# windows with this part of `window.events` are worth waiting for: small ones would cost more than they gain
BUSY = 8


class Window(msgspec.Struct):
    """What one partition gave within the wait. `before` is the directory's position, `after` the new one."""

    partition: str
    before: int
    after: int
    events: list[RawEvent]
    positions: list[int]
    opened: float


class Judged(msgspec.Struct):
    """A window after validation: the good ones in groups, the bad ones with their reasons, and what is
    ordered about identities."""

    window: Window
    checked: list[Checked]
    groups: list[Joint]
    rejects: list[tuple[int, Reject]]
    orders: list[tuple[int, Order]]
    # what customers do not allow of it, as of the last attempt to commit it; None: nobody was asked
    ruling: Ruling | None = None
    suppressed: frozenset[bytes] = frozenset()  # who was to stay unknown when it was judged

    def become(self, other: "Judged") -> None:
        """Be this one from now on: others hold the object."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(other, name))

    def places(self) -> list[int]:
        """Return where the checked events are in their window."""
        others = {index for index, _ in self.rejects} | {index for index, _ in self.orders}
        return [index for index in range(len(self.window.events)) if index not in others]


class Windows:
    """Collects batches into windows: closed by the number of events, or by their age.

    A window stays open for as long as the ones before it took to handle, `window.wait` at most: with little
    to do an event passes at once, and the more there is to do the more share the cost of a commit. Behind
    windows with many events it waits its whole time.
    """

    def __init__(
        self,
        reader: RawReader,
        config: WindowConfig,
        positions: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._wait_s = config.wait / 1000
        self._events = config.events
        self._positions = dict(positions)
        self._open: dict[str, Window] = {}
        self._clock = clock
        self._busy = False
        self._held: set[str] = set()
        self._handed: float | None = None  # when the last windows were handed out
        self._patience_s = 0.0

    @property
    def partitions(self) -> list[str]:
        """All of this worker, also those that are held."""
        return list(self._positions)

    def poll(self) -> list[Window]:
        """Return windows that are complete; wait for more no longer than the oldest open one allows."""
        now = self._clock()
        if self._handed is not None:
            handled_s, self._handed = now - self._handed, None
            self._patience_s = self._wait_s if self._busy else min(self._wait_s, handled_s)
        due = now + self._wait_s
        if self._open:
            due = min(window.opened for window in self._open.values()) + self._patience_s
        for batch in self._reader.poll(max(0, ceil((due - now) * 1000))):
            self._add(batch)
        now = self._clock()
        ready = [
            window
            for window in self._open.values()
            if len(window.events) >= self._events or now - window.opened >= self._patience_s
        ]
        for window in ready:
            del self._open[window.partition]
            self._positions[window.partition] = window.after
        if ready:
            self._handed = now
            self._busy = sum(len(window.events) for window in ready) >= self._events // BUSY
        return ready

    def rest(self) -> list[Window]:
        """Return all open windows, when no more are wanted."""
        rest, self._open = list(self._open.values()), {}
        return rest

    def hold(self, waiting: Collection[str], committed: Callable[[], Mapping[str, int]]) -> None:
        """Read nothing of these partitions from now on, and those that do not wait any longer from where the
        directory is."""
        leaving, joining = set(waiting) - self._held, self._held - set(waiting)
        if leaving:
            self._reader.leave(leaving)
            for partition in leaving:
                self._open.pop(partition, None)
        if joining:
            offsets = committed()
            positions = {partition: offsets.get(partition, START) for partition in joining}
            self._reader.join(positions)
            self._positions |= positions
        self._held = set(waiting)

    def _add(self, batch: RawBatch) -> None:
        window = self._open.get(batch.partition)
        if window is None:
            before = self._positions[batch.partition]
            window = self._open[batch.partition] = Window(
                partition=batch.partition,
                before=before,
                after=batch.after,
                events=[],
                positions=[],
                opened=self._clock(),
            )
        window.events += batch.events
        window.positions += batch.positions
        window.after = batch.after
