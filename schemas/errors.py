"""Every exception that millrace raises on purpose.

    MillraceError
    ├── ConfigError        the configuration is wrong: nothing starts
    ├── Fatal              a worker ends non-zero with this one line; the supervisor starts it again
    │   ├── Fenced         somebody else has written what we own: we are the stale one
    │   ├── TooManyRejects the dead-letter limit is exceeded: a bad deploy must not drain a topic
    │   ├── Foreign        the data found is not ours (other deployment, newer release, changed shard count)
    │   └── Unreachable    a server cannot be reached or refuses us
    └── Recoverable        the caller waits and tries again; no work is lost
        ├── Stale          what was read before a commit has changed: read again
        ├── Moving         what is read as a whole was committed meanwhile, each of several times
        ├── LogFull        back-pressure: the next log has no room (carries `retry_after_s`)
        └── DeliveryFailed one attempt at a receiver failed (carries `retry_after_s`, `permanent`)

Bad *data* is never an exception: it is a `Reject` (see `schemas.events`).
"""


class MillraceError(Exception):
    """Base of all errors below."""


class ConfigError(MillraceError):
    """The configuration is wrong; the message lists every place."""


class Fatal(MillraceError):
    """The worker cannot go on and ends with this line; state is safe."""


class Fenced(Fatal):
    """Another writer owns what we wrote to; our commit was refused."""


class TooManyRejects(Fatal):
    """More events were rejected than `validate.reject_percent` allows."""


class Foreign(Fatal):
    """The state found belongs to another deployment, release or layout."""


class Unreachable(Fatal):
    """A server cannot be reached, or refuses our credentials."""


class Recoverable(MillraceError):
    """Wait and try again."""


class Stale(Recoverable):
    """A read made before the commit no longer holds; nothing was written."""


class Moving(Recoverable):
    """What must be read as a whole was committed while it was read, each of several times."""


class LogFull(Recoverable):
    """The log behind this append is full; try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeliveryFailed(Recoverable):
    """A receiver did not take a delivery; `permanent` means that trying again cannot help."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, permanent: bool = False, disable: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.permanent = permanent
        self.disable = disable
