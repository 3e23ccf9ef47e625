"""What the directory lets identities do: limits, guards and budgets. It may change while a deployment lives.

The directory's script gets it with each window, so every worker applies its own; the twin takes the same.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from schemas.config import Identity, Matching

AtLimit = Literal["refuse", "oldest", "review", "newcomer"]
_AT_LIMIT = {"refuse": 0, "oldest": 1, "review": 2, "newcomer": 3}
Held = Sequence[tuple[int, bytes]]  # identifiers, each with its strength; the oldest first


class Policy(msgspec.Struct, frozen=True):
    """By strength where a tuple: 0 is the strongest namespace. What a tuple does not reach has the
    default."""

    # Refuse the newest identifier (or the union); let the oldest leave; refuse, and ask a steward; let
    # newcomers leave, the oldest first: who had no customer of its own when it came, and no event to itself
    # since. (So nothing that was counted can come to another customer.)
    at_limit: tuple[AtLimit, ...] = ()
    # two customers who both have such an identifier are never united, but by an explicit link
    verified: tuple[bool, ...] = ()
    guarded: tuple[bool, ...] = ()  # used by too many customers, such an identifier is evidence no longer
    shared_customers: int = 8  # that many customers ...
    shared_moves: int = 20  # ... or that many changes between customers ...
    shared_within_s: int = 3_600  # ... in this time
    breaker_unions: int = 50  # unions of one customer ...
    breaker_within_s: int = 60  # ... in this time: the identifier that causes them is evidence no longer
    budget: int = 500  # unions in one window; what is beyond is refused, and can come with a later window
    ledger: int = 1_000_000  # unions that can still be undone
    reviews: int = 10_000  # pairs that wait for a steward
    # windows with records that may wait for matching; the oldest go first. 0: nothing is matched
    matches: int = 100_000

    @classmethod
    def of(cls, identity: Identity, matching: Matching) -> "Policy":
        """Return what the configuration says."""
        guard, namespaces = identity.guard, identity.namespace
        return cls(
            at_limit=tuple(namespace.at_limit for namespace in namespaces),
            verified=tuple(namespace.verified for namespace in namespaces),
            guarded=tuple(namespace.shared for namespace in namespaces),
            shared_customers=guard.customers,
            shared_moves=guard.moves,
            shared_within_s=max(1, guard.within // 1000),
            breaker_unions=guard.unions,
            breaker_within_s=max(1, guard.unions_within // 1000),
            budget=guard.window_unions,
            ledger=identity.ledger,
            reviews=identity.reviews,
            matches=matching.log_max if matching.enabled else 0,
        )

    def at(self, strength: int) -> AtLimit:
        """Return what happens to one too many."""
        return self.at_limit[strength] if strength < len(self.at_limit) else "refuse"

    def leaving(self, strength: int, held: Held, spared: Collection[bytes]) -> Held:
        """Return who of a namespace may go to make room, the first to go first. `spared`: newcomers no
        longer, or never."""
        at = self.at(strength)
        if at not in ("oldest", "newcomer"):
            return []
        return [one for one in held if one[0] == strength and (at == "oldest" or one[1] not in spared)]

    def forbids(self, strength: int, excess: int, by: str, held: Held, spared: Collection[bytes]) -> bool:
        """Return whether too many of a namespace forbid a union: not where enough may leave, nor where a
        steward was asked, and said yes."""
        if self.at(strength) == "review" and strength > 0 and by == "review":
            return False
        return len(self.leaving(strength, held, spared)) < excess

    def settings(self, strengths: int) -> list[object]:
        """Return it as the script reads it."""

        def each(values: Sequence[object], default: object) -> list[object]:
            return [*values[:strengths], *[default] * (strengths - len(values))]

        return [
            each([_AT_LIMIT[at_limit] for at_limit in self.at_limit], 0),
            each([int(verified) for verified in self.verified], 0),
            each([int(guarded) for guarded in self.guarded], 0),
            self.shared_customers,
            self.shared_moves,
            self.shared_within_s,
            self.breaker_unions,
            self.breaker_within_s,
            self.budget,
            self.ledger,
            self.reviews,
            self.matches,
        ]


def holds(values: Sequence[bool], strength: int) -> bool:
    return strength < len(values) and values[strength]
