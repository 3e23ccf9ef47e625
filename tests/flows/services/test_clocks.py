"""When a request is due, by each regime."""

from datetime import UTC, datetime
from typing import Literal

import pytest

from flows.services.subjects.clocks import due_ms
from schemas.config import Rights


def due(asked: str, regime: Literal["gdpr", "pipl", "lgpd"], **days: tuple[str, ...]) -> str:
    moment = datetime.fromisoformat(asked).replace(tzinfo=UTC)
    at_ms = due_ms(Rights(regime=regime, **days), moment)
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("2026-03-10T08:30", "2026-04-10T08:30"),
        ("2026-01-31T08:30", "2026-02-28T08:30"),  # the month has no such day: its last one
        ("2028-01-31T08:30", "2028-02-29T08:30"),
        ("2026-12-15T08:30", "2027-01-15T08:30"),
    ],
)
def test_gdpr_gives_a_month(asked: str, expected: str) -> None:
    assert due(asked, "gdpr") == expected


def test_lgpd_gives_fifteen_days() -> None:
    assert due("2026-02-20T00:00", "lgpd") == "2026-03-07T00:00"


def test_pipl_gives_fifteen_working_days() -> None:
    assert due("2026-11-30T09:00", "pipl") == "2026-12-21T09:00"  # a Monday: three weeks later


def test_holidays_and_worked_weekends_are_those_of_the_configuration() -> None:
    off = tuple(f"2026-10-0{day}" for day in range(1, 8))
    assert due("2026-09-25T09:00", "pipl", days_off=off) == "2026-10-23T09:00"
    assert due("2026-09-25T09:00", "pipl", days_off=off, days_on=("2026-10-10",)) == "2026-10-22T09:00"
