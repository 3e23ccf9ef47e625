"""What the pages show, as plain data; and what is handed in to fill them."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from schemas.bilingual import Lang

Denied = Literal["forged", "expired", "used"]
Noted = Literal["now", "soon", "code"]  # a choice is in force; it will be; it waits for a code that was sent
Asking = Literal["correct", "object", "restrict", "move", "complain"]
State = Literal["there", "erased", "unknown"]


class Visit(msgspec.Struct, frozen=True):
    """A browser that is in."""

    customer: str  # now: who was united with somebody since is found there
    state: State
    csrf: str
    lang: Lang
    pending: dict[str, bool] = {}  # switches that were noted a moment ago: what they are to be


class Switch(msgspec.Struct, frozen=True):
    """A purpose, or a channel or category of one."""

    thing: str  # `marketing`, `marketing.sms`
    name: str  # `marketing`, `sms`
    on: bool
    pending: bool = False  # it was noted, and does not hold yet


class PurposeSwitch(msgspec.Struct, frozen=True):
    switch: Switch
    required: bool
    channels: list[Switch]
    categories: list[Switch]
    coded: bool = False  # a yes takes a code, which is sent


class Spoken(msgspec.Struct, frozen=True):
    """A word of the customer, as it is kept."""

    thing: str
    granted: bool
    at_ms: int
    channel: str
    version: str
    proof: str


class Choices(msgspec.Struct, frozen=True):
    """What the customer allows."""

    mode: str  # "" where it is none of `modes`
    modes: list[str]
    pending: bool
    purposes: list[PurposeSwitch]
    words: list[Spoken]


class FieldHeld(msgspec.Struct, frozen=True):
    name: str
    value: str
    hidden: bool  # masked: the export shows it


class CategoryHeld(msgspec.Struct, frozen=True):
    """Fields of one category of data."""

    name: str  # "" for what belongs to the service
    purposes: list[str]  # that may use it
    fields: list[FieldHeld]


class Recipient(msgspec.Struct, frozen=True):
    name: str
    type: str
    knows: list[str]  # the fields by which it knows a customer


class Kept(msgspec.Struct, frozen=True):
    """How long something is kept."""

    what: Literal["profile", "events", "archive", "backup", "requests"]
    until: Literal["until_erased", "while_heard_of", "until_read", "for_days", "for_copies", "by_policy"]
    values: dict[str, int] = {}  # days, copies


class Holding(msgspec.Struct, frozen=True):
    """What is held, and why."""

    identifiers: list[FieldHeld]
    categories: list[CategoryHeld]
    events: int
    first_ms: int
    last_ms: int
    tags: list[str]
    segment: str
    stage: str
    scores: list[tuple[str, int]]  # of a hundred
    recipients: list[Recipient]
    kept: list[Kept]


class Request(msgspec.Struct, frozen=True):
    """Something that the customer has asked for."""

    id: str
    right: str
    step: str
    asked_ms: int
    due_ms: int
    text: str
    answer: str


class Erasure(msgspec.Struct, frozen=True):
    """How far an erasure has come."""

    id: str
    step: str
    steps: list[tuple[str, int]]  # each, and when it was reached; 0 for those that are to come
    due_ms: int
    receivers: list[tuple[str, str]]  # and what each said
    receipt: bool
    begins_ms: int = 0  # until then it can be taken back; 0: it has begun


class Receipt(msgspec.Struct, frozen=True):
    document: bytes
    key: str


class Centre(Protocol):
    """What is handed in. Called in a thread; each raises `Unusable` for a customer of whom nothing is held
    any more, `Unreachable`."""

    def look(self, token: str) -> Lang | Denied:
        """Return the language of a link that would let somebody in, or why it would not."""

    def enter(self, token: str) -> str | Denied:
        """Use a link up, and return the cookie of a new session; or why not."""

    def visit(self, cookie: str, renew: bool = True) -> Visit | None:
        """Return who is in, None where the session is over. `renew`: it lasts longer thereby."""

    def speak(self, cookie: str, lang: Lang) -> None:
        """Show pages in this language from now on."""

    def leave(self, cookie: str) -> None: ...

    def choices(self, visit: Visit) -> Choices: ...

    def choose(self, cookie: str, visit: Visit, mode: str) -> Noted:
        """Take a mode down. Raises `ValueError` for one that is none."""

    def switch(self, cookie: str, visit: Visit, thing: str, on: bool) -> Noted:
        """Take one switch down, or send the code that it needs; likewise."""

    def confirm(self, cookie: str, visit: Visit, purpose: str, code: str) -> Noted | None:
        """Take the yes down that a code confirms; None for a code that is not the one that was sent."""

    def holding(self, visit: Visit) -> Holding: ...

    def export(self, visit: Visit) -> bytes:
        """Return everything, as JSON."""

    def export_page(self, visit: Visit) -> str:
        """Return everything, as a page."""

    def requests(self, visit: Visit) -> Sequence[Request]: ...

    def ask(self, visit: Visit, right: Asking, text: str) -> None: ...

    def erase(self, visit: Visit) -> None: ...

    def keep(self, visit: Visit) -> None:
        """Take an erasure back that has not begun."""

    def erasure(self, visit: Visit) -> Erasure | None: ...

    def receipt(self, visit: Visit) -> Receipt: ...
