"""The journal: the order in which the directory committed windows and everything else. Entries are dense from
1.

With the archive on an entry holds all that is needed to commit it again: the journal, replayed, gives the
directory and every shard log again, bit for bit. With it off an entry is a note of a few bytes.
"""

from typing import Final

import msgspec

from schemas.records.identity_graph import WindowCommit
from schemas.records.shard_log import LogKind
from schemas.wire.events import RawEvent


class JournalKind:
    """The letter of each kind of entry."""

    WINDOW: Final = "w"  # a window was committed
    ABSORB: Final = LogKind.ABSORB  # this and the next three, and NOT_SENT: as in a shard's log
    TICK: Final = LogKind.TICK
    CONFIG: Final = LogKind.CONFIG
    MODEL: Final = LogKind.MODEL
    READMITTED: Final = LogKind.EVENTS  # a fact that was put aside, and was let in again
    NOT_SENT: Final = LogKind.NOT_SENT
    HEARD: Final = "h"  # what matching put aside, and is to hear again


class Journalled(msgspec.Struct, array_like=True, frozen=True):
    """One entry. `sender` to `announced` are of `a`, `c`, `m`, `e` and `h`; `content` is of `w`."""

    seq: int
    kind: str
    body: bytes  # w: [partition, before, after]; else as in the shards' logs
    sender: str = ""
    sent: int = 0  # the sender's sequence
    # a: the survivor as it was known; e: the origin; c, m: the version as text; h: Unix ms
    extra: bytes = b""
    announced: bytes = b""  # c, m
    content: bytes = b""  # a packed `WindowContent`; sealed in the journal, open in what the archive reads

    @property
    def bare(self) -> bool:
        """Return whether it was written while the archive was off: it cannot be committed again."""
        return (
            not self.content
            if self.kind == JournalKind.WINDOW
            else not self.sender and self.kind != JournalKind.TICK
        )


class WindowContent(msgspec.Struct, array_like=True):
    """A window twice: as it was committed, and as it came, so that other rules can be tried on it."""

    limits: list[int]  # identifiers for each customer by strength, as they were then
    commit: WindowCommit
    events: list[RawEvent]
    positions: list[int]  # of each event in its source partition
    origins: list[bytes]  # of each event that holds personal data: whose data key seals its value; else empty
    policy: bytes = b""  # the packed policy of that time; empty: none
