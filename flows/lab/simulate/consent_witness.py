"""Watches what the directory takes in and what the receiver gets, with a simple idea of consent of its own.

It shares no code with what it judges, but the graph that says who is one customer.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec

from flows.lab.simulate.drawn_traffic import EVENTS, PLACE
from flows.logic.message import Message
from flows.logic.resolution.identity_orders import STEWARD
from schemas.records.identity_graph import Identifier, WindowCommit
from schemas.wire.events import DeadLetter, Fact, RawEvent, Reject
from schemas.wire.triggers import Trigger
from state.directory.graph import Graph

_fact = msgspec.msgpack.Decoder(Fact).decode
_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_PURPOSES = ("marketing", "personalisation")
HOUR_MS = 3_600_000
Identify = Callable[[Message, int], list[Identifier] | Reject]  # `Identifiers.of`
Landed = Mapping[int, tuple[bytes, bytes]]  # of a fact, by its identity: root, origin


class _Word:
    """What was said at an origin, and whom it spoke for besides."""

    def __init__(self, at_ms: int, granted: bool, others: frozenset[bytes]) -> None:
        self.at_ms = at_ms
        self.granted = granted
        self.others = others


def _is_of_the_simulation(made: Mapping[str, Any]) -> bool:
    return made.get("event") in EVENTS


class Witness:
    """What it saw that should not be, and what it saw of each message."""

    def __init__(self, is_behaviour: Callable[[Mapping[str, Any]], bool] = _is_of_the_simulation) -> None:
        """Take what says which messages are kept only where a purpose may use behaviour."""
        self._is_behaviour = is_behaviour
        self.words: dict[bytes, dict[str, _Word]] = {}
        self.stored: list[str] = []  # kept, though it was not allowed; or not kept, though it was
        self.sent: list[str] = []
        self.first: dict[str, bool] = {}  # message -> whether it was whole when it was first taken in

    # --- what is stored

    def saw(
        self,
        window: WindowCommit,
        raw: Sequence[tuple[int, int, RawEvent]],
        graph: Graph,
        landed: Landed,
        identify: Identify,
    ) -> None:
        """Look at a window that was committed. `raw`: its events, each with position and index; `graph`: as
        it was before the orders."""
        dead = {(letter.position, letter.index) for letter in map(_letter, window.dead)}
        facts: dict[str, list[tuple[Fact, bytes]]] = {}
        for group in window.groups:
            for routed in group.facts:
                if not routed.payload:
                    continue
                fact = _fact(routed.payload)
                facts.setdefault(fact.message, []).append((fact, landed[id(routed)][1]))
        often = Counter(one.hash for group in window.groups for one in group.identifiers)
        moving = {hashed for hashed, n in often.items() if n > 1}
        for position, index, event in raw:
            if event.source == STEWARD or (position, index) in dead:
                continue
            made = msgspec.json.decode(event.value)
            left = facts.get(made["messageId"], [])
            origin = left[0][1] if left else _anchor(made, graph, identify, moving)
            if origin is None:
                continue
            kept, whole = self._may_be_kept(made, event.received_ms, origin, graph)
            if kept and not left:
                self.stored.append(f"{made['messageId']} is not kept, and may be")
            elif kept:
                self._check(made, left.pop(0)[0], whole, _members(graph, origin))
        for message, left in facts.items():
            if left:
                self.stored.append(f"{message} is kept, and its customer does not allow it")

    def _may_be_kept(
        self, made: dict[str, Any], at_ms: int, origin: bytes, graph: Graph
    ) -> tuple[bool, bool]:
        """Return whether anything of an event may be kept, and whether all of it that is no place."""
        members = _members(graph, origin)
        news = self._hear(origin, members, _said(made), at_ms, by_itself=_by_itself(made))
        whole = not self._is_behaviour(made) or any(self._allowed(members, purpose) for purpose in _PURPOSES)
        if whole or news:
            self.first.setdefault(made["messageId"], whole)
        return whole or news, whole

    def _check(self, made: dict[str, Any], fact: Fact, whole: bool, members: Sequence[bytes]) -> None:
        if not whole and (fact.properties or fact.name == made.get("event", made.get("name"))):
            self.stored.append(f"{fact.message} is kept whole, and may not be")
        if whole and fact.type == "track" and fact.properties != made.get("properties", {}):
            self.stored.append(f"{fact.message} is not kept as it came")
        if PLACE in fact.traits and not self._place_allowed(members):
            self.stored.append(f"{fact.message} says where the customer is, who does not allow it")

    def _hear(
        self,
        origin: bytes,
        members: Sequence[bytes],
        said: Mapping[str, bool],
        at_ms: int,
        *,
        by_itself: bool = True,
    ) -> bool:
        news = False
        held = self.words.setdefault(origin, {})
        others = frozenset(members) - {origin}
        if not by_itself and all(_repeats(held.get(thing), said[thing], others, at_ms) for thing in said):
            return False
        for thing, granted in said.items():
            before = held.get(thing)
            if before is not None:
                if at_ms < before.at_ms or (at_ms == before.at_ms and not before.granted):
                    continue
                again = before.granted == granted and others <= before.others
                if again and (granted or at_ms == before.at_ms):
                    continue
            held[thing] = _Word(at_ms, granted, others)
            news = True
        return news

    def _counts(self, members: Sequence[bytes], thing: str) -> Iterator[bool]:
        """Yield the words on a thing that nobody who is the same customer has overruled."""
        for origin in members:
            word = self.words.get(origin, {}).get(thing)
            if word is not None and not any(
                later is not None and origin in later.others and later.at_ms > word.at_ms
                for other in members
                if other != origin
                for later in (self.words.get(other, {}).get(thing),)
            ):
                yield word.granted

    def _allowed(self, members: Sequence[bytes], purpose: str) -> bool:
        return all(self._counts(members, purpose))

    def _place_allowed(self, members: Sequence[bytes]) -> bool:
        return all(self._counts(members, "location")) and any(
            self._allowed(members, purpose) for purpose in _PURPOSES
        )

    # --- what is sent

    def allows(self, customer: bytes, purpose: str, graph: Graph) -> bool:
        """Return whether the customer of this origin may be contacted for a purpose, as things are now."""
        return self._allowed(_members(graph, customer), purpose)

    def passed(self, trigger: Trigger, graph: Graph) -> None:
        """Look at a trigger that the door has just let pass."""
        if not self.allows(bytes.fromhex(trigger.customer), trigger.purpose, graph):
            self.sent.append(f"{trigger.id} was sent without consent")


def _members(graph: Graph, origin: bytes) -> Sequence[bytes]:
    root = graph.root(origin)
    return graph.records[root].members if root in graph.records else (root,)


def _repeats(before: "_Word | None", granted: bool, others: frozenset[bytes], at_ms: int) -> bool:
    """Return whether a banner says what was said less than an hour before."""
    if before is None or before.granted != granted or not others <= before.others:
        return False
    return granted or at_ms - before.at_ms <= HOUR_MS


def _by_itself(made: dict[str, Any]) -> bool:
    """Return whether a no stands among the traits of an event, and not only in what a banner puts on it."""
    own = made["type"] != "group" and any(name.startswith("consent.") for name in made.get("traits", {}))
    return own and not all(_said(made).values())


def _said(made: dict[str, Any]) -> dict[str, bool]:
    said = dict(made.get("context", {}).get("consent", {}).get("categoryPreferences", {}))
    if made["type"] != "group":  # its traits are the group's
        said |= {
            name.removeprefix("consent."): value
            for name, value in made.get("traits", {}).items()
            if name.startswith("consent.")
        }
    return said


def _anchor(made: dict[str, Any], graph: Graph, identify: Identify, moving: Set[bytes]) -> bytes | None:
    """Return the origin of an event of which there is no fact; None where that cannot be told, for its
    identifier may have changed sides within the window."""
    message = msgspec.convert({name: value for name, value in made.items() if name != "sentAt"}, Message)
    found = identify(message, 0)
    if not isinstance(found, list):
        return None
    evidence = [one.hash for one in found if one.hash not in graph.suspended] or [found[0].hash]
    origin = graph.origins.get(evidence[0])
    return None if origin is None or evidence[0] in moving else origin
