"""Events on their way in: as they lie in the raw log, and as they leave validation.

RawEvent   bytes of one message in Segment form, with who sent it and when it reached us
Fact       one valid event as it enters a shard's log: skew corrected, personal data sealed
Reject     why a RawEvent did not become a Fact
DeadLetter a Reject with everything needed to look at it and to send it again; also what `match` raised on
(partition `match`) Quarantined a Fact (or a timer) that a shard's logic raised on
Unlearnt   an example that a model's trainer raised on
"""

from typing import Any, Final, Literal, get_args

import msgspec

EventType = Literal["track", "identify", "page", "screen", "group", "alias"]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)

MESSAGE_ID_MAX: Final = 100  # characters
EVENT_NAME_MAX: Final = 256  # characters, also of pages, screens and groups

RejectReason = Literal[
    "not_json",  # the bytes are not JSON (also: NaN, lone surrogates, truncated)
    "not_an_object",  # JSON, but not an object
    "empty",  # no bytes at all
    "too_large",  # larger than `gateway.event_bytes`
    "too_deep",  # nested deeper than `validate.depth`
    "too_many_properties",  # more than `validate.properties` in one event
    "number_out_of_range",  # a number that 64 bits cannot hold
    "type_unknown",  # `type` is missing or is none of the Segment spec's
    "event_missing",  # track without an event name
    "id_missing",  # neither userId nor anonymousId (nor any identifier of another namespace)
    # an identifier that is no string, or is longer than 256 characters; or only ones whose value does not
    # hold
    "id_invalid",
    "id_blocked",  # only blocked identifiers (`null`, `guest`, all zeros ...)
    # an alias whose previousId is a user id: two users never become one customer by an event
    "alias_of_users",
    "message_id_invalid",  # messageId is no string, or is longer than 100 characters
    "timestamp_invalid",  # a timestamp that is not a date
    "timestamp_out_of_range",  # too long ago, or too far in the future
    "field_invalid",  # another field has the wrong type
    "plan_unknown_event",  # not in the tracking plan, and the policy is `reject`
    "plan_violation",  # in the tracking plan, and breaks its schema
    "schema_unknown",  # Avro with a schema id that no registry of ours knows
    "avro_invalid",  # Avro that cannot be decoded
    "cloudevent_invalid",  # a CloudEvent without a required attribute
    "gzip_invalid",  # truncated or broken gzip
    "seal_broken",  # a log entry that says it is sealed, and that our key does not open
    "order_forbidden",  # merge or unmerge from a write key that may not
    "poison",  # our own logic raised on it: a defect of ours, kept with its traceback
]


class RawEvent(msgspec.Struct, array_like=True, frozen=True):
    """One message as it lies in the raw log. `fault` is set where the edge already knows that it is bad."""

    value: bytes  # JSON of one Segment message; the original bytes if `fault` is set
    received_ms: int  # when the gateway (or the broker) had it, Unix milliseconds
    source: str = ""  # name of the write key, or of the topic
    fault: RejectReason | None = None
    detail: str = ""


class RawBatch(msgspec.Struct, frozen=True):
    """What one source partition gave. Whole log entries only: `after` is where to go on reading."""

    partition: str  # unique over all logs of a deployment, such as `events/3`
    after: int  # position of the last entry in this batch; what a commit stores
    events: list[RawEvent]
    positions: list[int]  # position of each event's entry, for the dead-letter log


class Fact(msgspec.Struct, array_like=True):
    """One valid event in a shard's log. Times in Unix milliseconds. No personal data outside `sealed`."""

    type: EventType
    name: str  # the event name of a track; the page, screen or group name otherwise
    time_ms: int  # when it happened, clock skew corrected
    received_ms: int
    resolved_ms: int
    message: str  # the client's messageId: the cause of what follows
    channel: str
    subject: bytes  # keyed hash of its strongest identifier; with `message` it names the event for ever
    properties: dict[str, Any]
    traits: dict[str, Any]  # general traits
    sealed: dict[str, bytes]  # sensitive traits, each sealed under the origin's data key
    # marks of what it says, where a repetition of it is to be dropped (`flows.logic.fields.repeats`)
    content: bytes = b""
    backfill: bool = False  # history: it counts and is learnt from, and nothing is sent because of it
    refused: list[str] = []  # purposes of rules that its customer does not allow, at this place of the stream


class Reject(msgspec.Struct, frozen=True):
    """Why an event is refused: a stable code, and words for a person (without personal data)."""

    reason: RejectReason
    detail: str = ""


class DeadLetter(msgspec.Struct, array_like=True, frozen=True):
    """An entry of the dead-letter log. `sealed` holds the original bytes, sealed under the log key."""

    reason: RejectReason
    detail: str
    partition: str
    position: int
    index: int  # which event of the log entry
    source: str
    received_ms: int
    rejected_ms: int
    sealed: bytes
    build: str = ""  # of what `match` put aside: the version of millrace that raised


class Quarantined(msgspec.Struct, array_like=True, frozen=True):
    """What a shard's logic raised on: a defect of ours. It was taken back, as if it had never come; the entry
    lies in the shard's own outbox, lane `q`."""

    error: str  # the kind of exception; never its message, which may hold personal data
    trace: list[str]  # places, the outermost first: `flows.logic.profile.fragments:31 add`
    position: int  # of the entry in the shard's log
    build: str  # version of millrace that raised
    at_ms: int  # the shard's clock
    root: bytes
    origin: bytes  # empty where a timer was due
    payload: bytes  # the packed `Fact`; empty where a timer was due

    @property
    def where(self) -> str:
        """Return what tells one defect from another."""
        return f"{self.error} at {self.trace[-1] if self.trace else '?'}"


class Unlearnt(msgspec.Struct, array_like=True, frozen=True):
    """An example that a trainer raised on: a defect of ours. The model is as if it had never come."""

    model: str
    detail: str  # the kind of exception, and the places that led to it; never its message
    build: str  # version of millrace that raised
    body: bytes  # the packed `Example`
