"""Whether what was stored and sent is what customers allowed, at each place of the stream.

The twin lives through the journal, and a witness with an idea of its own of consent looks at each window: at
the events as they were sent, out of the book, and at what became of them. It says of each customer from which
entry of the journal on they might be written to. What the receiver got is compared with that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from flows.dispatch.dispatcher import VERDICT_MS
from flows.lab.chaos.booked_traffic import ORDER, Book
from flows.lab.chaos.journal_watch import JournalWatch
from flows.lab.chaos.site import CRM, MARKETING
from flows.lab.demo.trigger_receiver import Got
from flows.lab.simulate.consent_witness import Identify, Witness
from flows.runtime.archived_windows import events_of
from schemas.records.identity_graph import WindowCommit, WindowResult
from schemas.records.journal import WindowContent
from schemas.records.shard_log import NotSent
from schemas.wire.events import Fact, RawEvent
from state.directory.graph import Graph
from state.directory.layout import Layout
from state.keys import DataKeys
from state.memory.memory_directory import MemoryDirectory

REQUEST_MS: Final = 2_000  # `timeout` of the connector: for so long a delivery may be on its way
TOLERATED_MS: Final = int(VERDICT_MS) + REQUEST_MS
REFUSED_MS: Final = 15_000  # so long before its record the door may have asked, if Redis takes no record
ALLOWED, DENIED, GONE = "allowed", "denied", "gone"
_fact = msgspec.msgpack.Decoder(Fact).decode
_plain = msgspec.structs.replace
Raw = tuple[int, int, RawEvent]  # position, index, event


def is_behaviour(made: Mapping[str, Any]) -> bool:
    """Return whether a message is kept only where a purpose may use behaviour: an order is a transaction, and
    who says who it is says nothing of what it does."""
    return made["type"] in ("page", "track") and made.get("event") != ORDER


class WatchedDirectory(MemoryDirectory):
    """A twin that knows what each customer allowed, from which entry of the journal on."""

    def __init__(self, layout: Layout, log_max: int, identify: Identify, asked: Iterable[bytes]) -> None:
        """`asked`: the customers about whom it is going to be asked."""
        super().__init__(layout, lambda: 0, log_max=log_max)
        self.witness = Witness(is_behaviour)
        self.landed: list[tuple[str, bytes]] = []  # message and origin of each fact
        self._identify = identify
        self._asked = frozenset(asked)
        self._states: dict[bytes, list[tuple[int, str]]] = {}
        self._judged = self.graph
        self._here: dict[int, tuple[bytes, bytes]] = {}

    def _check_words(self, graph: Graph, window: WindowCommit) -> None:
        super()._check_words(graph, window)
        self._judged = graph.copy() if window.orders else graph  # before the orders of the window

    def _facts(self, landed: Sequence[Any]) -> dict[int, list[bytes]]:
        self._here = {id(fact): (root, origin) for fact, root, origin in landed}
        self.landed += [(_fact(fact.payload).message, origin) for fact, _, origin in landed if fact.payload]
        return super()._facts(landed)

    def live(self, window: WindowCommit, raw: Sequence[Raw]) -> WindowResult:
        """Commit a window, and look at it. `raw`: its events, as they were sent."""
        concerned = {*self._concerned(window)}
        result = self.commit(window)
        if raw:
            self.witness.saw(window, raw, self._judged, self._here, self._identify)
        concerned |= {*self._concerned(window), *(root for root, _ in self._here.values())}
        self._note(concerned, result.journal)
        return result

    def _concerned(self, window: WindowCommit) -> Iterator[bytes]:
        """Yield all that are one with those that the orders of a window name."""
        for order in window.orders:
            for origin in filter(None, (order.a, order.b)):
                yield from self.members(self.graph.root(origin))[0] or [origin]

    def _note(self, origins: Iterable[bytes], entry: int) -> None:
        for root in {self.graph.root(origin) for origin in origins}:
            members = self.members(root)[0] or [root]
            for member in self._asked.intersection(members):
                self._add(member, entry)
        for origin in self._asked.intersection(origins):
            if origin in self.graph.marks:
                self._add(origin, entry)

    def _add(self, origin: bytes, entry: int) -> None:
        if origin in self.graph.marks:
            state = GONE
        else:
            state = ALLOWED if self.witness.allows(origin, MARKETING, self.graph) else DENIED
        states = self._states.setdefault(origin, [(0, ALLOWED)])
        if states[-1][1] != state:
            states.append((entry, state))

    def states(self, customer: bytes, first: int, last: int) -> set[str]:
        """Return all that held for a customer from one entry of the journal to another."""
        found = {ALLOWED}
        for entry, state in self._states.get(customer, ()):
            if entry > last:
                break
            found = found | {state} if entry > first else {state}
        return found


# --- the events of a window


def raw_of(content: WindowContent, keys: DataKeys, book: Book) -> tuple[list[Raw], int]:
    """Return the events of a window, each as it was sent; and how many cannot be told any more: what was
    withheld of somebody who was erased since lies under a destroyed key, and no fact names it."""
    opened = events_of(content, keys)
    named = [None if event is None else _named(event) for event in opened]
    unnamed = _unnamed(content, named)
    raw: list[Raw] = []
    untold = 0
    for at, (event, name) in enumerate(zip(content.events, named, strict=True)):
        waiting = unnamed.get(event.received_ms, [])
        message = waiting.pop(0) if name is None and waiting else name
        if message is None:
            untold += 1
            continue
        sent = book.messages.get(message)
        value = (opened[at] or event).value if sent is None else msgspec.json.encode(sent.made)
        position = content.positions[at]
        raw.append((position, at - content.positions.index(position), _plain(event, value=value)))
    return raw, untold


def _named(event: RawEvent) -> str:
    message: str = msgspec.json.decode(event.value)["messageId"]
    return message


def _unnamed(content: WindowContent, named: Sequence[str | None]) -> dict[int, list[str]]:
    """Return the facts whose events cannot be opened, by when they were received. Of one publisher, and so of
    one customer, they are in the order of their numbers."""
    opened = Counter(name for name in named if name is not None)
    found: dict[int, list[str]] = {}
    for group in content.commit.groups:
        for fact in [_fact(routed.payload) for routed in group.facts if routed.payload]:
            if opened[fact.message] > 0:
                opened[fact.message] -= 1
            else:
                found.setdefault(fact.received_ms, []).append(fact.message)
    for waiting in found.values():
        waiting.sort(key=lambda message: int(message.rpartition(":")[2]))
    return found


# --- what was sent


class Refused(msgspec.Struct, frozen=True):
    """The door refused a trigger: an entry of the journal."""

    entry: int
    customer: bytes
    what: NotSent


def sent_against(
    arrived: Iterable[Got],
    states: Callable[[bytes, int, int], set[str]],
    watch: JournalWatch,
    paused_ms: Sequence[tuple[int, int]],
) -> tuple[list[Got], list[Got]]:
    """Return what was sent though its customer did not allow it, and what was sent about somebody who had
    been erased: in all that the door may have been told, by `states`, there was nothing else. `paused_ms`:
    deliver stood still, between the door and the receiver too."""
    denied: list[Got] = []
    gone: list[Got] = []
    for got in arrived:
        since_ms = got.arrived_ms - TOLERATED_MS
        for began_ms, ended_ms in paused_ms:
            if began_ms <= got.arrived_ms <= ended_ms + TOLERATED_MS:
                since_ms = min(since_ms, began_ms - TOLERATED_MS)
        if watch.is_forgotten(since_ms, got.arrived_ms):
            continue
        first, last = watch.surely(since_ms), watch.maybe(got.arrived_ms)
        held = states(bytes.fromhex(got.customer), first, last)
        if held == {GONE}:
            gone.append(got)
        elif got.purpose == MARKETING and ALLOWED not in held:
            denied.append(got)
    return denied, gone


def refused_without_reason(
    refused: Iterable[Refused], states: Callable[[bytes, int, int], set[str]], watch: JournalWatch
) -> list[Refused]:
    """Return what the door held back though its customer had allowed it all the time."""
    found = []
    for one in refused:
        at_ms = watch.there_ms(one.entry)
        if watch.is_forgotten(at_ms - REFUSED_MS, at_ms):
            continue
        if states(one.customer, watch.surely(at_ms - REFUSED_MS), one.entry) == {ALLOWED}:
            found.append(one)
    return found


def by_the_receiver(refused: Iterable[Refused]) -> set[str]:
    """Return the ids of the triggers that the door of the first receiver refused."""
    return {one.what.id for one in refused if one.what.connector == CRM}
