"""A copy of the customers' wrapped data keys, apart from every backup and always as they are now: one SQLite
file.

There is one version of it. When a customer is erased, the key goes from here within seconds (`PRAGMA
secure_delete`: it is overwritten), so no backup or archive of whatever age can bring the customer back. The
keys are wrapped by the key-encryption key of the key file, which is not in here.
"""

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import redis

from schemas.errors import Foreign
from state.key_wrapping import wrapped_by
from state.keys import DESTROYED
from state.redis.names import Names

PAGE = 1_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys
  (bucket INTEGER NOT NULL, origin BLOB NOT NULL, wrapped BLOB NOT NULL, PRIMARY KEY (bucket, origin))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owner (fingerprint TEXT NOT NULL);
"""


class KeyCopy:
    """A context: closes the file. One thread."""

    def __init__(self, path: Path, owner: str) -> None:
        """`owner`: fingerprint of the key file. Raises `Foreign`."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        try:
            self._file = sqlite3.connect(path, timeout=10, isolation_level=None)
            path.chmod(0o600)
            self._file.execute("PRAGMA secure_delete = ON")
            self._file.execute("PRAGMA synchronous = FULL")
            self._file.executescript(_SCHEMA)
            found = self._file.execute("SELECT fingerprint FROM owner").fetchone()
            if found is None:
                self._file.execute("INSERT INTO owner VALUES (?)", (owner,))
        except sqlite3.DatabaseError as error:
            raise Foreign(f"{path}: cannot be read as a copy of the customers' keys ({error})") from error
        if found is not None and found[0] != owner:
            raise Foreign(
                f"{path}: holds keys wrapped by the key file {found[0]}, ours is {owner}: the copy of"
                " another deployment"
            )

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM keys").fetchone()[0])

    def follow(self, client: redis.Redis, names: Names, changed: Iterable[bytes]) -> None:
        """Make these buckets (keys below `Names.data_keys`) as they are in Redis."""
        buckets = sorted(key for key in changed if key.startswith(names.data_keys))
        for first in range(0, len(buckets), PAGE):
            page = buckets[first : first + PAGE]
            pipeline: Any = client.pipeline(transaction=False)
            for key in page:
                pipeline.hgetall(key)
            self._replace(
                {
                    int(key[len(names.data_keys) :]): held
                    for key, held in zip(page, pipeline.execute(), strict=True)
                }
            )

    def sync(self, client: redis.Redis, names: Names) -> None:
        """Make all of it as it is in Redis. Raises `Foreign` where Redis has lost what is here."""
        there = set(cast(Iterator[bytes], client.scan_iter(match=names.data_keys + b"*", count=PAGE)))
        held = {
            names.data_keys + b"%d" % bucket
            for (bucket,) in self._file.execute("SELECT DISTINCT bucket FROM keys").fetchall()
        }
        if held and not there:
            raise Foreign(
                f"{self.path} holds the keys of {len(self)} customers and Redis none: `millrace restore`"
                " first, or remove the file"
            )
        self.follow(client, names, there | held)

    def load(self, client: redis.Redis, names: Names) -> int:
        """Write all of them into Redis, and what wraps them; how many."""
        n = 0
        keks: set[str] = set()
        pipeline: Any = client.pipeline(transaction=False)
        for bucket, origin, wrapped in self._file.execute("SELECT bucket, origin, wrapped FROM keys"):
            pipeline.hset(names.data_keys + b"%d" % bucket, origin, wrapped)
            if wrapped != DESTROYED:
                keks.add(str(wrapped_by(wrapped)))
            n += 1
            if n % PAGE == 0:
                pipeline.execute()
        for kek in keks:
            pipeline.hsetnx(names.keks, kek, b"")
        pipeline.execute()
        return n

    def _replace(self, buckets: dict[int, dict[bytes, bytes]]) -> None:
        """Write these buckets as they are now, all or none. Raises `OSError` on a full disk."""
        try:
            self._file.execute("BEGIN IMMEDIATE")
            for bucket, held in buckets.items():
                self._write(bucket, held)
            self._file.execute("COMMIT")
        except BaseException as error:
            if self._file.in_transaction:  # a full disk has ended it
                self._file.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path)) from error
            raise

    def _write(self, bucket: int, held: dict[bytes, bytes]) -> None:
        known = dict(self._file.execute("SELECT origin, wrapped FROM keys WHERE bucket = ?", (bucket,)))
        gone = [(bucket, origin) for origin in known.keys() - held.keys()]
        self._file.executemany("DELETE FROM keys WHERE bucket = ? AND origin = ?", gone)
        new = [(bucket, origin, wrapped) for origin, wrapped in held.items() if known.get(origin) != wrapped]
        self._file.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", new)
