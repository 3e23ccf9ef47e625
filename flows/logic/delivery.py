"""When to try again: the state machines of delivery. No clock and no randomness here; both are arguments.

    Backoff    how long to wait before the next attempt (exponential, full jitter)
    Breaker    whether a connector gets calls at all just now
    Progress   how far a connector has come in one shard, whatever the order in which things finish
    Waiting    what is due, earliest first

Times are milliseconds of any clock that only goes forward.
"""

from collections import deque
from heapq import heappop, heappush
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Backoff(msgspec.Struct, frozen=True):
    """Exponential backoff with full jitter: uniform between nothing and `base_ms` doubled for each attempt,
    up to `max_ms`.

    Full jitter spreads the clients of a recovering server best, at the least total work
    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    >>> Backoff(base_ms=500, max_ms=300_000).delay_ms(attempt=3, chance=0.5)
    1000.0
    """

    base_ms: int
    max_ms: int

    def delay_ms(self, attempt: int, chance: float) -> float:
        """Return the pause after the failed `attempt` (1 is the first); `chance` is uniform in [0, 1)."""
        return chance * min(self.max_ms, self.base_ms << min(attempt - 1, 62))


class BreakerPolicy(msgspec.Struct, frozen=True):
    """After `failures` in a row a connector rests for `rest_ms`; then one probe decides."""

    failures: int
    rest_ms: int


class Breaker:
    """Closed: all calls go. Open: none until the rest is over. Half open: one probe; its outcome closes or
    opens it.

    A receiver that names a pause itself (Retry-After) gets it, whatever the count of failures. A pause of
    nothing is none: it neither opens the breaker nor ends a rest.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._failed = 0  # in a row
        self._until_ms: float | None = None  # not closed: when the probe may go
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Return True from the failure that opened it to the success that closes it."""
        return self._until_ms is not None

    def wait_ms(self, now_ms: float) -> float | None:
        """Return how long until calls may go: 0 at once, None when only the probe's outcome can say."""
        if self._until_ms is None:
            return 0
        return None if self._probing else max(0, self._until_ms - now_ms)

    def admit(self, now_ms: float, wanted: int) -> int:
        """Return how many of `wanted` deliveries may go now: all, one as the probe, or none. Each must be
        followed by an outcome."""
        if self._until_ms is None or wanted == 0:
            return wanted
        if self._probing or now_ms < self._until_ms:
            return 0
        self._probing = True
        return 1

    def succeeded(self) -> None:
        """Note that the receiver answered: whatever it said about this delivery, it is alive."""
        self._failed, self._until_ms, self._probing = 0, None, False

    def failed(self, now_ms: float, pause_ms: float | None = None) -> None:
        """Note that the receiver did not take a delivery, and asks for `pause_ms` if given."""
        self._failed += 1
        if pause_ms is not None and pause_ms > 0:
            self._rest_until(max(self._until_ms or 0, now_ms + pause_ms))
        elif self._until_ms is None:
            if self._failed >= self._policy.failures:
                self._rest_until(now_ms + self._policy.rest_ms)
        elif (
            now_ms >= self._until_ms
        ):  # the probe; what fails earlier began before the breaker opened and tells nothing new
            self._rest_until(now_ms + self._policy.rest_ms)

    def _rest_until(self, until_ms: float) -> None:
        self._until_ms, self._probing = until_ms, False


class Progress:
    """One shard as one connector sees it. Entries are taken in rising order and finish in any.

    `cursor` is what may be stored: every entry up to it has finished. It passes over sequence numbers that do
    not exist.
    """

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self._taken: deque[int] = deque()
        self._finished: set[int] = set()

    @property
    def span(self) -> int:
        """Return how many entries were taken that the cursor has not passed: what a crash would deliver
        again, at most."""
        return len(self._taken)

    def take(self, seq: int) -> None:
        """Begin to work on `seq`, which is larger than every one taken before."""
        self._taken.append(seq)

    def finish(self, seq: int) -> None:
        """Settle `seq` for good; move the cursor if it was the lowest that was not."""
        self._finished.add(seq)
        while self._taken and self._taken[0] in self._finished:
            self.cursor = self._taken.popleft()
            self._finished.remove(self.cursor)


class Waiting(Generic[T]):
    """Items with the time when each is due. Those due at the same time come out in the order of their
    `rank`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, due_ms: float, rank: int, item: T) -> None:
        """Add an item; `rank` is different for every item."""
        heappush(self._heap, (due_ms, rank, item))

    def pop(self, now_ms: float, count: int) -> list[T]:
        """Return up to `count` items that are due, and remove them."""
        out: list[T] = []
        while self._heap and len(out) < count and self._heap[0][0] <= now_ms:
            out.append(heappop(self._heap)[2])
        return out

    def clear(self) -> list[T]:
        """Return all items, due or not, and remove them."""
        items = [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2])]
        self._heap.clear()
        return items

    def wait_ms(self, now_ms: float) -> float | None:
        """Return how long until the next item is due; None if there is none."""
        return max(0, self._heap[0][0] - now_ms) if self._heap else None
