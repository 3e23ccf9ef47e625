"""The events of one window, resolved jointly: those that share identifiers form a group, with at most one user id.

So an identify that follows its anonymous events by a moment causes no merge at all. Groups come in the order in which
the directory must take them: where an identifier changes sides between two user ids, the last one is seen last.
"""

from collections.abc import Sequence

from schemas.identity import Identifier


class Draft:
    """A group in the making."""

    __slots__ = ("closed", "events", "identifiers", "order", "user")

    def __init__(self, order: int) -> None:
        self.order = order
        self.identifiers: dict[Identifier, None] = {}
        self.events: list[int] = []
        self.user: Identifier | None = None
        self.closed = False  # another user id took one of its identifiers: it takes no more events

    def add(self, event: int, identifiers: Sequence[Identifier]) -> None:
        self.events.append(event)
        for identifier in identifiers:
            self.identifiers[identifier] = None
        if identifiers[0].strength == 0:
            self.user = identifiers[0]

    def take(self, other: "Draft") -> None:
        self.events += other.events
        self.identifiers |= other.identifiers
        self.user = self.user or other.user
        self.order = max(self.order, other.order)


class Joint(list[int]):
    """Indexes of a group's events, in order; its identifiers strongest first."""

    identifiers: list[Identifier]


def group(events: Sequence[Sequence[Identifier]]) -> list[Joint]:
    """Group events, each given by its identifiers (distinct, strongest first, at least one)."""
    at: dict[Identifier, Draft] = {}
    drafts: list[Draft] = []
    order = 0
    for event, identifiers in enumerate(events):
        touched: list[Draft] = []
        for identifier in identifiers:
            draft = at.get(identifier)
            if draft is not None and not draft.closed and draft not in touched:
                touched.append(draft)
        user = identifiers[0] if identifiers[0].strength == 0 else next((draft.user for draft in touched if draft.user), None)
        rivals = [draft for draft in touched if draft.user is not None and user is not None and draft.user != user]
        mine = [draft for draft in touched if draft not in rivals]
        order += 1
        if mine:
            home = max(mine, key=lambda draft: len(draft.identifiers))
        else:
            home = Draft(order)
            drafts.append(home)
        for draft in mine:
            if draft is not home:
                home.take(draft)
                drafts.remove(draft)
                for identifier in draft.identifiers:
                    if at[identifier] is draft:
                        at[identifier] = home
        for rival in rivals:
            rival.closed = True
            home.order = order
        home.add(event, identifiers)
        for identifier in identifiers:
            at[identifier] = home
    drafts.sort(key=lambda draft: draft.order)
    return [_joint(draft) for draft in drafts]


def _joint(draft: Draft) -> Joint:
    joint = Joint(sorted(draft.events))
    joint.identifiers = sorted(draft.identifiers, key=lambda identifier: (identifier.strength, identifier.hash))
    return joint
