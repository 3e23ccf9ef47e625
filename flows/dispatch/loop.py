"""The event loop that all dispatchers share, in a thread beside the dataflow's. It stores their cursors and
trims the outbox behind them."""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import uvloop

from flows.dispatch.dispatcher import Dispatcher, when_there_is_room
from schemas.records.outbox_lanes import Lane

GRACE_S = 4.0  # for what is under way when we are told to stop; what is not done by then is delivered again
_CLOSE_S = 1.0
_STORE_EVERY_S = 0.02
_TRIM_EVERY_S = 1.0


class Cursors(Protocol):
    """The part of an outbox that moves on."""

    def advance(self, lane: str, consumer: str, upto: Mapping[int, int]) -> None:
        """Move a consumer's cursors."""

    def trim(self, lane: str, consumers: Sequence[str]) -> None:
        """Drop what all of these consumers have passed."""


class DeliveryLoop:
    """`start`, then `check` now and then, and `close` once. What fails on the loop is raised by `check`."""

    def __init__(self, dispatchers: Sequence[Dispatcher], outbox: Cursors) -> None:
        self._dispatchers = dispatchers
        self._outbox = outbox
        self._moved = asyncio.Event()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        """Return when deliveries can be accepted."""
        self._thread.start()
        self._ready.wait()

    def check(self) -> None:
        """Raise what made the loop end."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Wait for what is under way, store the cursors and end the thread; this takes at most about five
        seconds."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(GRACE_S + 2 * _CLOSE_S)
        self.check()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._work())
        except BaseException as error:  # noqa: BLE001  # `check` raises it again, in the thread that can end the process
            self._failure = _innermost(error)
        finally:
            self._ready.set()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        for dispatcher in self._dispatchers:
            dispatcher.moved = self._moved.set
        tasks = [asyncio.create_task(dispatcher.run()) for dispatcher in self._dispatchers]
        keeper = asyncio.create_task(self._keep())
        stop = asyncio.create_task(self._stop.wait())
        self._loop.call_soon(self._ready.set)  # behind the first step of each task
        done, _ = await asyncio.wait([*tasks, keeper, stop], return_when=asyncio.FIRST_COMPLETED)
        if stop in done:
            await self._finish(tasks, keeper)
        for task in done:
            task.result()

    async def _finish(self, tasks: list[asyncio.Task[None]], keeper: asyncio.Task[None]) -> None:
        for dispatcher in self._dispatchers:
            dispatcher.close()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_S)
        for dispatcher in self._dispatchers:
            with suppress(TimeoutError):
                await asyncio.wait_for(dispatcher.close_sink(), _CLOSE_S)
        keeper.cancel()
        with suppress(TimeoutError):  # no room: what is not stored is delivered again
            await asyncio.wait_for(self._store(), _CLOSE_S)
        for task in tasks:
            if task.done():
                task.result()

    async def _keep(self) -> None:
        """Store cursors soon after they move, and trim once a second while they do."""
        trimmed, dirty = 0.0, True  # whoever was here before may have died in between
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TRIM_EVERY_S if dirty else None):
                    await self._moved.wait()
                await asyncio.sleep(_STORE_EVERY_S)  # many move together
            self._moved.clear()
            dirty |= await self._store()
            if dirty and time.monotonic() - trimmed >= _TRIM_EVERY_S:
                trimmed, dirty = time.monotonic(), False
                await when_there_is_room(
                    self._outbox.trim, Lane.TRIGGERS, [dispatcher.name for dispatcher in self._dispatchers]
                )

    async def _store(self) -> bool:
        any_moved = False
        for dispatcher in self._dispatchers:
            if moved := dispatcher.unstored():
                any_moved = True
                await when_there_is_room(self._outbox.advance, dispatcher.lane, dispatcher.name, moved)
            if more := dispatcher.uncounted():  # for people: who dies just here leaves them a little too low
                await when_there_is_room(dispatcher.count, more)
        return any_moved


def _innermost(error: BaseException) -> BaseException:
    """Return what failed: a task group wraps it, and one line tells it better."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
