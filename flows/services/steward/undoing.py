"""Many unions undone at once, at a bounded rate: what a bad deploy united, what a rule of matching did.

Nothing is remembered between two starts: what still stands is looked for again, and to undo what is undone
does nothing.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from connectors.raw.log import RawWriter
from flows.logic.resolution.identity_orders import document
from flows.services.steward.desk import Sent, Steward
from flows.services.steward.orders import event, put
from schemas.records.identity_graph import ID_BYTES, Union
from schemas.records.outbox_lanes import Lane
from state.directory.directory_protocol import Directory
from state.directory.ledger import Ledger
from state.shards.shard_protocols import Shards

PAGE: Final = 1_000
STEPS_S: Final = 0.1  # so often some are given
PATIENCE_S: Final = 15.0  # without progress


class Wanted(msgspec.Struct, frozen=True):
    """Which unions. What is not given does not matter."""

    rule: str = ""  # by: event, match, link, or a source
    since_ms: int = 0
    until_ms: int = 2**62
    identifier: bytes = b""  # that the evidence is made of

    def covers(self, union: Union) -> bool:
        if (
            union.kind != "union"
            or not self.since_ms <= union.time_ms < self.until_ms
            or (self.rule and self.rule != union.by)
        ):
            return False
        return not self.identifier or (union.by == "event" and self.identifier in evidence(union))


class Outcome(msgspec.Struct, frozen=True):
    undone: int
    refused: int  # given, and still standing though `resolve` is past them; or it does not run
    sent: list[Sent]
    parted: int = 0  # identifiers that a suspended one had collected, and that are customers of their own now
    # what became of a suspended identifier that was still a customer's: done, refused, waiting; empty: there
    # was none
    taken_out: str = ""


def evidence(union: Union) -> tuple[bytes, bytes]:
    """Return the two identifiers that an event carried."""
    return union.evidence[1 : 1 + ID_BYTES], union.evidence[2 + ID_BYTES :]


def standing(ledger: Ledger, wanted: Wanted) -> list[int]:
    """Return the numbers of those that were not undone, the newest first."""
    found: dict[int, None] = {}
    for entry in entries(ledger, 0):
        if entry.kind == "undo":
            found.pop(entry.undone, None)
        elif wanted.covers(entry):
            found[entry.seq] = None
    return list(reversed(found))


def collected(directory: Directory, ledger: Ledger, identifier: bytes) -> list[bytes]:
    """Return what came to a customer by this identifier, and was nobody before: weaker ones that joined its
    origin after it."""
    [root] = directory.lookup([identifier])
    held = ledger.members(root)[1] if root is not None else []
    at = next((at for at, one in enumerate(held) if one.hash == identifier), len(held))
    later = [one.hash for one in held[at + 1 :] if one.strength > held[at].strength]
    [home, *homes] = ledger.homes([identifier, *later])
    return [one for one, its in zip(later, homes, strict=True) if its == home]


def entries(ledger: Ledger, after: int) -> Iterator[Union]:
    """Yield all behind a number, the oldest first."""
    while page := ledger.unions(after, PAGE):
        yield from page
        after = page[-1].seq


class Undoing:
    """One run. `said(done)` is called as it goes on."""

    def __init__(
        self,
        steward: Steward,
        directory: Directory,
        ledger: Ledger,
        shards: Shards,
        rate: int,
        said: Callable[[int], None],
    ) -> None:
        self._steward, self._directory, self._ledger, self._shards = steward, directory, ledger, shards
        self._rate = rate
        self._said = said

    def run(self, unions: Sequence[int], writer: Callable[[], RawWriter]) -> Outcome:
        """Undo these, `rate` a second. Raises `Unreachable`."""
        newest = self._ledger.newest(2**48, 1)
        before = {shard: head.outbox.get(Lane.DECISIONS, 0) for shard, head in self._shards.heads().items()}
        followed = _Followed(self._ledger, newest[0].seq if newest else 0, unions)
        self._give([document("undo", union=seq) for seq in unions], writer, followed.look)
        self._settle()
        sent = list(self._steward.sent(before))
        return Outcome(followed.done, len(unions) - followed.done, sent)

    def part(self, identifier: bytes, others: Sequence[bytes], writer: Callable[[], RawWriter]) -> int:
        """Make these, which lie in one origin with the identifier, customers of their own; how many are.
        Raises `Unreachable`."""

        def look() -> int:
            [root, *roots] = self._directory.lookup([identifier, *others])
            return sum(one != root for one in roots)

        named = [[("identifier", one.hex()) for one in (identifier, other)] for other in others]
        self._give([document("unlink", *both) for both in named], writer, look)
        return look()

    def _give(
        self, documents: Sequence[bytes], writer: Callable[[], RawWriter], look: Callable[[], int]
    ) -> None:
        """`look`: how many were carried out by now."""
        asyncio.run(self._put(documents, writer, look))
        _until(look, len(documents), self._said)

    async def _put(
        self, documents: Sequence[bytes], writer: Callable[[], RawWriter], look: Callable[[], int]
    ) -> None:
        opened = writer()
        step = max(1, round(self._rate * STEPS_S))
        pause_s = step / self._rate
        try:
            for at in range(0, len(documents), step):
                began = time.monotonic()
                await put(opened, [event(one) for one in documents[at : at + step]])
                self._said(look())
                await asyncio.sleep(max(0.0, began + pause_s - time.monotonic()))
        finally:
            await opened.close()

    def _settle(self) -> None:
        """Until the shards have applied what is in their logs now; what was sent meanwhile is known then."""
        ends = self._directory.heads()
        _until(
            lambda: sum(head.offset >= ends[shard] for shard, head in self._shards.heads().items()), len(ends)
        )


def _until(done: Callable[[], int], all_of_them: int, said: Callable[[int], None] = lambda _: None) -> None:
    """All are, or nothing has changed for a while."""
    last, moved = -1, time.monotonic()
    while (now := done()) < all_of_them and time.monotonic() - moved < PATIENCE_S:
        if now != last:
            last, moved = now, time.monotonic()
            said(now)
        time.sleep(STEPS_S)
    said(now)


class _Followed:
    """Which of the chosen the ledger says are undone by now."""

    def __init__(self, ledger: Ledger, after: int, unions: Iterable[int]) -> None:
        self._ledger, self._after = ledger, after
        self._left = set(unions)
        self._all = len(self._left)

    def look(self) -> int:
        for entry in entries(self._ledger, self._after):
            self._after = entry.seq
            self._left.discard(entry.undone)
        return self.done

    @property
    def done(self) -> int:
        return self._all - len(self._left)
