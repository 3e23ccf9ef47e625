"""Spans of time as a person says them, and as options take them."""

from schemas.bilingual import Words
from schemas.errors import Unusable
from schemas.units import Duration

_UNITS = (  # the largest first: milliseconds, as an option, in words
    (604_800_000, "w", "week", "周"),
    (86_400_000, "d", "day", "天"),
    (3_600_000, "h", "hour", "小时"),
    (60_000, "m", "minute", "分钟"),
    (1_000, "s", "second", "秒"),
    (1, "ms", "millisecond", "毫秒"),
)
_WEEK_MS = _UNITS[0][0]
_WHOLE_FROM = 5  # units: a half of one is then a tenth at most


def span_of(option: str, text: str) -> int:
    """Return milliseconds, one second at least. Raises `Unusable`."""
    try:
        found = Duration.parse(text)
    except ValueError as error:
        raise Unusable(f"{option}: {error}") from None
    if found < 1000:
        raise Unusable(f"{option}: expected at least 1s, got {text}")
    return int(found)


def rounded(span_ms: int) -> int:
    """Return a span of about that length which a person can say: of so many whole days, hours, ...; of a few
    with a tenth. At least a second."""
    unit = next((size for size, *_ in _UNITS[1:] if span_ms >= size), 1)
    steps = 1 if span_ms >= _WHOLE_FROM * unit else 10
    return max(round(span_ms * steps / unit) * unit // steps, 1_000)


def as_option(span_ms: int) -> str:
    """Return a span as an option takes it.

    >>> as_option(8_640_000), as_option(2_592_000_000), as_option(7_862_400_000)
    ('2.4h', '30d', '13w')
    """
    count, unit, *_ = _said(span_ms)
    return f"{count:g}{unit}"


def in_words(span_ms: int) -> Words:
    """Return a span as a sentence has it.

    >>> in_words(2_592_000_000).en, in_words(86_400_000).en, in_words(8_640_000).zh
    ('30 days', '1 day', '2.4 小时')
    """
    count, _, english, chinese = _said(span_ms)
    return Words(f"{count:,g} {english}{'' if count == 1 else 's'}", f"{count:,g} {chinese}")


def _said(span_ms: int) -> tuple[float, str, str, str]:
    """In the largest unit in which it has one decimal at most; in weeks only where they are whole."""
    for size, *names in _UNITS:
        tenths = span_ms * 10 // size
        if span_ms >= size and tenths * size == span_ms * 10 and (size != _WEEK_MS or tenths % 10 == 0):
            return tenths / 10, names[0], names[1], names[2]
    return float(span_ms), "ms", "millisecond", "毫秒"
