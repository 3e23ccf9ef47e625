"""The ends of a dataflow: how it begins, reads, takes and stops."""

from collections.abc import Sequence

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from flows.runtime.engine import Stop
from flows.runtime.steps import each, steps_sink, steps_source


class Story:
    """A flow of numbers, and what happened in what order."""

    def __init__(self, *batches: Sequence[int]) -> None:
        self.stop = Stop()
        self.said: list[object] = []
        self._batches = list(batches)

    def read(self) -> Sequence[int]:
        if not self._batches:
            self.stop.asked.set()
            return []
        return self._batches.pop(0)

    def take(self, number: int) -> None:
        self.said.append(number)
        if number < 0:
            raise ValueError(number)

    def run(self) -> list[object]:
        flow = Dataflow("story")
        source = steps_source(
            self.read,
            self.stop,
            begin=lambda: self.said.append("begin"),
            end=lambda: self.said.append("end"),
        )
        numbers = op.input("read", flow, source)
        op.output("take", numbers, steps_sink(each(self.take), self.stop))
        run_main(flow)
        return self.said


def test_it_begins_once_reads_until_it_is_to_stop_and_ends_once() -> None:
    assert Story([1, 2], [], [3]).run() == ["begin", 1, 2, 3, "end"]


def test_a_step_that_fails_ends_the_flow_with_its_own_error_and_nothing_follows() -> None:
    story = Story([1], [-1, 2], [3])
    assert story.run() == ["begin", 1, -1]
    assert isinstance(story.stop.fault, ValueError)


def test_a_read_that_fails_does_too(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story([1])
    fault = OSError("away")

    def away() -> Sequence[int]:
        raise fault

    monkeypatch.setattr(story, "read", away)
    assert story.run() == ["begin"]
    assert story.stop.fault is fault


def test_a_sink_takes_a_batch_whole() -> None:
    taken: list[list[int]] = []
    story = Story([1, 2])
    flow = Dataflow("batches")
    numbers = op.input("read", flow, steps_source(story.read, story.stop))
    op.output("take", numbers, steps_sink(lambda items: taken.append(list(items)), story.stop))
    run_main(flow)
    assert taken == [[1, 2]]
