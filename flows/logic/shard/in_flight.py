"""While identities change sides: what a customer waits for, and which facts wait with it.

When customers are united, or an identifier moves from one to another, a repetition of an old event is routed
to a customer that has not seen the first copy. So facts of such origins and identifiers are held until what
their former customer saw is here: the retired customer itself, or the ring of its last messages. All other
facts pass; this is a matter of milliseconds.
"""

from collections.abc import Collection, Iterable
from typing import Final

from flows.logic.profile.fragments import DEDUPE_ID, seen
from schemas.records.customer_profile import Held, InFlightMerge, Owed, Parting
from schemas.records.identity_graph import ID_BYTES

HELD_MAX: Final = 256  # facts of one customer
LENT_MAX: Final = 128  # messages remembered from former customers of our identifiers
_BACK: Final = b"<"


def coming_back(customer: bytes) -> bytes:
    """Return the name of a customer that is on its way back from a union that was undone.

    United with another meanwhile, it is expected there twice: as what was given back, and as the one who was
    to get it and has been retired.
    """
    return customer + _BACK


def must_wait(merge: InFlightMerge, origin: bytes, identifier: bytes) -> bool:
    """Return whether a fact of this origin, about this identifier, must be held."""
    return (bool(merge.identifiers) and _loans(merge, identifier) > 0) or _coming(merge, origin)


def _loans(merge: InFlightMerge, identifier: bytes) -> int:
    """How often its ring is expected. (Each loan is an identifier, then the origin that it belongs to
    now.)"""
    return sum(loan[:ID_BYTES] == identifier for loan in merge.identifiers)


def _coming(merge: InFlightMerge, origin: bytes) -> bool:
    return any(origin in customer for customer in merge.customers)


def hold(merge: InFlightMerge, origin: bytes, identifier: bytes, payload: bytes) -> None:
    """Keep a fact that must wait."""
    merge.held.append(Held(origin, identifier, _loans(merge, identifier), payload))


def owe(merge: InFlightMerge, identifier: bytes, origin: bytes, to: bytes, later: int) -> None:
    """Promise the dedupe ring of this identifier, for when all that we expect of it by now is here, but for
    the last `later` times.

    Not what we come to expect later: an identifier that goes to and fro between two customers would make each
    wait for the other.
    """
    merge.owed.append(Owed(identifier, origin, to, max(0, _loans(merge, identifier) - later)))


def expect(merge: InFlightMerge, customer: list[bytes], identifier: bytes, home: bytes) -> None:
    """Expect a customer (its name, then all its origins; or none), or the dedupe ring of an identifier (or
    none) of the origin `home`."""
    if customer:
        merge.customers.append(customer)
    if identifier:
        loan = identifier + home
        if loan in merge.early:
            merge.early.remove(loan)
        else:
            merge.identifiers.append(loan)


def settle(merge: InFlightMerge, customer: bytes) -> None:
    """Note that this customer is here. It may come before the one that was to expect it, which may hold facts
    of the same origins."""
    for parting in merge.partings:
        if customer in parting.awaited:
            parting.awaited.remove(customer)
    awaited = [origins[0] for origins in merge.customers]
    if customer in awaited:
        del merge.customers[awaited.index(customer)]
    else:
        merge.arrived.append(customer)


def part(merge: InFlightMerge, customer: bytes, origins: list[bytes], union: int) -> None:
    """Promise to give this customer back, when all that we expect by now is here."""
    merge.partings.append(Parting(customer, origins, union, [origins[0] for origins in merge.customers]))


def leave(merge: InFlightMerge, origins: Iterable[bytes]) -> InFlightMerge | None:
    """Return what a part that is given back takes along: what was on its way to it, the facts that wait for
    that, its debts, and what was lent."""
    gone = set(origins)
    theirs = InFlightMerge(
        [customer for customer in merge.customers if customer[0][:ID_BYTES] in gone],
        [loan for loan in merge.identifiers if loan[ID_BYTES:] in gone],
        [loan for loan in merge.early if loan[ID_BYTES:] in gone],
        dedupe_ring=merge.dedupe_ring,
        arrived=[customer for customer in merge.arrived if customer[:ID_BYTES] in gone],
    )
    merge.customers = [customer for customer in merge.customers if customer[0][:ID_BYTES] not in gone]
    merge.identifiers = [loan for loan in merge.identifiers if loan[ID_BYTES:] not in gone]
    merge.early = [loan for loan in merge.early if loan[ID_BYTES:] not in gone]
    merge.arrived = [customer for customer in merge.arrived if customer[:ID_BYTES] not in gone]
    for waiting in _waiting(merge):
        there = _loans(theirs, waiting.identifier)
        waiting.loans = min(waiting.loans, there) if waiting.origin in gone else max(0, waiting.loans - there)
    theirs.held = [held for held in merge.held if held.origin in gone]
    theirs.owed = [owed for owed in merge.owed if owed.origin in gone]
    merge.held = [held for held in merge.held if held.origin not in gone]
    merge.owed = [owed for owed in merge.owed if owed.origin not in gone]
    return None if over(theirs) else theirs


def partings(merge: InFlightMerge) -> list[Parting]:
    """Take out the parts that can be given back now."""
    ready = [parting for parting in merge.partings if not parting.awaited]
    merge.partings = [parting for parting in merge.partings if parting.awaited]
    return ready


def lent(merge: InFlightMerge, identifier: bytes, home: bytes, ring: bytes) -> None:
    """Take the dedupe ring of an identifier's former customer; it may come before a customer that was to
    expect it is taken in."""
    _remember(merge, ring)
    loan = identifier + home
    if loan not in merge.identifiers:
        merge.early.append(loan)
        return
    merge.identifiers.remove(loan)
    for waiting in _waiting(merge):
        if waiting.identifier == identifier and waiting.loans:
            waiting.loans -= 1


def _waiting(merge: InFlightMerge) -> list[Held | Owed]:
    return [*merge.held, *merge.owed]


def _remember(merge: InFlightMerge, ring: bytes) -> None:
    """Each message once: an identifier that goes to and fro brings the same ones again and again."""
    for at in range(0, len(ring), DEDUPE_ID):
        message = ring[at : at + DEDUPE_ID]
        if not seen(merge.dedupe_ring, message):
            merge.dedupe_ring += message
    merge.dedupe_ring = merge.dedupe_ring[-LENT_MAX * DEDUPE_ID :]


def join(merge: InFlightMerge, theirs: InFlightMerge, origins: Collection[bytes]) -> None:
    """Take in what a retired customer, who had these origins, was waiting for.

    Only what is about these origins waits for it as well: an older debt of ours may be what theirs depends
    on.
    """
    for waiting in _waiting(merge):
        if waiting.origin in origins:
            waiting.loans += _loans(theirs, waiting.identifier)
    merge.identifiers += theirs.identifiers
    merge.held = theirs.held + merge.held
    merge.owed = theirs.owed + merge.owed
    arrived, merge.arrived = merge.arrived, []
    merge.customers += theirs.customers
    merge.partings += theirs.partings
    for customer in arrived + theirs.arrived:
        settle(merge, customer)
    early, merge.early = merge.early, []
    for loan in early + theirs.early:
        lent(merge, loan[:ID_BYTES], loan[ID_BYTES:], b"")
    _remember(merge, theirs.dedupe_ring)


def release(merge: InFlightMerge) -> tuple[list[Held], list[Owed]]:
    """Take out the facts and debts that wait for nothing any more."""
    facts = [held for held in merge.held if not held.loans and not _coming(merge, held.origin)]
    debts = [owed for owed in merge.owed if not owed.loans and not _coming(merge, owed.origin)]
    merge.held = [held for held in merge.held if held.loans or _coming(merge, held.origin)]
    merge.owed = [owed for owed in merge.owed if owed.loans or _coming(merge, owed.origin)]
    return facts, debts


def pending(merge: InFlightMerge) -> bool:
    """Return whether something is still on its way here, or is owed to others."""
    return bool(merge.customers or merge.identifiers or merge.held or merge.owed or merge.partings)


def over(merge: InFlightMerge) -> bool:
    """Return whether there is nothing left to remember."""
    awaited = merge.customers or merge.arrived or merge.identifiers or merge.early or merge.partings
    return not (awaited or merge.held or merge.owed or merge.dedupe_ring)
