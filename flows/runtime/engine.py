"""Driving a dataflow in this process: how it stops, and how an error of ours leaves it as the one line that
it is."""

import gc
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import structlog
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from flows.runtime.ready import begun
from schemas.errors import LogFull
from state.redis.client import reported

_GC = (
    50_000,
    20,
    1_000,
)  # batches make many objects and no cycles: with Python's own thresholds a third of the time goes into looking

log = structlog.get_logger()

_LONG_AGO = datetime.fromtimestamp(0, UTC)

Given = TypeVar("Given")
Made = TypeVar("Made")


class Prompt:
    """For sources, which wait by themselves: what comes next is asked for at once.

    Bytewax's own pause after an empty batch is an instant of the wall clock: if that is set back by an hour,
    so long is the pause.
    """

    def next_awake(self) -> datetime:
        return _LONG_AGO


class Stop:
    """Why the flow ends: somebody asked, or a step failed. (An exception inside the engine is a panic that
    buries its message.)"""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.fault: BaseException | None = None

    @property
    def is_set(self) -> bool:
        """Sources raise `StopIteration` then."""
        return self.fault is not None or self.asked.is_set()

    def wait(self, seconds: float) -> bool:
        """True if the flow is to end."""
        return self.asked.wait(seconds)

    def patiently(self, step: Callable[[], object]) -> bool:
        """`step`, again and again while what it writes to has no room. False if the flow is to end first."""
        while True:
            try:
                step()
            except LogFull as full:
                log.warning("no_room", reason=str(full))
                if self.wait(full.retry_after_s):
                    return False
            else:
                return True

    def guard(self, step: Callable[[Given], Made]) -> Callable[[Given], Made | None]:
        """`step`, until one has failed; None from then on."""

        def guarded(given: Given) -> Made | None:
            if self.fault is None:
                try:
                    return step(given)
                except Exception as error:  # noqa: BLE001  # `run_flow` raises it again
                    self.fault = error
            return None

        return guarded


def tune_collector() -> None:
    """For a worker: what is there by now stays, and what batches make is looked at seldom."""
    gc.freeze()
    gc.set_threshold(*_GC)


def run_flow(flow: Dataflow, stop: Stop) -> None:
    """Run until SIGTERM, SIGINT or a fault, which is raised (a lost server as `Unreachable`)."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.asked.set())
    tune_collector()
    begun()
    with reported():
        cli_main(flow)  # type: ignore[no-untyped-call]  # untyped in the library
        if stop.fault is not None:
            raise stop.fault
