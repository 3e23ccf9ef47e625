"""What one window does to the identity graph: it takes its groups in, then obeys its orders."""

from collections.abc import Callable
from typing import NamedTuple

from schemas.records.identity_graph import Group, Identifier, WindowCommit, WindowResult
from state.directory.graph import Graph, WindowWork, carried
from state.directory.graph_guards import Guards
from state.directory.graph_orders import Orders
from state.directory.graph_unions import Unions
from state.directory.handed_over import HandOvers

Landed = list[tuple[bytes, bytes]]  # of each fact: root, origin


class Suspended(Exception):
    """A group rests on an identifier that is evidence no longer: it has to be made again, without it."""


def take_window(
    graph: Graph,
    window: WindowCommit,
    result: WindowResult,
    changes: HandOvers,
    *,
    planned: bool = False,
    then: Callable[[Graph, WindowCommit], None] | None = None,
) -> list[Landed]:
    """Change the graph as the window says; return where the facts of each group land. `then` is called
    between the groups and the orders.

    Raises `Suspended`, but not where it is only planned.
    """
    if not planned and any(_is_shaky(graph, group) for group in window.groups):
        raise Suspended
    work = WindowWork(graph, window, result, changes)
    guards = Guards(work)
    unions = Unions(work, guards)
    groups = _Groups(work, guards, unions)
    routes = [groups.take(group) for group in window.groups]
    if then is not None:
        then(graph, window)
    changes.ordering = True
    orders = Orders(work, unions)
    for order in window.orders:
        orders.obey(order)
    return routes


def _is_shaky(graph: Graph, group: Group) -> bool:
    identifiers = group.identifiers
    return len(identifiers) > 1 and any(identifier.hash in graph.suspended for identifier in identifiers)


class _Meeting(NamedTuple):
    """Who is met in a group."""

    winner: bytes | None  # the customer that holds it together, if there is one already
    home: bytes | None  # the origin that its newcomers belong to
    strangers: list[Identifier]  # nobody has these yet
    movers: list[Identifier]  # those of another user


class _Groups:
    """Takes groups in: events that share identifiers are one customer's."""

    def __init__(self, work: WindowWork, guards: Guards, unions: Unions) -> None:
        self._work = work
        self._graph = work.graph
        self._policy = work.policy
        self._guards = guards
        self._unions = unions

    def take(self, group: Group) -> Landed:
        """Take one group in; return where its facts land."""
        origins = self._graph.origins
        used = self._used_alone(group)
        home = self._resolve(group)
        self._graph.alone -= {one for one in used if origins.get(one) in (None, one)}
        landed = []
        for fact in group.facts:
            anchor = group.identifiers[fact.anchor].hash
            origin = origins.get(anchor) or home or origins[group.identifiers[0].hash]
            landed.append((self._graph.root(origin), origin))
        return landed

    def _resolve(self, group: Group) -> bytes | None:
        """Return the origin that the newcomers of a group belong to, None where nothing changed."""
        if self._is_one_customer(group):
            return None
        strongest = group.identifiers[0]
        met = self._meet(group)
        winner, home = met.winner, met.home
        fresh = winner is None or home is None
        if winner is None or home is None:
            winner = home = self._graph.found(strongest.hash)
            self._work.result.created += 1
        self._attach(met.strangers, strongest, winner, home, fresh)
        self._let_move(met.movers, strongest, winner, home)
        return home

    def _is_one_customer(self, group: Group) -> bool:
        """Return whether all its identifiers belong to one already."""
        origins = [self._graph.origins.get(identifier.hash) for identifier in group.identifiers]
        return None not in origins and len({self._graph.root(origin) for origin in origins if origin}) == 1

    def _meet(self, group: Group) -> _Meeting:
        """Unite the customers that a group brings together, but those of different users."""
        graph, strongest = self._graph, group.identifiers[0]
        user = strongest.hash if strongest.strength == 0 else None
        winner: bytes | None = None
        home: bytes | None = None
        strangers, movers = [], []
        for identifier in group.identifiers:
            origin = graph.origins.get(identifier.hash)
            if origin is None:
                strangers.append(identifier)
                continue
            root = graph.root(origin)
            if winner == root:
                continue
            ours = user or (graph.user(winner) if winner else None)
            theirs = graph.user(root)
            if ours and theirs and ours != theirs:
                movers.append(identifier)
            elif winner is None:
                winner, home = root, origin
            else:
                # What holds the group together is its strongest, though it may be new and the winner be found
                # by another.
                evidence = carried(strongest, identifier)
                winner = self._unions.unite(home or root, origin, "event", evidence, strongest) or winner
        return _Meeting(winner, home, strangers, movers)

    def _attach(
        self, strangers: list[Identifier], strongest: Identifier, winner: bytes, home: bytes, fresh: bool
    ) -> None:
        """Give the newcomers to the customer, as far as limits and guards allow."""
        growing = not fresh or len(strangers) > self._policy.breaker_unions
        made_up = self._guards.made_up(strangers, strongest)
        for identifier in strangers:
            if not self._guards.has_room(winner, identifier.strength):
                self._work.result.refused += 1
                if self._policy.at(identifier.strength) == "review" and not self._graph.is_queue_full():
                    self._wait_apart(winner, strongest, identifier)
                continue
            guarded = growing and identifier is not strongest
            if guarded and self._guards.grows_too_fast(winner, strongest, identifier in made_up):
                self._work.result.refused += 1
                continue
            self._guards.make_room(winner, identifier.strength)
            self._graph.origins[identifier.hash] = home
            self._graph.give(winner, identifier)
            self._work.result.attached += not fresh

    def _let_move(self, movers: list[Identifier], strongest: Identifier, winner: bytes, home: bytes) -> None:
        """Let weaker identifiers of another user change sides, but for those that too many use."""
        for identifier in movers:
            present = identifier.hash in self._graph.origins
            if present and self._guards.is_shared(identifier, strongest):
                self._guards.suspend(identifier.hash)
                self._work.move(identifier, self._graph.found(identifier.hash), None)
            elif present and self._guards.make_room(winner, identifier.strength):
                self._work.move(identifier, winner, home)
                self._work.result.moved += 1
            else:
                self._work.result.refused += 1

    def _used_alone(self, group: Group) -> set[bytes]:
        """Note who has events to itself, in time that it does not leave in this very group. Return those that
        were not known as such."""
        graph = self._graph
        anchors = (group.identifiers[fact.anchor] for fact in group.facts)
        used = {
            one.hash
            for one in anchors
            if self._policy.at(one.strength) == "newcomer" and graph.origins.get(one.hash) != one.hash
        }
        used -= graph.alone
        graph.alone |= used
        return used

    def _wait_apart(self, winner: bytes, strongest: Identifier, identifier: Identifier) -> None:
        """Make one too many a customer of its own, until a steward has said whose it is."""
        own = self._graph.origins[identifier.hash] = self._graph.found(identifier.hash)
        self._graph.give(own, identifier)
        self._unions.review(winner, own, "limit", carried(strongest, identifier))
        self._work.result.created += 1
