"""The identity graph in memory: identifiers -> origins -> root customers.

Twin of what `state/directory/*.lua` keep: the same decisions in the same order, written to be obvious. What
one window does to it: `graph_window`, with `graph_guards`, `graph_unions`, `graph_orders` and
`graph_erasure`. A window works on a copy.
"""

from collections import Counter
from collections.abc import Sequence

from schemas.records.identity_graph import Identifier, Pair, Union, WindowCommit, WindowResult, following
from schemas.records.shard_log import Lend
from state.directory.handed_over import HandOvers
from state.directory.policy import Policy
from state.directory.records import Record

DETACHED, ERASED = b"d", b"e"  # marks of origins: nothing leads there any more; gone
Edge = tuple[int, bytes, bytes]  # number in the ledger, the two origins that the evidence is about


class Graph:
    """Who is one customer with whom, and what is remembered of how that came."""

    def __init__(self, limits: Sequence[int], policy: Policy) -> None:
        self.limits = limits
        self.policy = policy
        self.origins: dict[bytes, bytes] = {}  # identifier -> origin
        self.roots: dict[bytes, bytes] = {}  # origin -> root, where it is not its own
        self.records: dict[bytes, Record] = {}
        # root -> the unions that made it, by their numbers in the ledger
        self.unions: dict[bytes, tuple[Edge, ...]] = {}
        self.ledger: dict[int, Union] = {}
        self.entries = 0  # ever written to the ledger
        # origin -> origins that it is never united with
        self.cannot_link: dict[bytes, tuple[bytes, ...]] = {}
        # identifiers that are evidence no longer -> since, Unix seconds
        self.suspended: dict[bytes, int] = {}
        # identifiers that came with others, and had events to themselves since
        self.alone: set[bytes] = set()
        # origins of customers who are being erased, or were: no name of theirs is given again
        self.marks: dict[bytes, bytes] = {}
        # identifiers whose events are dropped -> since, Unix seconds
        self.suppressed: dict[bytes, int] = {}
        self.reviews: dict[bytes, Pair] = {}  # both origins, the smaller first
        # identifier that changed sides -> the first four bytes of the user ids that it went to
        self.users: dict[bytes, tuple[bytes, ...]] = {}
        self.moves = Counter[tuple[int, bytes]]()  # (slot of time, identifier) -> how often it changed sides
        # (slot of time, survivor) -> by how much it grew; (.., n + survivor) -> by made-up ones
        self.rates = Counter[tuple[int, bytes]]()

    def copy(self) -> "Graph":
        """Return one for a window that may yet be refused. All values are immutable: it shares them."""
        copied = Graph(self.limits, self.policy)
        for name, table in vars(self).items():
            if name not in _NOT_TABLES:
                setattr(copied, name, table.copy())
        copied.entries = self.entries
        return copied

    def root(self, origin: bytes) -> bytes:
        """Return the customer that this origin belongs to."""
        return self.roots.get(origin, origin)

    def user(self, origin: bytes) -> bytes | None:
        """Return the user id of the customer that an origin belongs to."""
        root = self.root(origin)
        return self.records[root].user() if root in self.records else None

    def named(self, origin: bytes) -> bytes | None:
        """Return the origin if there is such a one, and it is not being erased."""
        there = origin in self.records or origin in self.roots
        return origin if there and origin not in self.marks else None

    def found(self, origin: bytes) -> bytes:
        """Found a customer, and return its origin: the identifier, or the next free value."""
        while origin in self.records or origin in self.roots or origin in self.marks:
            origin = following(origin)
        self.records[origin] = Record((origin,))
        return origin

    def give(self, root: bytes, identifier: Identifier) -> None:
        """Add an identifier to a customer's record."""
        record = self.records[root]
        held = (identifier.strength, identifier.hash)
        self.records[root] = Record(record.members, (*record.identifiers, held))

    def forbid_link(self, x: bytes, y: bytes) -> None:
        """Keep two origins from ever being united."""
        for one, other in ((x, y), (y, x)):
            if other not in self.cannot_link.get(one, ()):
                self.cannot_link[one] = (*self.cannot_link.get(one, ()), other)

    def is_link_forbidden(self, a: bytes, b: bytes) -> bool:
        """Return whether two customers are kept from being united."""
        return any(
            self.root(other) == a
            for member in self.records[b].members
            for other in self.cannot_link.get(member, ())
        )

    def is_queue_full(self) -> bool:
        """Return whether no more pairs may wait for a steward."""
        return len(self.reviews) >= self.policy.reviews


class WindowWork:
    """One window at work: the graph, what the window says, and what comes of it."""

    def __init__(self, graph: Graph, window: WindowCommit, result: WindowResult, changes: HandOvers) -> None:
        self.graph = graph
        self.policy = graph.policy
        self.window = window
        self.result = result
        self.changes = changes
        self.united = 0

    def move(self, identifier: Identifier, root: bytes, home: bytes | None) -> None:
        """Let an identifier change sides."""
        graph, home = self.graph, home or root
        origin = graph.origins[identifier.hash]
        before = graph.root(origin)
        self.changes.add(Lend(before, root, identifier.hash, origin, home=home))
        record = graph.records[before]
        staying = tuple(held for held in record.identifiers if held[1] != identifier.hash)
        graph.records[before] = Record(record.members, staying)
        graph.origins[identifier.hash] = home
        if self.policy.at(identifier.strength) == "newcomer" and home != identifier.hash:
            graph.alone.add(identifier.hash)  # another customer has events of its own
        graph.give(root, identifier)


def carried(one: Identifier, other: Identifier) -> bytes:
    """Return the evidence that an event is: it carried both."""
    return bytes([one.strength]) + one.hash + bytes([other.strength]) + other.hash


_NOT_TABLES = ("limits", "policy", "entries")
