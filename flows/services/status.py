"""`millrace status`: one screen of what a deployment holds and how far each part is, read from its state
alone.

It asks no process, so it works from any machine that reaches Redis, and while everything else is down.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.logic.shard.state import sums
from schemas.config import Config
from schemas.records.customer_profile import Head
from schemas.records.outbox_lanes import Lane
from schemas.records.shard_log import LogKind
from state.directory.matches import PARTITION
from state.suspended import Suspension

DELIVER = "deliver "  # before the connector, in the name of a reader
TRIGGERS, EXAMPLES = Lane.TRIGGERS, Lane.EXAMPLES  # lanes of a shard's outbox
_ROWS_MAX = 12  # of one table: it stays one screen
_TICKS_MAX = 10  # looked at in the log of each shard; more of them wait only where other things do too
_DROPPED = (
    "duplicates are messages that came again (a client that got no answer sends once more, a killed worker reads again):"
    " each counted once, the repeats were dropped. Nothing is lost by it."
)


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
    totals: dict[
        str, int
    ]  # of the shards and of the directory: `applied`, `triggers:<rule>`, `rejected:<reason>` ...


def show(config: Config) -> None:
    """Print it. Raises `Unreachable`, `Foreign`."""
    from flows.runtime.deployment import Deployment

    deployment = Deployment(config)

    directory, shards, outbox = (
        deployment.directory,
        deployment.shards,
        deployment.outbox,
    )
    status = collect(
        config,
        directory,
        shards,
        outbox,
        int(time.time() * 1000),
        deployment.sources.all(),
        deployment.given_up.all(),
    )
    Console().print(screen(without_ticks(status, directory, shards), deployment.deliveries.counts()))


def without_ticks(status: Status, logs: Logs, shards: Shards) -> Status:
    """For people: the clock appends to every log once a second, which is no work that waits. (`switch` asks
    for all of it.)"""
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
    """One reading. Counters and positions are each exact; they are not taken in one instant."""
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


def screen(
    status: Status, counts: Mapping[str, Mapping[str, int]] = {}
) -> RenderableType:  # never written to
    """The status as something `rich` prints. `counts`: attempts of delivery by connector and outcome."""
    clock = "not ticking yet" if status.clock_age_ms < 0 else f"{status.clock_age_ms / 1000:.1f} s ago"
    rules = ", ".join(map(str, status.rules))
    head = f"[bold]{escape(status.name)}[/]: {status.shards} shards, last tick {clock}, rules version {rules}"
    behind = _columns("logs", "reader", "behind", "most in shard")
    for row in status.behind:
        behind.add_row(
            Text(row.reader),
            f"{row.entries:,}",
            f"{row.worst_shard} ({row.worst_entries:,})" if row.entries else "",
        )
    models = {sender: ", ".join(map(str, versions)) for sender, versions in status.models.items()}
    plain = {name: value for name, value in status.totals.items() if ":" not in name}
    tables = [
        behind,
        _deliveries(status, counts),
        _table("totals", plain),
        _table("triggers by rule", _under(status.totals, "triggers:")),
        _table("held by reason", _under(status.totals, "decisions:")),
        _table("actions chosen", _under(status.totals, "actions:")),
        _table("rewards refused", _under(status.totals, "rewards_refused:")),
        _table("groups", _under(status.totals, "cluster:")),
        _table("rejected by reason", _under(status.totals, "rejected:")),
        _table("lifecycle", _under(status.totals, "stage:")),
        _table("segments", _under(status.totals, "segment:")),
        _table("tags", _under(status.totals, "tag:")),
        _table("model versions", models),
        _table("source positions", status.partitions),
    ]
    if status.suspended:
        head += (
            f"\n[bold red]{status.suspended:,} identifiers are suspended[/] (`millrace identity suspended`)"
        )
    if status.given_up:
        head += f"\n[bold red]given up, since they end at every start: {escape(', '.join(status.given_up))}[/] (their log says why)"
    if status.sources:
        head += f"\n[bold red]suspended sources, whose events are not taken: {escape(', '.join(status.sources))}[/] (`millrace source list`)"
    notes = [_DROPPED] if plain.get("duplicates") else []
    return Group(head, Columns([table for table in tables if table.row_count], padding=(0, 2)), *notes)


def _deliveries(status: Status, counts: Mapping[str, Mapping[str, int]]) -> Table:
    """`waiting`: entries that the connector has not passed, some of which may be for others."""
    waiting = {
        row.reader.removeprefix(DELIVER): row.entries
        for row in status.behind
        if row.reader.startswith(DELIVER)
    }
    table = _columns("deliveries", "connector", "delivered", "retried", "dead", "waiting")
    for name in sorted({*waiting, *counts}):
        outcomes = counts.get(name, {})
        cells = (f"{outcomes.get(outcome, 0):,}" for outcome in ("delivered", "retried", "dead"))
        table.add_row(Text(name), *cells, f"{waiting[name]:,}" if name in waiting else "off")
    return table


def _columns(title: str, *names: str) -> Table:
    """A name that is too long for the terminal goes on in the next line, whole; a number is never cut."""
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(names):
        table.add_column(
            name,
            overflow="fold",
            no_wrap=index > 0 and name not in ("", "most in shard"),
            justify="right" if index else "left",
        )
    return table


def _behind(reader: str, ends: Mapping[int, int], positions: Mapping[int, int]) -> Behind:
    missing = {shard: max(0, end - positions.get(shard, 0)) for shard, end in ends.items()}
    worst = max(missing, key=missing.__getitem__, default=0)
    return Behind(reader, sum(missing.values()), worst, missing.get(worst, 0))


def _versions(found: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(found)))


def _under(totals: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): value
        for name, value in totals.items()
        if name.startswith(prefix) and value
    }


def _table(title: str, values: Mapping[str, int | str]) -> Table:
    """The largest first; what does not fit is counted."""
    table = _columns(title, "", "")
    table.show_header = False
    ranked = sorted(values.items(), key=lambda item: (isinstance(item[1], str) or -item[1], item[0]))
    for name, value in ranked[:_ROWS_MAX]:
        table.add_row(Text(name), value if isinstance(value, str) else f"{value:,}")
    if more := ranked[_ROWS_MAX:]:
        table.add_row(f"... and {len(more)} more", "")
    return table
