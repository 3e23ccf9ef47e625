"""What came in before a request is resolved before the request is: so it is about all of the customer."""

from collections.abc import Callable
from typing import Final, Protocol

DRAIN_S: Final = 30.0  # that what came in before may take to be resolved


class Drain(Protocol):
    """Says when all that lay in the raw log at first has been resolved."""

    def passed(self) -> bool: ...

    def close(self) -> None: ...


class Drains:
    """One for each request that waits."""

    def __init__(self, drain: Callable[[], Drain], clock_ms: Callable[[], int]) -> None:
        self._make = drain
        self._clock_ms = clock_ms
        self._open: dict[str, Drain] = {}

    def passed(self, name: str, since_ms: int) -> bool:
        """Return whether what lay in the raw log when this one was first asked about is resolved, or it has
        waited too long since then."""
        drain = self._open.get(name)
        if drain is None:
            drain = self._open[name] = self._make()
        done = drain.passed() or self._clock_ms() - since_ms > DRAIN_S * 1000
        if done:
            self._open.pop(name).close()
        return done
