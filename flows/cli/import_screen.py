"""`millrace import`: how far it is, and what came of it."""

from typing import Final

import msgspec
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from connectors.files.csv_files import GUESSES
from flows.cli.printing import folded, print_json
from flows.runtime.deployment import Deployment
from flows.services.importing import loading
from flows.services.importing.job import Job, Rejected, Summary
from schemas.config import Config

_HISTORY: Final = (
    "as history: figures and models learn from them, no trigger is sent because of them "
    "(--live: as if they happened now)"
)
_LIVE: Final = "live: rules fire on them, and triggers are sent (without --live they are history)"


def run(config: Config, job: Job, dry: bool, as_json: bool) -> int:
    """Import, or say what an import would do. Raises `ConfigError`, `Unreachable`, `Foreign`."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False)

    table = loading.opened(job)
    if table.guessed:
        guess = GUESSES[table.encoding]
        say(f"{job.path.name} is not UTF-8: read as {guess}; give --encoding if it is another")
    with _bar(console) as bar:
        task = bar.add_task(job.path.name, total=1.0)
        summary, rejects = loading.run(
            Deployment(config), job, table, dry, say, lambda done: bar.update(task, completed=done)
        )
    if as_json:
        print_json(summary)
    else:
        Console(highlight=False).print(screen(summary, rejects, dry))
    return 0


def screen(summary: Summary, rejects: list[Rejected], dry: bool) -> RenderableType:
    """Return what came of it as tables."""
    parts: list[RenderableType] = [
        f"{summary.sent:,} of {summary.rows:,} rows {'would be' if dry else 'were'} sent"
    ]
    parts.append(_HISTORY if summary.backfill else _LIVE)
    if rejects:
        table = folded(Table("row", "reason", "", title="rejected", title_justify="left"))
        for number, reason, detail in rejects:
            table.add_row(f"{number:,}", reason, Text(detail))
        parts.append(table)
        if (more := sum(summary.rejected.values()) - len(rejects)) > 0:
            parts.append(f"... and {more:,} more")
    for title, counts in (("rejected by reason", summary.rejected), ("sent with a bad value", summary.bad)):
        if counts:
            table = folded(Table("", "rows", "", title=title, title_justify="left", show_header=False))
            for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
                table.add_row(Text(name), f"{n:,}", _named(summary.bad_rows.get(name, []), n))
            parts.append(table)
    if summary.outlook is not None:
        table = folded(Table("", "rows", title="customers", title_justify="left", show_header=False))
        for name, n in msgspec.structs.asdict(summary.outlook).items():
            table.add_row(name, f"{n:,}")
        parts.append(table)
    if summary.rejects:
        parts.append(f"all rejected rows: {summary.rejects}")
    parts.append(f"{summary.seconds:.1f} s, {summary.rows_per_second:,} rows/s")
    return Group(*parts)


def _named(rows: list[int], n: int) -> str:
    """Which rows, as far as they are known."""
    if not rows:
        return ""
    return f"row {', '.join(f'{row:,}' for row in rows)}{' ...' if n > len(rows) else ''}"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
