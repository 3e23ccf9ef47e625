"""What an import is told, and what it says of itself."""

from pathlib import Path
from typing import Final

import msgspec

from flows.services.importing.mapping import Kind
from flows.services.importing.preview import Outlook
from schemas.records.identity_graph import Identifier
from schemas.wire.events import RawEvent

BATCH: Final = 1_000  # rows between two checkpoints
# Of a dry run without a deployment: what is hashed with it is compared, and thrown away.
NO_KEY: Final = bytes(32)
Rejected = tuple[int, str, str]  # row, reason, detail


class Job(msgspec.Struct, frozen=True):
    """What the command line says."""

    path: Path
    pairs: tuple[str, ...]
    kind: Kind
    event: str | None
    source: str
    sheet: str | None
    encoding: str | None
    quoted: bool = True  # quotes hold a cell of a CSV file together
    zone: str = "UTC"  # of times that come without one
    backfill: bool = True  # the rows are history: nothing is sent because of them


class Batch(msgspec.Struct):
    """Rows between two checkpoints."""

    events: list[tuple[str, RawEvent]] = []
    identifiers: list[list[Identifier]] = []
    rejects: list[Rejected] = []
    bad: list[tuple[int, str]] = []  # row, what is bad in it
    row: int = 0


class Summary(msgspec.Struct):
    """What came of it, over all starts."""

    rows: int
    sent: int
    rejected: dict[str, int]
    bad: dict[str, int]
    bad_rows: dict[str, list[int]]  # the first of each
    rejects: str  # the file that lists them
    seconds: float  # of this start
    rows_per_second: int  # as well
    outlook: Outlook | None = None
    backfill: bool = True  # nothing is sent because of these rows
