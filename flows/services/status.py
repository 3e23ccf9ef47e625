"""What a deployment holds and how far each part is, read from its state alone.

No process is asked, so it works from any machine that reaches Redis, and while everything else is down.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from flows.logic.shard.state import sums
from flows.runtime.deployment import Deployment
from flows.services.retention.progress import is_behind
from schemas.config import Config
from schemas.records.customer_profile import Head
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind
from state.directory.matches import PARTITION
from state.suspended import Suspension

DELIVER = "deliver "  # before the connector, in the name of a reader
TRIGGERS, EXAMPLES = Lane.TRIGGERS, Lane.EXAMPLES
_TICKS_MAX = 10  # looked at in the log of each shard; more of them wait only where other things do too


class Logged(Protocol):
    @property
    def shard(self) -> int: ...
    @property
    def kind(self) -> str: ...


class Logs(Protocol):
    def heads(self) -> dict[int, int]: ...
    def read(self, after: Mapping[int, int], count: int, block_ms: int) -> Sequence[Logged]: ...


class Directory(Protocol):
    def offsets(self) -> dict[str, int]: ...
    def heads(self) -> dict[int, int]: ...
    def stats(self) -> dict[str, int]: ...
    def suspended(self) -> dict[bytes, int]: ...
    def said_last(self) -> int: ...


class Shards(Protocol):
    def heads(self) -> dict[int, Head]: ...
    def counters(self) -> dict[int, dict[str, int]]: ...


class Outbox(Protocol):
    def cursors(self, lane: str, consumer: str) -> dict[int, int]: ...


class Behind(msgspec.Struct, frozen=True):
    """Entries that a reader has not yet committed: in all, and in the shard where they are the most."""

    reader: str
    entries: int
    worst_shard: int
    worst_entries: int


class Status(msgspec.Struct, frozen=True):
    name: str
    shards: int
    clock_age_ms: int  # since the last tick that every shard has committed; -1 if some have none yet
    rules: tuple[int, ...]  # versions in force; more than one only while a change travels
    models: dict[str, tuple[int, ...]]  # sender -> versions in force
    partitions: dict[str, int]  # source partition -> committed position
    behind: tuple[Behind, ...]
    suspended: int  # identifiers that are evidence no longer
    sources: tuple[str, ...]  # that are suspended
    given_up: tuple[str, ...]  # processes that end at every start
    totals: dict[str, int]  # of the shards and of the directory: `applied`, `triggers:<rule>` ...
    overdue: int = 0  # requests of customers that are not closed in time
    sweep_behind: bool = False  # what ends things that are too old does not come along


class Overview(msgspec.Struct, frozen=True):
    """What a person is shown."""

    status: Status  # without the ticks that wait
    deliveries: dict[str, dict[str, int]]  # attempts, by connector and outcome


def overview(deployment: Deployment) -> Overview:
    """Return what there is now. Raises `Unreachable`, `Foreign`."""
    directory, shards, now_ms = deployment.directory, deployment.shards, int(time.time() * 1000)
    status = collect(
        deployment.config,
        directory,
        shards,
        deployment.outbox,
        now_ms,
        deployment.sources.all(),
        deployment.given_up.all(),
    )
    status = msgspec.structs.replace(
        status,
        overdue=sum(request.due_ms < now_ms for request in deployment.privacy_requests.unfinished()),
        sweep_behind=is_behind(deployment.sweep_records.load(), now_ms),
    )
    return Overview(without_ticks(status, directory, shards), deployment.deliveries.counts())


def without_ticks(status: Status, logs: Logs, shards: Shards) -> Status:
    """Return it for people: the clock appends to every log once a second, which is no work that waits.
    (`switch` asks for all of it.)"""
    positions = {shard: head.offset for shard, head in shards.heads().items()}
    ends = logs.heads()
    ticks = Counter(
        entry.shard for entry in logs.read(positions, _TICKS_MAX, 0) if entry.kind == LogKind.TICK
    )
    profile = _behind(
        "profile", ends, {shard: position + ticks[shard] for shard, position in positions.items()}
    )
    return msgspec.structs.replace(
        status, behind=tuple(profile if row.reader == "profile" else row for row in status.behind)
    )


def collect(
    config: Config,
    directory: Directory,
    shards: Shards,
    outbox: Outbox,
    now_ms: int,
    sources: Mapping[str, Suspension] = {},  # never written to
    given_up: Iterable[str] = (),
) -> Status:
    """Read it once. Counters and positions are each exact; they are not taken in one instant."""
    heads = shards.heads()
    models = sorted({sender for head in heads.values() for sender in head.models})
    clock_ms = min((head.clock_ms for head in heads.values()), default=0)
    behind = [_behind("profile", directory.heads(), {shard: head.offset for shard, head in heads.items()})]
    for lane, flow, consumers in (
        (TRIGGERS, "deliver", [connector.name for connector in config.connector if connector.enabled]),
        (EXAMPLES, "learn", [sender for sender in models if sender.startswith("learn:")]),
    ):
        ends = {shard: head.outbox.get(lane, 0) for shard, head in heads.items()}
        behind += [
            _behind(f"{flow} {consumer}", ends, outbox.cursors(lane, consumer)) for consumer in consumers
        ]
    if config.matching.enabled:
        behind.append(
            _behind("match", {0: directory.said_last()}, {0: directory.offsets().get(PARTITION, 0)})
        )
    return Status(
        name=config.name,
        shards=len(heads),
        clock_age_ms=now_ms - clock_ms if clock_ms else -1,
        rules=_versions(head.rules for head in heads.values()),
        models={
            sender: _versions(head.models.get(sender, 0) for head in heads.values()) for sender in models
        },
        partitions=directory.offsets(),
        behind=tuple(behind),
        suspended=len(directory.suspended()),
        sources=tuple(sorted(source for source, found in sources.items() if found.holds)),
        given_up=tuple(given_up),
        totals=sums([*shards.counters().values(), directory.stats()]),
    )


def _behind(reader: str, ends: Mapping[int, int], positions: Mapping[int, int]) -> Behind:
    missing = {shard: max(0, end - positions.get(shard, 0)) for shard, end in ends.items()}
    worst = max(missing, key=missing.__getitem__, default=0)
    return Behind(reader, sum(missing.values()), worst, missing.get(worst, 0))


def _versions(found: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(found)))
