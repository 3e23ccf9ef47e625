"""What the gateway is told of the deployment behind it: whose events are not taken for now, and which
processes do not run."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec

from schemas.errors import Unreachable

ASK_EVERY_S = 1.0


class Standing(msgspec.Struct, frozen=True):
    suspended: frozenset[str] = frozenset()  # sources
    given_up: tuple[str, ...] = ()  # processes that their supervisor has given up


class Watch:
    """Keeps the last answer, so that a request costs a look into a set. Where nobody answers, what was said
    last holds."""

    def __init__(self, ask: Callable[[], Standing]) -> None:
        """`ask` runs in a thread. Raises `Unreachable`."""
        self.now = Standing()
        self._ask = ask

    async def look(self) -> None:
        with suppress(Unreachable):
            self.now = await asyncio.to_thread(self._ask)

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            await self.look()
