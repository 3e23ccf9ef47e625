"""The live view: what flows, how fast, how far behind, who decides about their data, and one customer's
story."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.lab.demo.figures import Figures, Observer, percentile
from flows.lab.demo.follow import Follower
from flows.lab.demo.publisher import Publisher
from flows.lab.demo.trigger_receiver import Receiver

_RATE_OVER = 10  # looks; the rate is that between the oldest and the newest
_LATEST = 2_000  # triggers that the percentiles are over
_FRAME, _EDGES = 2, 4  # lines and columns of a panel around what it holds
_BETWEEN = 2  # columns between a name and its figure
_LEAST = 3  # lines of a panel that holds one
_STORY_MIN = 5  # lines of the last panel, if it has so much to tell
_AT, _WHERE = 13, 10  # columns of a line's time and channel

DECIDED = "Two who decide about their data"
Line = tuple[str, str, str]  # time, where, what

_COLOURS = {
    "web": "cyan",
    "app": "blue",
    "store": "yellow",
    "social": "magenta",
    "desk": "bright_blue",
    "profile": "green",
    "trigger": "bold red",
    "consent": "bold yellow",
    "erasure": "bold magenta",
    "trouble": "bold red",
}


class Screen:
    """`draw` is one picture; whoever owns the terminal decides how often."""

    def __init__(
        self,
        observer: Observer,
        before: Figures,
        publisher: Publisher,
        receiver: Receiver,
        follower: Follower,
        url: str,
        decided: Callable[[], Sequence[Line]] = tuple,
    ) -> None:
        """Take `decided`: what those did who decide about their own data, oldest first."""
        self._decided = decided
        self._observer = observer
        self._publisher = publisher
        self._receiver = receiver
        self._follower = follower
        self._url = url
        self._before = before
        self._looks: deque[tuple[float, int]] = deque(maxlen=_RATE_OVER)

    def draw(self, console: Console) -> RenderableType:
        """Return the whole screen. What has no room is counted in the frame (tables), or the oldest of it
        (the story) is left out; no figure and no name is cut."""
        width, height = console.size  # once: it may change while profiles are read
        now = self._observer.look()
        figures = now.since(self._before)
        self._looks.append((time.monotonic(), figures.applied))
        head, rows = self._head(figures, width), _rows(_tables(figures, now), width)
        story = _measured(console, width, self._follower.look(self._observer.profile, _now_ms()))
        decided = _measured(console, width, self._decided())
        left = height - head.height
        wanted = sum(_wanted(row) for row in rows)
        said = _decided_height(decided, left - wanted - _STORY_MIN, left - _LEAST * len(rows) - _STORY_MIN)
        told = min(
            sum(lines for lines, _ in story) + _FRAME,
            max(_STORY_MIN, left - said - wanted),
        )
        heights = _shared([_wanted(row) for row in rows], left - said - told)
        layout = Layout()
        layout.split_column(
            Layout(head.panel, size=head.height),
            *(_row(row, height) for row, height in zip(rows, heights, strict=True)),
            *([Layout(_story(DECIDED, decided, said - _FRAME), size=said)] if said else []),
            Layout(_story("One customer", story, left - said - sum(heights) - _FRAME)),
        )
        return layout

    def _head(self, figures: Figures, width: int) -> "_Head":
        latencies = self._receiver.latencies_ms()[-_LATEST:]
        shown = [
            _figure("events/s", f"{self._rate():,.0f}"),
            _figure("published", f"{self._publisher.published:,}"),
            _figure("applied", f"{figures.applied:,}"),
            _figure("duplicates", f"{figures.duplicates:,}"),
            _figure("customers", f"{figures.profiles:,}"),
            _figure("merges", f"{figures.united:,}"),
            _figure("moved", f"{figures.moved:,}"),
            _figure("rejected", f"{figures.rejects:,}"),
            _figure("to trigger p50", _milliseconds(percentile(latencies, 0.50))),
            _figure("p99", _milliseconds(percentile(latencies, 0.99))),
            _figure("delivered", f"{len(self._receiver.got):,}"),
            _figure("unacknowledged", f"{self._publisher.pending:,}"),
        ]
        columns = next(
            n for n in (6, 4, 3, 2, 1) if n == 1 or n * (max(map(_cells, shown)) + 1) <= width - _EDGES
        )
        grid = Table.grid(expand=True)
        for _ in range(columns):
            grid.add_column(ratio=1)
        for first in range(0, len(shown), columns):
            grid.add_row(*shown[first : first + columns])
        return _Head(
            Panel(grid, title=f"millrace · {self._url} · Ctrl-C ends", border_style="cyan"),
            len(shown) // columns + _FRAME,
        )

    def _rate(self) -> float:
        (began, first), (ended, last) = self._looks[0], self._looks[-1]
        return (last - first) / (ended - began) if ended > began else 0.0


class _Head(NamedTuple):
    panel: Panel
    height: int


class _Counted(NamedTuple):
    """A table of names and figures."""

    title: str
    entries: list[tuple[str, str]]

    @property
    def width(self) -> int:
        names = max((cell_len(name) for name, _ in self.entries), default=0)
        figures = max((cell_len(figure) for _, figure in self.entries), default=0)
        return max(names + _BETWEEN + figures, cell_len(self.title) + _BETWEEN) + _EDGES


_Told = tuple[int, Line]


def _measured(console: Console, width: int, lines: Sequence[Line]) -> list[_Told]:
    """Return each line with how many it takes on the screen, oldest first."""
    room = max(1, width - _EDGES - _AT - _WHERE)
    return [(len(Text(line[2]).wrap(console, room)), line) for line in lines]


def _decided_height(decided: list[_Told], free: int, at_most: int) -> int:
    """Return how many lines its panel takes: what is free, or what its newest needs if there is room at
    all."""
    if not decided:
        return 0
    newest = decided[-1][0] + _FRAME
    if newest > at_most:
        return 0
    return min(sum(lines for lines, _ in decided) + _FRAME, max(newest, free))


def _tables(figures: Figures, now: Figures) -> list[_Counted]:
    def counted(title: str, counts: Mapping[str, int]) -> _Counted:
        order = sorted(counts.items(), key=lambda entry: -entry[1])
        return _Counted(title, [(name, f"{count:,}") for name, count in order if count])

    return [
        counted("Triggers, by rule", figures.triggers),
        counted("Tags (customers)", now.tags),
        counted("Segments (customers)", now.segments),
        counted("Rejects, by reason", figures.rejected),
        _Counted("Lag (entries)", [(name, f"{count:,}") for name, count in sorted(now.lag.items())]),
    ]


def _rows(tables: list[_Counted], width: int) -> list[list[_Counted]]:
    """As many beside one another as have room."""
    rows: list[list[_Counted]] = [[]]
    for table in tables:
        if rows[-1] and sum(other.width for other in rows[-1]) + table.width > width:
            rows.append([])
        rows[-1].append(table)
    return rows


def _wanted(row: list[_Counted]) -> int:
    return max(1, *(len(table.entries) for table in row)) + _FRAME


def _shared(wanted: list[int], height: int) -> list[int]:
    """Lines for each: what it wants, or an equal share where that is too much for all. At least one entry of
    each."""
    found: list[int] = []
    for at in sorted(range(len(wanted)), key=lambda at: wanted[at]):
        found.append(max(_FRAME + 1, min(wanted[at], (height - sum(found)) // (len(wanted) - len(found)))))
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    return [found[order.index(at)] for at in range(len(wanted))]


def _row(row: list[_Counted], height: int) -> Layout:
    layout = Layout(size=height)
    layout.split_row(
        *(
            Layout(_panel(table, height - _FRAME), ratio=table.width, minimum_size=table.width)
            for table in row
        )
    )
    return layout


def _panel(table: _Counted, lines: int) -> Panel:
    grid = Table.grid(expand=True, padding=(0, _BETWEEN, 0, 0))
    grid.add_column(overflow="fold", ratio=1)
    grid.add_column(
        justify="right",
        no_wrap=True,
        min_width=max((cell_len(figure) for _, figure in table.entries), default=0),
    )
    for name, figure in table.entries[:lines]:
        grid.add_row(Text(name), figure)
    more = len(table.entries) - lines
    return Panel(grid, title=table.title, subtitle=f"{more} more" if more > 0 else None, border_style="dim")


def _story(title: str, story: list[_Told], height: int) -> Panel:
    """The newest that have room."""
    grid = Table.grid()
    for width in (_AT, _WHERE):
        grid.add_column(width=width)
    grid.add_column(overflow="fold")
    shown: list[tuple[str, str, str]] = []
    for lines, line in reversed(story):
        height -= lines
        if height < 0:
            break
        shown.append(line)
    for at, where, what in reversed(shown):
        grid.add_row(Text(at, "dim"), Text(where, _COLOURS.get(where, "")), Text(what))
    return Panel(grid, title=title, border_style="cyan")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _cells(text: Text) -> int:
    return text.cell_len


def _figure(name: str, value: str) -> Text:
    return Text.assemble((f"{value} ", "bold"), (name, "dim"))


def _milliseconds(value: int | None) -> str:
    return "–" if value is None else f"{value:,} ms"
