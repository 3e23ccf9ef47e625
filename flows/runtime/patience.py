"""Waiting while what a step writes to is full (`LogFull`): back-pressure, not loss."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import structlog

from schemas.errors import KeysAway, LogFull
from state.keys import DataKey, DataKeys

log = structlog.get_logger()

Made = TypeVar("Made")
SAY_EVERY_S = 60.0


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


async def patiently_beside(call: Callable[[], Made], say: Callable[[LogFull], None]) -> Made:
    """Do the same on an event loop: `call` runs in a thread. Who cancels it ends the waiting."""
    while True:
        try:
            return await asyncio.to_thread(call)
        except LogFull as full:
            say(full)
            await asyncio.sleep(full.retry_after_s)


class KeysWait:
    """Says that keys are waited for: at once, and then once a minute."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._again = 0.0

    def __call__(self, away: LogFull) -> None:
        now = time.monotonic()
        if now >= self._again:
            self._again = now + SAY_EVERY_S
            log.warning("keys_away", waits=self._who, reason=str(away))


class PatientKeys:
    """Data keys for a step that cannot be done a second time: it waits in here while they are away."""

    def __init__(self, keys: DataKeys, rest: Callable[[float], object], who: str) -> None:
        """`rest` as in `patiently`; `who` waits, for the log."""
        self._keys = keys
        self._rest = rest
        self._say = KeysWait(who)

    def of(self, origins: Iterable[bytes]) -> dict[bytes, DataKey]:
        """Return the data keys of these origins, without those that have none. Raises `KeysAway` if the flow
        is to end first."""
        return self._when_there(partial(self._keys.of, list(origins)))

    def current(self, origins: Sequence[bytes]) -> list[DataKey | None]:
        """Return the keys as they are now, None for who has none. Raises `KeysAway` if the flow is to end
        first."""
        return self._when_there(partial(self._keys.current, origins))

    def _when_there(self, ask: Callable[[], Made]) -> Made:
        found = patiently(ask, self._rest, self._say)
        if found is None:
            raise KeysAway("the flow ends while it waits for keys")
        return found
