"""Every exception that millrace raises on purpose.

    MillraceError
    ├── ConfigError        the configuration is wrong: nothing starts
    │   └── Losing         it is right, but takes away what cannot be had back: somebody has to say yes
    ├── Unusable           a file that a command was given cannot be used: what is wrong, and where
    │   ├── CodeSent       a customer was sent a code a moment ago, and is sent no other one yet
    │   └── CodeWrong      a code is not the one that a customer was sent, or not any more
    ├── Fatal              a worker ends non-zero with this one line; the supervisor starts it again
    │   ├── Fenced         somebody else has written what we own: we are the stale one
    │   ├── Foreign        the data found is not ours (other deployment, newer release, changed shard count)
    │   ├── Outgrown       there is more to read than the worker was started for: it starts again
    │   ├── Damaged        a key is gone while others speak of it, or cannot be read: names it, and what to do
    │   ├── Torn a shard and its log no longer fit together: one of them came back older than the other
    │   └── Unreachable    a server cannot be reached, and may be again: the supervisor never gives up on it
    │       ├── Restarted a server answers that is not the one we began with: what we remember may be younger
            than what it has
    │       └── Refused a server is there and refuses us (login, command, missing topic): waiting does not
            help
    └── Recoverable        the caller waits and tries again; no work is lost
        ├── Stale          what was read before a commit has changed: read again
        ├── Moving         what is read as a whole was committed meanwhile, each of several times
        ├── LogFull        back-pressure: the next log has no room (carries `retry_after_s`)
        │   └── KeysAway   what holds the key-encryption keys does not answer: waited for as room is
        └── DeliveryFailed one attempt at a receiver failed (carries `retry_after_s`, `permanent`)

A worker's exit code is the `exit_code` of what ended it: `TRY_AGAIN` says that nothing is wrong with the
worker.

Bad *data* is never an exception: it is a `Reject` (see `schemas.wire.events`).
"""

from typing import ClassVar

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


class MillraceError(Exception):
    """Base of all errors below."""

    exit_code: ClassVar[int] = 1


class ConfigError(MillraceError):
    """The configuration is wrong; the message lists every place."""


class Losing(ConfigError):
    """Rules that would take figures, tags or most triggers out of force, and nobody has said yes to it."""


class Unusable(MillraceError):
    """A file that a command was given is not what the command needs."""


class CodeSent(Unusable):
    """A customer was sent a code a moment ago: no other one is sent yet."""


class CodeWrong(Unusable):
    """A code is not the one that the customer was sent, or not any more."""


class Fatal(MillraceError):
    """The worker cannot go on and ends with this line; state is safe."""


class Fenced(Fatal):
    """Another writer owns what we wrote to; our commit was refused."""


class Foreign(Fatal):
    """The state found belongs to another deployment, release or layout."""


class Outgrown(Fatal):
    """There is more to read than when we started, and only a new start divides it again."""

    exit_code = TRY_AGAIN


class Damaged(Fatal):
    """A key is gone although others speak of it, or cannot be read; going on would forget what it held."""


class CustomerDamaged(Damaged):
    """One customer's record cannot be read; the others can."""


class Torn(Fatal):
    """A shard's position and its log do not fit together; going on would skip entries."""


class Unreachable(Fatal):
    """A server cannot be reached, now."""

    exit_code = TRY_AGAIN


class Restarted(Unreachable):
    """The server that we began with is gone; another one answers in its place, and may know less than we
    do."""


class Refused(Unreachable):
    """A server answers and refuses us: our credentials, a command, a topic."""

    exit_code = 1


class Recoverable(MillraceError):
    """Wait and try again."""

    exit_code = TRY_AGAIN


class Stale(Recoverable):
    """A read made before the commit no longer holds; nothing was written."""


class Moving(Recoverable):
    """What must be read as a whole was committed while it was read, each of several times."""


class LogFull(Recoverable):
    """The log behind this append is full; try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class KeysAway(LogFull):
    """What wraps and unwraps data keys cannot be asked, or refuses us, now; nothing was sealed or
    written."""


class DeliveryFailed(Recoverable):
    """A receiver did not take a delivery; `permanent` means that trying again cannot help."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        permanent: bool = False,
        disable: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.permanent = permanent
        self.disable = disable
