"""Waiting while what a step writes to is full (`LogFull`): back-pressure, not loss."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from schemas.errors import LogFull

Made = TypeVar("Made")


def patiently(
    step: Callable[[], Made], rest: Callable[[float], object], say: Callable[[LogFull], None]
) -> Made | None:
    """Return what `step` returns once there is room; None if the flow is to end first.

    `rest` waits for so many seconds and says True if the flow is to end. `say` is told each time that there
    is no room.
    """
    while True:
        try:
            return step()
        except LogFull as full:
            say(full)
            if rest(full.retry_after_s):
                return None


async def patiently_beside(call: Callable[[], None], say: Callable[[LogFull], None]) -> None:
    """Do the same on an event loop: `call` runs in a thread. Who cancels it ends the waiting."""
    while True:
        try:
            return await asyncio.to_thread(call)
        except LogFull as full:
            say(full)
            await asyncio.sleep(full.retry_after_s)
