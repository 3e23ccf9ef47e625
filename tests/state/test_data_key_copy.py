"""The copy of the customers' wrapped data keys on a disk that is full."""

import errno
from pathlib import Path

import pytest

from state.history.data_key_copy import KeyCopy

HELD = {b"%012d" % n: b"w" * 40 for n in range(2_000)}


def test_a_full_disk_is_said_as_such_and_what_was_there_stays(tmp_path: Path) -> None:
    copy = KeyCopy(tmp_path / "keys.db", "fingerprint")
    copy._replace({1: {b"0" * 12: b"before"}})
    copy._file.execute(f"PRAGMA max_page_count = {copy._file.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(OSError, match=r"keys\.db") as raised:
        copy._replace({1: {}, 2: HELD})
    assert raised.value.errno == errno.ENOSPC
    assert len(copy) == 1
    copy._file.execute("PRAGMA max_page_count = 100000")
    copy._replace({1: {}, 2: HELD})
    assert len(copy) == len(HELD)
    copy.close()
