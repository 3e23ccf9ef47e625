"""What the directory would do with one row, as it is now: a dry run's guess, by the rules of
`state.directory.graph`.

What matching would say of names and addresses is not foreseen: it works behind the log.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from schemas.records.identity_graph import Identifier
from state.directory.policy import Policy, holds

Held = Mapping[bytes, Sequence[Identifier]]  # customer -> its identifiers
Apart = Mapping[bytes, Collection[bytes]]  # customer -> customers that it is never united with


class Foreseen(msgspec.Struct):
    """Of a row with a known customer."""

    attached: bool = False  # an identifier that is new would become the customer's
    united: bool = False  # customers would become one
    moved: bool = False  # an identifier would go over to another user
    review: bool = False  # a steward would be asked
    refused: bool = False  # a limit or a rule forbids some of it


def foresee(
    row: Sequence[Identifier],
    roots: Sequence[bytes | None],
    held: Held,
    apart: Apart,
    policy: Policy,
    limits: Sequence[int],
) -> Foreseen:
    """Foresee what a row would do. `row`: the identifiers, the strongest first; `roots`: whose each is, at
    least one is somebody's."""
    found = Foreseen()
    user = row[0].hash if row[0].strength == 0 else None
    customers = list(dict.fromkeys(root for root in roots if root is not None))
    first, *others = customers
    mine = list(held[first])
    if user and _user(mine) not in (None, user):  # it is somebody else's so far
        mine, others = [], customers
    for other in others:
        theirs = held[other]
        ours = user or _user(mine)
        if ours and _user(theirs) not in (None, ours):
            found.moved = True
        elif other in apart.get(first, ()) or all(_verified(policy, part) for part in (mine, theirs)):
            found.refused = True
        elif over := _over(mine, theirs, limits, policy):
            found.refused, found.review = True, found.review or "review" in over
        else:
            found.united = bool(mine) or found.united
            mine += theirs
    for identifier in (one for one, root in zip(row, roots, strict=True) if root is None):
        if over := _over(mine, [identifier], limits, policy):
            found.refused, found.review = True, found.review or "review" in over
        else:
            found.attached = True
            mine.append(identifier)
    return found


def _user(held: Sequence[Identifier]) -> bytes | None:
    return next((one.hash for one in held if one.strength == 0), None)


def _verified(policy: Policy, held: Sequence[Identifier]) -> bool:
    return any(holds(policy.verified, one.strength) for one in held)


def _over(
    mine: Sequence[Identifier], theirs: Sequence[Identifier], limits: Sequence[int], policy: Policy
) -> list[str]:
    """What happens in each namespace of which together they would have too many, and where others do not
    simply leave."""
    over: list[str] = []
    for strength in sorted({one.strength for one in theirs}):
        count = sum(one.strength == strength for one in (*mine, *theirs))
        if count > limits[strength] and policy.at(strength) not in ("oldest", "newcomer"):
            over.append(policy.at(strength))
    return over
