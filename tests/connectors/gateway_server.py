"""A gateway behind a real socket, with its log in memory: in a thread of this process, or as a program that
serves until SIGTERM."""

import asyncio
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from connectors.gateway import Standing, build, listen, server
from connectors.gateway.connection import Bounds
from connectors.gateway.profile_routes import ReadProfile
from schemas.wire.events import RawEvent
from tests.connectors.gateway_kit import CONFIG, MemoryWriter


class Served:
    def __init__(self, url: str, writer: MemoryWriter) -> None:
        self.url = url
        self.writer = writer

    def messages(self, count: int, within_s: float = 60) -> list[dict[str, Any]]:
        """The messages in the log, once there are `count`, or all that came in time."""
        wait_for(lambda: len(self.writer.stored) >= count, within_s)
        return [json.loads(event.value) for _, event in self.writer.stored if event.fault is None]


def wait_for(condition: Callable[[], bool], within_s: float = 60) -> None:
    """Until it holds or the time is over; what is asserted then says more."""
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


@contextmanager
def served(
    read_profile: ReadProfile = lambda *_: None,
    bounds: Bounds | None = None,
    standing: Callable[[], Standing] = Standing,
) -> Iterator[Served]:
    writer = MemoryWriter()
    with listen("127.0.0.1:0") as listener:
        one = server(build(CONFIG, writer, read_profile, standing=standing), bounds)
        thread = threading.Thread(target=one.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: one.started)
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", writer)
        finally:
            one.should_exit = True
            thread.join(10)


class SlowWriter(MemoryWriter):
    """Prints what happens to it, for whoever started this program."""

    async def append(self, events: Sequence[tuple[str, RawEvent]]) -> None:
        print("appending", flush=True)
        await asyncio.sleep(1)
        await super().append(events)

    async def close(self) -> None:
        print(f"closed with {len(self.stored)}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with listen("127.0.0.1:0") as program:
        print(program.getsockname()[1], flush=True)
        server(build(CONFIG, SlowWriter(), lambda *_: None)).run(sockets=[program])
