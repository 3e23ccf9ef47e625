"""When each entry of the journal was there, by the clock of who counts: the processes' own are set wrong on
purpose."""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from schemas.errors import MillraceError
from state.redis.client import reported

LOOK_S: Final = 0.05
BACK_MS: Final = 1_500  # what a server that came back older forgot may be that much older than what was seen


class JournalWatch:
    """A context: looks at the head of the journal while it lasts. `head` may fail: there is no look then."""

    def __init__(self, head: Callable[[], int]) -> None:
        self._head = head
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._at_ms: list[int] = []
        self._heads: list[int] = []
        self.forgotten_ms: list[tuple[int, int]] = []  # what was said in these times may be unsaid

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def saw(self, at_ms: int, head: int) -> None:
        """Note that the journal was that long at this moment, or before it."""
        first_ms = at_ms
        while self._heads and self._heads[-1] > head:
            first_ms = self._at_ms.pop()
            self._heads.pop()
        if first_ms != at_ms:
            self.forgotten_ms.append((first_ms - BACK_MS, at_ms))
        self._at_ms.append(at_ms)
        self._heads.append(head)

    def surely(self, at_ms: int) -> int:
        """Return an entry that was there at this moment, as new a one as is known."""
        found = bisect_right(self._at_ms, at_ms)
        return self._heads[found - 1] if found else 0

    def maybe(self, at_ms: int) -> int:
        """Return an entry behind which none was there at this moment."""
        after = bisect_right(self._at_ms, at_ms) + 1  # the next look may have begun before
        return self._heads[min(after, len(self._heads) - 1)] if self._heads else 0

    def there_ms(self, entry: int) -> int:
        """Return a moment at which an entry was there, as early a one as is known."""
        found = bisect_left(self._heads, entry)
        return self._at_ms[min(found, len(self._at_ms) - 1)] if self._at_ms else 0

    def is_forgotten(self, since_ms: int, until_ms: int) -> bool:
        """Return whether something of what held between these moments may be unsaid."""
        return any(since <= until_ms and since_ms <= until for since, until in self.forgotten_ms)

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            with suppress(MillraceError), reported():
                head = self._head()
                self.saw(time.time_ns() // 1_000_000, head)
