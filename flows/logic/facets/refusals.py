"""The purposes that a customer does not allow: what was derived for them is taken away, and not derived
again until the customer allows it.

The last fact says which (`Fact.refused`): `resolve` knows what all origins of a customer have said.
"""

from collections.abc import Iterable

from flows.logic.facets.facet import Facet
from flows.logic.shard.state import Live, ShardState
from schemas.records.customer_profile import Profile


class Refusals(Facet):
    """Between two facts, and until the next one: the most restrictive that is known."""

    def unite(self, state: ShardState, root: bytes, live: Live, theirs: Profile) -> None:
        """Refuse what either does."""
        live.profile.refused = sorted({*live.profile.refused, *theirs.refused})

    def divide(self, united: Profile, staying: Profile, leaving: Profile) -> None:
        """Refuse, in each part, what it refused by itself and what both did together."""
        for part in (staying, leaving):
            part.refused = sorted({*part.refused, *united.refused})


def are_refused(profile: Profile, purposes: Iterable[str]) -> bool:
    """Return whether none of these purposes is allowed."""
    return bool(profile.refused) and all(purpose in profile.refused for purpose in purposes)
