"""The archive's files: what was safe is there again, whoever died; and what is damaged says where."""

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import fastavro
import msgspec
import pytest
import zstandard

from schemas.errors import Fenced, Foreign
from schemas.records.journal import JournalKind, Journalled
from state.history.archive_files import Archive, ArchiveWriter, files
from state.keys import LogSeal
from tests.golden import FOLDER as GOLDEN

OWNER = "ours"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, LogSeal(b"k" * 32), OWNER)


def entry(seq: int, history: str = "") -> Journalled:
    return Journalled(seq, JournalKind.WINDOW, b"note", content=f"window {seq}{history}".encode() * 20)


def writer(
    archive: Archive, after: int, rotate_bytes: int = 1_000_000, rotate_s: float = 1e9
) -> ArchiveWriter:
    return ArchiveWriter(archive, after, rotate_bytes=rotate_bytes, rotate_s=rotate_s)


def written(
    archive: Archive,
    seqs: range,
    *,
    after: int | None = None,
    history: str = "",
    rotate_bytes: int = 1_000_000,
) -> None:
    made = writer(archive, seqs.start - 1 if after is None else after, rotate_bytes)
    for seq in seqs:
        made.write(entry(seq, history), 0.0)
        made.sync()
    made.close()


def seqs(archive: Archive, after: int = 0) -> list[int]:
    return [found.entry.seq for found in archive.entries(after)]


def test_what_was_written_is_read_again_in_order_and_without_a_gap(archive: Archive) -> None:
    written(archive, range(1, 101), rotate_bytes=2_000)
    assert len(files(archive.folder)) > 3
    assert [found.entry for found in archive.entries(0)] == [entry(seq) for seq in range(1, 101)]
    assert seqs(archive, after=60) == [*range(61, 101)]
    assert seqs(archive, after=100) == []
    assert archive.last() == 100


def test_files_of_the_former_format_are_read_and_continued(archive: Archive) -> None:
    """Its entries are compressed with zlib."""
    shutil.copy(GOLDEN / "archive.1.avro", archive.folder / "00000001-000000000001.avro")
    written(archive, range(4, 7))
    assert [found.entry for found in archive.entries(0)] == [entry(seq) for seq in range(1, 7)]
    old, new = (
        fastavro.reader(BytesIO(file.path.read_bytes())).metadata["millrace.format"]
        for file in files(archive.folder)
    )
    assert (old, new) == ("1", "3")


def test_a_newer_format_is_refused(archive: Archive) -> None:
    written(archive, range(1, 3))
    (file,) = files(archive.folder)
    file.path.write_bytes(file.path.read_bytes().replace(b"millrace.format\x023", b"millrace.format\x024"))
    with pytest.raises(Foreign, match="has format 4, this release reads up to 3: use the newer millrace"):
        list(archive.entries(0))


def test_entries_are_compressed_with_zstd_before_they_are_sealed(archive: Archive) -> None:
    written(archive, range(1, 2))
    record = next(iter(fastavro.reader(BytesIO(files(archive.folder)[0].path.read_bytes()))))
    opened = LogSeal(b"k" * 32).open(record["sealed"])
    assert msgspec.msgpack.decode(zstandard.decompress(opened), type=Journalled) == entry(1)
    assert len(opened) < len(msgspec.msgpack.encode(entry(1))) / 2


def test_files_are_rotated_by_time(archive: Archive) -> None:
    made = writer(archive, 0, rotate_s=60)
    for seq, now in enumerate([0, 30, 59, 60, 90, 121], 1):
        made.write(entry(seq), now)
    made.close()
    assert [file.first for file in files(archive.folder)] == [1, 4, 6]


def test_nothing_of_an_entry_can_be_read_without_the_key(archive: Archive) -> None:
    written(archive, range(1, 3))
    (file,) = files(archive.folder)
    assert b"window" not in file.path.read_bytes()
    with pytest.raises(Foreign, match=r"record 1: entry 1 cannot be opened"):
        list(Archive(archive.folder, LogSeal(b"x" * 32), OWNER).entries(0))


def test_an_archive_of_another_deployment_is_refused(archive: Archive) -> None:
    written(archive, range(1, 3))
    with pytest.raises(Foreign, match="the archive of another deployment"):
        list(Archive(archive.folder, LogSeal(b"k" * 32), "theirs").entries(0))


def test_a_second_writer_is_refused(archive: Archive) -> None:
    first = writer(archive, 0)
    with pytest.raises(Fenced, match="another process writes this archive"):
        writer(archive, 0)
    first.close()
    writer(archive, 0).close()


def test_what_was_safe_before_a_kill_is_not_written_twice(archive: Archive) -> None:
    """Killed between the fsync and the note in Redis that these entries may go."""
    killed = writer(archive, 0)
    for seq in range(1, 11):
        killed.write(entry(seq), 0.0)
    killed.sync()
    killed.abandon()
    written(archive, range(5, 21), after=4)
    assert seqs(archive) == [*range(1, 21)]
    assert [(file.first, file.branch) for file in files(archive.folder)] == [(1, False), (11, False)]


@pytest.mark.parametrize("lost", [1, 7, 200, 1_000])
def test_a_torn_end_is_no_fault_for_what_comes_after_continues_it(archive: Archive, lost: int) -> None:
    killed = writer(archive, 0)
    for seq in range(1, 11):
        killed.write(entry(seq), 0.0)
        killed.sync()
    killed.abandon()
    (torn,) = files(archive.folder)
    assert not torn.closed
    torn.path.write_bytes(torn.path.read_bytes()[:-lost])
    there = seqs(archive)
    assert there == [*range(1, len(there) + 1)]
    assert len(there) < 10 or lost < 16  # but for the mark between two blocks it is whole
    written(archive, range(len(there) + 1, 15), after=len(there))
    assert seqs(archive) == [*range(1, 15)]


def test_a_redis_that_came_back_older_makes_a_branch_and_voids_what_was_not_to_be(archive: Archive) -> None:
    written(archive, range(1, 21), rotate_bytes=1_500)
    written(archive, range(13, 17), history=" otherwise")
    assert [found.entry for found in archive.entries(0)] == [
        *(entry(seq) for seq in range(1, 13)),
        *(entry(seq, " otherwise") for seq in range(13, 17)),
    ]
    branch = archive.branched(since=0, upto=15)
    assert branch is not None
    assert (branch.first, branch.branch) == (13, True)
    assert archive.branched(since=0, upto=12) is None
    assert archive.branched(since=branch.number, upto=15) is None


def test_a_redis_that_came_back_older_and_did_the_same_again_makes_no_branch(archive: Archive) -> None:
    written(archive, range(1, 21))
    written(archive, range(13, 25))
    assert seqs(archive) == [*range(1, 25)]
    assert archive.branched(since=0, upto=99) is None


def outcome(archive: Archive) -> str | list[Journalled]:
    """The entries, or which file is at fault."""
    try:
        return [each.entry for each in archive.entries(0)]
    except Foreign as error:
        return str(error).partition(":")[0].partition(",")[0]


def test_a_flipped_bit_anywhere_is_found_and_named(archive: Archive) -> None:
    written(archive, range(1, 4))
    (file,) = files(archive.folder)
    whole = file.path.read_bytes()
    start = whole.index(b"avro.codec")  # behind the schema's text, whose words mean nothing to us
    for at in range(start, len(whole), 7):
        for bit in (0, 6):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            file.path.write_bytes(damaged)
            assert outcome(archive) in (str(file.path), [entry(seq) for seq in range(1, 4)]), (
                at
            )  # some words in the header say nothing


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda found: found[1].path.unlink(), "expected {second}: there is a gap before it"),
        (lambda found: found[0].path.unlink(), "expected 1: there is a gap before it"),
        (lambda found: found[1].path.write_bytes(found[1].path.read_bytes()[:-60]), "cut off"),
        (lambda found: found[1].path.write_bytes(b""), "its header cannot be read"),
        (
            lambda found: found[1].path.write_bytes(found[2].path.read_bytes()),
            "expected {second}: there is a gap before it",
        ),
    ],
)
def test_an_archive_with_a_gap_says_where(
    archive: Archive, spoil: Callable[[list[object]], None], says: str
) -> None:
    written(archive, range(1, 41), rotate_bytes=1_500)
    found = files(archive.folder)
    spoil(found)  # type: ignore[arg-type]
    with pytest.raises(Foreign) as caught:
        list(archive.entries(0))
    assert says.format(second=found[1].first) in str(caught.value)
    assert str(archive.folder) in str(caught.value)


def test_a_closed_file_cut_off_between_two_records_is_found(archive: Archive) -> None:
    """Without the mark at its end a whole block could go unnoticed."""
    made = writer(archive, 0)
    sizes = []
    for seq in range(1, 6):
        made.write(entry(seq), 0.0)
        made.sync()
        sizes.append(files(archive.folder)[0].path.stat().st_size)
    made.close()
    (file,) = files(archive.folder)
    file.path.write_bytes(file.path.read_bytes()[: sizes[3]])
    with pytest.raises(Foreign, match=r"record 5: the mark at the end is missing"):
        list(archive.entries(0))


def test_records_that_changed_places_are_found(archive: Archive) -> None:
    written(archive, range(1, 2))
    (file,) = files(archive.folder)
    other = Archive(archive.folder / "other", LogSeal(b"k" * 32), OWNER)
    written(other, range(7, 8))
    renamed = file.path.with_name("00000001-000000000001.avro")
    files(other.folder)[0].path.rename(renamed)
    with pytest.raises(Foreign, match="entry 7 of the journal, expected 1"):
        list(archive.entries(0))


def test_old_files_go_and_what_is_left_has_no_hole(archive: Archive) -> None:
    written(archive, range(1, 41), rotate_bytes=1_500)
    found = files(archive.folder)
    gone = archive.prune(before=found[2].first + 1, older_than_s=2e12)
    assert gone == [file.path for file in found[:2]]
    assert seqs(archive, after=found[2].first - 1) == [*range(found[2].first, 41)]
    assert archive.prune(before=41, older_than_s=0) == []


def test_an_entry_survives_the_way_through_bytes() -> None:
    full = Journalled(
        seq=7,
        kind=JournalKind.ABSORB,
        body=b"b",
        sender="shard:3",
        sent=9,
        extra=b"e",
        announced=b"n",
        content=b"c",
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(full), type=Journalled) == full
    assert not full.bare
    assert entry(1).bare is False
    assert Journalled(1, JournalKind.WINDOW, b"note").bare
    assert Journalled(1, JournalKind.CONFIG, b"note").bare
    assert not Journalled(1, JournalKind.TICK, b"note").bare
