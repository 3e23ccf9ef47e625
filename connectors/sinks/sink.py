"""Where triggers go: the interface of all receivers, and what they share.

A `Sink` says what became of each delivery; when to try again, and when to give up, is not its business
(`flows.logic.delivery`). Sinks whose library blocks are written as a `BlockingSink` and get a thread of their
own from `OnThread`.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from schemas.wire.triggers import Trigger


class Delivery(msgspec.Struct, frozen=True):
    """One trigger for one receiver, with the names by which this receiver knows the customer."""

    trigger: Trigger
    identifiers: dict[str, str]


class Delivered(msgspec.Struct, frozen=True):
    """The receiver has it."""


class Retry(msgspec.Struct, frozen=True):
    """This attempt failed. `after_s` is the pause that the receiver asks for."""

    reason: str
    after_s: float | None = None


class Failed(msgspec.Struct, frozen=True):
    """This delivery can never succeed, however often it is tried."""

    reason: str


class Disable(msgspec.Struct, frozen=True):
    """The receiver wants nothing more, ever."""

    reason: str


Outcome = Delivered | Retry | Failed | Disable
DELIVERED = Delivered()


class Sink(Protocol):
    """One receiver. All methods are called from one event loop."""

    @property
    def batch_max(self) -> int:
        """Return the most deliveries that `deliver` takes at once."""

    @property
    def concurrency(self) -> int:
        """Return how many calls of `deliver` may run at a time."""

    async def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """Try each delivery once: one outcome for each, in order. Failures of the receiver are outcomes, not
        exceptions."""

    async def close(self) -> None: ...


class BlockingSink(Protocol):
    """A sink of a library that blocks. `deliver` is never called twice at a time."""

    batch_max: int

    def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]: ...

    def close(self) -> None:
        """End; this makes a `deliver` that still waits return soon."""


class OnThread:
    """A `Sink` made of a blocking one. Its thread is its own, so that one that hangs holds nobody else."""

    concurrency = 1

    def __init__(self, sink: BlockingSink, name: str) -> None:
        self.batch_max = sink.batch_max
        self._sink = sink
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sink-{name}")

    async def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._sink.deliver, batch)

    async def close(self) -> None:
        await asyncio.to_thread(self._sink.close)  # not on its own thread, which may be the one that waits
        self._thread.shutdown(wait=False)


def encode_each(batch: Sequence[Delivery], encode: Callable[[Delivery], bytes]) -> list[bytes | Failed]:
    """Return the body of each delivery. One that cannot be encoded must not stop the others, nor come
    again."""
    return [_encoded(delivery, encode) for delivery in batch]


def _encoded(delivery: Delivery, encode: Callable[[Delivery], bytes]) -> bytes | Failed:
    try:
        return encode(delivery)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        return Failed(f"cannot be encoded: {type(error).__name__}")
