"""A customer as a shard keeps it: fragments that add up, and what is derived from their sum.

Amounts are integers of a millionth (`MICRO`), so that sums are exact and do not depend on the order of
events.
"""

from typing import Any

import msgspec

MICRO = 1_000_000


class Fragment(msgspec.Struct, array_like=True):
    """What one origin did: a commutative monoid (see `flows.logic.profile.fragments`). Times in Unix
    milliseconds."""

    first_ms: int = 0
    last_ms: int = 0
    events: int = 0
    orders: int = 0
    spent: int = 0  # millionths
    ordered_ms: int = 0
    channels: dict[str, int] = {}
    hours: dict[int, int] = {}  # hour of day, UTC -> events
    sessions: list[int] = []  # [first, last, first, last ...] half-hour slots of the last 30 days
    aggregates: dict[int, Any] = {}  # slot of the definition -> state of its kind
    traits: dict[str, tuple[int, Any]] = {}  # name -> (moment, value): the last writer wins, as with `Sealed`
    dedupe_ring: bytes = b""  # hashes of the last messages, 6 bytes each
    # millionths of the purchase at `ordered_ms`; second of the one before, 0 = none. None: none
    latest: tuple[int, int] | None = None


class Wait(msgspec.Struct, array_like=True):
    """A timer rule that saw its first event and waits for the other."""

    rule: str
    due_ms: int
    cause: str
    subject: bytes
    since_ms: int  # when the first event happened


class Question(msgspec.Struct, array_like=True):
    """A prediction whose outcome is not yet known."""

    model: str
    asked_ms: int
    due_ms: int
    events: int  # of the customer, when asked
    features: bytes  # as `flows.logic.profile.sparse` packs them
    predicted: float | None
    version: int
    outcome: float | None = None  # heard before the horizon: 1 yes, 0 no; what is heard first counts
    amount: float = 0.0  # that came with it


class Open(msgspec.Struct, array_like=True):
    """An action that was chosen and waits for its rewards."""

    decided_ms: int
    context: bytes  # the features as they were: 32-bit floats, big-endian
    action: str
    propensity: float
    version: int  # of the model that chose; 0 = none
    reward: float = 0.0
    rewards: int = 0
    eligible: list[str] = []  # the actions that it was chosen among


class Held(msgspec.Struct, array_like=True):
    """A fact that is not counted yet."""

    origin: bytes
    identifier: bytes
    loans: int  # rings of this identifier that it waits for
    payload: bytes


class Owed(msgspec.Struct, array_like=True):
    """A ring that is to be lent to the customer that the identifier moved to."""

    identifier: bytes
    origin: bytes
    to: bytes
    loans: int  # rings of this identifier that it waits for


class Parting(msgspec.Struct, array_like=True):
    """A part that is to be given back as soon as it is here."""

    part: bytes
    origins: list[bytes]
    union: int  # number in the ledger
    awaited: list[bytes]  # the customers that were still expected


class InFlightMerge(msgspec.Struct, array_like=True):
    """While identities change sides: what is on its way to this customer, and facts that must not be counted
    before it is here."""

    # expected: of each customer that is united with this one its name, and its origins
    customers: list[list[bytes]] = []
    # whose rings are expected, each as often as it is, and the origin that it belongs to
    identifiers: list[bytes] = []
    early: list[bytes] = []  # such whose ring came before it was expected
    held: list[Held] = []  # in order
    owed: list[Owed] = []
    dedupe_ring: bytes = b""  # messages that other customers have seen under identifiers that are ours now
    arrived: list[bytes] = []  # customers that are here and were expected by one that is still on its way
    partings: list[Parting] = []


class Profile(msgspec.Struct, array_like=True):
    """The general record: pseudonymous. The sensitive one lies under a key of its own."""

    fragments: dict[bytes, Fragment] = {}
    tags: dict[str, tuple[int, int]] = {}  # name -> (since_ms, until_ms; 0 = while it holds)
    segment: str = ""
    stage: str = ""
    returned_ms: int = 0  # came back after it was lost
    scores: dict[str, tuple[float, int]] = {}  # model -> (score, version)
    cooldowns: dict[str, int] = {}  # rule -> may fire again from
    waits: list[Wait] = []
    ended: dict[str, int] = {}  # rule of a wait -> when the event that ends it last happened
    questions: list[Question] = []
    asked_ms: int = 0  # releases that knew one model
    in_flight: InFlightMerge | None = None
    indexed_ms: int = 0  # when the shard's timer index will look at this profile; 0 = never
    history_bytes: int = 0  # of the record from which unions can be undone; 0 = there is none
    joined_ms: int = 0  # the last of these unions
    # model -> when it was last asked, while that still matters and the question is no more
    asked: dict[str, int] = {}
    open: dict[str, Open] = {}  # id of the trigger -> what was chosen, in order
    recent: list[str] = []  # items touched, the latest first
    cluster: str = ""
    clustered_ms: int = 0  # when it was last looked for
    backfilled: bool = False  # the last fact was history
    refused: list[str] = []  # purposes that the customer did not allow at the last fact


class Sealed(msgspec.Struct, array_like=True):
    """One sensitive trait: the last writer wins."""

    moment: int  # `flows.logic.fields.stated`; in records of before, Unix milliseconds
    value: bytes


class Sensitive(msgspec.Struct, array_like=True):
    """The sensitive record: origin -> trait -> sealed value (AES-256-GCM under the origin's data key)."""

    origins: dict[bytes, dict[str, Sealed]] = {}


class Head(msgspec.Struct, array_like=True):
    """How far a shard is. Compared as a whole before each commit: whoever changed it owns the shard."""

    epoch: int = 0  # raised by each worker that claims the shard
    offset: int = 0  # last entry of its log that its state contains
    clock_ms: int = 0  # last tick
    outbox: dict[str, int] = {}  # lane -> last sequence
    rules: int = 0  # version of the rules in force; 0 = none yet
    models: dict[str, int] = {}  # sender -> version of the model in force
    # of the entry at `offset` (`schemas.records.shard_log.mark_of`); empty where it is not known
    mark: bytes = b""
    used: dict[str, tuple[int, int]] = {}  # action -> (period, how often it was chosen in it)

    def copy(self) -> "Head":
        """Return one that shares nothing with this one."""
        return msgspec.structs.replace(
            self, outbox=self.outbox.copy(), models=self.models.copy(), used=self.used.copy()
        )
