"""What other systems ask about customers, in dialects of their own (OpenDSR, Segment's regulations), about
one person or thousands at once. What it comes to are `privacy_requests`."""

from typing import Final, Literal

import msgspec

Dialect = Literal["opendsr", "segment"]
State = Literal["pending", "in_progress", "completed", "cancelled"]


class Phase:
    """How far one has come that is `in_progress`; the times say so. Each is done again by whoever finds it
    undone."""

    PENDING: Final = "pending"
    IN_PROGRESS: Final = "in_progress"  # it can be cancelled no more
    LISTED: Final = "listed"  # who is to stay unknown is on the list, or off it
    FOUND: Final = "found"  # whom it is about has been looked up, and each has a request
    COMPLETED: Final = "completed"  # these are done
    CANCELLED: Final = "cancelled"


class Notice(msgspec.Struct, array_like=True, frozen=True):
    """A state that a callback is still to be told."""

    to: int  # which callback, from 0
    state: State
    attempts: int = 0
    again_ms: int = 0  # not before then


class Mandate(msgspec.Struct, array_like=True, frozen=True):
    """One of them. Without plain values: identifiers are keyed hashes, callbacks are sealed."""

    id: str  # as it is called outside
    dialect: Dialect
    kind: str  # in words of the dialect: `erasure`, `SUPPRESS_ONLY` ...
    subject: str  # in words of the dialect: which kind of identifier it names; empty: several
    identifiers: list[bytes]
    by: str  # the fingerprint of a token
    asked_ms: int
    begins_ms: int  # until then it can be cancelled
    due_ms: int
    state: State = "pending"
    times: dict[str, int] = {}  # phase -> when it was reached
    requests: list[str] = []  # what it came to
    unresolved: list[tuple[str, str]] = []  # opendsr: type and format of what nobody can be looked up by
    callbacks: bytes = b""  # opendsr: whom to tell, sealed, until all are told
    notices: list[Notice] = []  # opendsr: what they are still to be told, the oldest first
    given_up: int = 0  # opendsr: notices that nobody took
    details: dict[str, str] = {}  # opendsr: what the answers repeat, such as `regulation`
