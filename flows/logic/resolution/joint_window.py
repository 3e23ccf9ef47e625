"""The events of one window, resolved jointly: those that share identifiers form a group, with at most one
user id.

So an identify that follows its anonymous events by a moment causes no merge at all. Groups come in the order
in which the directory must take them: where an identifier changes sides between two user ids, the last one is
seen last.
"""

from collections.abc import Sequence

from schemas.records.identity_graph import Identifier


class Draft:
    """A group in the making."""

    __slots__ = ("closed", "events", "identifiers", "next", "order", "user")

    def __init__(self, order: int) -> None:
        self.order = order
        self.identifiers: dict[bytes, Identifier] = {}
        self.events: list[int] = []
        self.user: bytes | None = None
        # takes no more events: it is part of another, or another user id took one of its identifiers ...
        self.closed = False
        self.next: Draft | None = None  # ... and what comes for it now goes here

    def add(self, event: int, identifiers: Sequence[Identifier]) -> None:
        """Add an event, and what it tells about who this is."""
        self.events.append(event)
        for identifier in identifiers:
            self.identifiers[identifier.hash] = identifier
        if identifiers[0].strength == 0:
            self.user = identifiers[0].hash

    def take(self, other: "Draft") -> None:
        """Take in another draft about the same customer."""
        self.events += other.events
        self.identifiers |= other.identifiers
        self.user = self.user or other.user
        self.order = max(self.order, other.order)
        other.closed, other.next = True, self


class Joint(list[int]):
    """Indexes of a group's events, in order; its identifiers strongest first."""

    identifiers: list[Identifier]


def group(events: Sequence[Sequence[Identifier]]) -> list[Joint]:
    """Group events, each given by its identifiers (distinct, strongest first, at least one). Returns what
    belongs together."""
    at: dict[bytes, Draft] = {}
    drafts: dict[Draft, None] = {}
    order = 0
    for event, identifiers in enumerate(events):
        touched: list[Draft] = []
        for identifier in identifiers:
            draft = at.get(identifier.hash)
            if draft is not None and draft.closed:
                draft = _successor(draft, order + 1, drafts)
            if draft is not None and draft not in touched:
                touched.append(draft)
        order += 1
        if not touched:
            home = Draft(order)
            drafts[home] = None
        elif len(touched) == 1 and (
            identifiers[0].strength != 0 or touched[0].user in (None, identifiers[0].hash)
        ):
            home = touched[0]
        else:
            home = _home(touched, identifiers, order, drafts)
        home.add(event, identifiers)
        for identifier in identifiers:
            at[identifier.hash] = home
    filled = [
        draft for draft in drafts if draft.events
    ]  # one in which a user was to go on got none where the event went to another
    return [_joint(draft) for draft in sorted(filled, key=lambda draft: draft.order)]


def _successor(draft: Draft, order: int, drafts: dict[Draft, None]) -> Draft:
    """Where a group that takes no more events goes on: in the one that it is part of, or in a new one of the
    same user."""
    while draft.closed:
        if draft.next is None:
            draft.next = Draft(order)
            draft.next.user = draft.user
            drafts[draft.next] = None
            draft.next.identifiers = {
                user: identifier for user, identifier in draft.identifiers.items() if user == draft.user
            }
        draft = draft.next
    return draft


def _home(
    touched: list[Draft], identifiers: Sequence[Identifier], order: int, drafts: dict[Draft, None]
) -> Draft:
    """The group of an event that touches several groups, none, or one of another user id."""
    user = (
        identifiers[0].hash
        if identifiers[0].strength == 0
        else next((draft.user for draft in touched if draft.user), None)
    )
    mine = [draft for draft in touched if draft.user is None or draft.user == user]
    if mine:
        home = max(mine, key=lambda draft: len(draft.identifiers))
    else:
        home = Draft(order)
        drafts[home] = None
    for draft in touched:
        if draft not in mine:
            draft.closed = True
            home.order = order
        elif draft is not home:
            home.take(draft)
            del drafts[draft]
    return home


def _joint(draft: Draft) -> Joint:
    joint = Joint(sorted(draft.events))
    joint.identifiers = sorted(
        draft.identifiers.values(), key=lambda identifier: (identifier.strength, identifier.hash)
    )
    return joint
