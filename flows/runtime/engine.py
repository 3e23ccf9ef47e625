"""Driving a dataflow in this process: how it stops, and how an error of ours leaves it as the one line that
it is."""

import gc
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from flows.runtime.patience import patiently
from flows.runtime.ready import begun
from schemas.errors import LogFull
from state.redis.client import reported

# batches make many objects and no cycles: with Python's own thresholds a third of the time goes into looking
_GC = (50_000, 20, 1_000)

log = structlog.get_logger()

Given = TypeVar("Given")
Made = TypeVar("Made")


class Stop:
    """Why the flow ends: somebody asked, or a step failed. (An exception inside the engine is a panic that
    buries its message.)"""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.fault: BaseException | None = None

    @property
    def is_set(self) -> bool:
        """Whether the flow is to end: sources raise `StopIteration` then."""
        return self.fault is not None or self.asked.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait; return True if the flow is to end."""
        return self.asked.wait(seconds)

    def patiently(self, step: Callable[[], object]) -> bool:
        """Do a step, waiting while what it writes to has no room. Return False if the flow is to end
        first."""

        def done() -> bool:
            step()
            return True

        return bool(patiently(done, self.wait, no_room))

    def guard(self, step: Callable[[Given], Made]) -> Callable[[Given], Made | None]:
        """Return `step`, which does nothing and returns None once any step has failed."""

        def guarded(given: Given) -> Made | None:
            if self.fault is None:
                try:
                    return step(given)
                except Exception as error:  # noqa: BLE001  # `run_flow` raises it again
                    self.fault = error
            return None

        return guarded


def no_room(full: LogFull) -> None:
    """Say that something waits for room."""
    log.warning("no_room", reason=str(full))


def tune_collector() -> None:
    """Tune the garbage collector for a worker: what is there by now stays, and what batches make is looked at
    seldom."""
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
