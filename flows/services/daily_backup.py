"""The daily backup: made when it is time, caught up when nobody ran at that time, tried again when it
failed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from flows.runtime.deployment import Deployment
from flows.services.backups import create_and_prune
from schemas import metrics
from schemas.errors import MillraceError

log = structlog.get_logger()

LOOK_EVERY_S = 60.0  # a clock may be set, and a machine may sleep
AGAIN_S = 600.0  # after a failure


def run(deployment: Deployment, now: Callable[[], datetime], wait: Callable[[float], bool]) -> None:
    """Make backups until `wait` (for so many seconds, or until it is to end) says True. `now`: UTC."""
    config, backups = deployment.config, deployment.backups
    if (newest := backups.newest()) is not None:
        metrics.BACKUP_ENDED.set(newest.timestamp())
    while not wait(min(LOOK_EVERY_S, due_in(config.backup.daily, backups.newest(), now()))):
        if due_in(config.backup.daily, backups.newest(), now()) > 0:
            continue
        try:
            create_and_prune(deployment, lambda: int(now().timestamp() * 1000))
        except (MillraceError, OSError) as error:
            metrics.BACKUPS_FAILED.inc()
            log.error("backup_failed", error=str(error), retry_in_s=AGAIN_S)
            if wait(AGAIN_S):
                return


def due_in(daily: str, newest: datetime | None, now: datetime) -> float:
    """Return the seconds to the next time that the clock shows `daily` (UTC); 0 where none was begun since
    the last such time.

    >>> made = datetime(2026, 1, 1, 3, 0, 1, tzinfo=UTC)
    >>> due_in("03:00", made, datetime(2026, 1, 2, 2, 59, tzinfo=UTC))
    60.0
    >>> due_in("03:00", made, datetime(2026, 1, 2, 9, 30, tzinfo=UTC))
    0.0
    """
    hour, _, minute = daily.partition(":")
    today = now.astimezone(UTC).replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    following = today if today > now else today + timedelta(days=1)
    if newest is None or newest < following - timedelta(days=1):
        return 0.0
    return (following - now).total_seconds()
