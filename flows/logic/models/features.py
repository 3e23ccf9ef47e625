"""What the models look at: one table of features, one function that computes them, for scoring and learning alike.

A feature is a pure function of (the sum of a customer's fragments, now). All are logarithms, shares or small counts, so that they are
finite, of one size whatever the trade, and learnt alike whether a customer comes hourly or yearly. A feature's place in a
model's list is its meaning in every stored example: never change one in place, append a new one (the model starts afresh).
"""

from collections.abc import Callable
from math import log1p
from typing import Literal

import msgspec

from schemas.profile import MICRO, Fragment

Purpose = Literal["marketing", "sales", "service", "security"]
PURPOSES: tuple[Purpose, ...] = ("marketing", "sales", "service", "security")

DAY_MS = 86_400_000
SLOT_MS = 30 * 60_000  # of `Fragment.sessions`
MOST = 1e12  # of any figure; beyond it nothing is learnt any more, and all products stay finite
CHANNELS_MOST = 16.0
SESSIONS_DAYS = 30  # how long sessions are kept
_GAP_LEAST_DAYS = 1 / 24


class Figures(msgspec.Struct, gc=False):
    """What features are made of: a customer's sums at one moment, each 0 ... `MOST`. Times in days."""

    recency: float = 0.0  # since the last activity
    age: float = 0.0  # since the first; never less than `recency`
    events: float = 0.0
    orders: float = 0.0
    spent: float = 0.0  # in the shop's currency
    order_recency: float = 0.0  # since the last purchase; `age` before the first
    sessions: float = 0.0  # that began or went on in the last `SESSIONS_DAYS`
    channels: float = 0.0
    gap: float = 0.0  # mean time between two events; the time between the first and the last while there are but two


class Feature(msgspec.Struct, frozen=True):
    """One thing that models may look at."""

    name: str
    unit: str
    purposes: tuple[Purpose, ...]  # what a model that looks at it may serve
    of: Callable[[Figures], float]


_ALL = PURPOSES
_TRADE: tuple[Purpose, ...] = ("marketing", "sales", "security")  # what was paid is no business of the service desk

FEATURES: tuple[Feature, ...] = (
    Feature("recency", "log1p of days since the last activity", _ALL, lambda f: log1p(f.recency)),
    Feature("age", "log1p of days since the first activity", _ALL, lambda f: log1p(f.age)),
    Feature("events", "log1p of their number", _ALL, lambda f: log1p(f.events)),
    Feature("orders", "log1p of their number", _TRADE, lambda f: log1p(f.orders)),
    Feature("monetary", "log1p of the money spent, in the shop's currency", _TRADE, lambda f: log1p(f.spent)),
    Feature("sessions", "log1p of their number in the last 30 days", _ALL, lambda f: log1p(f.sessions)),
    Feature("channels", "number of channels used, at most 16", _ALL, lambda f: f.channels if f.channels < CHANNELS_MOST else CHANNELS_MOST),
    Feature("recency_share", "recency ÷ (1 day + age): 0 is active now, 1 is once and long ago", _ALL, lambda f: f.recency / (1.0 + f.age)),
    Feature("gap", "log1p of the mean days between two events", _ALL, lambda f: log1p(f.gap)),
    Feature(
        "overdue",
        "log1p of the silence in such gaps, a gap taken as an hour at least",
        _ALL,
        lambda f: log1p(f.recency / (f.gap if f.gap > _GAP_LEAST_DAYS else _GAP_LEAST_DAYS)),
    ),
    Feature(
        "order_recency", "log1p of days since the last purchase, else since the first activity", _TRADE, lambda f: log1p(f.order_recency)
    ),
    Feature("order_size", "log1p of the mean amount of a purchase", _TRADE, lambda f: log1p(f.spent / f.orders) if f.orders else 0.0),
    Feature("order_share", "purchases ÷ (1 + events), below 1", _TRADE, lambda f: min(f.orders, f.events) / (1.0 + f.events)),
    Feature("pace", "log1p of the events in 30 days of life, 30 days added to it", _ALL, lambda f: log1p(f.events * 30.0 / (30.0 + f.age))),
    # The term that decides in Pareto/NBD and BG/NBD whether a customer is still there, (r + x) · log((a + T) / (a + t)), in two forms.
    Feature(
        "silence", "log1p of events × log of (30 days + age) ÷ (30 days + time of activity)", _ALL, lambda f: log1p(f.events) * _stretch(f)
    ),
    Feature("fading", "events (at most 50) ÷ 10 × the same logarithm", _ALL, lambda f: min(f.events, 50.0) * 0.1 * _stretch(f)),
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

_functions = tuple(feature.of for feature in FEATURES)


def _stretch(f: Figures) -> float:
    return log1p(f.recency / (30.0 + f.age - f.recency))


def features(total: Fragment, now_ms: int) -> list[float]:
    """The values of `FEATURES`, always finite, of the sum of a customer's fragments."""
    figures = figures_of(total, now_ms)
    return [function(figures) for function in _functions]


def figures_of(total: Fragment, now_ms: int) -> Figures:
    """A fragment without events is one that has just begun. What lies in the future is now."""
    if total.events <= 0:
        return Figures()
    recency = _bounded((now_ms - total.last_ms) / DAY_MS)
    age = _bounded((now_ms - total.first_ms) / DAY_MS)
    if age < recency:  # an event that came late may be the first one known
        age = recency
    events, orders = _bounded(total.events), _bounded(total.orders)
    slots, since = total.sessions, (now_ms - SESSIONS_DAYS * DAY_MS) // SLOT_MS
    if not slots or slots[0] >= since:
        sessions = len(slots) // 2
    else:
        sessions = sum(last >= since for last in slots[1::2])
    return Figures(
        recency,
        age,
        events,
        orders,
        _bounded(total.spent / MICRO),
        _bounded((now_ms - total.ordered_ms) / DAY_MS) if total.ordered_ms else age,
        sessions,
        len(total.channels),
        (age - recency) / (events - 1.0) if events > 2.0 else age - recency,
    )


def _bounded(value: float) -> float:
    """0 ... `MOST`: NaN and negative become 0, what is larger `MOST`."""
    return value if 0.0 <= value <= MOST else MOST if value > MOST else 0.0


def serving(purpose: Purpose) -> tuple[str, ...]:
    """The names of all features that may be looked at for this purpose, in order."""
    return tuple(feature.name for feature in FEATURES if purpose in feature.purposes)
