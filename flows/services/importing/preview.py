"""What a dry run says about customers: who is known, who would be new, who would become one or go before a
steward. Reads only.

Each row is looked up as the directory is now. New identifiers are remembered in a temporary file rather than
in memory, so that rows of one new customer count once.
"""

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Protocol

import msgspec

from flows.services.importing.foresee import Apart, Foreseen, Held, foresee
from schemas.records.identity_graph import Identifier
from state.directory.policy import Policy


class Directory(Protocol):
    def lookup(self, identifiers: Sequence[bytes]) -> list[bytes | None]: ...


class Ledger(Protocol):
    def holdings(self, roots: Sequence[bytes]) -> list[tuple[list[bytes], list[Identifier]]]: ...
    def cannot_link(self, origins: Sequence[bytes]) -> list[list[bytes]]: ...


class Nobody:
    """The directory and the ledger of a deployment that there is not yet, or that does not run."""

    def lookup(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        return [None] * len(identifiers)

    def holdings(self, roots: Sequence[bytes]) -> list[tuple[list[bytes], list[Identifier]]]:
        return [([], []) for _ in roots]

    def cannot_link(self, origins: Sequence[bytes]) -> list[list[bytes]]:
        return [[] for _ in origins]


class Outlook(msgspec.Struct):
    """Counts of rows that would be sent."""

    known: int = 0  # of a customer that there is
    attached: int = 0  # of these, with a new identifier for it
    united: int = 0  # of these, with identifiers of two customers or more, which become one
    moved: int = 0  # of these, with an identifier that goes over from another user
    review: int = 0  # of these, with something that a steward is asked about
    refused: int = 0  # of these, with something that a limit or a rule forbids
    created: int = 0  # of nobody that is known: a new customer
    joined: int = 0  # of a new customer of an earlier row


class Preview:
    """`with Preview(...) as preview: preview.add(identifiers of a batch's rows)`. Raises `Unreachable`."""

    def __init__(self, directory: Directory, ledger: Ledger, policy: Policy, limits: Sequence[int]) -> None:
        self.outlook = Outlook()
        self._directory, self._ledger, self._policy, self._limits = directory, ledger, policy, limits
        self._folder = tempfile.TemporaryDirectory(prefix="mr-")
        self._seen = sqlite3.connect(Path(self._folder.name) / "seen", isolation_level=None)
        self._seen.execute("PRAGMA synchronous = off")
        self._seen.execute("PRAGMA journal_mode = off")
        self._seen.execute("CREATE TABLE seen (id BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, rows: Sequence[Sequence[Identifier]]) -> None:
        """Add the rows of a batch, with a few commands for all of them."""
        hashes = list(dict.fromkeys(identifier.hash for row in rows for identifier in row))
        roots = dict(zip(hashes, self._directory.lookup(hashes), strict=True)) if hashes else {}
        held, apart = self._customers([[roots[identifier.hash] for identifier in row] for row in rows])
        for row in rows:
            found = [roots[identifier.hash] for identifier in row]
            fresh = [(identifier.hash,) for identifier, root in zip(row, found, strict=True) if root is None]
            seen = self._any_seen(fresh)
            self._seen.executemany("INSERT OR IGNORE INTO seen VALUES (?)", fresh)
            if len(fresh) < len(row):
                self.outlook.known += 1
                if fresh or len(set(found)) > 1:
                    self._foresee(foresee(row, found, held, apart, self._policy, self._limits))
            elif seen:
                self.outlook.joined += 1
            else:
                self.outlook.created += 1

    def _customers(self, rows: Sequence[Sequence[bytes | None]]) -> tuple[Held, Apart]:
        """Those of rows that would change something."""
        several = [{root for root in row if root is not None} for row in rows if len(set(row)) > 1]
        roots = sorted(set[bytes]().union(*several))
        holdings = self._ledger.holdings(roots)
        held = {root: identifiers for root, (_, identifiers) in zip(roots, holdings, strict=True)}
        many = sorted(set[bytes]().union(*(customers for customers in several if len(customers) > 1)))
        origins = {root: origins for root, (origins, _) in zip(roots, holdings, strict=True) if root in many}
        owner = {origin: root for root, members in origins.items() for origin in members}
        apart: dict[bytes, set[bytes]] = {}
        for origin, others in zip(owner, self._ledger.cannot_link(list(owner)), strict=True):
            apart.setdefault(owner[origin], set()).update(owner[other] for other in others if other in owner)
        return held, apart

    def _foresee(self, found: Foreseen) -> None:
        for name in found.__struct_fields__:
            setattr(self.outlook, name, getattr(self.outlook, name) + getattr(found, name))

    def _any_seen(self, fresh: list[tuple[bytes]]) -> bool:
        return any(self._seen.execute("SELECT 1 FROM seen WHERE id = ?", one).fetchone() for one in fresh)

    def __enter__(self) -> "Preview":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with closing(self._seen):
            pass
        self._folder.cleanup()
