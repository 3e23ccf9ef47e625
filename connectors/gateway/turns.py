"""Long work in short turns, so that one large request never keeps the others waiting for more than a
moment."""

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, TypeVar

SLICE_S: Final = 0.002  # of work, then the event loop has its turn
_STEP = 64  # items between two looks at the clock, at most
_STEP_BYTES = 32 * 1024

Item = TypeVar("Item")
Done = TypeVar("Done")


class Turns:
    """`await turns.pause()` between two small pieces of work: it does nothing until a slice is over."""

    __slots__ = ("_end_s",)

    def __init__(self) -> None:
        self._end_s = perf_counter() + SLICE_S

    async def pause(self) -> None:
        if perf_counter() >= self._end_s:
            await asyncio.sleep(0)
            self._end_s = perf_counter() + SLICE_S


async def in_turns(
    work: Callable[[Sequence[Item]], list[Done]], items: Sequence[Item], size: int
) -> list[Done]:
    """Do `work(items)`, a few items at a time; `size` is how many bytes of work they all are."""
    if len(items) <= _STEP and size <= _STEP_BYTES:
        return work(items)
    step = max(1, min(_STEP, len(items) * _STEP_BYTES // max(1, size)))
    done: list[Done] = []
    turns = Turns()
    for start in range(0, len(items), step):
        done += work(items[start : start + step])
        await turns.pause()
    return done
