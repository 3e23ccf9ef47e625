"""While identities change sides: what a customer waits for, and which facts wait with it.

When customers are united, or an identifier moves from one to another, a repetition of an old event is routed
to a customer that has not seen the first copy. So facts of such origins and identifiers are held until what
their former customer saw is here: the retired customer itself, or the ring of its last messages. All other
facts pass; this is a matter of milliseconds.
"""

from collections.abc import Collection, Iterable
from typing import Final

from flows.logic.profile.fragments import RING_ID, seen
from schemas.records.customer_profile import Held, Owed, Parting, Transit
from schemas.records.identity_graph import ID_BYTES

HELD_MAX: Final = 256  # facts of one customer
LENT_MAX: Final = 128  # messages remembered from former customers of our identifiers
_BACK: Final = b"<"


def coming_back(customer: bytes) -> bytes:
    """The name of a customer that is on its way back from a union that was undone. United with another
    meanwhile, it is expected there twice: as what was given back, and as the one who was to get it and has
    been retired."""
    return customer + _BACK


def must_wait(transit: Transit, origin: bytes, identifier: bytes) -> bool:
    """Whether a fact of this origin, about this identifier, is to be held."""
    return (bool(transit.identifiers) and _loans(transit, identifier) > 0) or _coming(transit, origin)


def _loans(transit: Transit, identifier: bytes) -> int:
    """How often its ring is expected. (Each loan is an identifier, then the origin that it belongs to
    now.)"""
    return sum(loan[:ID_BYTES] == identifier for loan in transit.identifiers)


def _coming(transit: Transit, origin: bytes) -> bool:
    return any(origin in customer for customer in transit.customers)


def hold(transit: Transit, origin: bytes, identifier: bytes, payload: bytes) -> None:
    """Keep a fact that must wait."""
    transit.held.append(Held(origin, identifier, _loans(transit, identifier), payload))


def owe(transit: Transit, identifier: bytes, origin: bytes, to: bytes, later: int) -> None:
    """The ring of this identifier is to be lent, when all that we expect of it by now is here, but for the
    last `later` times.

    Not what we come to expect later: an identifier that goes to and fro between two customers would make each
    wait for the other.
    """
    transit.owed.append(Owed(identifier, origin, to, max(0, _loans(transit, identifier) - later)))


def expect(transit: Transit, customer: list[bytes], identifier: bytes, home: bytes) -> None:
    """On their way: a customer (its name, then all its origins; or none), or the ring of an identifier (or
    none) of the origin `home`."""
    if customer:
        transit.customers.append(customer)
    if identifier:
        loan = identifier + home
        if loan in transit.early:
            transit.early.remove(loan)
        else:
            transit.identifiers.append(loan)


def settle(transit: Transit, customer: bytes) -> None:
    """This customer is here. It may come before the one that was to expect it, which may hold facts of the
    same origins."""
    for parting in transit.partings:
        if customer in parting.awaited:
            parting.awaited.remove(customer)
    awaited = [origins[0] for origins in transit.customers]
    if customer in awaited:
        del transit.customers[awaited.index(customer)]
    else:
        transit.arrived.append(customer)


def part(transit: Transit, customer: bytes, origins: list[bytes], union: int) -> None:
    """This customer is to be given back, when all that we expect by now is here."""
    transit.partings.append(Parting(customer, origins, union, [origins[0] for origins in transit.customers]))


def leave(transit: Transit, origins: Iterable[bytes]) -> Transit | None:
    """What a part that is given back takes along: what was on its way to it, the facts that wait for that,
    its debts, and what was lent."""
    gone = set(origins)
    theirs = Transit(
        [customer for customer in transit.customers if customer[0][:ID_BYTES] in gone],
        [loan for loan in transit.identifiers if loan[ID_BYTES:] in gone],
        [loan for loan in transit.early if loan[ID_BYTES:] in gone],
        ring=transit.ring,
        arrived=[customer for customer in transit.arrived if customer[:ID_BYTES] in gone],
    )
    transit.customers = [customer for customer in transit.customers if customer[0][:ID_BYTES] not in gone]
    transit.identifiers = [loan for loan in transit.identifiers if loan[ID_BYTES:] not in gone]
    transit.early = [loan for loan in transit.early if loan[ID_BYTES:] not in gone]
    transit.arrived = [customer for customer in transit.arrived if customer[:ID_BYTES] not in gone]
    for waiting in _waiting(transit):
        there = _loans(theirs, waiting.identifier)
        waiting.loans = min(waiting.loans, there) if waiting.origin in gone else max(0, waiting.loans - there)
    theirs.held = [held for held in transit.held if held.origin in gone]
    theirs.owed = [owed for owed in transit.owed if owed.origin in gone]
    transit.held = [held for held in transit.held if held.origin not in gone]
    transit.owed = [owed for owed in transit.owed if owed.origin not in gone]
    return None if over(theirs) else theirs


def partings(transit: Transit) -> list[Parting]:
    """Take out the parts that can be given back now."""
    ready = [parting for parting in transit.partings if not parting.awaited]
    transit.partings = [parting for parting in transit.partings if parting.awaited]
    return ready


def lent(transit: Transit, identifier: bytes, home: bytes, ring: bytes) -> None:
    """The ring of an identifier's former customer is here; it may come before a customer that was to expect
    it is taken in."""
    _remember(transit, ring)
    loan = identifier + home
    if loan not in transit.identifiers:
        transit.early.append(loan)
        return
    transit.identifiers.remove(loan)
    for waiting in _waiting(transit):
        if waiting.identifier == identifier and waiting.loans:
            waiting.loans -= 1


def _waiting(transit: Transit) -> list[Held | Owed]:
    return [*transit.held, *transit.owed]


def _remember(transit: Transit, ring: bytes) -> None:
    """Each message once: an identifier that goes to and fro brings the same ones again and again."""
    for at in range(0, len(ring), RING_ID):
        message = ring[at : at + RING_ID]
        if not seen(transit.ring, message):
            transit.ring += message
    transit.ring = transit.ring[-LENT_MAX * RING_ID :]


def join(transit: Transit, theirs: Transit, origins: Collection[bytes]) -> None:
    """Take in what a retired customer, who had these origins, was waiting for.

    Only what is about these origins waits for it as well: an older debt of ours may be what theirs depends
    on.
    """
    for waiting in _waiting(transit):
        if waiting.origin in origins:
            waiting.loans += _loans(theirs, waiting.identifier)
    transit.identifiers += theirs.identifiers
    transit.held = theirs.held + transit.held
    transit.owed = theirs.owed + transit.owed
    arrived, transit.arrived = transit.arrived, []
    transit.customers += theirs.customers
    transit.partings += theirs.partings
    for customer in arrived + theirs.arrived:
        settle(transit, customer)
    early, transit.early = transit.early, []
    for loan in early + theirs.early:
        lent(transit, loan[:ID_BYTES], loan[ID_BYTES:], b"")
    _remember(transit, theirs.ring)


def release(transit: Transit) -> tuple[list[Held], list[Owed]]:
    """Take out the facts and debts that wait for nothing any more."""
    facts = [held for held in transit.held if not held.loans and not _coming(transit, held.origin)]
    debts = [owed for owed in transit.owed if not owed.loans and not _coming(transit, owed.origin)]
    transit.held = [held for held in transit.held if held.loans or _coming(transit, held.origin)]
    transit.owed = [owed for owed in transit.owed if owed.loans or _coming(transit, owed.origin)]
    return facts, debts


def over(transit: Transit) -> bool:
    """Whether there is nothing left to remember."""
    awaited = transit.customers or transit.arrived or transit.identifiers or transit.early or transit.partings
    return not (awaited or transit.held or transit.owed or transit.ring)
