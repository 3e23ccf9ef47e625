"""When a request is due, by the regime that applies.

gdpr  one month (Art. 12(3)): the same day of the next month, or its last day
pipl  15 working days, by the calendar of `rights.days_off` and `rights.days_on`
lgpd  15 days
"""

from calendar import monthrange
from datetime import date, datetime, timedelta
from typing import Final

from schemas.config import Rights

WORKING_DAYS: Final = 15
DAYS: Final = 15
_SATURDAY: Final = 5


def due_ms(rights: Rights, asked: datetime) -> int:
    """Return the moment by which a request must be answered, in Unix milliseconds."""
    match rights.regime:
        case "gdpr":
            due = _next_month(asked)
        case "pipl":
            due = _working_days(rights, asked)
        case "lgpd":
            due = asked + timedelta(days=DAYS)
    return int(due.timestamp() * 1000)


def _next_month(moment: datetime) -> datetime:
    year, month = (moment.year, moment.month + 1) if moment.month < 12 else (moment.year + 1, 1)
    return moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))


def _working_days(rights: Rights, moment: datetime) -> datetime:
    """Return the same time of day, so many working days later. The day of the request does not count."""
    left = WORKING_DAYS
    while left:
        moment += timedelta(days=1)
        left -= _is_working_day(rights, moment.date())
    return moment


def _is_working_day(rights: Rights, day: date) -> bool:
    if day.isoformat() in rights.days_on:
        return True
    return day.weekday() < _SATURDAY and day.isoformat() not in rights.days_off
