"""`millrace quality`: how good the data of each source is, from the counters that the shards commit with
their profiles."""

from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from flows.cli.tables import folded
from flows.logic.fields.quality import FieldQuality, Unread, report, unread_report
from flows.logic.shard.state import sums
from schemas.config import Config
from state.redis.client import reported


def run(config: Config, as_json: bool) -> int:
    """Print it. Raises `Unreachable`, `Foreign`."""
    from flows.runtime.deployment import Deployment

    deployment = Deployment(config)

    with reported():
        deployment.check_data()  # that the data is ours
        totals = sums(deployment.shards.counters().values())
    rows, unread = report(totals), unread_report(totals)
    if as_json:
        found = [*map(figures, rows), *map(msgspec.structs.asdict, unread)]
        Console(soft_wrap=True, highlight=False).print(msgspec.json.encode(found).decode(), markup=False)
    else:
        Console(highlight=False).print(screen(rows))
        if unread:
            Console(highlight=False).print(no_numbers(unread))
    return 0


def figures(row: FieldQuality) -> dict[str, Any]:
    """The counts with the shares that are made of them."""
    shares = {"coverage": row.coverage, "validity": row.validity, "conflict_rate": row.conflict_rate}
    return msgspec.structs.asdict(row) | {name: round(share, 4) for name, share in shares.items()}


def screen(rows: list[FieldQuality]) -> RenderableType:
    """A line for each field of each source."""
    if not rows:
        return "no source has stated a checked field yet"
    table = folded(
        Table(
            "source (records)",
            "field",
            "stated",
            "valid",
            "conflicts",
            "why bad",
            padding=(0, 1, 0, 0),
            box=SIMPLE_HEAD,
        )
    )
    source = None
    for row in rows:
        first, source = row.source != source, row.source
        table.add_row(
            Text(f"{row.source} ({row.records:,})" if first else ""),  # a name in brackets is no markup
            Text(row.field),
            f"{row.stated:,} ({row.coverage:.1%})",
            f"{row.valid:,} ({row.validity:.1%})",
            f"{row.conflicts:,} ({row.conflict_rate:.1%})",
            "\n".join(f"{reason} {n:,}" for reason, n in row.bad.items()),
        )
    return table


def no_numbers(unread: list[Unread]) -> RenderableType:
    """Values that counted in no figure, and that no rule could compare."""
    table = Table("source", "property", "values that are no number", padding=(0, 1, 0, 0), box=SIMPLE_HEAD)
    for one in unread:
        table.add_row(one.source, one.field, f"{one.unread:,}")
    return table
