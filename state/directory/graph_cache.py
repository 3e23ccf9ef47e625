"""What a worker knows of the identity graph, so that the directory need not look up what has not changed.

A group whose identifiers are all known to belong to one customer is committed as (customer, facts) alone.
That is only right while nothing of it has changed, so each commit says up to which change of the graph we
know; the directory answers what has changed since, and the commit is made again. (Measured: looking up three
identifiers was half of the directory's time.)
"""

from collections.abc import Iterable, Sequence

from schemas.records.consents import Standing
from schemas.records.identity_graph import ID_BYTES, Group, Identifier

CACHED_MAX = 300_000  # identifiers; then it starts afresh
STANDINGS_MAX = 100_000  # customers; the same
_NOBODY = bytes(ID_BYTES)
_TOLD = 2 * ID_BYTES + 1


class GraphCache:
    """Identifier -> (origin, root, whether the directory is to hear of its first event to itself), as of
    change number `epoch`."""

    def __init__(self) -> None:
        self.epoch = 0
        self.standings: dict[bytes, Standing] = {}
        self._of: dict[bytes, tuple[bytes, bytes, bool]] = {}
        self._retired: set[bytes] = set()

    def route(self, group: Group) -> tuple[bytes, list[bytes]] | None:
        """Return the root of a group, and the origin of each of its facts; None if we do not know all of
        it."""
        found = self._of.get(group.identifiers[0].hash)
        if found is None or found[1] in self._retired:
            return None
        root = found[1]
        for identifier in group.identifiers[1:]:
            found = self._of.get(identifier.hash)
            if found is None or found[1] != root:
                return None
        origins = []
        for fact in group.facts:
            if fact.expected is not None:  # the directory itself must say where personal data lands
                return None
            origin, _, newcomer = self._of[group.identifiers[fact.anchor].hash]
            if newcomer:
                return None
            origins.append(origin)
        return root, origins

    def remember(self, standing: Standing) -> None:
        """Remember what a customer has said."""
        if len(self.standings) >= STANDINGS_MAX:
            self.standings.clear()
        self.standings[standing.root] = standing

    def learn(self, identifiers: Sequence[Identifier], told: bytes) -> None:
        """Remember what the directory said. `told`: of each identifier origin, root, and 1 for a newcomer
        without an event to itself; or zeros."""
        if len(self._of) + len(identifiers) > CACHED_MAX:
            self._of.clear()
            self._retired.clear()
        for at, identifier in zip(range(0, len(told), _TOLD), identifiers, strict=True):
            origin, root = told[at : at + ID_BYTES], told[at + ID_BYTES : at + 2 * ID_BYTES]
            if origin != _NOBODY and root not in self._retired:
                self._of[identifier.hash] = (origin, root, told[at + 2 * ID_BYTES] == 1)

    def forget(self, epoch: int, changes: Iterable[bytes] | None) -> None:
        """Forget what has changed up to `epoch`: `r` + a root that retired, `u` + one that is a customer
        again, `i` + an identifier that moved, `c` + a customer whose consent is another.

        None: too much to tell.
        """
        self.epoch = epoch
        if changes is None:
            self._of.clear()
            self._retired.clear()
            self.standings.clear()
            return
        for change in changes:
            if change[:1] == b"r":
                self._retired.add(change[1:])
            elif change[:1] == b"u":
                self._retired.discard(change[1:])
                self.standings.pop(change[1:], None)
            elif change[:1] == b"c":
                self.standings.pop(change[1:], None)
            else:
                self._of.pop(change[1:], None)
