"""Customers who want to be erased, one after the other, whatever is broken at the moment; and what became of
that.

Whoever was erased goes on shopping, and is somebody new. So the same people leave again and again.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final, Self

import msgspec

from flows.lab.chaos.booked_traffic import Book
from flows.lab.chaos.journal_watch import JournalWatch
from flows.lab.remains import Named, receipt_fault, remains
from flows.runtime.deployment import Deployment
from flows.services.subjects import requests
from schemas.config import Config
from schemas.errors import MillraceError
from schemas.records.privacy_requests import PrivacyRequest, Step

LEAVERS: Final = 5  # of each publisher's people
EVERY_S: Final = (1.0, 3.0)  # drawn
DONE_S: Final = 120.0  # for the last ones, when nothing is broken any more
BY: Final = "chaos"


class Asked(msgspec.Struct, frozen=True):
    """An erasure that was asked for, and confirmed."""

    request: str
    at_ms: int


class Leavers:
    """A context: asks for erasures while it lasts."""

    def __init__(self, config: Config, people: Sequence[str], luck: Random) -> None:
        self._config = config
        self._people = people
        self._luck = luck
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leavers", daemon=True)
        self.asked: list[Asked] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.finish()

    def finish(self) -> None:
        """Ask for no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._luck.uniform(*EVERY_S)):
            person = self._luck.choice(self._people)
            try:
                found = requests.erase(Deployment(self._config), f"user_id:{person}", by=BY)
            except MillraceError:  # not known (yet, or again), or Redis is away: the next one, then
                continue
            self.asked.append(Asked(found.request.id, time.time_ns() // 1_000_000))


class Erasures(msgspec.Struct, frozen=True):
    """What became of all that was asked for."""

    done: int  # each with a receipt that is genuine, and with nothing left
    incomplete: list[str]  # what is wrong with the others
    cut: int  # asked for in a moment that Redis lost


def are_done(config: Config) -> bool:
    """Return whether no erasure is under way. Raises `Unreachable`."""
    return not requests.everything(Deployment(config), unfinished=True)


def judge_erasures(
    deployment: Deployment,
    asked: Sequence[Asked],
    watch: JournalWatch,
    book: Book,
    told: Callable[[str], bool],
) -> Erasures:
    """Judge all erasures, of a deployment that is at rest. `told`: whether the receiver was asked to delete
    for the request of this id. Raises `Unreachable`."""
    there = {request.id: request for request in requests.everything(deployment, unfinished=False)}
    named = [*_named(book)]
    incomplete: list[str] = []
    whole = Counter[bool]()
    for request in there.values():
        wrong = [*_wrong(deployment, request, named, told)]
        incomplete += [f"{request.id}: {one}" for one in wrong]
        whole[not wrong] += bool(request.receipt)
    missing = {one.request: one for one in asked if one.request not in there}
    for one in missing.values():
        if not watch.is_forgotten(one.at_ms, one.at_ms):
            incomplete.append(f"{one.request}: asked for and confirmed, and there is no such request")
    cut = sum(watch.is_forgotten(one.at_ms, one.at_ms) for one in missing.values())
    return Erasures(done=whole[True], incomplete=incomplete, cut=cut)


def _wrong(
    deployment: Deployment, request: PrivacyRequest, named: Sequence[Named], told: Callable[[str], bool]
) -> Iterator[str]:
    if request.step != Step.DONE:
        yield f"is not done, but {request.step}"
        return
    if not request.receipt:
        if not (request.joined or request.note):
            yield "has no receipt"
        return
    if fault := receipt_fault(deployment, request):
        yield fault
    yield from remains(deployment, request, named)
    if not told(request.id):
        yield "no receiver was asked to delete"


def _named(book: Book) -> Iterator[Named]:
    for person, sessions in book.sessions.items():
        yield "user_id", person
        yield from (("anonymous", session) for session in sessions)
