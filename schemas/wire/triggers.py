"""What the engine tells the outside, and what it sends to itself."""

from typing import Any, Final

import msgspec

# the rule of a trigger that asks its receiver to delete a customer; no rule of a configuration can have it
CONFIRMATION: Final = "$confirmation"  # of what sends a customer a code
ERASURE: Final = "$erasure"


class Receipt(msgspec.Struct, array_like=True):
    """The latency receipt of a trigger, Unix milliseconds. A timer's trigger has its due time as event and
    received."""

    event_ms: int
    received_ms: int
    resolved_ms: int
    applied_ms: int  # the shard's own clock when the rule fired
    emitted_ms: int = 0  # stamped by the flow at the commit


class Trigger(msgspec.Struct, array_like=True):
    """One entry of a shard's trigger outbox. No personal data: delivery joins contact details where a
    connector needs them."""

    id: str  # stable for ever: from (cause, subject, rule); receivers drop repeats by it
    customer: str  # root origin, 24 hex digits
    rule: str
    action: str
    channel: str
    purpose: str
    to: list[str]  # names of connectors
    cause: str  # messageId of the event, or `timer:<rule>:<messageId>`
    reasons: dict[str, Any]  # the values that the rule looked at
    scores: dict[str, Any]  # {model: {"score": float, "version": int}}
    properties: dict[str, Any]  # the event's general properties
    receipt: Receipt
    run: str = ""  # of a rebuild that fired it again; empty where it happened


UNANSWERED: Final = -1.0  # the label of an example that was just asked; for what needs no answers


class Example(msgspec.Struct, array_like=True):
    """A learning example with its delayed label."""

    model: str
    customer: bytes
    asked_ms: int
    answered_ms: int
    features: list[float]  # as they were when asked
    predicted: float | None  # what the model in force said when asked
    version: int  # of that model; 0 = none
    label: float  # 1 yes, 0 no, `UNANSWERED`; the reward of an action, the weight of a touch
    amount: float = 0.0  # of a purchase that is the answer
    action: str = ""  # that was chosen; of a touch the item
    propensity: float = 0.0  # of that action
    decision: str = ""  # the trigger's id
    recent: list[str] = []  # items touched before, the latest first
    segment: str = ""
    eligible: list[str] = []  # the actions that were chosen among


class Decision(msgspec.Struct, array_like=True):
    """A rule that fired and did not send, with the reason; or that chose among actions, with all that is
    needed to judge the choice."""

    customer: bytes
    rule: str
    cause: str
    at_ms: int
    reason: str  # "cooldown", "no_action", "silent", "chosen" ... each later gate adds its own
    id: str = ""  # of the trigger
    action: str = ""  # the one that was chosen
    propensity: float = 0.0  # how probable it was
    expected: float = 0.0  # its value x probability - cost, in money; 0 while there is no model
    propensities: dict[str, float] = {}  # of all that were eligible
    withheld: dict[str, str] = {}  # the others, and why
    context: list[float] = []  # the features as they were
    version: int = 0  # of the model; 0 = none: uniform


class Absorb(msgspec.Struct, array_like=True):
    """What one customer's shard hands over to whoever holds another customer now: a retired customer as a
    whole, or (with `identifier`) only the messages seen under an identifier that moved."""

    survivor: bytes
    retired: bytes  # or the lender
    general: bytes  # the packed profile, or empty
    sensitive: bytes  # the packed sensitive record, or empty
    identifier: bytes = b""
    dedupe_ring: bytes = b""  # of the lender
    origins: list[bytes] = []  # of the retired customer
    history: bytes = b""  # what it was made of (see `flows.logic.shard.merge_history`)
    union: int = 0  # number in the ledger
    one: bytes = b""  # the origins that its evidence is about
    other: bytes = b""
    # it comes back from a union that was undone: `survivor` and `retired` are the same
    restored: bool = False
