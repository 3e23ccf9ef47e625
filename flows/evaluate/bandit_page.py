"""The report of `millrace eval bandit`: one page that needs nothing else, charts as inline SVG."""

from html import escape
from typing import Any

_WIDTH, _HEIGHT, _MARGIN = 720, 320, 48
_COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#e09f3e", "#6a4c93")


def page(title: str, figures: dict[str, Any]) -> str:
    """A whole HTML document."""
    chart = _curves(figures["curves"]) if "curves" in figures else _intervals(figures)
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{entry['mean_reward']:.4f}</td><td>{escape(_told(entry))}</td></tr>"
        for name, entry in figures["policies"].items()
    )
    facts = "".join(
        f"<tr><th>{escape(name)}</th><td>{value:.4f}</td></tr>"
        if isinstance(value, float)
        else f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in figures.items()
        if name not in ("policies", "curves")
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Next best action: {escape(title)}</title>'
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}"
        "th{text-align:left;font-weight:500}td,th{padding:.2rem 1rem .2rem 0;vertical-align:top}svg{width:100%;height:auto}</style>"
        f"<h1>Next best action</h1><p>{escape(title)}</p>{chart}"
        f"<h2>Policies</h2><table>{rows}</table><h2>Figures</h2><table>{facts}</table></html>"
    )


def _told(entry: dict[str, Any]) -> str:
    return f"{entry['verdict']}: {entry['reason']}" if "verdict" in entry else f"second half {entry['second_half']:.4f}"


def _curves(curves: dict[str, list[tuple[int, float]]]) -> str:
    """Mean reward until each round, one line for each policy."""
    most = max((mean for points in curves.values() for _, mean in points), default=1.0)
    least = min((mean for points in curves.values() for _, mean in points), default=0.0)
    last = max((points[-1][0] for points in curves.values()), default=1)
    parts = []
    for index, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        line = " ".join(f"{_x(n / last):.1f},{_y(mean, least, most):.1f}" for n, mean in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        parts.append(f'<text x="{_MARGIN + 12}" y="{_MARGIN - 30 + 16 * index}" fill="{colour}" font-size="12">{escape(name)}</text>')
    parts.append(f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 12}" text-anchor="end" font-size="12">{last} rounds</text>')
    return _svg("Mean reward so far", least, most, parts)


def _intervals(figures: dict[str, Any]) -> str:
    """The DR estimate of each policy with its interval, beside what the log earned."""
    entries = figures["policies"]
    bounds = [value for entry in entries.values() for value in entry["dr"]] + [figures["second_half"]]
    known = [value for value in bounds if abs(value) < float("inf")]  # also false for NaN
    least, most = min(known), max(known)
    level = _y(figures["second_half"], least, most)
    parts = [f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{level:.1f}" y2="{level:.1f}" stroke="#888" stroke-dasharray="4"/>']
    for index, (name, entry) in enumerate(entries.items()):
        value, low, high = (max(least, min(most, bound)) for bound in entry["dr"])
        x, colour = _x((index + 0.5) / len(entries)), _COLOURS[index % len(_COLOURS)]
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low, least, most):.1f}" y2="{_y(high, least, most):.1f}"'
            f' stroke="{colour}" stroke-width="3"/>'
            f'<circle cx="{x:.1f}" cy="{_y(value, least, most):.1f}" r="5" fill="{colour}"/>'
            f'<text x="{x:.1f}" y="{_HEIGHT - 12}" text-anchor="middle" font-size="12">{escape(name)}: {escape(entry["verdict"])}</text>'
        )
    return _svg("Doubly robust estimate, 95 % interval; dashed: what the log earned", least, most, parts)


def _x(share: float) -> float:
    return _MARGIN + share * (_WIDTH - 2 * _MARGIN)


def _y(value: float, least: float, most: float) -> float:
    return _HEIGHT - _MARGIN - (value - least) / (most - least or 1.0) * (_HEIGHT - 2 * _MARGIN)


def _svg(title: str, least: float, most: float, parts: list[str]) -> str:
    axis = f'<path d="M{_MARGIN} {_MARGIN}V{_HEIGHT - _MARGIN}H{_WIDTH - _MARGIN}" fill="none" stroke="#444"/>'
    ticks = "".join(
        f'<text x="{_MARGIN - 6}" y="{_y(value, least, most):.1f}" text-anchor="end" font-size="12">{value:.3g}</text>'
        for value in (least, most)
    )
    drawn = axis + ticks + "".join(parts)
    return f'<h2>{escape(title)}</h2><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{drawn}</svg>'
