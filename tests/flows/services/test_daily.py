"""The daily backup with a clock that the test holds; the backups are real ones."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from flows.runtime.deployment import Deployment
from flows.services import backups, daily_backup
from flows.services.daily_backup import AGAIN_S, due_in
from schemas import metrics
from schemas.config import Config
from tests.lives import lived, restored
from tests.site import Site

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Clock:
    """Waiting takes no time, but the clock says that it did; ends after `until`."""

    def __init__(self, until: datetime, now: datetime = NOON) -> None:
        self.now, self.until = now, until
        self.waits: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += timedelta(seconds=seconds)
        return self.now >= self.until


@pytest.fixture
def config(site: Site) -> Config:
    return msgspec.structs.replace(
        site.config, backup=msgspec.structs.replace(site.config.backup, daily="03:00", keep=3)
    )


def made(config: Config) -> list[str]:
    return [name.partition(".")[0] for name in Deployment(config).backups.names()]


def ran(config: Config, days: float, since: datetime = NOON) -> Clock:
    clock = Clock(since + timedelta(days=days), since)
    daily_backup.run(Deployment(config), clock, clock.wait)
    return clock


def at(day: int) -> datetime:
    return datetime(2026, 1, day, 3, 0, tzinfo=UTC)


def test_one_is_made_each_day_at_that_time_and_the_oldest_go(config: Config) -> None:
    ran(config, 4.5)
    assert made(config) == ["20260103T030000", "20260104T030000", "20260105T030000"]


def test_what_was_made_is_restored(site: Site, config: Config) -> None:
    archiver = site.archiver()
    was = lived(site, archiver, 5)
    ran(config, 0.1)
    assert len(made(config)) == 1
    assert restored(site, "b", source=Deployment(config).backups.names()[0]).digest() == was[site.now_s]


def test_one_that_was_missed_is_caught_up_at_once_and_only_once(config: Config) -> None:
    """Nobody ran at three o'clock."""
    ran(config, 0.7, at(1))
    assert made(config) == ["20260101T030000"]
    ran(config, 0.2, datetime(2026, 1, 4, 9, 30, tzinfo=UTC))
    ran(config, 0.2, datetime(2026, 1, 4, 15, 0, tzinfo=UTC))
    assert made(config) == ["20260101T030000", "20260104T093000"]
    ran(config, 1, datetime(2026, 1, 4, 22, 0, tzinfo=UTC))
    assert made(config) == ["20260101T030000", "20260104T093000", "20260105T030000"]


def test_one_that_was_made_by_hand_is_as_good_for_its_day(config: Config) -> None:
    backups.make(Deployment(config), lambda: int(NOON.timestamp() * 1000))
    ran(config, 0.5)
    assert made(config) == ["20260101T120000"]


@pytest.fixture
def failed() -> Iterator[list[float]]:
    before = metrics.BACKUPS_FAILED._value.get()
    found: list[float] = []
    yield found
    assert metrics.BACKUPS_FAILED._value.get() - before == found[0]


def test_one_that_failed_is_counted_and_tried_again(site: Site, config: Config, failed: list[float]) -> None:
    hold = Deployment(config).names.hold
    site.client.set(hold, "another")  # as if another backup went on for ever
    clock = ran(config, AGAIN_S * 2.5 / 86_400)
    assert made(config) == []
    assert clock.waits.count(AGAIN_S) == 3
    site.client.delete(hold)
    ran(config, 0.1, clock.now)
    assert len(made(config)) == 1
    failed.append(3)


def test_its_age_is_known_again_after_a_restart(config: Config) -> None:
    ran(config, 0.1, at(1))
    metrics.BACKUP_ENDED.set(0)
    ran(config, 0.1, at(1) + timedelta(hours=5))
    assert metrics.BACKUP_ENDED._value.get() == at(1).timestamp()


def test_a_clock_that_is_set_is_noticed_within_a_minute(config: Config) -> None:
    assert max(ran(config, 1).waits) <= 60


@pytest.mark.parametrize(
    ("daily_at", "now", "seconds"),
    [
        ("03:00", datetime(2026, 1, 1, 2, 59, tzinfo=UTC), 60),
        ("03:00", datetime(2026, 1, 1, 3, 0, tzinfo=UTC), 86_400),
        ("00:00", datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), 1),
    ],
)
def test_the_next_one_is_at_the_next_time_of_day(daily_at: str, now: datetime, seconds: int) -> None:
    assert due_in(daily_at, now, now) == seconds
    assert due_in(daily_at, None, now) == 0
