"""The identity graph in memory: identifiers -> origins -> root customers, and what one window does to it.

Twin of `state/directory.lua`: the same decisions in the same order, written to be obvious. A window works on
a copy.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from schemas.records.identity_graph import (
    ID_BYTES,
    Group,
    Identifier,
    Order,
    Pair,
    Union,
    WindowCommit,
    WindowResult,
)
from schemas.records.shard_log import Lend, Retire, Split
from state.directory.handed_over import Changes
from state.directory.policy import Held, Policy, holds
from state.directory.records import Record

NOBODY = bytes(ID_BYTES)
LEAVE_TOGETHER = 4  # newcomers leave by this part of the limit: each leaving is news to all workers


Edge = tuple[int, bytes, bytes]  # number in the ledger, the two origins that the evidence is about


def _carried(one: Identifier, other: Identifier) -> bytes:
    """The evidence that an event is."""
    return bytes([one.strength]) + one.hash + bytes([other.strength]) + other.hash


class Suspended(Exception):
    """A group rests on an identifier that is evidence no longer: it has to be made anew."""


class Graph:
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
        self.reviews: dict[bytes, Pair] = {}  # both origins, the smaller first
        # identifier that changed sides -> the first four bytes of the user ids that it went to
        self.users: dict[bytes, tuple[bytes, ...]] = {}
        self.moves = Counter[tuple[int, bytes]]()  # (slot of time, identifier) -> how often it changed sides
        # (slot of time, survivor) -> by how much it grew; (.., n + survivor) -> by made-up ones
        self.rates = Counter[tuple[int, bytes]]()

    def copy(self) -> "Graph":
        """For a window that may yet be refused. All values are immutable, so that it shares them."""
        copied = Graph(self.limits, self.policy)
        for name in (
            "origins",
            "roots",
            "records",
            "unions",
            "ledger",
            "cannot_link",
            "suspended",
            "alone",
            "reviews",
            "users",
            "moves",
            "rates",
        ):
            setattr(copied, name, getattr(self, name).copy())
        copied.entries = self.entries
        return copied

    # --- what a window does

    def window(
        self, window: WindowCommit, result: WindowResult, changes: Changes, *, planned: bool = False
    ) -> list[list[tuple[bytes, bytes]]]:
        """(root, origin) of each fact of each group. Raises `Suspended`, but not where it is only planned."""
        self._window, self._result, self._changes = window, result, changes
        self._united = 0
        shaky = [
            group
            for group in window.groups
            if len(group.identifiers) > 1 and any(i.hash in self.suspended for i in group.identifiers)
        ]
        if shaky and not planned:
            raise Suspended
        routes = []
        for group in window.groups:
            used = self._used_alone(group)
            home = self._resolve(group)
            self.alone -= {one for one in used if self.origins.get(one) in (None, one)}
            landed = []
            for fact in group.facts:
                origin = (
                    self.origins.get(group.identifiers[fact.anchor].hash)
                    or home
                    or self.origins[group.identifiers[0].hash]
                )
                landed.append((self.root(origin), origin))
            routes.append(landed)
        changes.ordering = True
        for order in window.orders:
            self._obey(order)
        return routes

    def root(self, origin: bytes) -> bytes:
        return self.roots.get(origin, origin)

    def user(self, origin: bytes) -> bytes | None:
        """The user id of whom an origin belongs to."""
        root = self.root(origin)
        return self.records[root].user() if root in self.records else None

    def _found(self, origin: bytes) -> bytes:
        """A new customer; its origin is the identifier, or the next free value."""
        while origin in self.records or origin in self.roots:
            origin = ((int.from_bytes(origin) + 1) % 2 ** (8 * ID_BYTES)).to_bytes(ID_BYTES)
        self.records[origin] = Record((origin,))
        return origin

    def _resolve(self, group: Group) -> bytes | None:
        """Take one group in; the origin that its newcomers belong to, None where nothing changed."""
        known = [i for i in group.identifiers if i.hash in self.origins]
        if (
            len(known) == len(group.identifiers)
            and len({self.root(self.origins[i.hash]) for i in known}) == 1
        ):
            return None
        strongest = group.identifiers[0]
        user = strongest.hash if strongest.strength == 0 else None
        winner: bytes | None = None
        home: bytes | None = None
        strangers, movers = [], []
        for identifier in group.identifiers:
            origin = self.origins.get(identifier.hash)
            if origin is None:
                strangers.append(identifier)
                continue
            root = self.root(origin)
            if winner == root:
                continue
            ours = user or (self.user(winner) if winner else None)
            theirs = self.user(root)
            if ours and theirs and ours != theirs:
                movers.append(identifier)
            elif winner is None:
                winner, home = root, origin
            else:
                # What holds the group together is its strongest, though it may be new and the winner be found
                # by another.
                winner = (
                    self._unite(home or root, origin, "event", _carried(strongest, identifier), strongest)
                    or winner
                )
        fresh = winner is None
        if winner is None or home is None:
            winner = home = self._found(strongest.hash)
            self._result.created += 1
        growing = not fresh or len(strangers) > self.policy.breaker_unions
        made_up = self._made_up(strangers, strongest)
        for identifier in strangers:
            if not self._has_room(winner, identifier.strength):
                self._result.refused += 1
                if self.policy.at(identifier.strength) == "review" and not self._is_queue_full():
                    self._wait_apart(winner, strongest, identifier)
            elif (
                growing
                and identifier is not strongest
                and self._grows_too_fast(winner, strongest, identifier in made_up)
            ):
                self._result.refused += 1
            else:
                self._make_room(winner, identifier.strength)
                self.origins[identifier.hash] = home
                self._give(winner, identifier)
                self._result.attached += not fresh
        for identifier in movers:
            if identifier.hash in self.origins and self._is_shared(identifier, strongest):
                self._suspend(identifier.hash)
                self._move(identifier, self._found(identifier.hash), None)
            elif identifier.hash in self.origins and self._make_room(winner, identifier.strength):
                self._move(identifier, winner, home)
                self._result.moved += 1
            else:
                self._result.refused += 1
        return home

    def _used_alone(self, group: Group) -> set[bytes]:
        """Note who has events to itself, in time that it does not leave in this very group. Those that were
        not known as such."""
        anchors = (group.identifiers[fact.anchor] for fact in group.facts)
        used = {
            one.hash
            for one in anchors
            if self.policy.at(one.strength) == "newcomer" and self.origins.get(one.hash) != one.hash
        }
        used -= self.alone
        self.alone |= used
        return used

    def _wait_apart(self, winner: bytes, strongest: Identifier, identifier: Identifier) -> None:
        """One too many is a customer of its own, until a steward has said whose it is."""
        own = self.origins[identifier.hash] = self._found(identifier.hash)
        self._give(own, identifier)
        self._review(winner, own, "limit", _carried(strongest, identifier))
        self._result.created += 1

    def _move(self, identifier: Identifier, root: bytes, home: bytes | None) -> None:
        """An identifier changes sides."""
        origin = self.origins[identifier.hash]
        before = self.root(origin)
        self._changes.add(Lend(before, root, identifier.hash, origin, home=home or root))
        record = self.records[before]
        self.records[before] = Record(
            record.members, tuple(held for held in record.identifiers if held[1] != identifier.hash)
        )
        self.origins[identifier.hash] = home or root
        if self.policy.at(identifier.strength) == "newcomer" and (home or root) != identifier.hash:
            self.alone.add(identifier.hash)  # another customer has events of its own
        self._give(root, identifier)

    def _give(self, root: bytes, identifier: Identifier) -> None:
        record = self.records[root]
        self.records[root] = Record(
            record.members, (*record.identifiers, (identifier.strength, identifier.hash))
        )

    # --- guards

    def _leaving(self, root: bytes, strength: int) -> Held:
        held = self.records[root].identifiers
        return self.policy.leaving(strength, held, self._spared(self.records[root].members, held))

    def _spared(self, members: Sequence[bytes], held: Held) -> set[bytes]:
        return {*members, *(identifier for _, identifier in held if identifier in self.alone)}

    def _has_room(self, root: bytes, strength: int) -> bool:
        """For one more identifier."""
        return self.records[root].count(strength) < self.limits[strength] or bool(
            self._leaving(root, strength)
        )

    def _make_room(self, root: bytes, strength: int) -> bool:
        """Whether there is room for one more identifier; others leave where that is the policy."""
        if not self._has_room(root, strength):
            return False
        if self.records[root].count(strength) >= self.limits[strength]:
            together = self.policy.at(strength) == "newcomer"
            self._drop(root, strength, max(1, self.limits[strength] // LEAVE_TOGETHER) if together else 1)
        return True

    def _is_queue_full(self) -> bool:
        return len(self.reviews) >= self.policy.reviews

    def _drop(self, root: bytes, strength: int, n: int) -> None:
        gone = self._leaving(root, strength)[:n]
        for _, identifier in gone:
            del self.origins[identifier]
        self._result.refused += len(gone)
        record = self.records[root]
        self.records[root] = Record(
            record.members, tuple(held for held in record.identifiers if held not in gone)
        )

    def _is_shared(self, identifier: Identifier, user: Identifier) -> bool:
        """Whether too many customers use this identifier, or too often in turn."""
        policy = self.policy
        if not holds(policy.guarded, identifier.strength):
            return False
        slot = self._window.time_ms // 1000 // policy.shared_within_s, identifier.hash
        self.moves[slot] += 1
        users = self.users.get(identifier.hash, ())
        if user.hash[:4] not in users:
            users = self.users[identifier.hash] = (*users, user.hash[:4])
        if self.moves[slot] < policy.shared_moves and len(users) < policy.shared_customers:
            return False
        del self.users[identifier.hash]
        return True

    def _suspend(self, identifier: bytes) -> None:
        if identifier not in self.suspended:
            self.suspended[identifier] = self._window.time_ms // 1000
            self._result.suspended += 1

    def _made_up(self, strangers: Sequence[Identifier], strongest: Identifier) -> list[Identifier]:
        """Newcomers that say nothing against whom they came with: clients make up identifiers of shared
        namespaces as they like.

        But for one with each address or the like that is new as well: the two are somebody's.
        """
        others = [one for one in strangers if one is not strongest]
        shared = [one for one in others if holds(self.policy.guarded, one.strength)]
        return shared[len(others) - len(shared) :]

    def _grows_too_fast(self, root: bytes, cause: Identifier, made_up: bool) -> bool:
        """Whether this customer was given too many newcomers lately."""
        return (
            self._counted(b"n" + root) > self.policy.breaker_unions if made_up else self._trips(root, cause)
        )

    def _trips(self, root: bytes, cause: Identifier) -> bool:
        """Whether this customer grows too fast: then what makes it grow is evidence no longer."""
        if self._counted(root) <= self.policy.breaker_unions:
            return False
        self._suspend(cause.hash)
        return True

    def _counted(self, what: bytes) -> int:
        """One more of it in this slot of time."""
        slot = self._window.time_ms // 1000 // self.policy.breaker_within_s, what
        self.rates[slot] += 1
        return self.rates[slot]

    def _link_forbidden(self, a: bytes, b: bytes) -> bool:
        return any(
            self.root(other) == a
            for member in self.records[b].members
            for other in self.cannot_link.get(member, ())
        )

    # --- unions

    def _unite(
        self, x: bytes, y: bytes, by: str, evidence: bytes, cause: Identifier | None, forced: bool = False
    ) -> bytes | None:
        """Unite the customers of two origins. The survivor: the one with a user id, else the smaller id; None
        if something forbids it."""
        a, b = self.root(x), self.root(y)
        ra, rb = self.records[a], self.records[b]
        if (
            self._united >= self.policy.budget
            or self._link_forbidden(a, b)
            or (not forced and self._both_verified(ra, rb))
        ):
            self._result.refused += 1
            return None
        over, forbidden = self._excess_of(ra, rb, by)
        if forbidden:
            self._result.refused += 1
            if any(self.policy.at(s) == "review" for s, _ in over):
                self._review(a, b, "limit", evidence)
            return None
        has_a, has_b = ra.user() is not None, rb.user() is not None
        if (has_b and not has_a) or (has_a == has_b and b < a):
            a, b, ra, rb = b, a, rb, ra
        if cause is not None and self._trips(a, cause):
            self._result.refused += 1
            return None
        retired = self.records.pop(b)
        for member in retired.members:
            self.roots[member] = a
        self.records[a] = Record(ra.members + retired.members, ra.identifiers + retired.identifiers)
        for strength, n in over:
            self._drop(a, strength, n)
        seq = self._note("union", b, a, x, y, 0, by, evidence)
        self.unions[a] = (*self.unions.pop(a, ()), *self.unions.pop(b, ()), (seq, x, y))
        self._changes.add(Retire(b, a, list(retired.members), seq, x, y))
        self._result.united += 1
        self._united += 1
        return a

    def _excess_of(self, ra: Record, rb: Record, by: str) -> tuple[list[tuple[int, int]], bool]:
        """What two customers together have too much of, as (strength, by how many); and whether that forbids
        that they become one."""
        over = [
            (s, ra.count(s) + rb.count(s) - n)
            for s, n in enumerate(self.limits)
            if rb.count(s) and ra.count(s) + rb.count(s) > n
        ]
        held = ra.identifiers + rb.identifiers
        spared = self._spared(ra.members + rb.members, held) if over else ()
        return over, any(self.policy.forbids(s, n, by, held, spared) for s, n in over)

    def _both_verified(self, a: Record, b: Record) -> bool:
        return all(
            any(holds(self.policy.verified, strength) for strength, _ in record.identifiers)
            for record in (a, b)
        )

    def _note(
        self,
        kind: Literal["union", "undo"],
        retired: bytes,
        survivor: bytes,
        one: bytes,
        other: bytes,
        undone: int,
        by: str,
        evidence: bytes,
    ) -> int:
        self.entries += 1
        seq, window = self.entries, self._window
        self.ledger[seq] = Union(
            seq,
            kind,
            retired,
            survivor,
            one,
            other,
            undone,
            by,
            evidence,
            window.time_ms,
            window.partition,
            window.after,
        )
        while len(self.ledger) > self.policy.ledger:
            del self.ledger[next(iter(self.ledger))]
        return seq

    def _review(self, a: bytes, b: bytes, by: str, note: bytes) -> None:
        key = min(a, b) + max(a, b)
        if (
            key not in self.reviews
            and not self._is_queue_full()
            and self._may_be_accepted(self.root(a), self.root(b))
        ):
            self.reviews[key] = Pair(key[:ID_BYTES], key[ID_BYTES:], by, note, self._window.time_ms)

    def _may_be_accepted(self, a: bytes, b: bytes) -> bool:
        """Whether a steward who says yes can make them one."""
        ra, rb = self.records[a], self.records[b]
        return not self._both_verified(ra, rb) and not self._excess_of(ra, rb, "review")[1]

    # --- orders

    def _obey(self, order: Order) -> None:
        if order.kind == "release":
            self.suspended.pop(order.a, None)
            return
        if order.kind == "undo":
            if not self._undo(int.from_bytes(order.a), order.by):
                self._result.refused += 1
            return
        x, y = (
            (self._named(order.a), self._named(order.b))
            if order.origins
            else (self.origins.get(order.a), self.origins.get(order.b))
        )
        if x is None or y is None:
            self._result.refused += 1
            return
        a, b = self.root(x), self.root(y)
        if order.by == "review" and order.kind in ("link", "apart"):
            self._changes.labels.append(
                x + y + (b"1" if order.kind == "link" else b"0")
            )  # before anything is united
        match order.kind:
            case "unsure":
                self._settle(x, y)
            case "link":
                self._settle(x, y)
                for one, other in ((a, b), (b, a)) if order.by != "match" else ():
                    for member in self.records[one].members if one in self.records else ():
                        kept = tuple(o for o in self.cannot_link.pop(member, ()) if self.root(o) != other)
                        if kept:
                            self.cannot_link[member] = kept
                if a != b:
                    self._unite(x, y, order.by, order.note, None, order.forced)
            case "apart":
                self._settle(x, y)
                if a == b:
                    self._result.refused += 1
                else:
                    self._forbid_link(x, y)
            case "review":
                if a != b and not self._link_forbidden(a, b):
                    self._review(x, y, order.by, order.note)
            case "unlink":
                if a != b:
                    self._forbid_link(x, y)
                elif x == y and order.origins:
                    self._result.refused += 1
                elif x == y:
                    self._take_out(order.a, order.b)
                elif not self._undo(self._joint(a, x, y), order.by):
                    self._result.refused += 1

    def _named(self, origin: bytes) -> bytes | None:
        return origin if origin in self.records or origin in self.roots else None

    def _settle(self, x: bytes, y: bytes) -> None:
        """Take the pairs of these two customers off the queue."""
        for a in self.records[self.root(x)].members:
            for b in self.records[self.root(y)].members:
                self.reviews.pop(min(a, b) + max(a, b), None)

    def _forbid_link(self, x: bytes, y: bytes) -> None:
        for one, other in ((x, y), (y, x)):
            if other not in self.cannot_link.get(one, ()):
                self.cannot_link[one] = (*self.cannot_link.get(one, ()), other)

    def _reached(self, root: bytes, origin: bytes, without: int) -> list[bytes]:
        """The origins that hang together with this one, by all unions but one."""
        reached = [origin]
        for origin in reached:  # it grows meanwhile
            for seq, one, other in self.unions.get(root, ()):
                if seq != without and origin in (one, other):
                    reached += [end for end in (one, other) if end not in reached]
        return reached

    def _joint(self, root: bytes, x: bytes, y: bytes) -> int:
        """The last union on the way from one origin to the other."""
        return max(
            (seq for seq, _, _ in self.unions.get(root, ()) if y not in self._reached(root, x, seq)),
            default=0,
        )

    def _undo(self, seq: int, by: str) -> bool:
        """Undo a union, if it still stands and the ledger still has it. Who does not hang together with the
        root is a customer again."""
        entry = self.ledger.get(seq)
        root = self.root(entry.one) if entry else NOBODY
        if entry is None or (seq, entry.one, entry.other) not in self.unions.get(root, ()):
            return False
        record = self.records[root]
        staying = self._reached(root, root, seq)
        leaving = [member for member in record.members if member not in staying]
        part = next((name for name in (entry.retired, entry.survivor) if name in leaving), min(leaving))
        leaving = [part, *(member for member in leaving if member != part)]  # as everywhere: its own first
        edges = [edge for edge in self.unions.pop(root) if edge[0] != seq]
        for name, members in ((root, staying), (part, leaving)):
            if own := tuple(edge for edge in edges if edge[1] in members):
                self.unions[name] = own
        ids = tuple(held for held in record.identifiers if self.origins[held[1]] in leaving)
        self.records[part] = Record(tuple(leaving), ids)
        rest = tuple(held for held in record.identifiers if held not in ids)
        self.records[root] = Record(tuple(member for member in record.members if member not in leaving), rest)
        for member in leaving:
            self.roots[member] = part
        del self.roots[part]
        self._forbid_link(entry.one, entry.other)
        self._note("undo", part, root, entry.one, entry.other, seq, by, b"")
        self._changes.add(Split(root, part, leaving, seq))
        self._result.divided += 1
        return True

    def _take_out(self, a: bytes, b: bytes) -> None:
        """The weaker of two identifiers becomes a customer of its own. What it did before stays where it
        is."""
        before = self.root(self.origins[b])
        held = self.records[before].identifiers
        if len(held) == 1:
            self._result.refused += 1
            return
        strengths = {identifier: strength for strength, identifier in held}
        identifier = a if strengths[a] > strengths[b] else b
        root = self._found(identifier)
        self._move(Identifier(strengths[identifier], identifier), root, None)
        self._forbid_link(root, before)
        self._result.divided += 1
