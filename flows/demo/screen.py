"""The live view: what flows, how fast, how far behind, and one customer's story."""

import time
from collections import deque
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.demo.figures import Figures, Observer, percentile
from flows.demo.follow import Follower
from flows.demo.publisher import Publisher
from flows.demo.receiver import Receiver

_RATE_OVER = 10  # looks; the rate is that between the oldest and the newest
_LATEST = 2_000  # triggers that the percentiles are over
_HEAD, _ROWS = 5, 10  # lines of the first panel, and of one table

_COLOURS = {
    "web": "cyan",
    "app": "blue",
    "store": "yellow",
    "social": "magenta",
    "desk": "bright_blue",
    "profile": "green",
    "trigger": "bold red",
}


class Screen:
    """`draw` is one picture; whoever owns the terminal decides how often."""

    def __init__(self, observer: Observer, before: Figures, publisher: Publisher, receiver: Receiver, follower: Follower, url: str) -> None:
        self._observer = observer
        self._publisher = publisher
        self._receiver = receiver
        self._follower = follower
        self._url = url
        self._before = before
        self._looks: deque[tuple[float, int]] = deque(maxlen=_RATE_OVER)

    def draw(self, height: int) -> RenderableType:
        """`height` in lines: where the story has more, its oldest are left out."""
        now = self._observer.look()
        figures = now.since(self._before)
        self._looks.append((time.monotonic(), figures.applied))
        layout = Layout()
        layout.split_column(
            Layout(self._head(figures), size=_HEAD), Layout(name="middle", size=_ROWS + 2), Layout(self._story(height - _HEAD - _ROWS - 4))
        )
        layout["middle"].split_row(
            _counted("Triggers, by rule", figures.triggers),
            _counted("Tags (customers)", now.tags),
            _counted("Segments (customers)", now.segments),
            _counted("Rejects, by reason", figures.rejected),
            _counted("Lag (entries)", now.lag, falling=False),
        )
        return layout

    def _head(self, figures: Figures) -> RenderableType:
        latencies = self._receiver.latencies_ms()[-_LATEST:]
        grid = Table.grid(expand=True)
        for _ in range(4):
            grid.add_column(ratio=1)
        grid.add_row(
            _figure("events/s", f"{self._rate():,.0f}"),
            _figure("published", f"{self._publisher.published:,}"),
            _figure("applied", f"{figures.applied:,}"),
            _figure("duplicates dropped", f"{figures.duplicates:,}"),
        )
        grid.add_row(
            _figure("customers", f"{figures.profiles:,}"),
            _figure("merges", f"{figures.united:,}"),
            _figure("moved to the last user", f"{figures.moved:,}"),
            _figure("rejected", f"{figures.rejects:,}"),
        )
        grid.add_row(
            _figure("event→trigger p50", _milliseconds(percentile(latencies, 0.50))),
            _figure("p99", _milliseconds(percentile(latencies, 0.99))),
            _figure("triggers delivered", f"{len(self._receiver.got):,} of {figures.emitted:,}"),
            _figure("waiting at the gateway", f"{self._publisher.pending:,}"),
        )
        return Panel(grid, title=f"millrace · {self._url} · Ctrl-C ends", border_style="cyan")

    def _rate(self) -> float:
        (began, first), (ended, last) = self._looks[0], self._looks[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    def _story(self, height: int) -> RenderableType:
        lines = self._follower.look(self._observer.profile, time.time_ns() // 1_000_000)[-max(1, height) :]
        text = [Text.assemble((at, "dim"), "  ", (f"{where:8}", _COLOURS.get(where, "")), what) for at, where, what in lines]
        return Panel(Group(*text), title="One customer", border_style="cyan")


def _counted(title: str, counts: Mapping[str, int], falling: bool = True) -> Layout:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(overflow="ellipsis", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    order = sorted(counts.items(), key=lambda entry: -entry[1]) if falling else sorted(counts.items())
    for name, count in [entry for entry in order if entry[1] or not falling][:_ROWS]:
        table.add_row(name, f"{count:,}")
    return Layout(Panel(table, title=title, border_style="dim"))


def _figure(name: str, value: str) -> Text:
    return Text.assemble((f"{value} ", "bold"), (name, "dim"))


def _milliseconds(value: int | None) -> str:
    return "–" if value is None else f"{value:,} ms"
