"""Orders about the identity graph: what stewards, matching and events say by name."""

from schemas.records.identity_graph import Identifier, Order
from state.directory.graph import WindowWork
from state.directory.graph_erasure import Erasure
from state.directory.graph_unions import Unions


class Orders:
    """Carries out the orders of one window, after its groups."""

    def __init__(self, work: WindowWork, unions: Unions) -> None:
        self._work = work
        self._graph = work.graph
        self._unions = unions
        self._erasure = Erasure(work)

    def obey(self, order: Order) -> None:
        """Do as the order says, or count it as refused."""
        match order.kind:
            case "release":
                self._graph.suspended.pop(order.a, None)
            case "undo":
                self._count_unless(self._unions.undo(int.from_bytes(order.a), order.by))
            case "detach":
                self._count_unless(self._erasure.detach(order))
            case "suppress":
                self._count_unless(self._erasure.suppress(order))
            case "unsuppress":
                self._count_unless(self._erasure.unsuppress(order))
            case "erase":
                self._count_unless(self._erasure.erase(order))
            case _:
                x, y = self._origins_of(order)
                if x is None or y is None:
                    self._work.result.refused += 1
                else:
                    self._about_two(order, x, y)

    def _count_unless(self, done: bool) -> None:
        if not done:
            self._work.result.refused += 1

    def _origins_of(self, order: Order) -> tuple[bytes | None, bytes | None]:
        if order.origins:
            return self._graph.named(order.a), self._graph.named(order.b)
        return self._graph.origins.get(order.a), self._graph.origins.get(order.b)

    def _about_two(self, order: Order, x: bytes, y: bytes) -> None:
        self._label(order, x, y)  # before anything is united
        match order.kind:
            case "unsure":
                self._settle(x, y)
            case "link":
                self._link(order, x, y)
            case "apart":
                self._keep_apart(x, y)
            case "review":
                a, b = self._graph.root(x), self._graph.root(y)
                if a != b and not self._graph.is_link_forbidden(a, b):
                    self._unions.review(x, y, order.by, order.note)
            case "unlink":
                self._unlink(order, x, y)

    def _label(self, order: Order, x: bytes, y: bytes) -> None:
        """A steward's decision is what matching learns from."""
        if order.by == "review" and order.kind in ("link", "apart"):
            self._work.changes.labels.append(x + y + (b"1" if order.kind == "link" else b"0"))

    def _link(self, order: Order, x: bytes, y: bytes) -> None:
        self._settle(x, y)
        a, b = self._graph.root(x), self._graph.root(y)
        if order.by != "match":
            self._allow_link(a, b)
            self._allow_link(b, a)
        if a != b:
            self._unions.unite(x, y, order.by, order.note, None, order.forced)

    def _allow_link(self, one: bytes, other: bytes) -> None:
        """Forget that the origins of one customer are kept from the other."""
        graph = self._graph
        for member in graph.records[one].members if one in graph.records else ():
            kept = tuple(o for o in graph.cannot_link.pop(member, ()) if graph.root(o) != other)
            if kept:
                graph.cannot_link[member] = kept

    def _keep_apart(self, x: bytes, y: bytes) -> None:
        self._settle(x, y)
        if self._graph.root(x) == self._graph.root(y):
            self._work.result.refused += 1
        else:
            self._graph.forbid_link(x, y)

    def _unlink(self, order: Order, x: bytes, y: bytes) -> None:
        root = self._graph.root(x)
        if root != self._graph.root(y):
            self._graph.forbid_link(x, y)
        elif x != y:
            self._count_unless(self._unions.undo(self._unions.joint(root, x, y), order.by))
        elif order.origins:
            self._work.result.refused += 1
        else:
            self._take_out(order.a, order.b)

    def _settle(self, x: bytes, y: bytes) -> None:
        """Take the pairs of these two customers off the queue."""
        graph = self._graph
        for a in graph.records[graph.root(x)].members:
            for b in graph.records[graph.root(y)].members:
                graph.reviews.pop(min(a, b) + max(a, b), None)

    def _take_out(self, a: bytes, b: bytes) -> None:
        """Make the weaker of two identifiers a customer of its own. What it did before stays where it is."""
        graph = self._graph
        before = graph.root(graph.origins[b])
        strengths = {identifier: strength for strength, identifier in graph.records[before].identifiers}
        if len(strengths) == 1:
            self._work.result.refused += 1
            return
        identifier = a if strengths[a] > strengths[b] else b
        root = graph.found(identifier)
        self._work.move(Identifier(strengths[identifier], identifier), root, None)
        graph.forbid_link(root, before)
        self._work.result.divided += 1
