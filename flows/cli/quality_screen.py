"""`millrace quality`: how good the data of each source is; with `--personal`, where data looks personal in
fields that nobody listed."""

from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.cli.printing import folded, print_json
from flows.logic.fields.quality import FieldQuality, Unread
from flows.runtime.deployment import Deployment
from flows.services.data_quality import Personal, personal, quality
from schemas.config import Config


def run(config: Config, as_json: bool) -> int:
    """Print it. Raises `Unreachable`, `Foreign`."""
    found = quality(Deployment(config))
    if as_json:
        print_json([*map(figures, found.fields), *map(msgspec.structs.asdict, found.unread)])
        return 0
    Console(highlight=False).print(screen(found.fields))
    if found.unread:
        Console(highlight=False).print(no_numbers(found.unread))
    return 0


def run_personal(config: Config, as_json: bool) -> int:
    """Print where data looks personal. Raises `Unreachable`, `Foreign`."""
    found = personal(Deployment(config))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return 0
    Console(highlight=False).print(likely_personal(found))
    return 0


def likely_personal(found: Personal) -> RenderableType:
    """Return a table with a line for each field and each kind that its values look like."""
    looked = f"{found.events:,} events were looked at, a sample"
    if not found.fields:
        return f"no field that nobody listed looks like personal data; {looked}"
    table = folded(
        Table(
            "source",
            "event",
            "field",
            "looks like",
            "values (in the open)",
            "such as",
            padding=(0, 1, 0, 0),
            box=SIMPLE_HEAD,
        )
    )
    for row in found.fields:
        table.add_row(
            Text(row.source),
            Text(row.event),
            Text(row.field),
            row.kind,
            f"{row.hits:,} of {row.looked_at:,} ({row.kept:,})",
            Text(row.example),
        )
    said = [looked]
    if found.beyond:
        said.append(f"{found.beyond:,} values are of fields for which there was no room")
    if found.failed:
        said.append(f"{found.failed:,} of these events could not be looked at: a defect of ours")
    said.append("list what is personal in `privacy.sensitive`, or have the sender leave it out")
    return Group(table, *said)


def figures(row: FieldQuality) -> dict[str, Any]:
    """Return the counts with the shares that are made of them."""
    shares = {"coverage": row.coverage, "validity": row.validity, "conflict_rate": row.conflict_rate}
    return msgspec.structs.asdict(row) | {name: round(share, 4) for name, share in shares.items()}


def screen(rows: list[FieldQuality]) -> RenderableType:
    """Return a table with a line for each field of each source."""
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
    """Return a table of the values that counted in no figure, and that no rule could compare."""
    table = Table("source", "property", "values that are no number", padding=(0, 1, 0, 0), box=SIMPLE_HEAD)
    for one in unread:
        table.add_row(one.source, one.field, f"{one.unread:,}")
    return table
