"""The archive: the journal as Avro container files in a folder, for ever or as long as it is wanted.

    00000003-000000004001.avro          file 3, its first entry is the journal's 4001; closed: it ends with a
                                        mark
    00000004-000000009001.avro.part     being written, or left by a process that was killed; its end may be
                                        torn
    00000005-000000008500-branch.avro   from 8500 on history took another way (Redis came back older, or was
                                        restored to an
                                        earlier time): what former files say from there on is void

Each record holds one entry: compressed with zstd, then sealed with the log key (what is sealed cannot be
compressed, so the files' own codec is `null`). Sequence and kind stand outside too, so that a reader can skip
what it does not want. An entry that could not be made ready is there as it lay in the journal, packed and
sealed and no more, with kind `raw`: nothing is left out, and a reader makes up for it. Files of format 1
differ in one thing: their entries are compressed with zlib.
"""

import fcntl
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import fastavro
import msgspec
import structlog
import zstandard
from fastavro.schema import SchemaParseException, UnknownType
from fastavro.write import Writer

from schemas.errors import Fenced, Foreign
from schemas.records.journal import Journalled
from state.durable import sync_folder
from state.keys import LogSeal

log = structlog.get_logger()

FORMAT = "3"  # 1: of zlib; 2: entries sealed under the log key itself
END = "end"  # the kind of the mark at the end of a closed file
# the kind of an entry as it lay in the journal: its content sealed once more by itself, and nothing
# compressed
RAW = "raw"
_SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "millrace.journal.Entry",
        "fields": [
            {"name": "seq", "type": "long"},
            {"name": "kind", "type": "string"},
            {"name": "sealed", "type": "bytes"},
        ],
    }
)
_NAME = re.compile(r"(\d{8})-(\d{12})(-branch)?\.avro(\.part)?")
_LEVEL = 3  # of zstd
_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "1": zlib.decompress,
    **dict.fromkeys(("2", FORMAT), lambda packed: zstandard.ZstdDecompressor().decompress(packed)),
}
# What the library says of a file that is cut off or damaged, depending on where.
_BROKEN = (
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    StopIteration,
    OverflowError,
    MemoryError,
    zlib.error,
    AttributeError,
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Journalled).decode


class File(NamedTuple):
    """What its name says."""

    number: int
    first: int
    branch: bool
    closed: bool
    path: Path


class Found(NamedTuple):
    """An entry, and where it lies: for whoever cannot use it."""

    entry: Journalled
    place: str


def files(folder: Path) -> list[File]:
    """Return them by number: the order in which they were begun."""
    found = []
    for path in folder.glob("*.avro*"):
        if match := _NAME.fullmatch(path.name):
            found.append(
                File(
                    number=int(match[1]),
                    first=int(match[2]),
                    branch=bool(match[3]),
                    closed=not match[4],
                    path=path,
                )
            )
    return sorted(found)


class Archive:
    """The folder as a whole: reads it, and takes it for writing."""

    def __init__(self, folder: Path, seal: LogSeal, owner: str) -> None:
        """`owner`: fingerprint of the key file."""
        self.folder = folder
        self._seal = seal
        self._owner = owner
        self._compress = zstandard.ZstdCompressor(level=_LEVEL).compress

    def packed(self, entry: Journalled) -> bytes:
        """Return what is written of an entry whose content is open."""
        return self._seal.seal(self._compress(_encode(entry)))

    def newest(self) -> int:
        """Return the number of the newest file; 0 without any."""
        return max((file.number for file in files(self.folder)), default=0)

    def last(self) -> int:
        """Return the last entry; 0 without any. Raises `Foreign`."""
        found = files(self.folder)
        if not found:
            return 0
        return max(
            (entry.seq for entry, _ in self._file(found[-1], found[-1].first)), default=found[-1].first - 1
        )

    def entry(self, seq: int) -> Found | None:
        """Return one of them. Raises `Foreign` for what cannot be read."""
        return next((found for found in self.entries(seq - 1) if found.entry.seq == seq), None)

    def branched(self, since: int, upto: int) -> File | None:
        """Return the first file with a number above `since` in which history takes another way at entry
        `upto` or before."""
        return next(
            (
                file
                for file in files(self.folder)
                if file.number > since and file.branch and file.first <= upto
            ),
            None,
        )

    def entries(self, after: int) -> Iterator[Found]:
        """Yield all behind `after`, one by one without a gap. Raises `Foreign`, naming file and record:
        damage, a gap, other keys."""
        found = files(self.folder)
        expected = after + 1
        for at, file in enumerate(found):
            void = min((later.first for later in found[at + 1 :]), default=None)
            if void is not None and void <= expected:
                continue
            if file.first > expected:
                raise Foreign(
                    f"{file.path}: begins with entry {file.first} of the journal, expected {expected}: there"
                    " is a gap before it"
                )
            for entry, place in self._file(file, expected):
                if void is not None and entry.seq >= void:
                    break
                if entry.seq != expected:
                    raise Foreign(
                        f"{place}: entry {entry.seq} of the journal, expected {expected}: the archive has a"
                        " gap"
                    )
                yield Found(entry, place)
                expected += 1

    def _file(self, file: File, since: int) -> Iterator[Found]:
        """Entries from `since` on."""
        with file.path.open("rb") as stream:
            try:
                reader = fastavro.reader(stream)
                if fastavro.parse_schema(reader.writer_schema) != _SCHEMA:
                    raise ValueError("another schema")
            except (*_BROKEN, SchemaParseException, UnknownType) as error:
                if not file.closed:
                    return  # killed before the first entry was safe
                raise Foreign(
                    f"{file.path}: its header cannot be read: damaged, or no file of an archive"
                ) from error
            owner = reader.metadata.get("millrace.keys")
            if owner != self._owner:
                raise Foreign(
                    f"{file.path}: written with the key file {owner}, ours is {self._owner}: the archive of"
                    " another deployment"
                )
            unpack = _UNPACK.get(found := reader.metadata.get("millrace.format", "none"))
            if unpack is None:
                raise Foreign(
                    f"{file.path}: has format {found}, this release reads up to {FORMAT}: use the newer"
                    " millrace that wrote it"
                )
            yield from self._records(file, reader, since, unpack)

    def _records(
        self, file: File, reader: Any, since: int, unpack: Callable[[bytes], bytes]
    ) -> Iterator[Found]:
        number = last = 0
        while True:
            number += 1
            place = f"{file.path}, record {number}"
            try:
                record = next(reader, None)
            except _BROKEN as error:
                if not file.closed:
                    log.warning("archive_torn_end", file=str(file.path), record=number)
                    return
                raise Foreign(f"{place}: cannot be read: the file is damaged or cut off") from error
            if record is None:
                if file.closed:
                    raise Foreign(f"{place}: the mark at the end is missing: the file is cut off")
                return
            if record["kind"] == END:
                if record["seq"] != last:
                    raise Foreign(
                        f"{place}: the mark at the end follows entry {record['seq']}, and before it stands"
                        f" {last}: the file is damaged"
                    )
                return
            last = record["seq"]
            if record["seq"] >= since:
                yield Found(self._opened(record, place, unpack), place)

    def _opened(self, record: Any, place: str, unpack: Callable[[bytes], bytes]) -> Journalled:
        raw = record["kind"] == RAW
        try:
            opened = self._seal.open(record["sealed"])
            entry = _decode(opened if raw else unpack(opened))
            if raw and entry.content:
                entry = msgspec.structs.replace(entry, content=self._seal.open(entry.content))
        except (Foreign, zlib.error, zstandard.ZstdError, msgspec.MsgspecError) as error:
            raise Foreign(
                f"{place}: entry {record['seq']} cannot be opened: damaged, or sealed with another key file"
            ) from error
        if entry.seq != record["seq"] or (entry.kind != record["kind"] and not raw):
            raise Foreign(
                f"{place}: says that it is entry {record['seq']}, and is {entry.seq}: somebody changed it"
            )
        return entry

    def prune(self, before: int, older_than_s: float) -> list[Path]:
        """Remove files last written before that Unix time whose entries all come before `before`."""
        found = files(self.folder)
        gone = []
        for file, following in pairwise(found):
            if following.first <= before and file.path.stat().st_mtime < older_than_s:
                file.path.unlink()
                gone.append(file.path)
            else:
                break  # what is left has no hole
        return gone


class ArchiveWriter:
    """The only writer of a folder. What it was given is safe when `sync` returns.

    `after` is what Redis says is safe. The folder may have more: written just before we died, or by a system
    that went on after the moment that Redis came back to. The former is passed over, the latter made void by
    a branch.
    """

    def __init__(self, archive: Archive, after: int, *, rotate_bytes: int, rotate_s: float) -> None:
        """Raises `Fenced` if another process writes there, `Foreign` for what it cannot read."""
        self._archive = archive
        self._rotate_bytes = rotate_bytes
        self._rotate_s = rotate_s
        self._lock = _lock(archive.folder)
        self._ahead: Iterator[Found] | None = archive.entries(after) if after < archive.last() else None
        self._open: _Open | None = None

    def write(self, entry: Journalled, now_s: float, ready: bytes | None = None) -> None:
        """Write an entry. `entry` is the one behind the last; its content is open. `now_s`: any clock that
        only grows."""
        self._write(entry.seq, entry.kind, ready or self._archive.packed(entry), now_s, entry)

    def write_raw(self, entry: Journalled, now_s: float) -> None:
        """Write one that cannot be made ready: `entry` as it lay in the journal, its content still
        sealed by itself."""
        self._write(entry.seq, RAW, self._archive._seal.seal(_encode(entry)), now_s, None)

    def _write(self, seq: int, kind: str, body: bytes, now_s: float, entry: Journalled | None) -> None:
        branch = False
        if self._ahead is not None:
            there = next(self._ahead, None)
            if there is not None and there.entry == entry:
                return
            self._ahead = None
            branch = there is not None
        if self._open is not None and (
            self._open.size >= self._rotate_bytes or now_s - self._open.since_s >= self._rotate_s
        ):
            self._close()
        if self._open is None:
            self._open = _Open(self._archive, seq, branch, now_s)
        self._open.write(seq, kind, body)

    def sync(self) -> None:
        """See to it that everything written so far is on the disk. Raises `OSError`."""
        if self._open is not None:
            self._open.sync()

    def close(self) -> None:
        """Mark the file as complete."""
        if self._open is not None:
            self._close()
        os.close(self._lock)
        self._lock = -1

    def abandon(self) -> None:
        """Let go after an `OSError`: what was not safe is written again by the next writer."""
        if self._open is not None:
            self._open.abandon()
            self._open = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close(self) -> None:
        assert self._open is not None
        self._open.close()
        self._open = None


class _Open:
    """The file being written."""

    def __init__(self, archive: Archive, first: int, branch: bool, now_s: float) -> None:
        self.since_s = now_s
        self.last = first
        self._final = (
            archive.folder / f"{archive.newest() + 1:08d}-{first:012d}{'-branch' if branch else ''}.avro"
        )
        self._path = self._final.with_suffix(".avro.part")
        self._stream: BinaryIO = self._path.open("xb")
        metadata = {"millrace.format": FORMAT, "millrace.keys": archive._owner}
        self._writer: Any = Writer(self._stream, _SCHEMA, metadata=metadata)
        sync_folder(archive.folder)

    @property
    def size(self) -> int:
        return self._stream.tell()

    def write(self, seq: int, kind: str, sealed: bytes) -> None:
        self.last = seq
        self._writer.write({"seq": seq, "kind": kind, "sealed": sealed})

    def sync(self) -> None:
        self._writer.flush()
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def abandon(self) -> None:
        with suppress(OSError):
            self._stream.close()

    def close(self) -> None:
        self.write(self.last, END, b"")
        self.sync()
        self._stream.close()
        self._path.rename(self._final)
        sync_folder(self._final.parent)


def _lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Fenced(f"{folder}: another process writes this archive") from None
    return lock
