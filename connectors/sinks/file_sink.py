"""Triggers as lines of JSON (structured CloudEvents) at the end of a file. Safe on disk before they count as
delivered."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from connectors.sinks.sink import DELIVERED, Delivery, Failed, Outcome, Retry, encode_each
from schemas.wire import cloudevents

_TAIL_BYTES = 65_536


class FileSink:
    """Appends. The file is opened for each batch, so it may be moved away (logrotate) at any time.

    Several workers may write to one file: each batch is written under a lock. A line torn by a crash or a
    full disk is taken back, its triggers were never acknowledged.
    """

    batch_max = 2_000

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source

    def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """Append all of the batch or nothing of it; a disk that fails is a `Retry`."""
        bodies = encode_each(
            batch, lambda item: cloudevents.structured(item.trigger, self._source, item.identifiers) + b"\n"
        )
        try:
            self._append(b"".join(body for body in bodies if isinstance(body, bytes)))
        except OSError as error:
            return [body if isinstance(body, Failed) else Retry(f"file: {error.strerror}") for body in bodies]
        return [body if isinstance(body, Failed) else DELIVERED for body in bodies]

    def close(self) -> None:
        """Do nothing: nothing stays open between batches."""

    def _append(self, block: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # released by close
            end = _whole_lines(file)
            try:
                _write_all(file, block)
                os.fsync(file)
            except OSError:
                os.ftruncate(file, end)
                raise
        finally:
            os.close(file)


def _write_all(file: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(file, view) :]


def _whole_lines(file: int) -> int:
    """Cut a torn last line off; the size after that."""
    size = end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return end
