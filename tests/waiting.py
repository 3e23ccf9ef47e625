"""Waiting for what another thread or process does: by looking, never by guessing how long it takes."""

import time
from collections.abc import Callable

WITHIN_S = 120.0  # what comes, comes within seconds; nobody waits longer than it takes


def eventually(
    holds: Callable[[], object], said: Callable[[], str] = str, within_s: float = WITHIN_S
) -> None:
    """Return when `holds`. Where it does not in time, `said` is what the test ends with."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s {said()}"
        time.sleep(0.02)
