"""What other systems ask about customers, taken on step by step: `advance` can be done again by whoever finds
one unfinished, and changes nothing the second time.

    pending      nothing has begun, and it can be cancelled; from `begins_ms` on it is taken up
    in_progress  who is to stay unknown goes on the list (or off it), a thousand in a commit; what came in
                 before is resolved; then all that it names are looked up, and each customer gets a request
    completed    all these requests are done; where one was taken back, it is asked for again
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import structlog

from flows.runtime.deployment import Deployment
from flows.services.steward.orders import Mark
from flows.services.subjects import requests
from flows.services.subjects.draining import Drain, Drains
from flows.services.subjects.erasing import PARTITION, Erasing
from schemas.records.identity_graph import Order
from schemas.records.mandates import Mandate, Notice, Phase, State
from schemas.records.privacy_requests import DRAINED, PrivacyRequest, Step
from state.privacy_requests import PrivacyRequests

log = structlog.get_logger()

PAGE: Final = 1_000  # identifiers in one commit
SUPPRESSES: Final = ("SUPPRESS_ONLY", "SUPPRESS_WITH_DELETE", "SUPPRESS_WITH_DELETE_INTERNAL")
ERASES: Final = (
    "erasure",
    "DELETE_ONLY",
    "DELETE_INTERNAL",
    "SUPPRESS_WITH_DELETE",
    "SUPPRESS_WITH_DELETE_INTERNAL",
)
_replace = msgspec.structs.replace


class Store(Protocol):
    """Where mandates are kept."""

    def get(self, name: str) -> Mandate | None: ...

    def unfinished(self) -> list[Mandate]: ...

    def save(self, before: Mandate, after: Mandate, *, finished: bool = False) -> bool: ...


@dataclass(frozen=True)
class Parts:
    """What they are carried out with."""

    store: Store
    suppressed: Callable[[], Collection[bytes]]
    lookup: Callable[[Sequence[bytes]], Sequence[bytes | None]]
    order: Callable[[list[Order]], None]
    drain: Callable[[], Drain]
    ask: Callable[[Mandate, Sequence[bytes]], list[str]]  # the requests for these customers, kept
    ended: Callable[[Sequence[str]], bool]  # whether all these requests are done
    taken_back: Callable[[Sequence[str]], list[str]]  # those of these requests that were cancelled
    callbacks: Callable[[Mandate], int]  # how many there are to tell
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


class Carrying:
    """Takes mandates on."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._drains = Drains(parts.drain, parts.clock_ms)

    def advance(self, mandate: Mandate) -> Mandate:
        """Take steps until one has to wait, or all are done; return it as it is then. Raises `LogFull`,
        `Fenced`, `Unreachable`."""
        while mandate.state in ("pending", "in_progress"):
            after = self._next(mandate)
            if after is None:
                break
            finished = after.state == "completed" and not after.notices
            if not self._parts.store.save(mandate, after, finished=finished):
                found = self._parts.store.get(mandate.id)  # it was cancelled, or somebody else is at it
                if found is None:
                    break
                after = found
            mandate = after
        return mandate

    def _next(self, mandate: Mandate) -> Mandate | None:
        parts = self._parts
        if mandate.state == "pending":
            if parts.clock_ms() < mandate.begins_ms:
                return None
            return self._at(mandate, Phase.IN_PROGRESS, state="in_progress")
        if Phase.LISTED not in mandate.times:
            self._list(mandate)
            return self._at(mandate, Phase.LISTED)
        if Phase.FOUND not in mandate.times:
            since_ms = mandate.times[Phase.IN_PROGRESS]
            if _is_about_customers(mandate) and not self._drains.passed(mandate.id, since_ms):
                return None
            return self._at(mandate, Phase.FOUND, requests=self._requests(mandate))
        if not parts.ended(mandate.requests):
            return None
        if taken_back := parts.taken_back(mandate.requests):  # this system asks for it still
            others = [name for name in mandate.requests if name not in taken_back]
            asked = [*dict.fromkeys([*others, *self._requests(mandate)])]
            return self._at(mandate, Phase.FOUND, requests=asked)
        return self._at(mandate, Phase.COMPLETED, state="completed")

    def _list(self, mandate: Mandate) -> None:
        """Have the directory drop what comes from these, or take it again."""
        if mandate.kind != "UNSUPPRESS" and mandate.kind not in SUPPRESSES:
            return
        suppressed, drop = self._parts.suppressed(), mandate.kind != "UNSUPPRESS"
        orders = [
            Order("suppress" if drop else "unsuppress", identifier, by=PARTITION)
            for identifier in mandate.identifiers
            if (identifier in suppressed) != drop
        ]
        for at in range(0, len(orders), PAGE):
            self._parts.order(orders[at : at + PAGE])

    def _requests(self, mandate: Mandate) -> list[str]:
        if not _is_about_customers(mandate):
            return []
        named = mandate.identifiers
        found = [
            root
            for at in range(0, len(named), PAGE)
            for root in self._parts.lookup(named[at : at + PAGE])
            if root is not None
        ]
        return self._parts.ask(mandate, [*dict.fromkeys(found)])

    def _at(
        self, mandate: Mandate, phase: str, *, state: State | None = None, requests: list[str] | None = None
    ) -> Mandate:
        now_ms = self._parts.clock_ms()
        log.info("mandate_step", mandate=mandate.id, dialect=mandate.dialect, step=phase)
        after = _replace(mandate, times=mandate.times | {phase: now_ms})
        if requests is not None:
            after = _replace(after, requests=requests)
        return after if state is None else changed(after, state, self._parts.callbacks(mandate))


def changed(mandate: Mandate, state: State, callbacks: int) -> Mandate:
    """Return it in another state, which its callbacks are to be told."""
    told = [Notice(to, state) for to in range(callbacks)]
    return _replace(mandate, state=state, notices=[*mandate.notices, *told])


def cancelled(mandate: Mandate, now_ms: int, callbacks: int) -> Mandate:
    """Return it as cancelled."""
    return changed(_replace(mandate, times=mandate.times | {Phase.CANCELLED: now_ms}), "cancelled", callbacks)


def _is_about_customers(mandate: Mandate) -> bool:
    return mandate.dialect == "opendsr" or mandate.kind in ERASES


def carrying_of(deployment: Deployment, erasing: Erasing) -> Carrying:
    """Return what takes mandates on, on this deployment."""
    directory = deployment.directory
    return Carrying(
        Parts(
            store=deployment.mandates,
            suppressed=directory.suppressed,
            lookup=directory.lookup,
            order=erasing.order,
            drain=lambda: Mark(deployment.raw_reader, directory),
            ask=lambda mandate, roots: _ask(deployment, mandate, roots),
            ended=deployment.privacy_requests.are_done,
            taken_back=lambda names: _taken_back(deployment.privacy_requests, names),
            callbacks=lambda mandate: len(callbacks_of(deployment, mandate)),
        )
    )


def callbacks_of(deployment: Deployment, mandate: Mandate) -> list[str]:
    """Return the URLs that are told of each state."""
    if not mandate.callbacks:
        return []
    return msgspec.json.decode(deployment.log_seal.open(mandate.callbacks), type=list[str])


def _ask(deployment: Deployment, mandate: Mandate, roots: Sequence[bytes]) -> list[str]:
    """Have a request for each customer, and return their ids."""
    kept = deployment.privacy_requests
    if mandate.kind not in ERASES:
        asked = [_export(deployment, mandate, number, root) for number, root in enumerate(roots)]
        kept.add_all(asked)
        for request in asked:
            requests.closed(kept, request)
        return [request.id for request in asked]
    erasures = requests.erasures(
        deployment,
        roots,
        by=mandate.by,
        internal=mandate.kind.endswith("_INTERNAL"),
    )
    added = kept.add_all([_replace(request, mark=DRAINED) for request in erasures])
    for request, is_new in zip(erasures, added, strict=True):
        if not is_new:
            _begin(kept, request.id)
    wanted = frozenset(mandate.identifiers)  # nothing leads to who is being erased already
    under_way = [one.id for one in kept.unfinished() if not wanted.isdisjoint(one.identifiers)]
    return [*dict.fromkeys([*(request.id for request in erasures), *under_way])]


def _begin(kept: PrivacyRequests, name: str) -> None:
    """Have an erasure that was asked for before wait no longer: this one had a grace of its own."""
    while (found := kept.get(name)) is not None and found.step == Step.ASKED and found.begins_ms:
        if kept.save(found, _replace(found, begins_ms=0)):
            return


def _taken_back(kept: PrivacyRequests, names: Sequence[str]) -> list[str]:
    return [one.id for one in kept.get_all(names) if one is not None and one.step == Step.CANCELLED]


def _export(deployment: Deployment, mandate: Mandate, number: int, root: bytes) -> PrivacyRequest:
    return PrivacyRequest(
        id=f"export-{mandate.id}-{number}",
        right="export",
        customer=root,
        regime=deployment.config.rights.regime,
        asked_ms=mandate.asked_ms,
        due_ms=mandate.due_ms,
        by=mandate.by,
        times={Step.ASKED: mandate.asked_ms},
    )
