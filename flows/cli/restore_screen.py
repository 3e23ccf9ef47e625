"""`millrace restore`: what came of it."""

from flows.cli.moments import moment
from flows.cli.printing import moment_text
from flows.cli.progress_line import Progress
from flows.runtime.deployment import Deployment
from flows.services import restore
from schemas.config import Config
from state.redis.client import reported


def run(config: Config, to: str | None, source: str | None) -> int:
    """Restore, and say what came of it. `to`: ISO 8601, UTC unless it says otherwise. Raises `Foreign`,
    `ConfigError`, `Unreachable`."""
    upto_ms = None if to is None else moment(to)
    deployment = Deployment(config)
    manifest, found = restore.plan(deployment, upto_ms, source)
    with (
        restore.server(config),
        reported(),
        Progress("restoring: entries of the archive") as step,
    ):
        entries, tick_ms = restore.restore(deployment, manifest, found, upto_ms, step)
    begun = manifest.name if manifest else "the beginning of the archive"
    print(f"restored from {begun}, then {entries:,} entries of the archive: as of {moment_text(tick_ms)}")
    return 0
