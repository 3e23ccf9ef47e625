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
        self.identifiers: dict[bytes, Identifier] = {}
        self.events: list[int] = []
        self.user: bytes | None = None
        self.closed = False  # another user id took one of its identifiers: it takes no more events

    def add(self, event: int, identifiers: Sequence[Identifier]) -> None:
        self.events.append(event)
        for identifier in identifiers:
            self.identifiers[identifier.hash] = identifier
        if identifiers[0].strength == 0:
            self.user = identifiers[0].hash

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
    at: dict[bytes, Draft] = {}
    drafts: dict[Draft, None] = {}
    order = 0
    for event, identifiers in enumerate(events):
        touched: list[Draft] = []
        for identifier in identifiers:
            draft = at.get(identifier.hash)
            if draft is not None and draft not in touched:
                touched.append(draft)
        order += 1
        if len(touched) == 1 and not touched[0].closed and (identifiers[0].strength != 0 or touched[0].user in (None, identifiers[0].hash)):
            home = touched[0]  # by far the most frequent case beside a newcomer's
        else:
            home = _home(touched, identifiers, order, drafts, at)
        home.add(event, identifiers)
        for identifier in identifiers:
            at[identifier.hash] = home
    return [_joint(draft) for draft in sorted(drafts, key=lambda draft: draft.order)]


def _home(touched: list[Draft], identifiers: Sequence[Identifier], order: int, drafts: dict[Draft, None], at: dict[bytes, Draft]) -> Draft:
    """The group of an event that touches several groups, none, or one of another user id."""
    user = identifiers[0].hash if identifiers[0].strength == 0 else next((draft.user for draft in touched if draft.user), None)
    mine = [draft for draft in touched if not draft.closed and (draft.user is None or draft.user == user)]
    if mine:
        home = max(mine, key=lambda draft: len(draft.identifiers))
    else:
        home = Draft(order)
        drafts[home] = None
    home.user = user  # also one that it has only by an identifier of a closed group
    for draft in touched:
        if draft not in mine:
            draft.closed = True
            home.order = order
        elif draft is not home:
            home.take(draft)
            del drafts[draft]
            for identifier in draft.identifiers:
                if at[identifier] is draft:
                    at[identifier] = home
    return home


def _joint(draft: Draft) -> Joint:
    joint = Joint(sorted(draft.events))
    joint.identifiers = sorted(draft.identifiers.values(), key=lambda identifier: (identifier.strength, identifier.hash))
    return joint
