"""What a dry run says about customers: who is known, who would be new, who would become one. Reads only.

Each row is looked up as the directory is now. New identifiers are remembered in a temporary file rather than in memory, so that rows
of one new customer count once.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

import msgspec

from schemas.identity import Identifier

Lookup = Callable[[Sequence[bytes]], list[bytes | None]]


class Outlook(msgspec.Struct):
    """Counts of rows that would be sent."""

    known: int = 0  # of a customer that there is
    attached: int = 0  # of these, with an identifier that is new
    united: int = 0  # of these, with identifiers of two customers or more, which become one where no limit forbids it
    created: int = 0  # of nobody that is known: a new customer
    joined: int = 0  # of a new customer of an earlier row


class Preview:
    """`with Preview(lookup) as preview: preview.add(identifiers of a batch's rows)`."""

    def __init__(self, lookup: Lookup) -> None:
        self.outlook = Outlook()
        self._lookup = lookup
        self._folder = tempfile.TemporaryDirectory(prefix="mr-")
        self._seen = sqlite3.connect(Path(self._folder.name) / "seen", isolation_level=None)
        self._seen.execute("PRAGMA synchronous = off")
        self._seen.execute("PRAGMA journal_mode = off")
        self._seen.execute("CREATE TABLE seen (id BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, rows: Sequence[Sequence[Identifier]]) -> None:
        hashes = list(dict.fromkeys(identifier.hash for row in rows for identifier in row))
        roots = dict(zip(hashes, self._lookup(hashes), strict=True)) if hashes else {}
        for row in rows:
            found = [roots[identifier.hash] for identifier in row]
            customers = {root for root in found if root is not None}
            fresh = [(identifier.hash,) for identifier, root in zip(row, found, strict=True) if root is None]
            seen = self._any_seen(fresh)
            self._seen.executemany("INSERT OR IGNORE INTO seen VALUES (?)", fresh)
            if customers:
                self.outlook.known += 1
                self.outlook.attached += bool(fresh)
                self.outlook.united += len(customers) > 1
            elif seen:
                self.outlook.joined += 1
            else:
                self.outlook.created += 1

    def _any_seen(self, fresh: list[tuple[bytes]]) -> bool:
        return any(self._seen.execute("SELECT 1 FROM seen WHERE id = ?", one).fetchone() for one in fresh)

    def __enter__(self) -> "Preview":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with closing(self._seen):
            pass
        self._folder.cleanup()
