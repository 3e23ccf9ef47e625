"""What goes wrong: how often each kind does in one run, and the line between a worker and a server on which
it does."""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

WRITES = frozenset(
    {
        *("commit", "announce", "forward", "advance", "trim", "claim", "take", "save", "tick", "of"),
        *("receive", "hear_again", "destroy", "drop", "not_sent"),
    }
)


class Crash(BaseException):  # as little to be caught by what a flow does about its own defects as kill -9
    """The worker dies here."""


class Rates(msgspec.Struct, frozen=True):
    """Probabilities of one run. Half of the kinds do not happen in it, so that each is also seen alone."""

    before: float = 0.0  # of each write: the worker dies before it
    after: float = 0.0  # of each write: it happened, and the worker dies before it has the answer
    meanwhile: float = 0.0  # of each call: others go on between what a worker read and what it writes
    planned: float = 0.0  # of each plan: others go on between it and the window that was planned
    replaced: float = (
        0.0  # of each step: a second worker starts while the first still lives, and wakes up later
    )
    back: float = 0.0  # of each step: the server comes back without its last commits
    refused: float = 0.0  # of each delivery: the receiver fails, or is slow
    again: float = 0.0  # of each step: other rules are announced

    @classmethod
    def drawn(cls, luck: Random) -> "Rates":
        most = cls(
            before=0.03,
            after=0.03,
            meanwhile=0.15,
            planned=1.0,
            replaced=0.02,
            back=0.015,
            refused=0.6,
            again=0.02,
        )
        return cls(
            *(
                value * luck.random() if luck.random() < 0.5 else 0.0
                for value in msgspec.structs.astuple(most)
            )
        )


class Faults:
    """Decides, and counts what it did. `calm` ends it."""

    def __init__(self, luck: Random, rates: Rates) -> None:
        self.rates = rates
        self.counts = Counter[str]()
        self.meanwhile: Callable[[], None] = lambda: None
        self._luck = luck
        self._on = True

    def calm(self) -> None:
        self._on = False

    def strikes(self, kind: str) -> bool:
        """Return whether it happens now."""
        if not self._on or self._luck.random() >= getattr(self.rates, kind):
            return False
        self.counts[kind] += 1
        return True


class Line:
    """A server as one worker sees it: each call may fail before or after its effect. A server that went back
    breaks the line."""

    def __init__(self, server: Any, faults: Faults, broken: Callable[[], bool]) -> None:
        self._server = server
        self._faults = faults
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._server, name)

        def call(*args: Any, **options: Any) -> Any:
            faults = self._faults
            if faults.strikes("meanwhile"):
                faults.meanwhile()
            if self._broken() or (name in WRITES and faults.strikes("before")):
                raise Crash(name)
            answer = found(*args, **options)
            if name in ("plan", "survey") and faults.strikes("planned"):
                faults.meanwhile()
            if name in WRITES and faults.strikes("after"):
                raise Crash(name)
            return answer

        return call
