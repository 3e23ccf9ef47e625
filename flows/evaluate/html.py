"""The HTML report: tables and inline SVG charts in one file, no scripts, nothing from the network."""

from collections.abc import Callable, Sequence
from html import escape

from flows.evaluate.judge import Figures, Verdict

_WIDTH, _HEIGHT, _MARGIN = 640, 300, 48
_COLOURS = ("#0b6e4f", "#c8553d", "#3d5a80", "#b08900", "#7b4b94", "#555555")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left } tr.own { font-weight: bold }
svg { max-width: 100%; height: auto } text { font: 12px system-ui }
"""
_COLUMNS = ("auc", "log_loss", "brier", "ece")


def page(verdict: Verdict) -> str:
    rows = [("millrace", verdict.figures), *verdict.baselines.items()]
    rows += [(f"learner {name}", figures) for name, figures in verdict.learners.items()]
    since = [period.since for period in verdict.periods]
    parts = [
        f"<h1>{escape(verdict.title)}</h1><p>{verdict.count:,} predictions, {verdict.base_rate:.1%} of them true.</p>",
        _table(rows),
        *(
            f"<h2>{title} by period</h2>{lines(since, _series(verdict, figure))}"
            for figure, title in (("log_loss", "Log-loss"), ("auc", "AUC"))
        ),
        f"<h2>Reliability</h2><p>Of the customers of whom it said so much, how many it was true of.</p>{reliability(verdict.reliability)}",
        "".join(f"<p>{escape(note)}</p>" for note in verdict.notes),
    ]
    return document(verdict.title, parts)


def document(title: str, parts: Sequence[str]) -> str:
    """A whole page."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _table(rows: Sequence[tuple[str, Figures]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", *_COLUMNS))
    body = "".join(
        f"<tr{' class=own' if name == 'millrace' else ''}><td>{escape(name)}</td>"
        + "".join(f"<td>{figures[column]:.4f}</td>" if column in figures else "<td>-</td>" for column in _COLUMNS)
        + "</tr>"
        for name, figures in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _series(verdict: Verdict, figure: str) -> dict[str, list[float | None]]:
    names = ("model", *verdict.baselines)
    return {"millrace" if name == "model" else name: [p.figures[name].get(figure) for p in verdict.periods] for name in names}


def lines(labels: Sequence[str], series: dict[str, list[float | None]]) -> str:
    values = [value for line in series.values() for value in line if value is not None]
    if not values:
        return "<p>All answers were the same.</p>"
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or 0.01
    low, high = low - room, high + room
    across = max(len(labels) - 1, 1)

    def x(place: int) -> float:
        return _MARGIN + place * (_WIDTH - 2 * _MARGIN) / across

    def y(value: float) -> float:
        return _HEIGHT - _MARGIN - (value - low) / (high - low) * (_HEIGHT - 2 * _MARGIN)

    drawn = [_axis(y, [low + (high - low) * part / 4 for part in range(5)])]
    shown = sorted({0, len(labels) // 2, len(labels) - 1})
    drawn += [f'<text x="{x(p):.0f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{escape(labels[p])}</text>' for p in shown]
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in enumerate(line) if value is not None)
        width = 3 if number == 0 else 1.5
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        drawn.append(f'<text x="{_MARGIN + 110 * number}" y="16" fill="{colour}">{escape(name)}</text>')
    return _svg(drawn)


def reliability(bins: Sequence[tuple[float, float, int]]) -> str:
    """Bins of (mean prediction, share of true answers, count)."""

    def x(value: float) -> float:
        return _MARGIN + value * (_WIDTH - 2 * _MARGIN)

    def y(value: float) -> float:
        return _HEIGHT - _MARGIN - value * (_HEIGHT - 2 * _MARGIN)

    most = max(count for _, _, count in bins)
    drawn = [_axis(y, [0.0, 0.25, 0.5, 0.75, 1.0])]
    drawn.append(f'<line x1="{x(0):.0f}" y1="{y(0):.0f}" x2="{x(1):.0f}" y2="{y(1):.0f}" stroke="#bbb" stroke-dasharray="4"/>')
    for said, was, count in bins:
        radius = 3 + 9 * (count / most) ** 0.5
        title = f"<title>said {said:.3f}, was {was:.3f}, {count:,} times</title>"
        drawn.append(
            f'<circle cx="{x(said):.1f}" cy="{y(was):.1f}" r="{radius:.1f}" fill="{_COLOURS[0]}" fill-opacity="0.7">{title}</circle>'
        )
    return _svg(drawn)


def bars(values: dict[str, int]) -> str:
    """One bar for each, as high as its value."""
    most, width = max(values.values()), (_WIDTH - 2 * _MARGIN) / len(values)

    def y(value: float) -> float:
        return _HEIGHT - _MARGIN - value / most * (_HEIGHT - 2 * _MARGIN)

    drawn = []
    for place, (name, value) in enumerate(values.items()):
        left = _MARGIN + place * width
        shape = f'x="{left:.1f}" y="{y(value):.1f}" width="{width * 0.8:.1f}" height="{_HEIGHT - _MARGIN - y(value):.1f}"'
        drawn.append(f'<rect {shape} fill="{_COLOURS[0]}"><title>{value:,}</title></rect>')
        drawn.append(f'<text x="{left + width * 0.4:.1f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{escape(name)}</text>')
    return _svg(drawn)


def _axis(y: Callable[[float], float], values: Sequence[float]) -> str:
    lines = []
    for value in values:
        at = y(value)
        lines.append(f'<line x1="{_MARGIN}" y1="{at:.1f}" x2="{_WIDTH - _MARGIN}" y2="{at:.1f}" stroke="#eee"/>')
        lines.append(f'<text x="{_MARGIN - 6}" y="{at + 4:.1f}" text-anchor="end">{value:.3f}</text>')
    return "".join(lines)


def _svg(parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
