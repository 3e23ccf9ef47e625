"""What customers ask of their own data, and how far it has come."""

from typing import Final, Literal

import msgspec

ENDS: Final = ("done", "refused", "cancelled")  # steps behind which there is none
Right = Literal["erase", "export", "correct", "restrict", "object", "move", "complain"]
Regime = Literal["gdpr", "pipl", "lgpd"]


class Step:
    """How far an erasure has come. Each is done again by whoever finds it unfinished."""

    ASKED: Final = "asked"  # waits until what came in before it is resolved
    DETACHED: Final = "detached"  # nothing leads to the customer; what is on its way to it arrives
    SETTLED: Final = "settled"  # its data keys are destroyed
    GONE: Final = "gone"  # the directory has forgotten it, its shard is told
    SWEPT: Final = "swept"  # outboxes and dead letters as well
    DONE: Final = "done"  # receivers have answered: the receipt is signed
    REFUSED: Final = "refused"  # of other rights: with a reason
    CANCELLED: Final = "cancelled"  # taken back before it began


STEPS: Final = (Step.ASKED, Step.DETACHED, Step.SETTLED, Step.GONE, Step.SWEPT, Step.DONE)


DRAINED: Final = {"drained": 1}  # the mark of a request before which all has been resolved


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """What a receiver said to the request to delete."""

    said: Literal["taken", "refused", "off", "waiting"]
    detail: str = ""
    at_ms: int = 0
    attempts: int = 0
    again_ms: int = 0  # waiting: not before then


class PrivacyRequest(msgspec.Struct, array_like=True, frozen=True):
    """One request. Without plain values: the names by which receivers know the customer are sealed."""

    id: str
    right: Right
    customer: bytes  # its root when it was asked
    regime: Regime
    asked_ms: int
    due_ms: int
    by: str  # who gave it: `command`, or the fingerprint of a token
    step: str = Step.ASKED  # of other rights than `erase`: asked, done or refused
    times: dict[str, int] = {}  # step -> when it was reached
    origins: list[bytes] = []  # erase: all of the customer
    users: list[bytes] = []  # erase: hashes of its user ids, which keys are named after as well
    shards: list[int] = []  # erase: where something of it may lie
    identifiers: list[bytes] = []  # erase: its hashes, until nothing is looked for by them any more
    names: bytes = b""  # erase: field -> value for receivers, sealed; until all have answered
    answers: dict[str, Answer] = {}  # connector -> what it said
    counts: dict[str, int] = {}  # erase: how much of what was removed
    joined: str = ""  # the request that erased this customer already, or is at it
    again: bool = False  # done again, to a past that came back
    mark: dict[str, int] = {}  # erase: what is waited for, as positions; or that nothing is at first
    suppress: bool = False  # erase: events that name one of its identifiers are dropped from then on
    note: str = ""  # words of who gave it, or how it ended
    receipt: bytes = b""  # erase, done: signed
    # erase, by retention: the customer must not have been heard of since then, else nothing is erased; 0: it
    # does not depend on that
    unheard_since_ms: int = 0
    begins_ms: int = 0  # erase: not before then, and until then it can be taken back
    internal: bool = False  # erase: receivers are not asked to delete
    proof: str = ""  # restrict, object: the message id of the consent that it came to
    text: bytes = b""  # of other rights than `erase`: what the customer wrote, sealed under its data key
