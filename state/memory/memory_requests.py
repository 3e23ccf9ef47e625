"""Twin of the customers' requests in memory."""

from collections.abc import Sequence

from schemas.records.privacy_requests import PrivacyRequest


class MemoryRequests:
    """Twin of `state.privacy_requests.PrivacyRequests`."""

    def __init__(self) -> None:
        self.held: dict[str, PrivacyRequest] = {}
        self.open: set[str] = set()

    def add(self, request: PrivacyRequest) -> bool:
        if request.id in self.held:
            return False
        self.held[request.id] = request
        self.open.add(request.id)
        return True

    def get(self, name: str) -> PrivacyRequest | None:
        return self.held.get(name)

    def unfinished(self) -> list[PrivacyRequest]:
        return [request for request in self.everything() if request.id in self.open]

    def everything(self) -> list[PrivacyRequest]:
        return sorted(self.held.values(), key=lambda request: (request.asked_ms, request.id))

    def page(self, cursor: int, count: int) -> tuple[int, list[PrivacyRequest]]:
        found = [*self.held.values()][cursor : cursor + count]
        return (cursor + count if cursor + count < len(self.held) else 0), found

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            self.held.pop(name, None)

    def save(self, before: PrivacyRequest, request: PrivacyRequest, *, finished: bool = False) -> bool:
        if self.held.get(request.id) != before:
            return False
        self.held[request.id] = request
        if finished:
            self.open.discard(request.id)
        return True
