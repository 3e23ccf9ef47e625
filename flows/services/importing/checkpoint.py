"""How far an import is: a small file that is replaced after each batch that the log has, so that a killed one
goes on where it was.

What was sent after the last one is sent again under the same messageIds, and dropped as a duplicate.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from schemas.errors import ConfigError


class Progress(msgspec.Struct):
    """All about rows that are done with: acknowledged by the log, or rejected."""

    row: int = 0  # the last one
    sent: int = 0
    rejected: dict[str, int] = {}  # reason -> rows
    bad: dict[str, int] = {}  # field:reason -> rows that were sent with a bad value in it
    bad_rows: dict[str, list[int]] = {}  # field:reason -> the first of these rows
    rejects_bytes: int = 0  # of the file that lists them
    done: bool = False


class Checkpoint:
    """`<folder>/<import>.json`, and `<import>.rejects.csv` beside it: number and reason of each rejected row,
    none of its data."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.json"
        self.rejects = folder / f"{name}.rejects.csv"
        self.progress = (
            msgspec.json.decode(self.path.read_bytes(), type=Progress) if self.path.exists() else Progress()
        )
        with self.rejects.open("ab") as file:
            file.truncate(self.progress.rejects_bytes)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, name: str) -> Iterator["Checkpoint"]:
        """Open it. Raises `ConfigError` while another process imports the same."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError("another process is importing this file") from None
            yield cls(folder, name)

    def save(self, rejects: str) -> None:
        """Write it down. `rejects`: the lines that are new."""
        with self.rejects.open("ab") as file:
            file.write(rejects.encode())
            self.progress.rejects_bytes = file.tell()
            _to_disk(file.fileno())
        fresh = self.path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(self.progress))
            _to_disk(file.fileno())
        fresh.replace(self.path)


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)
