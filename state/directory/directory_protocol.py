"""The directory as the flows see it: `RedisDirectory`, or its twin `MemoryDirectory`."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from schemas.records.consents import Standing
from schemas.records.identity_graph import Group, WindowCommit, WindowResult
from schemas.records.journal import Journalled
from schemas.records.shard_log import Kind, LogEntry, NotSent
from schemas.wire.triggers import Absorb

READMITTED: Final = "readmitted"  # the sender of facts that were put aside


class Survey(NamedTuple):
    """Of each fact, in order."""

    origins: list[bytes]
    standings: list[Standing]
    # whether we know it from memory: then a change since is told, else the directory itself must say that the
    # fact lands there
    known: list[bool]


class Directory(Protocol):
    """The identity graph, and the only writer of the shards' logs. Raises `Unreachable` where the server
    cannot be reached."""

    def commit(self, window: WindowCommit, content: bytes = b"") -> WindowResult:
        """Commit graph, shard logs, dead letters and source position, all at once. Raises `Fenced`, `Stale`,
        `LogFull`.

        `content`: what the journal keeps of it for the archive (a sealed `WindowContent`).
        """

    def plan(self, groups: Sequence[Group]) -> list[bytes]:
        """Return the origin where each fact (in order) would land now. Reads only."""

    def survey(self, groups: Sequence[Group], *, fresh: bool = False) -> Survey:
        """Return where each fact would land now, and what its customer has said about consent. Reads only.

        `fresh`: all is asked; else what is known of customers that nothing has changed about since is taken
        from memory, and a commit that this was too old for is `Stale`.
        """

    def has_consents(self) -> bool:
        """Return whether anybody has ever said anything about consent."""

    def standings(self, customers: Sequence[bytes]) -> list[Standing]:
        """Return what the customers that these origins belong to now have said."""

    def offsets(self) -> dict[str, int]:
        """Return the committed position of each source partition."""

    def read(self, after: Mapping[int, int], count: int, block_ms: int) -> list[LogEntry]:
        """Return up to `count` entries of each shard's log behind `after[shard]`; waits up to `block_ms`
        for the first."""

    def tick(self) -> bool:
        """Append the time to all shard logs, once a second whoever calls; True if it was us."""

    def announce(self, kind: Kind, sender: str, seq: int, version: int, body: bytes) -> bool:
        """Store `body` and append a config or model record to all logs; False if seen before."""

    def body(self, kind: str, sender: str, version: int) -> bytes | None:
        """Return what was announced; None where it is dropped, or never was."""

    def drop(self, kind: str, sender: str, before: int) -> None:
        """Forget what was announced before this version."""

    def forward(self, shard: int, seq: int, message: Absorb) -> bool:
        """Append an absorb to the log of whoever holds the survivor now; False if seen before, or where that
        one was erased."""

    def readmit(self, seq: int, origin: bytes, payload: bytes) -> bool:
        """Append a packed fact that was put aside to the log of whoever its origin belongs to now; False if
        `seq` was taken before, or its customer is being erased."""

    def forward_again(self, letter: str, message: Absorb) -> bool:
        """Forward one again, for one that was put aside under this id; False if that was done before."""

    def not_sent(self, customer: bytes, what: NotSent) -> bool:
        """Append to the log of whoever the customer is now that a trigger was refused at the door; False if
        it was said before of this trigger and connector."""

    def hear_again(self, letter: str, kind: str, body: bytes, time_ms: int) -> bool:
        """Append to matching's log what it put aside under this id: an entry as
        `state.directory.matches.Said` has it. False if done before."""

    def replay(self, entry: Journalled) -> bool:
        """Append again what the journal says: a, e, h, t, c or m (a window is committed). False if seen
        before."""

    def lookup(self, identifiers: Sequence[bytes]) -> list[bytes | None]:
        """Return the root customer of each identifier, None where unknown."""

    def root(self, origin: bytes) -> bytes:
        """Return the customer that an origin belongs to now."""

    def erasures(self) -> int:
        """Return how often it changed who was erased, or whose events are dropped."""

    def suppressed(self) -> frozenset[bytes]:
        """Return the identifiers whose events are dropped."""

    def erased(self, origins: Sequence[bytes]) -> list[bool]:
        """Return of each whether its customer is being erased, or was."""

    def suspended(self) -> dict[bytes, int]:
        """Return the identifiers that are evidence no longer, and since when (Unix seconds)."""

    def trim(self, positions: Mapping[int, int]) -> None:
        """Drop the log entries that these shards have committed (not while a backup copies). Raises `LogFull`
        without disk."""

    def heads(self) -> dict[int, int]:
        """Return the last sequence in each shard's log."""

    def sent(self, sender: str) -> int:
        """Return the last sequence taken from this sender."""

    def stats(self) -> dict[str, int]:
        """Return counters since creation: events, created, attached, united, moved, refused,
        rejected:<reason>."""

    def said_last(self) -> int:
        """Return the last entry in the log of matching."""
