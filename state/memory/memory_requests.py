"""Twins in memory of what customers and other systems ask for."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from schemas.records.mandates import Mandate
from schemas.records.privacy_requests import PrivacyRequest

Asked = TypeVar("Asked", PrivacyRequest, Mandate)


class _Kept(Generic[Asked]):
    def __init__(self) -> None:
        self.held: dict[str, Asked] = {}
        self.open: set[str] = set()

    def add(self, one: Asked) -> bool:
        if one.id in self.held:
            return False
        self.held[one.id] = one
        self.open.add(one.id)
        return True

    def add_all(self, many: Sequence[Asked]) -> list[bool]:
        return [self.add(one) for one in many]

    def get(self, name: str) -> Asked | None:
        return self.held.get(name)

    def get_all(self, names: Sequence[str]) -> list[Asked | None]:
        return [self.held.get(name) for name in names]

    def are_done(self, names: Sequence[str]) -> bool:
        return self.open.isdisjoint(names)

    def page(self, cursor: int, count: int) -> tuple[int, list[Asked]]:
        found = list(self.held.values())[cursor : cursor + count]
        return (cursor + count if cursor + count < len(self.held) else 0), found

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            self.held.pop(name, None)

    def unfinished(self) -> list[Asked]:
        return [one for one in self.everything() if one.id in self.open]

    def everything(self) -> list[Asked]:
        return sorted(self.held.values(), key=lambda one: (one.asked_ms, one.id))

    def save(self, before: Asked, after: Asked, *, finished: bool = False) -> bool:
        if self.held.get(after.id) != before:
            return False
        self.held[after.id] = after
        if finished:
            self.open.discard(after.id)
        return True


class MemoryRequests(_Kept[PrivacyRequest]):
    """Twin of `state.privacy_requests.PrivacyRequests`."""


class MemoryMandates(_Kept[Mandate]):
    """Twin of `state.privacy_requests.Mandates`."""
