"""Unions of the identity graph: two customers become one, or two again; and what the ledger says of it."""

from typing import Literal

from schemas.records.identity_graph import ID_BYTES, Identifier, Pair, Union
from schemas.records.shard_log import Retire, Split
from state.directory.graph import Edge, Graph, WindowWork
from state.directory.graph_guards import Guards
from state.directory.policy import holds
from state.directory.records import Record

Excess = list[tuple[int, int]]  # strength, by how many there are too many


class Unions:
    """The unions and divisions of one window."""

    def __init__(self, work: WindowWork, guards: Guards) -> None:
        self._work = work
        self._graph = work.graph
        self._policy = work.policy
        self._guards = guards

    # --- two become one

    def unite(
        self, x: bytes, y: bytes, by: str, evidence: bytes, cause: Identifier | None, forced: bool = False
    ) -> bytes | None:
        """Unite the customers of two origins. The survivor is the one with a user id, else the smaller id.
        Return it, or None if something forbids the union."""
        graph = self._graph
        a, b = graph.root(x), graph.root(y)
        if self._is_refused(a, b, forced):
            self._work.result.refused += 1
            return None
        over, forbidden = self._excess(graph.records[a], graph.records[b], by)
        if forbidden:
            self._work.result.refused += 1
            if any(self._policy.at(strength) == "review" for strength, _ in over):
                self.review(a, b, "limit", evidence)
            return None
        survivor, retired = self._in_order(a, b)
        if cause is not None and self._guards.trips(survivor, cause):
            self._work.result.refused += 1
            return None
        members = self._take_in(survivor, retired)
        for strength, n in over:
            self._guards.drop(survivor, strength, n)
        seq = self._note("union", retired, survivor, (x, y), undone=0, by=by, evidence=evidence)
        own = graph.unions.pop(survivor, ()), graph.unions.pop(retired, ())
        graph.unions[survivor] = (*own[0], *own[1], (seq, x, y))
        self._work.changes.add(Retire(retired, survivor, list(members), union=seq, one=x, other=y))
        self._work.result.united += 1
        self._work.united += 1
        return survivor

    def _is_refused(self, a: bytes, b: bytes, forced: bool) -> bool:
        if self._work.united >= self._policy.budget or self._graph.is_link_forbidden(a, b):
            return True
        return not forced and self._both_verified(self._graph.records[a], self._graph.records[b])

    def _in_order(self, a: bytes, b: bytes) -> tuple[bytes, bytes]:
        """Return who survives, and who retires."""
        has_a = self._graph.records[a].user() is not None
        has_b = self._graph.records[b].user() is not None
        b_survives = b < a if has_a == has_b else has_b
        return (b, a) if b_survives else (a, b)

    def _take_in(self, survivor: bytes, retired: bytes) -> tuple[bytes, ...]:
        """Join two records; return the origins that came."""
        graph = self._graph
        gone, kept = graph.records.pop(retired), graph.records[survivor]
        for member in gone.members:
            graph.roots[member] = survivor
        graph.records[survivor] = Record(kept.members + gone.members, kept.identifiers + gone.identifiers)
        return gone.members

    def _excess(self, one: Record, other: Record, by: str) -> tuple[Excess, bool]:
        """Return what two customers together have too much of, and whether that forbids that they become
        one."""
        over = []
        for strength, limit in enumerate(self._graph.limits):
            added = other.count(strength)
            together = one.count(strength) + added
            if added and together > limit:
                over.append((strength, together - limit))
        held = one.identifiers + other.identifiers
        spared = self._guards.spared(one.members + other.members, held) if over else ()
        forbidden = any(self._policy.forbids(strength, n, by, held, spared) for strength, n in over)
        return over, forbidden

    def _both_verified(self, a: Record, b: Record) -> bool:
        return all(
            any(holds(self._policy.verified, strength) for strength, _ in record.identifiers)
            for record in (a, b)
        )

    # --- one becomes two again

    def joint(self, root: bytes, x: bytes, y: bytes) -> int:
        """Return the last union on the way from one origin to the other; 0 where there is none."""
        edges = self._graph.unions.get(root, ())
        return max((seq for seq, _, _ in edges if y not in self._reached(root, x, seq)), default=0)

    def undo(self, seq: int, by: str) -> bool:
        """Undo a union, if it still stands and the ledger still has it; return whether it was undone. Who
        does not hang together with the root is a customer again."""
        graph = self._graph
        entry = graph.ledger.get(seq)
        if entry is None:
            return False
        root = graph.root(entry.one)
        if (seq, entry.one, entry.other) not in graph.unions.get(root, ()):
            return False
        staying = self._reached(root, root, seq)
        leaving = [member for member in graph.records[root].members if member not in staying]
        part = next((name for name in (entry.retired, entry.survivor) if name in leaving), min(leaving))
        leaving = [part, *(member for member in leaving if member != part)]  # as everywhere: its own first
        self._share_edges(root, staying, part, leaving, seq)
        self._share_records(root, part, leaving)
        for member in leaving:
            graph.roots[member] = part
        del graph.roots[part]
        graph.forbid_link(entry.one, entry.other)
        self._note("undo", part, root, (entry.one, entry.other), undone=seq, by=by, evidence=b"")
        self._work.changes.add(Split(root, part, leaving, seq))
        self._work.result.divided += 1
        return True

    def _reached(self, root: bytes, origin: bytes, without: int) -> list[bytes]:
        """Return the origins that hang together with this one, by all unions but one."""
        reached = [origin]
        for origin in reached:  # it grows meanwhile
            for seq, one, other in self._graph.unions.get(root, ()):
                if seq != without and origin in (one, other):
                    reached += [end for end in (one, other) if end not in reached]
        return reached

    def _share_edges(
        self, root: bytes, staying: list[bytes], part: bytes, leaving: list[bytes], without: int
    ) -> None:
        edges = [edge for edge in self._graph.unions.pop(root) if edge[0] != without]
        for name, members in ((root, staying), (part, leaving)):
            own: tuple[Edge, ...] = tuple(edge for edge in edges if edge[1] in members)
            if own:
                self._graph.unions[name] = own

    def _share_records(self, root: bytes, part: bytes, leaving: list[bytes]) -> None:
        graph = self._graph
        record = graph.records[root]
        gone = tuple(held for held in record.identifiers if graph.origins[held[1]] in leaving)
        kept = tuple(held for held in record.identifiers if held not in gone)
        members = tuple(member for member in record.members if member not in leaving)
        graph.records[part] = Record(tuple(leaving), gone)
        graph.records[root] = Record(members, kept)

    # --- what is written down

    def review(self, a: bytes, b: bytes, by: str, note: bytes) -> None:
        """Ask a steward about two origins, if there is room and a yes could be carried out."""
        graph = self._graph
        key = min(a, b) + max(a, b)
        if key in graph.reviews or graph.is_queue_full() or not self._may_be_accepted(a, b):
            return
        time_ms = self._work.window.time_ms
        graph.reviews[key] = Pair(key[:ID_BYTES], key[ID_BYTES:], by=by, note=note, time_ms=time_ms)

    def _may_be_accepted(self, x: bytes, y: bytes) -> bool:
        """Return whether a steward who says yes can make them one."""
        a, b = self._record_of(x), self._record_of(y)
        return not self._both_verified(a, b) and not self._excess(a, b, "review")[1]

    def _record_of(self, origin: bytes) -> Record:
        return self._graph.records[self._graph.root(origin)]

    def _note(
        self,
        kind: Literal["union", "undo"],
        retired: bytes,
        survivor: bytes,
        edge: tuple[bytes, bytes],
        *,
        undone: int,
        by: str,
        evidence: bytes,
    ) -> int:
        """Write an entry of the ledger, of which the oldest go; return its number."""
        graph, window = self._graph, self._work.window
        graph.entries += 1
        graph.ledger[graph.entries] = Union(
            seq=graph.entries,
            kind=kind,
            retired=retired,
            survivor=survivor,
            one=edge[0],
            other=edge[1],
            undone=undone,
            by=by,
            evidence=evidence,
            time_ms=window.time_ms,
            partition=window.partition,
            position=window.after,
        )
        _forget_oldest(graph)
        return graph.entries


def _forget_oldest(graph: Graph) -> None:
    while len(graph.ledger) > graph.policy.ledger:
        del graph.ledger[next(iter(graph.ledger))]
