"""`millrace status`: one screen of what a deployment holds and how far each part is."""

from collections.abc import Mapping

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.runtime.deployment import Deployment
from flows.services.status import DELIVER, Status, overview
from schemas.config import Config

_ROWS_MAX = 12  # of one table: it stays one screen
_DROPPED = (
    "duplicates are messages that came again (a client that got no answer sends once more, a killed worker "
    "reads again): each counted once, the repeats were dropped. Nothing is lost by it."
)


def show(config: Config) -> None:
    """Print it. Raises `Unreachable`, `Foreign`."""
    found = overview(Deployment(config))
    Console().print(screen(found.status, found.deliveries))


def screen(status: Status, counts: Mapping[str, Mapping[str, int]]) -> RenderableType:
    """Return the status as something `rich` prints. `counts`: attempts of delivery, by connector and
    outcome."""
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
    notes = [_DROPPED] if plain.get("duplicates") else []
    return Group(
        _head(status), Columns([table for table in tables if table.row_count], padding=(0, 2)), *notes
    )


def _head(status: Status) -> str:
    """Return the first line, and below it what a person has to know."""
    clock = "not ticking yet" if status.clock_age_ms < 0 else f"{status.clock_age_ms / 1000:.1f} s ago"
    rules = ", ".join(map(str, status.rules))
    name = f"[bold]{escape(status.name)}[/]"
    lines = [f"{name}: {status.shards} shards, last tick {clock}, rules version {rules}"]
    if status.suspended:
        lines.append(
            f"[bold red]{status.suspended:,} identifiers are suspended[/] (`millrace identity suspended`)"
        )
    if status.given_up:
        processes = escape(", ".join(status.given_up))
        lines.append(
            f"[bold red]given up, since they end at every start: {processes}[/] (their log says why)"
        )
    if status.sources:
        sources = escape(", ".join(status.sources))
        lines.append(
            f"[bold red]suspended sources, whose events are not taken: {sources}[/] (`millrace source list`)"
        )
    if status.overdue:
        lines.append(
            f"[bold red]{status.overdue:,} requests of customers are overdue[/]"
            " (`millrace subject list --open`)"
        )
    if status.sweep_behind:
        lines.append(
            "[bold red]what is too old is not removed in time[/] (`millrace privacy report` says how far the"
            " sweep is; process `privacy` does it)"
        )
    return "\n".join(lines)


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
