"""`millrace import`: rows of a file as events in the raw log, each acknowledged, none lost or doubled when it
is killed and started again.

Each row is judged as `resolve` would judge it; a row that it would refuse is not sent, and is listed with its
number and reason.
"""

import asyncio
import csv
import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from connectors.files.cells import Broken, Row
from connectors.files.csv_files import GUESSES
from connectors.files.table_rows import Rows, TableFile
from connectors.raw.log import RawWriter
from flows.cli.tables import folded
from flows.logic.expressions.numbers import number_of
from flows.logic.fields.check import OK, QUALITY
from flows.logic.fields.quality import NOT_A_NUMBER
from flows.logic.fields.values import is_rounded
from flows.logic.message import Checked
from flows.logic.resolution.validation import Validator
from flows.logic.rules.ruleset import read_as_number
from flows.services.importing.checkpoint import Checkpoint, Progress
from flows.services.importing.column_values import is_missing
from flows.services.importing.forms import Forms
from flows.services.importing.mapping import Kind, builder, guessed, mapping, unidentified
from flows.services.importing.preview import Nobody, Outlook, Preview
from schemas.config import Config
from schemas.errors import ConfigError, LogFull, Unreachable
from schemas.records.identity_graph import Identifier
from schemas.wire.events import RawEvent, Reject
from state.directory.policy import Policy
from state.redis.client import reported

BATCH: Final = 1_000  # rows between two checkpoints
NO_KEY: Final = bytes(
    32
)  # of a dry run without a deployment: what is hashed with it is compared, and thrown away
ROWS_NAMED: Final = 5  # of rows with the same bad value
SHOWN: Final = 20  # rejected rows on the screen; all are in the file
_HISTORY: Final = "as history: figures and models learn from them, no trigger is sent because of them (--live: as if they happened now)"
_LIVE: Final = "live: rules fire on them, and triggers are sent (without --live they are history)"
_encode = msgspec.json.Encoder(enc_hook=str).encode


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
    """Rows between two checkpoints; `rejects` as (row, reason, detail)."""

    events: list[tuple[str, RawEvent]] = []
    identifiers: list[list[Identifier]] = []
    rejects: list[tuple[int, str, str]] = []
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


class Reader:
    """Turns rows into batches of judged events. `after`: rows up to this one were done by an earlier
    start."""

    def __init__(
        self, job: Job, table: TableFile, validator: Validator, name: str, config: Config, after: int = 0
    ) -> None:
        """Raises `ConfigError` for a mapping that does not fit the file."""
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
                    f"{table.path.name}: none of its first {BATCH:,} rows can be read: {row.reason} {row.detail}"
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
                f"--map: {table.path.name} has no column {', '.join(map(repr, missing))}, but {', '.join(columns)}"
            )

    def batches(self, clock_ms: Callable[[], int]) -> Iterator[Batch]:
        """`clock_ms` says when a row was received."""
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


class Loader:
    """Batches into the log; what they were into the checkpoint."""

    def __init__(self, writer: RawWriter, checkpoint: Checkpoint, said: Callable[[], None]) -> None:
        self._writer, self._checkpoint, self._said = writer, checkpoint, said

    async def load(self, batches: Iterable[Batch]) -> list[tuple[int, str, str]]:
        """The first rejected rows. Raises `Unreachable`."""
        shown: list[tuple[int, str, str]] = []
        progress = self._checkpoint.progress
        try:
            for batch in batches:
                await self._send(batch.events)
                _count(progress, batch)
                self._checkpoint.save(_lines(batch.rejects))
                shown += batch.rejects[: SHOWN - len(shown)]
                self._said()
            progress.done = True
            self._checkpoint.save("")
        finally:
            await self._writer.close()
        return shown

    async def _send(self, events: list[tuple[str, RawEvent]]) -> None:
        """Each on its own, so that of a log that is full in one partition only the rest is sent again."""
        while events:
            answers = await asyncio.gather(
                *(self._writer.append([event]) for event in events), return_exceptions=True
            )
            full = [error for error in answers if isinstance(error, LogFull)]
            for error in answers:
                if isinstance(error, BaseException) and not isinstance(error, LogFull):
                    raise error
            events = [event for event, error in zip(events, answers, strict=True) if error is not None]
            if full:
                await asyncio.sleep(max(error.retry_after_s for error in full))


def run(config: Config, job: Job, dry: bool, as_json: bool) -> int:
    """Import, or say what an import would do. Raises `ConfigError`, `Unreachable`, `Foreign`."""
    from flows.runtime.deployment import Deployment

    say = Console(stderr=True, highlight=False, soft_wrap=True)
    table = TableFile(job.path, job.sheet, job.encoding, job.quoted)
    if table.guessed:
        say.print(
            f"{job.path.name} is not UTF-8: read as {GUESSES[table.encoding]}; give --encoding if it is another",
            markup=False,
        )
    lean = replace(config, entry=replace(config.entry, complete=False))  # completing is for `resolve`
    hashes = None if not dry or Path(config.keys.path).exists() else NO_KEY
    with reported(), _bar(say) as bar:
        task = bar.add_task(job.path.name, total=1.0)
        state = _Run(
            config,
            job,
            table,
            Deployment(lean).validator(hashes),
            say,
            lambda: bar.update(task, completed=table.progress()),
        )
        summary, rejects = state.dry() if dry else state.load()
    if as_json:
        Console(soft_wrap=True, highlight=False).print(msgspec.json.encode(summary).decode(), markup=False)
    else:
        Console(highlight=False).print(screen(summary, rejects, dry))
    return 0


class _Run:
    """One start of the command."""

    def __init__(
        self,
        config: Config,
        job: Job,
        table: TableFile,
        validator: Validator,
        say: Console,
        said: Callable[[], None],
    ) -> None:
        self._config, self._job, self._table, self._validator, self._say, self._said = (
            config,
            job,
            table,
            validator,
            say,
            said,
        )
        self._name = import_id(table, job)
        self._began = time.monotonic()

    def dry(self) -> tuple[Summary, list[tuple[int, str, str]]]:
        progress = Progress()
        shown: list[tuple[int, str, str]] = []
        with self._preview() as preview:
            for batch in self._reader(0).batches(_now_ms):
                preview.add(batch.identifiers)
                _count(progress, batch)
                shown += batch.rejects[: SHOWN - len(shown)]
                self._said()
        return self._summary(progress, "", 0, preview.outlook), shown

    def _preview(self) -> Preview:
        """Of what the deployment holds; where it holds nothing yet or does not run, of one that knows
        nobody."""
        from flows.runtime.deployment import Deployment

        try:
            with reported():
                if Path(self._config.keys.path).exists():
                    layout = Deployment(self._config).layout
                    return Preview(
                        Deployment(self._config).directory,
                        Deployment(self._config).ledger,
                        layout.policy,
                        layout.limits,
                    )
            why = "there is no deployment yet"
        except Unreachable as error:
            why = str(error)
        self._say.print(f"nobody is known, so that every customer counts as new: {why}", markup=False)
        limits = [namespace.limit for namespace in self._config.identity.namespace]
        return Preview(Nobody(), Nobody(), Policy.of(self._config.identity, self._config.matching), limits)

    def load(self) -> tuple[Summary, list[tuple[int, str, str]]]:
        with Checkpoint.opened(Path(self._config.data.folder) / "imports", self._name) as checkpoint:
            progress = checkpoint.progress
            before = _rows(progress)
            shown: list[tuple[int, str, str]] = []
            if progress.done:
                self._say.print(
                    f"imported before, nothing is sent; remove {checkpoint.path} to send it again",
                    markup=False,
                )
            else:
                if progress.row:
                    self._say.print(f"goes on after row {progress.row:,}", markup=False)
                batches = self._reader(progress.row).batches(_now_ms)
                try:
                    shown = asyncio.run(self._loaded(checkpoint, batches))
                except KeyboardInterrupt:
                    self._say.print(
                        f"stopped after row {checkpoint.progress.row:,}; the same command goes on from there, and no row counts twice",
                        markup=False,
                    )
                    raise
            return self._summary(progress, str(checkpoint.rejects), before, None), shown

    async def _loaded(self, checkpoint: Checkpoint, batches: Iterable[Batch]) -> list[tuple[int, str, str]]:
        from flows.runtime.deployment import Deployment

        return await Loader(Deployment(self._config).raw_writer(), checkpoint, self._said).load(batches)

    def _reader(self, after: int) -> Reader:
        reader = Reader(self._job, self._table, self._validator, self._name, self._config, after)
        if self._table.kind != ".jsonl" and (
            advice := unidentified(reader.places, self._config)
        ):  # its lines may have other members
            raise ConfigError(f"{self._job.path.name}: {advice}")
        if self._table.heading_row > 1:
            self._say.print(
                f"the headings are in row {self._table.heading_row}; what stands above them is left out",
                markup=False,
            )
        columns = ", ".join(f"{column} -> {'.'.join(path)}" for column, path in reader.places.items())
        self._say.print(f"columns: {columns}", markup=False)
        return reader

    def _summary(self, progress: Progress, rejects: str, before: int, outlook: Outlook | None) -> Summary:
        seconds = time.monotonic() - self._began
        rows = _rows(progress)
        per_second = round((rows - before) / seconds) if seconds else 0
        listed = rejects if progress.rejected else ""
        return Summary(
            rows,
            progress.sent,
            progress.rejected,
            progress.bad,
            progress.bad_rows,
            listed,
            round(seconds, 3),
            per_second,
            outlook,
            self._job.backfill,
        )


def import_id(table: TableFile, job: Job) -> str:
    """The same file sent as the same events has the same id, and its rows have the same messageIds."""
    said = [table.digest, job.pairs, job.kind, job.event, job.source, job.sheet, table.encoding]
    if not job.quoted:
        said.append("quote none")  # the ids of imports without it are those of before there was the option
    if job.zone != "UTC":  # as above
        said.append(f"zone {job.zone}")
    return f"import-{blake2b(msgspec.json.encode(said), digest_size=10).hexdigest()}"


def screen(summary: Summary, rejects: list[tuple[int, str, str]], dry: bool) -> RenderableType:
    """What came of it as tables."""
    parts: list[RenderableType] = [
        f"{summary.sent:,} of {summary.rows:,} rows {'would be' if dry else 'were'} sent"
    ]
    parts.append(_HISTORY if summary.backfill else _LIVE)
    if rejects:
        table = folded(Table("row", "reason", "", title="rejected", title_justify="left"))
        for number, reason, detail in rejects:
            table.add_row(f"{number:,}", reason, Text(detail))
        parts.append(table)
        if (more := sum(summary.rejected.values()) - len(rejects)) > 0:
            parts.append(f"... and {more:,} more")
    for title, counts in (("rejected by reason", summary.rejected), ("sent with a bad value", summary.bad)):
        if counts:
            table = folded(Table("", "rows", "", title=title, title_justify="left", show_header=False))
            for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
                table.add_row(Text(name), f"{n:,}", _named(summary.bad_rows.get(name, []), n))
            parts.append(table)
    if summary.outlook is not None:
        table = folded(Table("", "rows", title="customers", title_justify="left", show_header=False))
        for name, n in msgspec.structs.asdict(summary.outlook).items():
            table.add_row(name, f"{n:,}")
        parts.append(table)
    if summary.rejects:
        parts.append(f"all rejected rows: {summary.rejects}")
    parts.append(f"{summary.seconds:.1f} s, {summary.rows_per_second:,} rows/s")
    return Group(*parts)


def _named(rows: list[int], n: int) -> str:
    """Which rows, as far as they are known."""
    if not rows:
        return ""
    return f"row {', '.join(f'{row:,}' for row in rows)}{' ...' if n > len(rows) else ''}"


def _read_as_numbers(places: dict[str, tuple[str, ...]], config: Config) -> set[str]:
    """Columns that a figure adds up or a rule compares."""
    ways = chain.from_iterable(read_as_number(config).values())
    wanted = {("properties", ".".join(way)) for way in ways}
    return {column for column, path in places.items() if path in wanted}


def _rows(progress: Progress) -> int:
    return progress.sent + sum(progress.rejected.values())


def _count(progress: Progress, batch: Batch) -> None:
    progress.row = batch.row
    progress.sent += len(batch.events)
    for _, reason, _ in batch.rejects:
        progress.rejected[reason] = progress.rejected.get(reason, 0) + 1
    for row, bad in batch.bad:
        progress.bad[bad] = progress.bad.get(bad, 0) + 1
        if len(rows := progress.bad_rows.setdefault(bad, [])) < ROWS_NAMED:
            rows.append(row)


def _bad_fields(found: Checked) -> list[str]:
    return [
        f"{name.removeprefix(QUALITY)}: {said}"
        for name, said in found.traits.items()
        if name.startswith(QUALITY) and not said.startswith(f"{OK} ")
    ]


def _is_rounded(value: object) -> bool:
    return isinstance(value, str) and is_rounded(value)


def _lines(rejects: list[tuple[int, str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rejects)
    return text.getvalue()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _bar(say: Console) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=say,
        transient=True,
    )
