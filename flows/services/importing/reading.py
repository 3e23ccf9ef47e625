"""Rows of a table, each judged as `resolve` would judge it as an event."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from zoneinfo import ZoneInfo

import msgspec

from connectors.files.cells import Broken, Row
from connectors.files.table_rows import Rows, TableFile
from flows.logic.expressions.numbers import number_of
from flows.logic.fields.check import OK, QUALITY
from flows.logic.fields.quality import NOT_A_NUMBER
from flows.logic.fields.values import is_rounded
from flows.logic.message import Checked
from flows.logic.resolution.validation import Validator
from flows.logic.rules.ruleset import read_as_number
from flows.services.importing.column_values import is_missing
from flows.services.importing.forms import Forms
from flows.services.importing.job import BATCH, Batch, Job
from flows.services.importing.mapping import Kind, builder, guessed, mapping
from schemas.config import Config
from schemas.errors import ConfigError
from schemas.wire.events import RawEvent, Reject

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Reader:
    """Turns rows into batches of judged events. `after`: rows up to this one were done by an earlier
    start."""

    def __init__(
        self, job: Job, table: TableFile, validator: Validator, name: str, config: Config, after: int = 0
    ) -> None:
        """Begin to read. Raises `ConfigError` for a mapping that does not fit the file."""
        self._source, self._validator, self._name, self._after = job.source, validator, name, after
        # More rows of one customer in one batch could not be told from new ones if they were sent again.
        self._per_customer = max(1, config.shards.dedupe // 2)
        rows = table.rows()
        self.places = mapping(job.pairs, job.kind)
        begin: list[tuple[int, Row | Broken]] = []
        named: list[str] | None = None
        for number, row in rows:  # up to the first good one
            begin.append((number, row))
            if not isinstance(row, Broken):
                named = list(row)
                break
            if len(begin) == BATCH:
                raise ConfigError(
                    f"{table.path.name}: none of its first {BATCH:,} rows can be read: "
                    f"{row.reason} {row.detail}"
                )
        columns = named if table.columns is None else table.columns
        if columns is not None:  # in JSON lines it is the first good one that names them
            self._fit(columns, table, job.kind)
        begin += islice(rows, BATCH if table.is_text else 0)
        self._forms = Forms(
            self.places,
            [row for _, row in begin if not isinstance(row, Broken)] if table.is_text else [],
            config,
        )
        self._numeric = self._forms.numeric | _read_as_numbers(self.places, config)
        self._rows: Rows = chain(begin, rows)
        self._build = builder(
            self.places, job.kind, job.event, job.backfill, ZoneInfo(job.zone), self._forms.read
        )

    def _fit(self, columns: list[str], table: TableFile, kind: Kind) -> None:
        if not self.places:
            self.places = guessed(columns, kind)
        missing = [column for column in self.places if column not in columns]
        if missing and table.kind != ".jsonl":  # whose lines may each have other members
            raise ConfigError(
                f"--map: {table.path.name} has no column {', '.join(map(repr, missing))}, "
                f"but {', '.join(columns)}"
            )

    def batches(self, clock_ms: Callable[[], int]) -> Iterator[Batch]:
        """Yield the rows, judged. `clock_ms` says when a row was received."""
        batch, customers = Batch(), Counter[bytes]()
        for number, row in self._rows:
            if number <= self._after:
                continue
            batch.row = number
            customer = self._judge(number, row, clock_ms(), batch)
            customers[customer] += customer != b""
            if len(batch.events) + len(batch.rejects) >= BATCH or customers[customer] >= self._per_customer:
                yield batch
                batch, customers = Batch(), Counter()
        if batch.row:
            yield batch

    def _judge(self, number: int, row: Row | Broken, now_ms: int, batch: Batch) -> bytes:
        """Add the row to the batch; the strongest identifier of its customer, b"" for a rejected row."""
        if isinstance(row, Broken):
            batch.rejects.append((number, row.reason, row.detail))
            return b""
        for column in self.places:
            if isinstance(value := row.get(column), Broken):
                batch.rejects.append((number, value.reason, f"{column}: {value.detail}"))
                return b""
        message = self._build(row, f"{self._name}-{number}")
        raw = RawEvent(_encode(message), now_ms, self._source)
        found = self._validator.check(raw)
        if isinstance(found, Reject):
            batch.rejects.append((number, found.reason, found.detail))
            return b""
        batch.events.append(
            (str(message.get("userId") or message.get("anonymousId") or message["messageId"]), raw)
        )
        batch.identifiers.append(found.identifiers)
        batch.bad += ((number, said) for said in dict.fromkeys((*_bad_fields(found), *self._bad_cells(row))))
        return found.identifiers[0].hash

    def _bad_cells(self, row: Row) -> Iterator[str]:
        for column, path in self.places.items():
            value, field = self._forms.read(column, row.get(column)), ".".join(path).removeprefix("traits.")
            if _is_rounded(value):
                yield f"{field}: rounded"
            elif (
                column in self._numeric
                and value is not None
                and not is_missing(str(value))
                and number_of(value) is None
            ):
                yield f"{field}: {NOT_A_NUMBER}"


def _read_as_numbers(places: dict[str, tuple[str, ...]], config: Config) -> set[str]:
    """Columns that a figure adds up or a rule compares."""
    ways = chain.from_iterable(read_as_number(config).values())
    wanted = {("properties", ".".join(way)) for way in ways}
    return {column for column, path in places.items() if path in wanted}


def _bad_fields(found: Checked) -> list[str]:
    return [
        f"{name.removeprefix(QUALITY)}: {said}"
        for name, said in found.traits.items()
        if name.startswith(QUALITY) and not said.startswith(f"{OK} ")
    ]


def _is_rounded(value: object) -> bool:
    return isinstance(value, str) and is_rounded(value)
