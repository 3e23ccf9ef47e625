"""What a batch has changed in one shard so far, and what was loaded for it: all that a commit writes, and
nothing that outlasts it.

A commit makes new `Changes`; the way back from a customer's turn is a copy of them.
"""

from copy import copy
from typing import NamedTuple

import msgspec

from schemas.records.customer_profile import Sensitive


class Poisoned(NamedTuple):
    """A turn that logic raised on."""

    where: str
    source: str = ""  # empty where it was no event's turn
    received_ms: int = 0


class Changes(msgspec.Struct):
    """What one batch has changed, and what it has to have in memory."""

    # profiles and sensitive records
    dirty: set[bytes] = set()
    deleted: set[bytes] = set()
    sensitive: dict[bytes, Sensitive] = {}  # loaded for this batch
    sensitive_dirty: set[bytes] = set()
    # merge histories
    histories: dict[bytes, bytes | None] = {}  # loaded or set: the whole of it, None = deleted
    histories_set: set[bytes] = set()
    histories_more: dict[bytes, bytes] = {}  # appended, where the rest was not loaded
    # timers
    due: list[tuple[int, bytes]] = []  # (due_ms, root) from the index, sorted
    timers: dict[bytes, int] = {}  # root -> due_ms, 0 = none
    # what others are told
    outbox: list[tuple[str, int, bytes]] = []  # (lane, sequence, packed message)
    poisoned: list[Poisoned] = []  # on what logic raised, and where
    # what is measured
    applied: int = 0
    duplicates: int = 0
    repeats: int = 0
    came: dict[str, int] = {}  # events by source, applied or not; without the poisoned
    stated: list[tuple[str, str, str]] = []  # (source, field, outcome) of checked fields
    fired: list[tuple[str, int]] = []  # (rule, received_ms)
    chosen: list[tuple[str, str]] = []  # (action, how it was chosen or why it was withheld)
    rewarded: list[str] = []  # `counted`, or why a reward was refused
    settled: bool = True  # nothing but ticks so far

    def copy(self) -> "Changes":
        """Return changes that go on by themselves: no container is shared, but what lies in them is."""
        fields = {name: copy(getattr(self, name)) for name in self.__struct_fields__}
        return msgspec.structs.replace(self, **fields)
