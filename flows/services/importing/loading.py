"""Batches of rows into the raw log, each acknowledged, and what they were into the checkpoint; or, in a dry
run, only what would be sent."""

import asyncio
import csv
import io
import time
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from connectors.files.table_rows import TableFile
from connectors.raw.log import RawWriter
from flows.logic.resolution.validation import Validator
from flows.runtime.deployment import Deployment
from flows.services.importing.checkpoint import Checkpoint, Progress
from flows.services.importing.job import NO_KEY, Batch, Job, Rejected, Summary
from flows.services.importing.mapping import unidentified
from flows.services.importing.preview import Nobody, Outlook, Preview
from flows.services.importing.reading import Reader
from schemas.errors import ConfigError, LogFull, Unreachable
from schemas.wire.events import RawEvent
from state.directory.policy import Policy
from state.redis.client import reported

ROWS_NAMED: Final = 5  # of rows with the same bad value
SHOWN: Final = 20  # rejected rows that are returned; all are in the file

Say = Callable[[str], None]
Step = Callable[[float], None]


def opened(job: Job) -> TableFile:
    """Return the file of an import. Raises `ConfigError`."""
    return TableFile(job.path, job.sheet, job.encoding, job.quoted)


def run(
    deployment: Deployment, job: Job, table: TableFile, dry: bool, say: Say, step: Step
) -> tuple[Summary, list[Rejected]]:
    """Import, or in a `dry` run find out what an import would do. Return what came of it over all starts, and
    the first rejected rows of this one.

    `say` is told what a person has to know meanwhile, `step` which part of the file is done, from 0 to 1.
    Raises `ConfigError`, `Unreachable`, `Foreign`.
    """
    config = deployment.config
    lean = replace(config, entry=replace(config.entry, complete=False))  # completing is for `resolve`
    hashes = None if not dry or deployment.key_provider.exists() else NO_KEY
    with reported():
        started = _Run(deployment, job, table, Deployment(lean).validator(hashes), say, step)
        return started.dry() if dry else started.load()


class Loader:
    """Batches into the log; what they were into the checkpoint."""

    def __init__(self, writer: RawWriter, checkpoint: Checkpoint, said: Callable[[], None]) -> None:
        self._writer, self._checkpoint, self._said = writer, checkpoint, said

    async def load(self, batches: Iterable[Batch]) -> list[Rejected]:
        """Send all, and return the first rejected rows. Raises `Unreachable`."""
        shown: list[Rejected] = []
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


class _Run:
    """One start."""

    def __init__(
        self, deployment: Deployment, job: Job, table: TableFile, validator: Validator, say: Say, step: Step
    ) -> None:
        self._deployment = deployment
        self._config = deployment.config
        self._job = job
        self._table = table
        self._validator = validator
        self._say = say
        self._step = step
        self._name = import_id(table, job)
        self._began = time.monotonic()

    def _tell(self) -> None:
        self._step(self._table.progress())

    def dry(self) -> tuple[Summary, list[Rejected]]:
        progress = Progress()
        shown: list[Rejected] = []
        with self._preview() as preview:
            for batch in self._reader(0).batches(_now_ms):
                preview.add(batch.identifiers)
                _count(progress, batch)
                shown += batch.rejects[: SHOWN - len(shown)]
                self._tell()
        return self._summary(progress, "", 0, preview.outlook), shown

    def _preview(self) -> Preview:
        """Of what the deployment holds; where it holds nothing yet or does not run, of one that knows
        nobody."""
        deployment = self._deployment
        try:
            with reported():
                if deployment.key_provider.exists():
                    layout = deployment.layout
                    return Preview(deployment.directory, deployment.ledger, layout.policy, layout.limits)
            why = "there is no deployment yet"
        except Unreachable as error:
            why = str(error)
        self._say(f"nobody is known, so that every customer counts as new: {why}")
        limits = [namespace.limit for namespace in self._config.identity.namespace]
        return Preview(Nobody(), Nobody(), Policy.of(self._config.identity, self._config.matching), limits)

    def load(self) -> tuple[Summary, list[Rejected]]:
        with Checkpoint.opened(Path(self._config.data.folder) / "imports", self._name) as checkpoint:
            progress = checkpoint.progress
            before = _rows(progress)
            shown: list[Rejected] = []
            if progress.done:
                self._say(f"imported before, nothing is sent; remove {checkpoint.path} to send it again")
            else:
                if progress.row:
                    self._say(f"goes on after row {progress.row:,}")
                batches = self._reader(progress.row).batches(_now_ms)
                try:
                    shown = asyncio.run(self._loaded(checkpoint, batches))
                except KeyboardInterrupt:
                    self._say(
                        f"stopped after row {checkpoint.progress.row:,}; the same command goes on from "
                        "there, and no row counts twice"
                    )
                    raise
            return self._summary(progress, str(checkpoint.rejects), before, None), shown

    async def _loaded(self, checkpoint: Checkpoint, batches: Iterable[Batch]) -> list[Rejected]:
        return await Loader(self._deployment.raw_writer(), checkpoint, self._tell).load(batches)

    def _reader(self, after: int) -> Reader:
        reader = Reader(self._job, self._table, self._validator, self._name, self._config, after)
        # Each line of JSON may have other members.
        if self._table.kind != ".jsonl" and (advice := unidentified(reader.places, self._config)):
            raise ConfigError(f"{self._job.path.name}: {advice}")
        if self._table.heading_row > 1:
            self._say(
                f"the headings are in row {self._table.heading_row}; what stands above them is left out"
            )
        columns = ", ".join(f"{column} -> {'.'.join(path)}" for column, path in reader.places.items())
        self._say(f"columns: {columns}")
        return reader

    def _summary(self, progress: Progress, rejects: str, before: int, outlook: Outlook | None) -> Summary:
        seconds = time.monotonic() - self._began
        rows = _rows(progress)
        per_second = round((rows - before) / seconds) if seconds else 0
        listed = rejects if progress.rejected else ""
        return Summary(
            rows=rows,
            sent=progress.sent,
            rejected=progress.rejected,
            bad=progress.bad,
            bad_rows=progress.bad_rows,
            rejects=listed,
            seconds=round(seconds, 3),
            rows_per_second=per_second,
            outlook=outlook,
            backfill=self._job.backfill,
        )


def import_id(table: TableFile, job: Job) -> str:
    """Return an id: the same file sent as the same events has the same one, and its rows have the same
    messageIds."""
    said = [table.digest, job.pairs, job.kind, job.event, job.source, job.sheet, table.encoding]
    if not job.quoted:
        said.append("quote none")  # the ids of imports without it are those of before there was the option
    if job.zone != "UTC":  # as above
        said.append(f"zone {job.zone}")
    return f"import-{blake2b(msgspec.json.encode(said), digest_size=10).hexdigest()}"


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


def _lines(rejects: list[Rejected]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rejects)
    return text.getvalue()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
