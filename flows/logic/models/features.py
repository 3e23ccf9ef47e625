"""What the models look at: one table of features, one function that computes them, for scoring and learning
alike.

A feature is a pure function of (the sum of a customer's fragments, now). All are logarithms, shares or small
counts, so that they are finite, of one size whatever the trade, and learnt alike whether a customer comes
hourly or yearly. A feature's place in a model's list is its meaning in every stored example: never change one
in place, append a new one (the model starts afresh).
"""

from math import log, log1p
from typing import Literal, NamedTuple

from schemas.records.customer_profile import MICRO, Fragment

Purpose = Literal["marketing", "sales", "service", "security"]
PURPOSES: tuple[Purpose, ...] = ("marketing", "sales", "service", "security")

DAY_MS = 86_400_000
SLOT_MS = 30 * 60_000  # of `Fragment.sessions`
MOST = 1e12  # of any figure; beyond it nothing more is learnt, and all products stay finite
CHANNELS_MOST = 16
SESSIONS_DAYS = 30  # how long sessions are kept
_GAP_LEAST_DAYS = 1 / 24
_DAY_S = 86_400.0


class Feature(NamedTuple):
    """One thing that models may look at; `features` computes it."""

    name: str
    unit: str
    purposes: tuple[Purpose, ...]  # what a model that looks at it may serve


_ALL = PURPOSES
# what was paid is none of the service desk's business
_TRADE: tuple[Purpose, ...] = ("marketing", "sales", "security")
_SECURITY: tuple[Purpose, ...] = ("security",)

FEATURES: tuple[Feature, ...] = (
    Feature("recency", "log1p of days since the last activity", _ALL),
    Feature("age", "log1p of days since the first activity", _ALL),
    Feature("events", "log1p of their number", _ALL),
    Feature("orders", "log1p of their number", _TRADE),
    Feature("monetary", "log1p of the money spent, in the shop's currency", _TRADE),
    Feature("sessions", "log1p of their number in the last 30 days", _ALL),
    Feature("channels", "number of channels used, at most 16", _ALL),
    Feature("recency_share", "recency ÷ (1 day + age): 0 is active now, 1 is once and long ago", _ALL),
    Feature(
        "gap",
        "log1p of the mean days between two events; between the first and the last while there are but two",
        _ALL,
    ),
    Feature("overdue", "log1p of the silence in such gaps, a gap taken as an hour at least", _ALL),
    Feature("order_recency", "log1p of days since the last purchase, else since the first activity", _TRADE),
    Feature("order_size", "log1p of the mean amount of a purchase", _TRADE),
    Feature("order_share", "purchases ÷ (1 + events), below 1", _TRADE),
    Feature("pace", "log1p of the events in 30 days of life, 30 days added to it", _ALL),
    # The term that decides in Pareto/NBD and BG/NBD whether a customer is still there,
    # (r + x) · log((a + T) / (a + t)), in two forms.
    Feature("silence", "log1p of events × log of (30 days + age) ÷ (30 days + time of activity)", _ALL),
    Feature("fading", "events (at most 50) ÷ 10 × the same logarithm", _ALL),
    # The last purchase itself: sums and means of many hide it.
    Feature("latest_size", "log1p of the last purchase's amount", _SECURITY),
    Feature(
        "latest_jump",
        "log of that ÷ the mean amount of the n others, × n ÷ (1 + n); 0 where it is not more, or there are"
        " no others",
        _SECURITY,
    ),
    Feature(
        "latest_haste",
        "log1p of the purchases that fit into a day at the pace of the last two, at most one a second",
        _SECURITY,
    ),
)
LATEST: tuple[str, ...] = ("latest_size", "latest_jump", "latest_haste")  # what only the last purchase moves
SHARED = len(FEATURES) - len(LATEST)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)


def features(total: Fragment, now_ms: int) -> list[float]:
    """Return the values of `FEATURES`, in their order, always finite, of the sum of a customer's fragments.

    A fragment without events is one that has just begun. What lies in the future is now.
    """
    return shared(total, now_ms) + latest(total)


def shared(total: Fragment, now_ms: int) -> list[float]:
    """Return the features before `LATEST`. They are computed for each event: without calls of our own, where
    that can be."""
    if total.events <= 0:
        return [0.0] * SHARED
    recency = _bounded((now_ms - total.last_ms) / DAY_MS)
    age = _bounded((now_ms - total.first_ms) / DAY_MS)
    if age < recency:  # an event that came late may be the first one known
        age = recency
    events, orders, spent = _bounded(total.events), _bounded(total.orders), _bounded(total.spent / MICRO)
    slots, since = total.sessions, (now_ms - SESSIONS_DAYS * DAY_MS) // SLOT_MS
    if not slots or slots[0] >= since:
        sessions = len(slots) // 2
    else:
        sessions = sum(last >= since for last in slots[1::2])
    gap = (age - recency) / (events - 1.0) if events > 2.0 else age - recency
    log_events, stretch = log1p(events), log1p(recency / (30.0 + age - recency))
    return [
        log1p(recency),
        log1p(age),
        log_events,
        log1p(orders),
        log1p(spent),
        log1p(sessions),
        float(min(len(total.channels), CHANNELS_MOST)),
        recency / (1.0 + age),
        log1p(gap),
        log1p(recency / (gap if gap > _GAP_LEAST_DAYS else _GAP_LEAST_DAYS)),
        log1p(_bounded((now_ms - total.ordered_ms) / DAY_MS) if total.ordered_ms else age),
        log1p(spent / orders) if orders else 0.0,
        (orders if orders < events else events) / (1.0 + events),
        log1p(events * 30.0 / (30.0 + age)),
        log_events * stretch,
        (events if events < 50.0 else 50.0) * 0.1 * stretch,
    ]


def latest(total: Fragment) -> list[float]:
    """Return the features `LATEST`."""
    if total.events <= 0 or total.latest is None:
        return [0.0] * len(LATEST)
    amount, before = total.latest
    paid = _bounded(amount / MICRO)
    n, others = _bounded(total.orders) - 1.0, _bounded(total.spent / MICRO) - paid
    jump = log(paid * n / others) * n / (1.0 + n) if paid * n > others > 0.0 else 0.0
    apart = max(total.ordered_ms // 1000 - before, 1)
    return [log1p(paid), jump, log1p(_DAY_S / apart) if before else 0.0]


def _bounded(value: float) -> float:
    """Hold a value within 0 and `MOST`: NaN and negative become 0."""
    if 0.0 <= value <= MOST:
        return value
    return MOST if value > MOST else 0.0


def serving(purpose: Purpose) -> tuple[str, ...]:
    """Return the names of all features that may be looked at for this purpose, in order."""
    return tuple(feature.name for feature in FEATURES if purpose in feature.purposes)
