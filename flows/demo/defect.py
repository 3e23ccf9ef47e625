"""millrace with a defect of ours planted in it: validation raises on one name of an event. The demo and chaos start this for `flows.cli`.

So each run shows what becomes of an event that our own code fails on: it is put aside as `poison`, and nothing else notices.
"""

import sys
from typing import Any

from flows import cli, compose
from flows.demo.faults import PLANTED
from schemas.events import RawEvent


class Defective:
    """Stands in for a `Validator`, which may be machine code."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._validator, name)

    def check(self, raw: RawEvent) -> Any:
        if raw.fault is None and PLANTED.encode() in raw.value:
            raise ArithmeticError
        return self._validator.check(raw)


def plant() -> None:
    """Into this process, for good."""
    sound = compose.validator
    compose.validator = lambda *args: Defective(sound(*args))  # type: ignore[assignment]  # that is the defect


if __name__ == "__main__":
    plant()
    sys.exit(cli.main())
