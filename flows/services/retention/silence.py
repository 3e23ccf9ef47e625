"""When a customer was last heard of: the time of the latest event in its profile, which `last_seen_ms` and
`inactive_days` of rules go by.

What the profile does not have yet lies in the log of its shard, so that is looked through as well.
"""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Final, NamedTuple, Protocol

from flows.logic.shard.in_flight import pending
from flows.logic.shard.state import decode_profile
from schemas.records.customer_profile import Head, Profile
from schemas.records.identity_graph import shard_of
from schemas.records.shard_log import LogEntry

UNREAD_MAX: Final = 1_000  # entries of a shard's log that are looked through; behind more one waits


class Directory(Protocol):
    """What this needs of the directory."""

    def heads(self) -> dict[int, int]: ...

    def read(self, after: Mapping[int, int], count: int, block_ms: int) -> list[LogEntry]: ...


class Shards(Protocol):
    """What this needs of the shards."""

    def heads(self) -> dict[int, Head]: ...

    def load(self, shard: int, roots: Collection[bytes]) -> dict[bytes, bytes | None]: ...


class Found(Enum):
    """What can be said of a customer now."""

    HEARD = "something came since then"
    SILENT = "nothing came"
    UNSURE = "something about it may be on its way: look again"


class Look(NamedTuple):
    """What was found, and the last entry of the shard's log that it rests on."""

    found: Found
    log_end: int


def last_heard_ms(profile: Profile) -> int | None:
    """Return the time of the latest event; None where there is none, or more is on its way here."""
    if not profile.fragments or (profile.in_flight is not None and pending(profile.in_flight)):
        return None
    return max(fragment.last_ms for fragment in profile.fragments.values())


def look(
    directory: Directory, shards: Shards, count: int, root: bytes, members: Collection[bytes], since_ms: int
) -> Look:
    """Look whether anything came about a customer since then. `count`: of shards."""
    shard = shard_of(root, count)
    log_end = directory.heads()[shard]  # first: what is read after it has at least this much
    applied = shards.heads()[shard].offset
    packed = shards.load(shard, [root])[root]
    heard_ms = None if packed is None else last_heard_ms(decode_profile(packed))
    if heard_ms is not None and heard_ms >= since_ms:
        return Look(Found.HEARD, log_end)
    if heard_ms is None or log_end - applied > UNREAD_MAX:
        return Look(Found.UNSURE, log_end)
    unread = directory.read({shard: applied}, UNREAD_MAX, 0)
    if any(name in entry.body for entry in unread for name in {root, *members}):
        return Look(Found.UNSURE, log_end)
    return Look(Found.SILENT, log_end)
