"""Charts as inline SVG, with a legend and notes below: no scripts, nothing from the network. Colours are
those of the page's style."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log10

from schemas.bilingual import Words

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 14, 46
COLOURS = 8  # that the style has, `--c0` is ours
_TICKS = 5
_LABELS = 6  # below a chart, at most
_ROOM = 0.6  # of the way between two labels, that the last one needs
_FAR = 2.0  # times what ours spans: a line may lie so far from it before it is cut
_FAR_LEAST = 0.25  # of ours, where that hardly moves
_BY_LOT = Words("by lot", "随机挑选")
_CUT = Words(
    "{name} leaves the chart: it goes from {low} to {high}", "{name} 超出图中范围：最低 {low}，最高 {high}"
)
_ALL_THE_SAME = Words("All answers were the same.", "所有结果都相同。")
_SAID, _WAS = Words("said beforehand", "事先给出的概率"), Words("really was so", "实际比例")
_ACTED, _FOUND = Words("share acted on", "采取行动的比例"), Words("share of all found", "覆盖的比例")

Place = Callable[[float], float]


def nice(low: float, high: float) -> list[float]:
    """Return round values from `low` or just below it to `high` or just above: where an axis begins, ends and
    has its lines.

    >>> nice(0.307, 0.382)
    [0.3, 0.32, 0.34, 0.36, 0.38, 0.4]
    """
    span = high - low or abs(high) or 1.0
    rough = span / _TICKS
    size = 10.0 ** floor(log10(rough))
    step = next(size * factor for factor in (1.0, 2.0, 5.0, 10.0) if size * factor >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, max(last, first + 1) + 1)]


def lines(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    lang: str = "en",
    counts: Sequence[int] | None = None,
) -> str:
    """Draw one line for each; the first one is ours, and decides what is shown: what lies far from it is cut,
    and told below.

    Points have `labels` and are evenly apart, or `counts`, and the axis then begins with 0.
    """
    known = {name: [value for value in line if value is not None] for name, line in series.items()}
    if not any(known.values()):
        return f"<p>{_ALL_THE_SAME.of(lang)}</p>"
    ticks = nice(*_window(list(known.values())))
    low, high = ticks[0], ticks[-1]
    y = _up(low, high)

    x, below = _evenly(labels) if counts is None else _counted(counts)
    drawn = [_levels(y, ticks), *below]
    cut = []
    for number, (name, line) in reversed(list(enumerate(series.items()))):  # ours over the others
        places = [(x(place), y(value)) for place, value in enumerate(line) if value is not None]
        drawn.append(_framed(_path(places, _colour(number), 3.0 if number == 0 else 1.5)))
        if known[name] and not (low <= min(known[name]) and max(known[name]) <= high):
            cut.append(
                _CUT.of(lang).format(name=name, low=f"{min(known[name]):.3g}", high=f"{max(known[name]):.3g}")
            )
    return _figure(drawn, list(series), cut)


def _evenly(labels: Sequence[str]) -> tuple[Callable[[int], float], list[str]]:
    """Where each point is, and what is written below some of them."""

    def x(place: int) -> float:
        return _LEFT + place * (_WIDTH - _LEFT - _RIGHT) / max(len(labels) - 1, 1)

    return x, [_below(x(place), labels[place]) for place in _shown(len(labels))]


def _counted(counts: Sequence[int]) -> tuple[Callable[[int], float], list[str]]:
    across = _across(0.0, float(counts[-1]))
    ticks = [tick for tick in nice(0.0, float(counts[-1])) if tick <= counts[-1]]
    return lambda place: across(counts[place]), [_below(across(tick), f"{tick:,.0f}") for tick in ticks]


def _window(known: Sequence[Sequence[float]]) -> tuple[float, float]:
    """All values, but what lies far from those of the first that has any."""
    own = next(values for values in known if values)
    low, high = min(own), max(own)
    room = max(_FAR * (high - low), _FAR_LEAST * max(abs(low), abs(high)))
    near = [value for values in known for value in values if low - room <= value <= high + room]
    return min(near), max(near)


def gains(
    shares: Sequence[float], series: Mapping[str, Sequence[float]], mark: float, lang: str = "en"
) -> str:
    """Draw the share of all that are looked for which is found by acting on so many; `mark` is the share that
    is spoken of."""
    x, y = _across(0.0, 1.0), _up(0.0, 1.0)
    drawn = [
        _levels(y, (0.0, 0.25, 0.5, 0.75, 1.0), _per_cent),
        *(_below(x(part), _per_cent(part)) for part in (0.0, 0.25, 0.5, 0.75, 1.0)),
    ]
    drawn += [
        _line((x(0.0), y(0.0)), (x(1.0), y(1.0)), dashed=True),
        _line((x(mark), y(0.0)), (x(mark), y(1.0)), dashed=True),
    ]
    drawn.append(_text(x(mark) + 5, y(1.0) + 12, _per_cent(mark)))
    drawn.append(_text(x(0.86), y(0.86) + 22, _BY_LOT.of(lang), "middle"))
    for number, line in reversed(list(enumerate(series.values()))):
        places = [(x(share), y(found)) for share, found in zip(shares, line, strict=True)]
        drawn.append(_path(places, _colour(number), 3.0 if number == 0 else 1.5))
    return _figure([*drawn, *_titles(_ACTED.of(lang), _FOUND.of(lang))], list(series))


def reliability(bins: Sequence[tuple[float, float, int]], lang: str = "en") -> str:
    """Draw bins of (mean prediction, share of true answers, count)."""
    x, y = _across(0.0, 1.0), _up(0.0, 1.0)
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    most = max(count for _, _, count in bins)
    drawn = [_levels(y, ticks, _per_cent), *(_below(x(tick), _per_cent(tick)) for tick in ticks)]
    drawn.append(_line((x(0.0), y(0.0)), (x(1.0), y(1.0)), dashed=True))
    for said, was, count in bins:
        title = f"<title>{said:.1%} - {was:.1%}, {count:,}</title>"
        radius = 3 + 9 * (count / most) ** 0.5
        drawn.append(
            f'<circle cx="{x(said):.1f}" cy="{y(was):.1f}" r="{radius:.1f}" '
            f'fill="{_colour(0)}" fill-opacity="0.7">{title}</circle>'
        )
    return _figure([*drawn, *_titles(_SAID.of(lang), _WAS.of(lang))], [])


def intervals(
    entries: Mapping[str, tuple[float, float, float]], level: float, named: str, lang: str = "en"
) -> str:
    """Draw value, low and high of each, on a line of its own, beside a `level` that is `named`. What is
    endless or far off is cut."""
    values = [value for value, _, _ in entries.values() if isfinite(value)] + [level]
    spans = sorted(high - low for _, low, high in entries.values() if isfinite(high - low))
    room = 1.5 * spans[len(spans) // 2] if spans else abs(level) or 1.0
    bounds = [
        min(max(bound, min(values) - room), max(values) + room)
        for entry in entries.values()
        for bound in entry
        if bound == bound
    ]
    ticks = nice(min([*bounds, level]), max([*bounds, level]))
    low, high = ticks[0], ticks[-1]
    left, row = 180, 40
    bottom = _TOP + row * len(entries)
    decimals = _decimals(ticks)

    def x(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (_WIDTH - left - _RIGHT)

    drawn, cut = [], []
    for tick in ticks:
        drawn.append(_line((x(tick), _TOP), (x(tick), bottom), "grid"))
        drawn.append(_text(x(tick), bottom + 18, f"{tick:.{decimals}f}", "middle"))
    drawn.append(_line((x(level), _TOP), (x(level), bottom), dashed=True))
    drawn.append(_text(x(level), bottom + 36, named, _anchor(x(level), left)))
    for number, (name, (value, least, most)) in enumerate(entries.items()):
        at, colour = _TOP + row * (number + 0.5), _colour(number)
        drawn.append(_text(left - 12, at + 4, name, "end"))
        drawn.append(
            f'<line x1="{x(least):.1f}" x2="{x(most):.1f}" y1="{at:.1f}" y2="{at:.1f}" '
            f'stroke="{colour}" stroke-width="3"/>'
        )
        if isfinite(value):
            drawn.append(f'<circle cx="{x(value):.1f}" cy="{at:.1f}" r="5" fill="{colour}"/>')
        if not (low <= least and most <= high):
            cut.append(_CUT.of(lang).format(name=name, low=f"{least:.3g}", high=f"{most:.3g}"))
    return _figure(drawn, [], cut, bottom + 44)


def bars(values: Mapping[str, int]) -> str:
    """Draw one bar for each, as high as its value."""
    ticks = nice(0.0, float(max(values.values())))
    y, width = _up(0.0, ticks[-1]), (_WIDTH - _LEFT - _RIGHT) / len(values)
    drawn = [_levels(y, ticks)]
    for place, (name, value) in enumerate(values.items()):
        left = _LEFT + place * width
        shape = (
            f'x="{left:.1f}" y="{y(value):.1f}" width="{width * 0.8:.1f}" height="{y(0.0) - y(value):.1f}"'
        )
        drawn.append(f'<rect {shape} fill="{_colour(0)}"><title>{value:,}</title></rect>')
        drawn.append(_text(left + width * 0.4, _HEIGHT - _BOTTOM + 18, name, "middle"))
    return _figure(drawn, [])


def _up(low: float, high: float) -> Place:
    return lambda value: _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _across(low: float, high: float) -> Place:
    return lambda value: _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _shown(count: int) -> list[int]:
    """Which of the labels there is room for: every so many, and the last instead of one that would touch
    it."""
    stride = max(ceil((count - 1) / (_LABELS - 1)), 1)
    places = list(range(0, count, stride))
    last = count - 1
    if len(places) > 1 and last - places[-1] < _ROOM * stride:
        places.pop()
    return [*places, last] if places[-1] != last else places


def _levels(y: Place, values: Sequence[float], said: Callable[[float], str] | None = None) -> str:
    decimals = _decimals(values)
    written = said or (lambda value: f"{value:,.{decimals}f}")
    ends = (_LEFT, _WIDTH - _RIGHT)
    return "".join(
        _line((ends[0], y(value)), (ends[1], y(value)), "grid")
        + _text(_LEFT - 8, y(value) + 4, written(value), "end")
        for value in values
    )


def _decimals(values: Sequence[float]) -> int:
    step = values[1] - values[0]
    return max(0, -floor(log10(step) + 1e-9))


def _per_cent(share: float) -> str:
    return f"{share:.0%}"


def _anchor(at: float, left: float) -> str:
    """Of a text below a mark: it must not leave the chart."""
    if at > _WIDTH - _RIGHT - 110:
        return "end"
    return "start" if at < left + 60 else "middle"


def _below(x: float, label: str) -> str:
    if x > _WIDTH - _RIGHT - 8:
        anchor = "end"
    elif x < _LEFT + 8:
        anchor = "start"
    else:
        anchor = "middle"
    return _text(x, _HEIGHT - _BOTTOM + 18, label, anchor)


def _titles(across: str, up: str) -> list[str]:
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = (
        f'<text x="14" y="{middle:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle:.0f})">{escape(up)}</text>'
    )
    return [_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, across, "middle"), turned]


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(a: tuple[float, float], b: tuple[float, float], kind: str = "mark", *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line class="{kind}" x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"{dashes}/>'


def _path(places: Sequence[tuple[float, float]], colour: str, width: float) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    stroke = f'stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"'
    return f'<polyline points="{points}" fill="none" {stroke}/>'


def _framed(shape: str) -> str:
    """Without what lies outside of the chart; the stroke of what lies on its edge is whole."""
    x, y, width, height = _LEFT - 2, _TOP - 2, _WIDTH - _LEFT - _RIGHT + 4, _HEIGHT - _TOP - _BOTTOM + 4
    place = f'x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{x} {y} {width} {height}"'
    return f"<svg {place}>{shape}</svg>"


def _colour(number: int) -> str:
    return f"var(--c{number % COLOURS})"


def _figure(
    drawn: Sequence[str], names: Sequence[str], notes: Sequence[str] = (), height: float = _HEIGHT
) -> str:
    legend = "".join(
        f'<span><i style="background:{_colour(number)}"></i>{escape(name)}</span>'
        for number, name in enumerate(names)
    )
    below = (f'<p class="legend">{legend}</p>' if legend else "") + "".join(
        f'<p class="cut">{escape(note)}</p>' for note in notes
    )
    caption = f"<figcaption>{below}</figcaption>" if below else ""
    chart = f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img">{"".join(drawn)}</svg>'
    return f"<figure>{chart}{caption}</figure>"
