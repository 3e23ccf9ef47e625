"""The command `import`."""

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

import typer

from flows.cli.options import AsJson, ConfigFile
from schemas.config.toml import load


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, metavar="FILE", help="A .csv, .xlsx, .jsonl, .avro or .parquet file."
        ),
    ],
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COL=FIELD",
            help="Once for each column that is to be sent; without any, all are, as what they are called.",
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option("--type", metavar="identify|track", help="What a row is.")
    ] = "identify",
    event: Annotated[
        str | None,
        typer.Option(help="The event's name, where rows are tracks and no column is mapped to `event`."),
    ] = None,
    source: Annotated[str, typer.Option(help="The channel that profiles and rules see.")] = "import",
    sheet: Annotated[str | None, typer.Option(help="Of an Excel file; without it the first.")] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help="Of a text file, such as gb18030; without it UTF-8 or what looks like it."),
    ] = None,
    quote: Annotated[
        str,
        typer.Option(
            metavar="double|none",
            help='Of a CSV file: what " does at the beginning of a cell; none: it is a letter.',
        ),
    ] = "double",
    zone: Annotated[str, typer.Option(help="Of times that come without one, such as Asia/Shanghai.")] = "UTC",
    backfill: Annotated[
        bool,
        typer.Option(
            "--backfill/--live",
            help="Rows are history, no trigger is sent because of them; or as if they happened now.",
        ),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Send nothing: what would be rejected, and who would be new or become one."
        ),
    ] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Send the rows of a file as events. Killed and started again it goes on; none is lost or doubled."""
    if kind not in ("identify", "track"):
        raise typer.BadParameter(f"--type {kind}: expected identify or track")
    if event is not None and kind != "track":
        raise typer.BadParameter("--event goes with --type track")
    if quote not in ("double", "none"):
        raise typer.BadParameter(f"--quote {quote}: expected double or none")
    if zone not in available_timezones():
        raise typer.BadParameter(
            f"--zone {zone}: there is no such time zone; expected one such as Asia/Shanghai"
        )
    from flows.cli.import_screen import run
    from flows.services.importing.job import Job

    what: Literal["track", "identify"] = "track" if kind == "track" else "identify"
    job = Job(
        path=file,
        pairs=tuple(pairs or ()),
        kind=what,
        event=event,
        source=source,
        sheet=sheet,
        encoding=encoding,
        quoted=quote == "double",
        zone=zone,
        backfill=backfill,
    )
    return run(load(config), job, dry_run, as_json)
