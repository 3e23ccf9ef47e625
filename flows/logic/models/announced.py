"""What `learn` announces of any model."""

from typing import Protocol


class Snapshot(Protocol):
    """A model at one moment."""

    @property
    def model(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def examples(self) -> int: ...

    def pack(self) -> bytes: ...
