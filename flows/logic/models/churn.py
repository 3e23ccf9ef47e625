"""Churn: will this customer show no activity within the horizon? What the model looks at.

A feature's place in the list is its meaning in every stored example. So never change a feature in place: append a
new one, which makes the model start afresh and older examples be dropped (and counted) by their length.
"""

from math import inf, log1p

NAME = "churn"

FEATURES: tuple[str, ...] = (
    "recency",  # log1p(days since the last activity)
    "age",  # log1p(days since the first activity)
    "events",  # log1p(number of events)
    "orders",  # log1p(number of purchases)
    "monetary",  # log1p(money spent, in the shop's currency)
    "sessions",  # log1p(number of sessions)
    "channels",  # number of channels used, at most 16
    "recency_share",  # days since the last activity / (1 + days since the first): 0 is active until now, 1 is once and long ago
    "gap",  # log1p(mean days between two events)
    "overdue",  # log1p(days since the last activity / mean gap, the gap taken as an hour at least)
)

_MOST = 1e12  # of any input; beyond it nothing is learnt any more, and all products stay finite
_CHANNELS_MOST = 16.0
_GAP_LEAST_DAYS = 1 / 24


def features(
    recency_days: float, age_days: float, events: float, orders: float, monetary: float, sessions: float, channels: float
) -> list[float]:
    """The values of `FEATURES`, always finite: a missing (NaN) or negative input counts as 0, an infinite one as a trillion."""
    recency = recency_days if 0.0 <= recency_days <= _MOST else _bounded(recency_days)
    age = age_days if 0.0 <= age_days <= _MOST else _bounded(age_days)
    if age < recency:  # an event that came late may be the first one known
        age = recency
    count = events if 0.0 <= events <= _MOST else _bounded(events)
    gap = (age - recency) / (count - 1.0) if count > 2.0 else age - recency
    return [
        log1p(recency),
        log1p(age),
        log1p(count),
        log1p(orders if 0.0 <= orders <= _MOST else _bounded(orders)),
        log1p(monetary if 0.0 <= monetary <= _MOST else _bounded(monetary)),
        log1p(sessions if 0.0 <= sessions <= _MOST else _bounded(sessions)),
        channels if 0.0 <= channels <= _CHANNELS_MOST else min(_bounded(channels), _CHANNELS_MOST),
        recency / (1.0 + age),
        log1p(gap),
        log1p(recency / (gap if gap > _GAP_LEAST_DAYS else _GAP_LEAST_DAYS)),
    ]


def _bounded(value: float) -> float:
    """What is outside of 0 ... `_MOST`: NaN and negative become 0, the rest `_MOST`."""
    return _MOST if 0.0 < value <= inf else 0.0
