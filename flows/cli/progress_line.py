"""How far a command that takes long is: in place on a terminal, and a line now and then where stderr goes
into a file."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

IN_PLACE_S = 0.2
LINE_S = 5.0


class Progress:
    """A context: leaving it clears the line of the terminal. Call it with each step; it looks at the clock
    and seldom says anything."""

    def __init__(
        self, what: str, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin. `what` goes before the number, such as `restoring: entries`."""
        self._what, self._out, self._clock = what, out or sys.stderr, clock
        self._in_place = self._out.isatty()
        self._begun = self._said = clock()
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._in_place:
            print("\r\x1b[K", end="", file=self._out, flush=True)

    def __call__(self, more: int = 1) -> None:
        """So many more are done."""
        self._done += more
        now = self._clock()
        if now - self._said < (IN_PLACE_S if self._in_place else LINE_S):
            return
        self._said = now
        line = f"{self._what} {self._done:,}, {now - self._begun:.0f} s"
        if self._in_place:
            print(f"\r{line}\x1b[K", end="", file=self._out, flush=True)
        else:
            print(line, file=self._out, flush=True)
