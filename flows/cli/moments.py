"""Times as options say them."""

from datetime import UTC, datetime

from schemas.errors import ConfigError
from schemas.units import Duration


def moment(text: str, option: str = "--to") -> int:
    """Return Unix milliseconds of a time in ISO 8601, UTC unless it says otherwise. Raises `ConfigError`.

    >>> moment("2026-01-01T00:00:00Z") == moment("2026-01-01 01:00+01:00") == 1_767_225_600_000
    True
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text}: expected a time such as 2026-01-31T12:00:00Z") from None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def moment_or_ago(text: str, option: str, now_ms: int) -> int:
    """Return Unix milliseconds of a time, or of so long ago. Raises `ConfigError`."""
    try:
        return now_ms - Duration.parse(text)
    except ValueError:
        return moment(text, option)
