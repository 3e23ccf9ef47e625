"""Process `archive`: the journal -> Avro files, and the customers' data keys -> their copy; and the daily
backup, in a thread.

One round is: read what is new, bring the copy of the keys up to now (so it is never older than the archive),
write, fsync, and only then tell the journal that these entries may go.

What our logic raises on is not put aside but kept as it lay in the journal: an archive leaves nothing out. A
restore reads it like any other entry.
"""

import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from flows.runtime.ready import begun
from flows.runtime.sift import note, story
from schemas import metrics
from schemas.config import Config
from schemas.errors import Foreign, Unreachable
from schemas.records.journal import JournalKind, Journalled
from schemas.records.shard_log import Tick
from state.history.archive_files import Archive, ArchiveWriter
from state.history.journal_tail import RedisJournal
from state.keys import LogSeal
from state.redis.client import INFRASTRUCTURE, reported

if TYPE_CHECKING:  # who runs this flow has made one; others need only its steps
    from flows.runtime.deployment import Deployment

log = structlog.get_logger()

ROUND_S = 0.25  # between two rounds: so much may be lost with the machine, and the time of one round
ROUND_ENTRIES = 200
BLOCK_MS = 500
ARCHIVE = "archive"  # the connector that notes about entries name which were kept as they lay in the journal
# a full disk is tried again; meanwhile the journal fills up to `archive.journal_max`, and resolve waits
DISK_WAIT_S = 5.0
_tick = msgspec.msgpack.Decoder(Tick).decode


class Keys(Protocol):
    """Brings the copy of the data keys up to now."""

    def __call__(self) -> None: ...


class Archiver:
    """One call of `round` is one round."""

    def __init__(
        self,
        config: Config,
        journal: RedisJournal,
        archive: Archive,
        seal: LogSeal,
        follow_keys: Keys,
        put_aside: Callable[[int, str], None] = lambda _entry, _detail: None,
    ) -> None:
        """Begin behind what is archived. Raises `Foreign` where the folder holds the archive of a deployment
        that is not in this Redis.

        `put_aside` makes a note, for the operator, of an entry that is kept as it lay in the journal, and
        why.
        """
        self._config = config.archive
        self._journal = journal
        self._archive = archive
        self._seal = seal
        self._follow_keys = follow_keys
        self._put_aside = put_aside
        archived = journal.archived()
        if archived is None and archive.newest():
            raise Foreign(
                f"{archive.folder} holds an archive up to entry {archive.last()}, and this Redis has never "
                "written one: if its data "
                "was lost run `millrace restore`; for a new deployment name another archive.folder"
            )
        self._after = journal.start(archived or 0)
        if archived is not None and self._after > archived:
            log.error("archive_gap", after=archived, until=self._after, repair="millrace backup create")
        self._writer = self._new_writer()
        if self._after != archived:
            journal.advance(self._after)
        self._tick_ms = 0

    def round(self, block_ms: int = BLOCK_MS) -> int:
        """Archive what is new; return how many entries became safe. Raises `OSError`."""
        entries = self._journal.read(self._after, ROUND_ENTRIES, block_ms)
        self._follow_keys()
        for entry in entries:
            if entry.seq != self._after + 1:
                log.error(
                    "archive_gap", after=self._after, until=entry.seq - 1, repair="millrace backup create"
                )
            if entry.bare:
                log.error(
                    "archive_bare_entry", entry=entry.seq, cause="a worker runs with archive.enabled = false"
                )
            self._keep(entry)
            self._after = entry.seq
        self._writer.sync()
        if entries:
            self._journal.advance(self._after)
            metrics.ARCHIVED.inc(len(entries))
        waiting = self._journal.head() - self._after
        metrics.LAG.labels("archive", "journal").set(waiting)
        metrics.ARCHIVE_BEHIND.set(
            max(0.0, time.time() - self._tick_ms / 1000) if waiting and self._tick_ms else 0
        )
        return len(entries)

    def _keep(self, entry: Journalled) -> None:
        """Write an entry, whatever it takes: what our logic raises on is kept as it lay in the journal, for
        an archive leaves nothing out."""
        try:
            opened = self._opened(entry)
            ready = self._archive.packed(opened)
            if entry.kind == JournalKind.TICK:
                self._tick_ms = _tick(entry.body).now_ms
        except INFRASTRUCTURE:
            raise
        except Exception as error:  # noqa: BLE001  # a defect of ours on this one
            self._put_aside(entry.seq, story(error))
            self._writer.write_raw(entry, time.monotonic())
            note("archive", error, entry=entry.seq, then="kept as it lay in the journal")
            return
        self._writer.write(opened, time.monotonic(), ready)

    def begin_again(self) -> None:
        """Go on from what is safe, after an `OSError`. Raises `OSError`."""
        self._writer.abandon()
        self._after = self._journal.archived() or 0
        self._writer = self._new_writer()

    def close(self) -> None:
        """End the file that is being written. Raises `OSError`."""
        self._writer.close()

    def _new_writer(self) -> ArchiveWriter:
        every_s = self._config.rotate_every / 1000
        return ArchiveWriter(
            self._archive, self._after, rotate_bytes=int(self._config.rotate_bytes), rotate_s=every_s
        )

    def _opened(self, entry: Journalled) -> Journalled:
        return (
            msgspec.structs.replace(entry, content=self._seal.open(entry.content)) if entry.content else entry
        )


def run(deployment: "Deployment") -> None:
    """Archive until a signal. There is one process of this. Raises `Fatal`."""
    from flows.services import daily_backup

    config = deployment.config
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with reported():
        deployment.check_data()
        begun()
        if config.backup.daily:
            threading.Thread(
                target=daily_backup.run,
                args=(deployment, lambda: datetime.now(UTC), stop.wait),
                name="backup",
                daemon=True,
            ).start()
        if config.archive.enabled:
            _archive(deployment, stop)
    stop.wait()


def _archive(deployment: "Deployment", stop: threading.Event) -> None:
    config = deployment.config

    def put_aside(entry: int, detail: str) -> None:
        deployment.deliveries.keep_dead(ARCHIVE, b"%d" % entry, f"poison: {detail}")

    with deployment.following_keys() as follow_keys:
        archiver = Archiver(
            config,
            deployment.journal,
            deployment.archive,
            deployment.log_seal,
            follow_keys,
            put_aside,
        )
        log.info("archive_starts", folder=str(Path(config.archive.folder)))
        failed = False
        while not stop.is_set():
            try:
                if failed:
                    archiver.begin_again()
                    failed = False
                if archiver.round() < ROUND_ENTRIES:
                    stop.wait(ROUND_S)
            except OSError as error:
                failed = True
                log.error(
                    "archive_cannot_write",
                    error=error.strerror,
                    folder=config.archive.folder,
                    retry_in_s=DISK_WAIT_S,
                )
                stop.wait(DISK_WAIT_S)
        try:
            while not failed and archiver.round(block_ms=0) == ROUND_ENTRIES:
                pass
            archiver.close()
        except OSError as error:  # what is not safe stays in the journal
            raise Unreachable(f"{config.archive.folder} cannot be written: {error.strerror}") from error
