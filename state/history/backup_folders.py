"""Backups in a folder: each one a folder of its own, of sealed chunks and a manifest that is written last.

    20260102T030000.123Z-000000004000/
        00000.chunk ...   AES-256-GCM under the log key over zlib over msgpack: (backup, number, records)
        manifest.json     what it is of, what moment it stands for, every chunk with its length and digest;
                          signed

A backup without its manifest is none: its folder ends in `.part` until then. `state.history.key_snapshot`
says what the records are.
"""

import hmac
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import msgspec

from schemas.errors import Foreign
from state.durable import sync_folder
from state.history.key_snapshot import Copied, Cut
from state.key_ring import KeyRing
from state.keys import LogSeal

FORMAT = 2  # 1: chunks sealed under the log key itself
CHUNK_BYTES = 4 * 1024 * 1024  # before compression; one record more at most
_MANIFEST = "manifest.json"
_PART = ".part"
_LEVEL = 3
_encode = msgspec.msgpack.Encoder().encode


class Chunk(msgspec.Struct, frozen=True):
    file: str
    bytes: int
    digest: str  # blake2b of the file
    records: int


class Manifest(msgspec.Struct, frozen=True):
    """`archive`: number of the newest archive file when the directory was copied; 0 without an archive."""

    name: str
    deployment: str
    keys: str  # fingerprint of the key file
    format: int
    shards: int
    buckets: int
    begun_ms: int
    ended_ms: int
    journal: int
    tick_s: int
    offsets: dict[int, int]
    archive: int
    digests: dict[str, str]  # of what it holds: unit -> sum over its records
    chunks: list[Chunk]

    @property
    def bytes(self) -> int:
        return sum(chunk.bytes for chunk in self.chunks)


class _Signed(msgspec.Struct):
    manifest: msgspec.Raw
    mac: str


class _Body(msgspec.Struct, array_like=True):
    backup: str
    number: int
    records: list[Copied]


_decode_body = msgspec.msgpack.Decoder(_Body).decode


class Layout(Protocol):
    """What a manifest says of the deployment."""

    @property
    def name(self) -> str: ...
    @property
    def shards(self) -> int: ...
    @property
    def buckets(self) -> int: ...


class Backups:
    """The folder."""

    def __init__(self, folder: Path, keys: KeyRing, layout: Layout) -> None:
        self.folder = folder
        self._keys = keys
        self._layout = layout
        self._seal = LogSeal(keys.log, keys.fingerprint)

    def begin(self, now_ms: int, journal: int) -> "BackupWriter":
        """Begin a backup. `journal`: about where the journal is; for the name."""
        name = (
            f"{datetime.fromtimestamp(now_ms // 1000, UTC):%Y%m%dT%H%M%S}.{now_ms % 1000:03d}Z-{journal:012d}"
        )
        return BackupWriter(self, name, now_ms)

    def names(self) -> list[str]:
        """Return the complete ones, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            path.name
            for path in self.folder.iterdir()
            if path.suffix != _PART and (path / _MANIFEST).exists()
        )

    def newest(self) -> datetime | None:
        """Return when the newest complete one was begun; None without any."""
        names = self.names()
        return (
            datetime.strptime(names[-1].partition("Z-")[0], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
            if names
            else None
        )

    def manifest(self, name: str) -> Manifest:
        """Return what it says of itself. Raises `Foreign`, naming the file: no such backup, damage,
        another deployment's, a newer release's."""
        path = self.folder / name / _MANIFEST
        if not path.exists():
            raise Foreign(f"{path} does not exist: there is no such backup, or it was never completed")
        try:
            signed = msgspec.json.decode(path.read_bytes(), type=_Signed)
            manifest = msgspec.json.decode(signed.manifest, type=Manifest)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Foreign(f"{path}: cannot be read ({error}): damaged, or of a newer release") from error
        if (manifest.deployment, manifest.keys) != (self._layout.name, self._keys.fingerprint):
            raise Foreign(
                f"{path}: a backup of {manifest.deployment!r} with key file {manifest.keys}; this is"
                f" {self._layout.name!r} with key "
                f"file {self._keys.fingerprint}"
            )
        if not hmac.compare_digest(signed.mac, self._mac(bytes(signed.manifest))):
            raise Foreign(f"{path}: its signature is wrong: the manifest was damaged or changed")
        if manifest.format > FORMAT or manifest.name != name:
            raise Foreign(
                f"{path}: format {manifest.format} of {manifest.name}; expected format {FORMAT} at most, and"
                " the folder's name"
            )
        ours, theirs = (self._layout.shards, self._layout.buckets), (manifest.shards, manifest.buckets)
        if ours != theirs:
            raise Foreign(
                f"{path}: made with {theirs[0]} shards and {theirs[1]} buckets, the configuration gives"
                f" {ours[0]} and {ours[1]}"
            )
        return manifest

    def records(self, manifest: Manifest) -> Iterator[Copied]:
        """Yield everything in it, in order. Raises `Foreign`, naming file and position, at the first chunk
        that is not as it was."""
        at = 0
        digests = Digests()
        for number, chunk in enumerate(manifest.chunks):
            path = self.folder / manifest.name / chunk.file
            where = f"{path} (chunk {number + 1} of {len(manifest.chunks)}, at byte {at} of the backup)"
            body = self._chunk(path, where, chunk)
            if (body.backup, body.number, len(body.records)) != (manifest.name, number, chunk.records):
                raise Foreign(f"{where}: is chunk {body.number + 1} of {body.backup}: somebody moved it")
            for record in body.records:
                digests.add(record)
                yield record
            at += chunk.bytes
        if digests.hex() != manifest.digests:
            raise Foreign(
                f"{self.folder / manifest.name / _MANIFEST}: the digests of what was read are not those of"
                " what was copied"
            )

    def verify(self, manifest: Manifest) -> int:
        """Read all of it; the number of records. Raises `Foreign`."""
        return sum(1 for _ in self.records(manifest))

    def prune(self, keep: int) -> list[str]:
        """Remove all but the newest `keep`, and what was never completed; their names."""
        if not self.folder.is_dir():
            return []
        gone = [*self.names()[:-keep], *(path.name for path in self.folder.glob(f"*{_PART}"))]
        for name in gone:
            (self.folder / name / _MANIFEST).unlink(missing_ok=True)  # first: what is half gone is no backup
            shutil.rmtree(self.folder / name)
        return gone

    def _chunk(self, path: Path, where: str, chunk: Chunk) -> _Body:
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            raise Foreign(f"{where}: is missing") from None
        if len(found) != chunk.bytes:
            raise Foreign(f"{where}: has {len(found)} bytes, expected {chunk.bytes}")
        if blake2b(found, digest_size=32).hexdigest() != chunk.digest:
            raise Foreign(f"{where}: its digest is wrong: the file was damaged or changed")
        try:
            return _decode_body(zlib.decompress(self._seal.open(found)))
        except (Foreign, zlib.error, msgspec.MsgspecError) as error:
            raise Foreign(f"{where}: cannot be opened: sealed with another key file") from error

    def _mac(self, manifest: bytes) -> str:
        return hmac.digest(self._keys.sign, b"backup\0" + manifest, "sha256").hex()


class BackupWriter:
    """One backup being made; nothing of it counts until `finish`."""

    def __init__(self, backups: Backups, name: str, begun_ms: int) -> None:
        self.name = name
        self._backups = backups
        self._begun_ms = begun_ms
        self._folder = backups.folder / f"{name}{_PART}"
        self._folder.mkdir(parents=True, exist_ok=False, mode=0o700)
        self._chunks: list[Chunk] = []
        self._records: list[bytes] = []
        self._size = 0
        self._digests = Digests()

    def add(self, record: Copied) -> None:
        packed = self._digests.add(record)
        self._records.append(packed)
        self._size += len(packed)
        if self._size >= CHUNK_BYTES:
            self._write()

    def finish(self, cut: Cut, archive: int, now_ms: int) -> Manifest:
        """Make it a backup."""
        if self._records:
            self._write()
        ours, layout = self._backups, self._backups._layout
        manifest = Manifest(
            name=self.name,
            deployment=layout.name,
            keys=ours._keys.fingerprint,
            format=FORMAT,
            shards=layout.shards,
            buckets=layout.buckets,
            begun_ms=self._begun_ms,
            ended_ms=now_ms,
            journal=cut.journal,
            tick_s=cut.tick_s,
            offsets=cut.offsets,
            archive=archive,
            digests=self._digests.hex(),
            chunks=self._chunks,
        )
        body = msgspec.json.encode(manifest)
        self._save(_MANIFEST, msgspec.json.encode(_Signed(msgspec.Raw(body), ours._mac(body))))
        final = ours.folder / self.name
        self._folder.rename(final)
        sync_folder(ours.folder)
        return manifest

    def abandon(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self) -> None:
        number = len(self._chunks)
        body = _encode(_Body(self.name, number, [msgspec.Raw(packed) for packed in self._records]))  # type: ignore[misc]  # packed already
        sealed = self._backups._seal.seal(zlib.compress(body, _LEVEL))
        file = f"{number:05d}.chunk"
        self._save(file, sealed)
        self._chunks.append(
            Chunk(file, len(sealed), blake2b(sealed, digest_size=32).hexdigest(), len(self._records))
        )
        self._records, self._size = [], 0

    def _save(self, file: str, content: bytes) -> None:
        with (self._folder / file).open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(self._folder)


class Digests:
    """For each unit the sum of the hashes of its records, modulo 2^256."""

    def __init__(self) -> None:
        self._sums: dict[str, int] = {}

    def add(self, record: Copied) -> bytes:
        """Add a packed record."""
        packed = _encode(record)
        unit = record.key[1 : record.key.find(b"}")].decode()
        self._sums[unit] = (
            self._sums.get(unit, 0) + int.from_bytes(blake2b(packed, digest_size=32).digest())
        ) % 2**256
        return packed

    def hex(self) -> dict[str, str]:
        return {unit: f"{total:064x}" for unit, total in sorted(self._sums.items())}


def usable(manifests: Iterable[Manifest], upto_ms: int | None) -> list[Manifest]:
    """Return those that stand for a moment up to `upto_ms`, the newest first."""
    found = [manifest for manifest in manifests if upto_ms is None or manifest.tick_s * 1000 <= upto_ms]
    return sorted(found, key=lambda manifest: (manifest.journal, manifest.begun_ms), reverse=True)
