"""An app that sends small batches without a pause, each again (with the same ids) until it is
acknowledged."""

import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.waiting import WITHIN_S, eventually

Batch = list[dict[str, Any]]
Store = Callable[[Batch], bool]  # whether a batch was acknowledged
PAUSE_S = 0.02
RETRY_S = 0.1


class Publisher:
    """A context: it sends while that is open, and on leaving all that it has begun is acknowledged. `batch`
    makes the n-th one."""

    def __init__(self, batch: Callable[[int], Batch], store: Store) -> None:
        self.sent: dict[str, str] = {}  # user by messageId, all acknowledged
        self.retries = 0
        self._batch, self._store = batch, store
        self._batches = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive(), "a batch was never acknowledged"

    def await_batches(self, count: int) -> None:
        """Wait until this many more are acknowledged."""
        wanted = self._batches + count
        eventually(lambda: self._batches >= wanted, lambda: f"{count} batches")

    def _run(self) -> None:
        for number in itertools.count():
            if self._over.is_set():
                return
            batch = self._batch(number)
            while not self._store(batch):
                self.retries += 1
                time.sleep(RETRY_S)
            self.sent |= {event["messageId"]: event["userId"] for event in batch}
            self._batches += 1
            time.sleep(PAUSE_S)
