"""Keeps what a worker of `resolve` finds that looks like personal data: stored now and then, and by nobody
waited for."""

import time
from collections.abc import Callable

from flows.logic.fields.personal_tally import PersonalTally
from schemas.errors import LogFull
from state.personal_findings import RedisPersonalFindings

EVERY_S = 10.0


class PersonalNotes:
    """Of one worker."""

    def __init__(
        self, store: RedisPersonalFindings, worker: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Go on from what the worker has stored. Raises `Unreachable`."""
        self.tally = PersonalTally(store.of(worker))
        self._store = store
        self._worker = worker
        self._clock = clock
        self._stored = clock()

    def look(self) -> None:
        """Store what is new, at most every `EVERY_S`. Raises `Unreachable`."""
        now = self._clock()
        if not self.tally.changed or now - self._stored < EVERY_S:
            return
        self._stored = now
        try:
            self._store.store(self._worker, self.tally.findings())
        except LogFull:  # it comes with the next
            self.tally.changed = True
