"""Orders about identities: read, judged, put into the raw log, and waited for.

The directory carries out an order when `resolve` comes to it, and keeps no receipt. So what was wanted is
looked for; where it does not come to be though `resolve` is past the order, it was refused, and `objection`
says why.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import compress
from typing import Final, Literal

import msgspec

from connectors.raw.log import START, RawReader, RawWriter
from flows.logic.fields.identifiers import Identifiers
from flows.logic.resolution.identity_orders import STEWARD, OrderReader
from schemas.config import Identity
from schemas.errors import LogFull, Unusable
from schemas.records.identity_graph import Order
from schemas.wire.events import RawEvent, Reject
from state.directory.directory_protocol import Directory
from state.directory.ledger import Ledger
from state.directory.policy import Policy, holds

POLL_S: Final = 0.05
LOOK_S: Final = 1.0  # that long only what was wanted is looked for


class Given(msgspec.Struct, frozen=True):
    """What became of an order."""

    state: Literal["done", "refused", "waiting"]
    why: str = ""


class OrderDesk:
    """Judges orders by what the directory holds now. Raises `Unreachable` as its parts do."""

    def __init__(
        self, identity: Identity, policy: Policy, hashes: Identifiers, directory: Directory, ledger: Ledger
    ) -> None:
        self._names = [namespace.name for namespace in identity.namespace]
        self._limits = [namespace.limit for namespace in identity.namespace]
        self._policy = policy
        self._reader = OrderReader(hashes, ())
        self.directory = directory
        self.ledger = ledger

    def read(self, document: bytes) -> Order | Reject:
        """Read it as `resolve` will."""
        return self._reader.read(
            event(document),
            Reject("type_unknown", "expected an order: type `identity`, `merge` or `unmerge`"),
        )

    def objection(self, order: Order) -> str:
        """Return why the directory would refuse it now; empty where nothing stands against it."""
        match order.kind:
            case "undo":
                return self._no_undo(int.from_bytes(order.a))
            case "release":
                return "" if order.a in self.directory.suspended() else "this identifier is not suspended"
        roots = self._roots(order)
        if roots is None:
            return "nobody is known by one of these"
        a, b = roots
        if order.kind == "apart" and a == b:
            return "they are one customer: `unlink` undoes the union that made them one"
        if (
            order.kind == "unlink"
            and order.a == order.b
            and (order.origins or len(self.ledger.members(a)[1]) == 1)
        ):
            return "a customer cannot be parted from itself"
        return self._no_union(a, b, order) if order.kind == "link" and a != b else ""

    def carried_out(self, order: Order) -> bool:
        """Return whether all is as the order wants it."""
        match order.kind:
            case "undo":
                return not self.stands(int.from_bytes(order.a))
            case "release":
                return order.a not in self.directory.suspended()
        roots = self._roots(order)
        if roots is None:
            return False
        a, b = roots
        match order.kind:
            case "link":
                return a == b
            case "unlink" if order.a == order.b:
                return len(self.ledger.members(a)[1]) == 1
            case "apart" | "unlink":
                return a != b and self._kept_apart(a, b)
            case _:
                mine, theirs = self.ledger.members(a)[0], self.ledger.members(b)[0]
                return not any(
                    (pair.a in mine and pair.b in theirs) or (pair.a in theirs and pair.b in mine)
                    for pair in self.ledger.reviews()
                )

    def stands(self, seq: int) -> bool:
        """Return whether the ledger has a union of this number, and it was not undone."""
        entry = self.ledger.union(seq)
        return entry is not None and any(
            edge[0] == seq for edge in self.ledger.edges(self.directory.root(entry.one))
        )

    def _roots(self, order: Order) -> tuple[bytes, bytes] | None:
        if order.origins:
            a, b = self.directory.root(order.a), self.directory.root(order.b)
            return (a, b) if self.ledger.members(a)[0] and self.ledger.members(b)[0] else None
        found, other = self.directory.lookup([order.a, order.b])
        return (found, other) if found is not None and other is not None else None

    def _no_undo(self, seq: int) -> str:
        entry = self.ledger.union(seq)
        if entry is None:
            return (
                f"the ledger has no union {seq}: there never was one, or it is "
                "older than identity.ledger reaches"
            )
        if entry.kind == "undo":
            return f"entry {seq} is itself an undo: `link` unites them again"
        return "" if self.stands(seq) else f"union {seq} was undone before"

    def _no_union(self, a: bytes, b: bytes, order: Order) -> str:
        (own, mine), (others, theirs) = self.ledger.members(a), self.ledger.members(b)
        together = [(one.strength, one.hash) for one in (*mine, *theirs)]
        spared = {
            *own,
            *others,
            *compress((each for _, each in together), self.ledger.alone([each for _, each in together])),
        }
        if not order.forced and all(
            any(holds(self._policy.verified, one.strength) for one in held) for held in (mine, theirs)
        ):
            return "both are verified: only `forced` unites them"
        for strength, limit in enumerate(self._limits):
            counts = [sum(one.strength == strength for one in held) for held in (mine, theirs)]
            excess = sum(counts) - limit
            if (
                all(counts)
                and excess > 0
                and self._policy.forbids(strength, excess, order.by, together, spared)
            ):
                return (
                    f"together they would have {sum(counts)} of {self._names[strength]}, the limit is {limit}"
                )
        return ""

    def _kept_apart(self, a: bytes, b: bytes) -> bool:
        found = self.ledger.cannot_link(self.ledger.members(b)[0])
        return any(self.directory.root(other) == a for others in found for other in others)


def event(document: bytes) -> RawEvent:
    """Return an order as it lies in the raw log."""
    return RawEvent(document, time.time_ns() // 1_000_000, STEWARD)


async def put(writer: RawWriter, events: Sequence[RawEvent]) -> None:
    """Put events of ours into the raw log, in this order; wait while it is full. Raises `Unreachable`."""
    while events:
        with suppress(LogFull):
            await writer.append([(event.source, event) for event in events])
            return
        await asyncio.sleep(1)


def put_now(writer: Callable[[], RawWriter], events: Sequence[RawEvent]) -> None:
    """Do so where nothing else runs. Raises `Unreachable`."""

    async def opened_and_closed() -> None:
        opened = writer()
        try:
            await put(opened, events)
        finally:
            await opened.close()

    asyncio.run(opened_and_closed())


def give(
    desk: OrderDesk,
    document: bytes,
    writer: Callable[[], RawWriter],
    reader: Callable[[], RawReader],
    wait_s: float = 15.0,
) -> Given:
    """Have it carried out, and say what became of it. Raises `Unusable` for what is no order."""
    order = desk.read(document)
    if isinstance(order, Reject):
        raise Unusable(f"{order.reason}: {order.detail}")
    if why := desk.objection(order):
        return Given("refused", why)
    put_now(writer, [event(document)])
    return _await(desk, order, reader, wait_s)


def _await(desk: OrderDesk, order: Order, reader: Callable[[], RawReader], wait_s: float) -> Given:
    began, mark = time.monotonic(), None
    try:
        while (waited := time.monotonic() - began) < wait_s:
            if desk.carried_out(order):
                return Given("done")
            if waited > LOOK_S:
                mark = mark or Mark(reader, desk.directory)
                if mark.passed():
                    return (
                        Given("done")
                        if desk.carried_out(order)
                        else Given("refused", desk.objection(order) or _LATE)
                    )
            time.sleep(POLL_S)
    finally:
        if mark is not None:
            mark.close()
    return Given(
        "waiting",
        f"not within {wait_s:g} s: `resolve` does not run, or is far behind; the order waits in the raw log",
    )


_LATE: Final = (
    "nothing in the ledger stands between them that could be undone, or a guard forbade it at that moment"
)


class Mark:
    """Says when all that lies in the raw log now has been resolved."""

    def __init__(self, reader: Callable[[], RawReader], directory: Directory) -> None:
        self._directory = directory
        self._first, self._later = reader(), reader()
        self._partitions = self._first.partitions()
        self._first.assign(self._positions())
        self._ahead = {partition: entries for partition, entries in self._first.lag().items() if entries}

    def passed(self) -> bool:
        """Return what was passed: what was read since is what lay behind the first position, without what
        lies behind the one of now."""
        if self._ahead:
            before = self._first.lag()
            self._later.assign(self._positions())
            now = self._later.lag()
            self._ahead = {
                partition: entries
                for partition, entries in self._ahead.items()
                if now[partition] and before[partition] - now[partition] < entries
            }
        return not self._ahead

    def close(self) -> None:
        self._first.close()
        self._later.close()

    def _positions(self) -> dict[str, int]:
        offsets = self._directory.offsets()
        return {partition: offsets.get(partition, START) for partition in self._partitions}
