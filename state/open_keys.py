"""The data keys of what keeps nothing: an evaluation, or a look at what an event would do."""

from collections.abc import Iterable, Sequence
from typing import Final


class OpenKey:
    """Seals nothing."""

    def seal(self, _field: str, plain: bytes) -> bytes:
        return plain

    def open(self, _field: str, sealed: bytes) -> bytes | None:
        return sealed


_OPEN: Final = OpenKey()


class OpenKeys:
    """Stand in for `state.keys.DataKeys`."""

    # as data keys have it
    def of(self, origins: Iterable[bytes], *, create: bool = False) -> dict[bytes, OpenKey]:  # noqa: ARG002
        return dict.fromkeys(origins, _OPEN)

    def current(self, origins: Sequence[bytes]) -> list[OpenKey]:
        return [_OPEN] * len(origins)
