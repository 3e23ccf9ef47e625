"""Whatever a release has written, this one reads; and it writes what it wrote, bit for bit."""

import re
from typing import Any

import msgspec
import pytest

import schemas.records.centre_sessions
import schemas.records.consents
import schemas.records.customer_profile
import schemas.records.identity_graph
import schemas.records.journal
import schemas.records.mandates
import schemas.records.personal_findings
import schemas.records.privacy_requests
import schemas.records.retention
import schemas.records.shard_log
import schemas.wire.events
import schemas.wire.triggers
from tests.golden import FOLDER, SAMPLES, versions

INSIDE = {
    "Fragment",
    "Sealed",
    "Wait",
    "Question",
    "Held",
    "Owed",
    "InFlightMerge",
    "Receipt",
    "Answer",
    "Identifier",
    "Routed",
    "Group",
    "Order",
    "Put",
    "Parting",
    "Open",
    "Word",
    "FieldFindings",
    "Swept",
    "Notice",
}  # of others
NOT_KEPT = {
    "Reject",
    "RawBatch",
    "LogEntry",
    "WindowResult",
    "Pair",
    "Union",
    "Standing",
}  # in memory, or an answer
MODULES = (
    schemas.wire.events,
    schemas.records.centre_sessions,
    schemas.records.consents,
    schemas.records.identity_graph,
    schemas.records.journal,
    schemas.records.mandates,
    schemas.records.personal_findings,
    schemas.records.shard_log,
    schemas.records.customer_profile,
    schemas.wire.triggers,
    schemas.records.privacy_requests,
    schemas.records.retention,
)


@pytest.mark.parametrize("record", SAMPLES)
def test_the_newest_is_what_we_write(record: str) -> None:
    newest = versions(record)[-1].read_bytes()
    sample = SAMPLES[record]
    assert msgspec.msgpack.encode(sample) == newest, (
        f"{record} has changed: `python -m tests.golden` adds a file for it; keep the old ones"
    )
    assert msgspec.msgpack.decode(newest, type=type(sample)) == sample


@pytest.mark.parametrize("file", sorted(file.name for file in FOLDER.glob("*.bin")))
def test_every_one_is_read_and_survives_being_written(file: str) -> None:
    kind = type(SAMPLES[file.partition(".")[0]])
    read = msgspec.msgpack.decode((FOLDER / file).read_bytes(), type=kind)
    again = msgspec.msgpack.encode(read)
    assert msgspec.msgpack.decode(again, type=kind) == read
    stored = msgspec.msgpack.decode((FOLDER / file).read_bytes())
    assert extends(msgspec.msgpack.decode(again), stored)  # fields are only ever added, at the end


def extends(now: Any, then: Any) -> bool:
    """Whether each record in `now` begins as it was `then`."""
    if isinstance(then, list):
        return isinstance(now, list) and len(now) >= len(then) and all(map(extends, now, then))
    if isinstance(then, dict):
        return (
            isinstance(now, dict)
            and now.keys() == then.keys()
            and all(extends(now[key], then[key]) for key in then)
        )
    return bool(now == then)


def test_every_record_that_is_kept_is_here() -> None:
    kinds = {
        name
        for module in MODULES
        for name, kind in vars(module).items()
        if isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind.__module__ == module.__name__
        and not name.startswith("_")
    }
    assert kinds - INSIDE - NOT_KEPT == SAMPLES.keys() - {"Checkpoint"}


def test_files_are_named_by_record_and_version() -> None:
    for record in SAMPLES:
        assert [file.name for file in versions(record)] == [
            f"{record}.{n + 1}.bin" for n in range(len(versions(record)))
        ]
    assert all(re.fullmatch(r"[A-Z]\w+\.\d+\.bin", file.name) for file in FOLDER.glob("*.bin"))
