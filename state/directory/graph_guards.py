"""Limits and guards of the identity graph: how many identifiers a customer may have, and what is evidence no
longer."""

from collections.abc import Sequence

from schemas.records.identity_graph import Identifier
from state.directory.graph import WindowWork
from state.directory.policy import Held, holds
from state.directory.records import Record

LEAVE_TOGETHER = 4  # newcomers leave by this part of the limit: each leaving is news to all workers


class Guards:
    """What one window may do, and what leaves or is suspended for it."""

    def __init__(self, work: WindowWork) -> None:
        self._work = work
        self._graph = work.graph
        self._policy = work.policy
        self._now_s = work.window.time_ms // 1000

    def has_room(self, root: bytes, strength: int) -> bool:
        """Return whether one more identifier may come."""
        if self._graph.records[root].count(strength) < self._graph.limits[strength]:
            return True
        return bool(self._leaving(root, strength))

    def make_room(self, root: bytes, strength: int) -> bool:
        """Return whether there is room for one more identifier; others leave where that is the policy."""
        if not self.has_room(root, strength):
            return False
        limit = self._graph.limits[strength]
        if self._graph.records[root].count(strength) >= limit:
            together = self._policy.at(strength) == "newcomer"
            self.drop(root, strength, max(1, limit // LEAVE_TOGETHER) if together else 1)
        return True

    def drop(self, root: bytes, strength: int, n: int) -> None:
        """Let the first `n` that may go leave this customer."""
        gone = self._leaving(root, strength)[:n]
        for _, identifier in gone:
            del self._graph.origins[identifier]
        self._work.result.refused += len(gone)
        record = self._graph.records[root]
        staying = tuple(held for held in record.identifiers if held not in gone)
        self._graph.records[root] = Record(record.members, staying)

    def _leaving(self, root: bytes, strength: int) -> Held:
        record = self._graph.records[root]
        spared = self.spared(record.members, record.identifiers)
        return self._policy.leaving(strength, record.identifiers, spared)

    def spared(self, members: Sequence[bytes], held: Held) -> set[bytes]:
        """Return which identifiers are no newcomers any more, or never were."""
        return {*members, *(identifier for _, identifier in held if identifier in self._graph.alone)}

    def is_shared(self, identifier: Identifier, user: Identifier) -> bool:
        """Return whether too many customers use this identifier, or too often in turn; note this use."""
        policy, graph = self._policy, self._graph
        if not holds(policy.guarded, identifier.strength):
            return False
        slot = self._now_s // policy.shared_within_s, identifier.hash
        graph.moves[slot] += 1
        users = graph.users.get(identifier.hash, ())
        if user.hash[:4] not in users:
            users = graph.users[identifier.hash] = (*users, user.hash[:4])
        if graph.moves[slot] < policy.shared_moves and len(users) < policy.shared_customers:
            return False
        del graph.users[identifier.hash]
        return True

    def suspend(self, identifier: bytes) -> None:
        """Take an identifier as evidence no longer."""
        if identifier not in self._graph.suspended:
            self._graph.suspended[identifier] = self._now_s
            self._work.result.suspended += 1

    def made_up(self, strangers: Sequence[Identifier], strongest: Identifier) -> list[Identifier]:
        """Return the newcomers that say nothing against whom they came with: clients make up identifiers of
        shared namespaces as they like.

        But for one with each address or the like that is new as well: the two are somebody's.
        """
        others = [one for one in strangers if one is not strongest]
        shared = [one for one in others if holds(self._policy.guarded, one.strength)]
        return shared[len(others) - len(shared) :]

    def grows_too_fast(self, root: bytes, cause: Identifier, made_up: bool) -> bool:
        """Return whether this customer was given too many newcomers lately."""
        if made_up:
            return self._counted(b"n" + root) > self._policy.breaker_unions
        return self.trips(root, cause)

    def trips(self, root: bytes, cause: Identifier) -> bool:
        """Return whether this customer grows too fast: then what makes it grow is evidence no longer."""
        if self._counted(root) <= self._policy.breaker_unions:
            return False
        self.suspend(cause.hash)
        return True

    def _counted(self, what: bytes) -> int:
        """Count one more of it in this slot of time; return how many these are."""
        slot = self._now_s // self._policy.breaker_within_s, what
        self._graph.rates[slot] += 1
        return self._graph.rates[slot]
