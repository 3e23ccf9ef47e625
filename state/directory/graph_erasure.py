"""Erasure in the identity graph: first nothing leads to the customer any more, then it is gone.

In between, what is on its way to it still arrives, and what it owes to others is paid: so nobody else loses
anything by it.
"""

from collections.abc import Collection

from schemas.records.identity_graph import ID_BYTES, Order
from schemas.records.shard_log import Erase
from state.directory.graph import DETACHED, ERASED, WindowWork


class Erasure:
    """The erasures of one window."""

    def __init__(self, work: WindowWork) -> None:
        self._work = work
        self._graph = work.graph

    def detach(self, order: Order) -> bool:
        """Let nothing lead to the customer of `order.a` any more; return whether there was one. Of the
        origins in `order.note` those that nobody has never come to be. `order.forced`: events that name one
        of its identifiers are dropped from now on."""
        graph = self._graph
        for at in range(0, len(order.note), ID_BYTES):
            origin = order.note[at : at + ID_BYTES]
            if origin not in graph.marks and graph.named(origin) is None:
                graph.marks[origin] = ERASED
        root = graph.root(order.a)
        record = graph.records.get(root)
        if record is None or root in graph.marks:
            return False
        graph.marks.update(dict.fromkeys(record.members, DETACHED))
        for _, identifier in record.identifiers:
            del graph.origins[identifier]
            graph.alone.discard(identifier)
            graph.users.pop(identifier, None)
            graph.suspended.pop(identifier, None)
            if order.forced:
                graph.suppressed[identifier] = self._work.window.time_ms // 1000
        graph.unions.pop(root, None)
        self._free(record.members)
        self._take_off_queue(record.members)
        self._unname(record.members)
        return True

    def suppress(self, order: Order) -> bool:
        """Drop events that name the identifier `order.a` from now on, whoever has it; return whether they
        were taken so far."""
        if order.a in self._graph.suppressed:
            return False
        self._graph.suppressed[order.a] = self._work.window.time_ms // 1000
        return True

    def unsuppress(self, order: Order) -> bool:
        """Take events that name the identifier `order.a` again; return whether they were dropped."""
        return self._graph.suppressed.pop(order.a, None) is not None

    def erase(self, order: Order) -> bool:
        """Remove what is left of a customer that was detached; return whether there was one."""
        graph = self._graph
        root = graph.root(order.a)
        if graph.marks.get(root) != DETACHED:
            return False
        for member in graph.records.pop(root).members:
            graph.marks[member] = ERASED
            graph.roots.pop(member, None)
        self._work.changes.add(Erase(root))
        self._work.result.erased += 1
        return True

    def _free(self, members: Collection[bytes]) -> None:
        """Forget whom these were kept apart from."""
        links = self._graph.cannot_link
        for member in members:
            for other in links.pop(member, ()):
                kept = tuple(one for one in links.get(other, ()) if one not in members)
                links.pop(other, None)
                if kept:
                    links[other] = kept

    def _take_off_queue(self, members: Collection[bytes]) -> None:
        reviews = self._graph.reviews
        for key, pair in [*reviews.items()]:
            if pair.a in members or pair.b in members:
                del reviews[key]

    def _unname(self, members: Collection[bytes]) -> None:
        """Drop what the ledger says of these."""
        ledger = self._graph.ledger
        for seq, entry in [*ledger.items()]:
            if not {entry.retired, entry.survivor, entry.one, entry.other}.isdisjoint(members):
                del ledger[seq]
