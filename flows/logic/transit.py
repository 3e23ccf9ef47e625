"""While identities change sides: what a customer waits for, and which facts wait with it.

When customers are united, or an identifier moves from one to another, a repetition of an old event is routed to a customer
that has not seen the first copy. So facts of such origins and identifiers are held until what their former customer saw is
here: the retired customer itself, or the ring of its last messages. All other facts pass; this is a matter of milliseconds.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from flows.logic.fragments import RING_ID
from schemas.profile import Transit

HELD_MAX: Final = 256  # facts of one customer
LENT_MAX: Final = 128  # messages remembered from former customers of our identifiers

Held = tuple[bytes, bytes]  # (origin, packed fact)
Debt = tuple[bytes, bytes, bytes]  # (identifier, its origin, to)


def must_wait(transit: Transit, origin: bytes, identifier: bytes) -> bool:
    """Whether a fact of this origin, about this identifier, is to be held."""
    return origin in transit.origins or identifier in transit.identifiers


def expect(transit: Transit, origins: Iterable[bytes], identifiers: Iterable[bytes]) -> None:
    """These are on their way."""
    transit.origins += [origin for origin in origins if origin not in transit.origins]
    for identifier in identifiers:
        if identifier in transit.early:
            transit.early.remove(identifier)
        elif identifier not in transit.identifiers:
            transit.identifiers.append(identifier)


def settle(transit: Transit, origins: Iterable[bytes]) -> None:
    """These are here."""
    here = set(origins)
    transit.origins = [origin for origin in transit.origins if origin not in here]


def lent(transit: Transit, identifier: bytes, ring: bytes) -> None:
    """The ring of an identifier's former customer is here; it may come before a customer that was to expect it is taken in."""
    transit.ring = (transit.ring + ring)[-LENT_MAX * RING_ID :]
    if identifier in transit.identifiers:
        transit.identifiers.remove(identifier)
    else:
        transit.early.append(identifier)


def join(transit: Transit, theirs: Transit) -> None:
    """Take in what a retired customer was waiting for. Its origins are expected already: the union said so."""
    for identifier in theirs.early:
        if identifier in transit.identifiers:
            transit.identifiers.remove(identifier)
        else:
            transit.early.append(identifier)
    expect(transit, (), theirs.identifiers)
    transit.held = theirs.held + transit.held
    transit.owed += theirs.owed
    transit.ring = (transit.ring + theirs.ring)[-LENT_MAX * RING_ID :]


def release(transit: Transit, identifier_of: Callable[[bytes], bytes]) -> tuple[Sequence[Held], Sequence[Debt]]:
    """Take out the facts and debts that wait for nothing any more."""
    facts: list[Held] = []
    held: list[Held] = []
    for origin, payload in transit.held:
        (held if must_wait(transit, origin, identifier_of(payload)) else facts).append((origin, payload))
    debts: list[Debt] = []
    owed: list[Debt] = []
    for debt in transit.owed:
        (owed if must_wait(transit, debt[1], debt[0]) else debts).append(debt)
    transit.held, transit.owed = held, owed
    return facts, debts


def over(transit: Transit) -> bool:
    """Whether there is nothing left to remember."""
    return not (transit.origins or transit.identifiers or transit.early or transit.held or transit.owed or transit.ring)
