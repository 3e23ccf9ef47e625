"""The two ends of a dataflow in Bytewax, made of plain functions: what a flow reads, and what takes the
result.

Each worker is a process of its own, so an end has exactly one part. A step that fails ends the flow
(`Stop.guard`), with its own error.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.runtime.engine import Stop

Item = TypeVar("Item")

_LONG_AGO = datetime.fromtimestamp(0, UTC)


def steps_source(
    read: Callable[[], Sequence[Item]],
    stop: Stop,
    *,
    begin: Callable[[], None] = lambda: None,
    end: Callable[[], None] = lambda: None,
) -> DynamicSource[Item]:
    """Return a source that asks `read` again and again until the flow is to stop.

    `read` waits by itself when there is nothing. `begin` is called before the first read, and `end` once
    after the last, unless a step has failed.
    """
    return _Source(read, stop, begin, end)


def steps_sink(take: Callable[[list[Item]], object], stop: Stop) -> DynamicSink[Item]:
    """Return a sink that hands each batch to `take`."""
    return _Sink(take, stop)


def each(take: Callable[[Item], object]) -> Callable[[list[Item]], None]:
    """Return `take` for a batch: one item after the other."""

    def take_all(items: list[Item]) -> None:
        for item in items:
            take(item)

    return take_all


class _Source(DynamicSource[Item], StatelessSourcePartition[Item]):
    def __init__(
        self,
        read: Callable[[], Sequence[Item]],
        stop: Stop,
        begin: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        self._read: Callable[[None], Sequence[Item] | None] = stop.guard(lambda _: read())
        self._end: Callable[[None], None] = stop.guard(lambda _: end())
        self._begin = begin
        self._stop = stop

    # one worker a process
    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Source[Item]":  # noqa: ARG002
        self._begin()
        return self

    def next_batch(self) -> Sequence[Item]:
        if self._stop.is_set:
            self._end(None)
            raise StopIteration
        return self._read(None) or []

    def next_awake(self) -> datetime:
        """Ask for more at once, since `read` waits by itself.

        Bytewax's own pause after an empty batch ends at an instant of the wall clock: if the clock is set
        back by an hour, the pause lasts an hour.
        """
        return _LONG_AGO


class _Sink(DynamicSink[Item], StatelessSinkPartition[Item]):
    def __init__(self, take: Callable[[list[Item]], object], stop: Stop) -> None:
        self._take = stop.guard(take)

    # as above
    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Sink[Item]":  # noqa: ARG002
        return self

    def write_batch(self, items: list[Item]) -> None:
        self._take(items)
