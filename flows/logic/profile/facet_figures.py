"""A figure that a facet keeps in every fragment, beside the aggregates, and the name that expressions read it
by.

It is kept only under rules that name it: to all others it costs nothing, and their records are as if it did
not exist.
"""

from collections.abc import Callable
from typing import Any, Final
from zlib import crc32

from flows.logic.expressions.expression import Name
from flows.logic.expressions.source import Type
from flows.logic.profile.aggregates import Merge, Read

EVERY_EVENT: Final = ("*", "identify", "page", "screen", "group", "alias")

Update = Callable[[Any, int, dict[str, Any]], Any]  # (state or None, time_ms, properties) -> state


class FacetFigure:
    """A commutative monoid, like the state of an aggregate: `update` in any order of the same events gives
    the same state, and `merge(a, b)`, which may change `a`, is what all events of both would have given."""

    __slots__ = ("doc", "kind", "merge", "name", "on", "read", "slot", "update")

    def __init__(
        self,
        name: str,
        kind: Type,
        *,
        update: Update,
        merge: Merge,
        read: Read,
        doc: str,
        on: tuple[str, ...] = EVERY_EVENT,
    ) -> None:
        """`on`: names of events, `*` for all of them, and types, as an aggregate's `on`."""
        self.name = name
        self.kind: Type = kind
        self.update = update
        self.merge = merge
        self.read = read
        self.doc = doc
        self.on = on
        self.slot = crc32(f"facet\0{name}".encode())

    def apply(self, states: dict[int, Any], time_ms: int, properties: dict[str, Any]) -> None:
        """Take this event in."""
        states[self.slot] = self.update(states.get(self.slot), time_ms, properties)

    def named(self) -> Name:
        """Return how expressions read it."""
        return Name(self.kind, f"v.reads[{self.slot}](v.f.aggregates.get({self.slot}), v.now)", doc=self.doc)
