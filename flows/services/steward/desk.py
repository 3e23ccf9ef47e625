"""A customer's identity, its history, and the pairs that wait for a decision: as plain data, with plain
values where they are known."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from flows.logic.resolution.identity_orders import document
from flows.services.steward.evidence_words import Evidence, of_pair, of_union
from flows.services.steward.named_customers import Named, People
from schemas.bilingual import Words
from schemas.errors import Unusable
from schemas.records.identity_graph import Pair, Union, shard_of, text_id
from schemas.records.outbox_lanes import Lane
from schemas.wire.triggers import Decision
from state.shards.shard_protocols import Outbox

SENT: Final = "sent_while_united"
HISTORY_MAX: Final = 1_000  # entries of the ledger about one origin, the newest
PAGE: Final = 1_000
_NO_END: Final = 2**48  # behind every number of a union
_decode_decision = msgspec.msgpack.Decoder(Decision).decode

Said = Literal["accept", "reject", "unsure"]
_ORDERS: Final[dict[Said, str]] = {"accept": "link", "reject": "apart", "unsure": "unsure"}


class Entry(msgspec.Struct, frozen=True):
    """Of the ledger."""

    union: int  # its number
    kind: Literal["union", "undo"]
    time_ms: int
    by: str
    evidence: Evidence
    retired: str
    survivor: str
    partition: str  # of the raw log, or `match`
    position: int
    stands: bool  # a union that was not undone


class Review(msgspec.Struct, frozen=True):
    """A pair in the queue."""

    id: str  # both origins
    since_ms: int
    by: str
    evidence: Evidence
    one: str  # customers now
    other: str


class Queue(msgspec.Struct, frozen=True):
    """A page of the queue. `next`: what to ask for to get the page behind it; None at the end."""

    reviews: list[Review]
    next: str | None


class Side(msgspec.Struct, frozen=True):
    """One customer of a pair."""

    customer: str
    identifiers: list[Named]
    stated: dict[str, str]  # personal data, opened
    profile: dict[str, Any] | None


class Compared(msgspec.Struct, frozen=True):
    """A pair side by side."""

    review: Review
    one: Side
    other: Side


class Customer(msgspec.Struct, frozen=True):
    customer: str
    origins: list[str]
    identifiers: list[Named]
    unions: list[Entry]  # that made it and stand, oldest first
    apart: list[str]  # customers that it is never united with
    reviews: list[Review]


class Sent(msgspec.Struct, frozen=True):
    """A trigger that went out while customers were one who are none."""

    customer: str
    rule: str
    cause: str
    at_ms: int


class History(msgspec.Struct, frozen=True):
    customer: str
    entries: list[Entry]  # newest first
    complete: bool  # false: the ledger has more of them
    sent: list[Sent]


class Suspended(msgspec.Struct, frozen=True):
    """An identifier that is evidence no longer."""

    identifier: str
    since_ms: int
    customer: str | None
    namespace: str | None
    value: str | None


class Happened(msgspec.Struct, frozen=True):
    """One thing that became of somebody's identity."""

    time_ms: int
    what: Literal["union", "undo", "review", "suspended"]
    id: str  # of a union its number; of the others how their id begins
    words: Words


class Steward:
    """Reads only. Raises `Unusable` for a name that can name nobody, `Unreachable`."""

    def __init__(
        self,
        people: People,
        outbox: Outbox,
        shards: int,
        profile: Callable[[str, str], dict[str, Any] | None],
    ) -> None:
        self.people = people
        self._directory, self._ledger = people.directory, people.ledger
        self._outbox = outbox
        self._shards = shards
        self._profile = profile

    def show(self, named: str) -> Customer | None:
        """Return who has this identifier; None: nobody has."""
        root = self.people.find(named)
        if root is None:
            return None
        origins = self._ledger.members(root)[0]
        standing = [
            union for seq, _, _ in self._ledger.edges(root) if (union := self._ledger.union(seq)) is not None
        ]
        plain = self.people.plain([root])
        others = [other for found in self._ledger.cannot_link(origins) for other in found]
        mine = set(origins)
        return Customer(
            customer=text_id(root),
            origins=[text_id(origin) for origin in origins],
            identifiers=self.people.identifiers(root, plain),
            unions=self._entries(standing, plain, {union.seq for union in standing}),
            apart=sorted({text_id(self._directory.root(other)) for other in others}),
            reviews=self._reviews(
                [pair for pair in self._ledger.reviews() if pair.a in mine or pair.b in mine]
            ),
        )

    def history(self, named: str) -> History | None:
        """Return what the ledger says of a customer, and of those that were part of it; what was sent
        meanwhile."""
        root = self.people.find(named)
        if root is None:
            return None
        found, complete = self._ledger.about([root, *self._ledger.members(root)[0]], HISTORY_MAX)
        left: dict[bytes, list[bytes]] = {}  # survivor -> who was taken out of it
        survivors = sorted({union.survivor for union in found if union.kind == "undo"})
        for union in self._ledger.about(survivors, HISTORY_MAX)[0]:
            if union.kind == "undo":
                left.setdefault(union.survivor, []).append(union.retired)
        roots = [self._directory.root(origin) for union in found for origin in (union.one, union.other)]
        undone = {union.undone for union in found if union.kind == "undo"}
        entries = self._entries(
            found, self.people.plain([root, *roots]), {union.seq for union in found} - undone
        )
        # What a customer was sent while it was many is noted for the first that was taken out again.
        parts = {part for union in found if union.kind == "undo" for part in left[union.survivor]}
        shards = {
            shard_of(one, self._shards)
            for union in found
            if union.kind == "undo"
            for one in (union.retired, union.survivor)
        }
        sent = [
            one for one in self.sent(dict.fromkeys(sorted(shards), 0)) if bytes.fromhex(one.customer) in parts
        ]
        return History(text_id(root), entries, complete, sent)

    def sent(self, after: dict[int, int]) -> Iterator[Sent]:
        """Yield the triggers that went out while customers were united; `after`: shard -> entry of its
        decisions behind which to look."""
        after = dict(after)
        while after and (found := self._outbox.read(Lane.DECISIONS, after, PAGE, 0)):
            for entry in found:
                after[entry.shard] = entry.seq
                decision = _decode_decision(entry.body)
                if decision.reason == SENT:
                    yield Sent(text_id(decision.customer), decision.rule, decision.cause, decision.at_ms)

    def suspended(self) -> list[Suspended]:
        """Return the identifiers that are evidence no longer, the latest first."""
        found = sorted(self._directory.suspended().items(), key=lambda one: (-one[1], one[0]))
        roots = self._directory.lookup([identifier for identifier, _ in found])
        plain = self.people.plain([root for root in roots if root is not None])
        return [
            Suspended(
                identifier=text_id(identifier),
                since_ms=1000 * since,
                customer=text_id(root) if root else None,
                namespace=self._namespace(root, identifier),
                value=plain.get(identifier),
            )
            for (identifier, since), root in zip(found, roots, strict=True)
        ]

    def recent(self, limit: int) -> list[Happened]:
        """Return the last unions, undos, pairs put to review and identifiers suspended, the newest first."""
        unions = self._ledger.newest(_NO_END, limit)
        plain = self.people.plain([root for union in unions for root in (union.retired, union.survivor)])
        found = [
            Happened(entry.time_ms, entry.kind, f"{entry.union}", entry.evidence.words)
            for entry in self._entries(unions, plain, set())
        ]
        pairs = sorted(self._ledger.reviews(), key=lambda pair: -pair.time_ms)[:limit]
        found += [
            Happened(review.since_ms, "review", review.id[:8], review.evidence.words)
            for review in self._reviews(pairs)
        ]
        for one in self.suspended()[:limit]:
            name = f"{one.namespace or 'identifier'}:{one.value or one.identifier[:8]}"
            words = Words(f"{name} is evidence no longer", f"{name} 不再作为证据")
            found.append(Happened(one.since_ms, "suspended", one.identifier[:8], words))
        return sorted(found, key=lambda one: -one.time_ms)[:limit]

    def _namespace(self, root: bytes | None, identifier: bytes) -> str | None:
        held = self._ledger.members(root)[1] if root is not None else []
        return next((self.people.namespace(one.strength) for one in held if one.hash == identifier), None)

    # --- the queue

    def reviews(self, after: str = "", limit: int = PAGE) -> Queue:
        """Return the pairs that wait, the oldest first, from the first one behind `after`, which need not
        wait any more. Raises `Unusable`."""
        behind = _place(after)
        waiting = [pair for pair in self._ledger.reviews() if (pair.time_ms, _id(pair)) > behind]
        page = waiting[:limit]
        return Queue(
            self._reviews(page), f"{page[-1].time_ms}.{_id(page[-1])}" if len(waiting) > limit else None
        )

    def review(self, ident: str) -> Compared | None:
        """Return both sides; None where no pair, or more than one, has an id that begins so."""
        pair = self._pair(ident)
        if pair is None:
            return None
        [review] = self._reviews([pair])
        return Compared(
            review, self._side(self._directory.root(pair.a)), self._side(self._directory.root(pair.b))
        )

    def decision(self, ident: str, said: str, reason: str = "") -> bytes | None:
        """Return the order that a decision is. None: there is no such pair. Raises `Unusable` for another
        word."""
        if said not in _ORDERS:
            raise Unusable(f"expected {', '.join(_ORDERS)}, got {said!r}")
        pair = self._pair(ident)
        if pair is None:
            return None
        a, b = (("customer", text_id(origin)) for origin in (pair.a, pair.b))
        return document(_ORDERS[said], a, b, by="review", reason=reason)

    def _pair(self, ident: str) -> Pair | None:
        wanted = ident.replace("-", "").lower()
        found = (
            [pair for pair in self._ledger.reviews() if _id(pair).replace("-", "").startswith(wanted)]
            if len(wanted) >= 4
            else []
        )
        return found[0] if len(found) == 1 else None

    def _reviews(self, pairs: Sequence[Pair]) -> list[Review]:
        roots = {origin: self._directory.root(origin) for pair in pairs for origin in (pair.a, pair.b)}
        plain = self.people.plain(list(roots.values()))
        call = self.people.caller(plain)
        return [
            Review(
                id=_id(pair),
                since_ms=pair.time_ms,
                by=pair.by,
                evidence=of_pair(pair, call),
                one=text_id(roots[pair.a]),
                other=text_id(roots[pair.b]),
            )
            for pair in pairs
        ]

    def _side(self, root: bytes) -> Side:
        plain = self.people.plain([root])
        profile = self._profile("customer", text_id(root))
        return Side(text_id(root), self.people.identifiers(root, plain), self.people.newest(root), profile)

    # --- the ledger

    def entries(self, unions: Iterable[int]) -> list[Entry]:
        """Return these, which stand."""
        found = [union for seq in unions if (union := self._ledger.union(seq)) is not None]
        plain = self.people.plain([self._directory.root(union.one) for union in found])
        return self._entries(found, plain, {union.seq for union in found})

    def _entries(self, unions: Iterable[Union], plain: dict[bytes, str], standing: set[int]) -> list[Entry]:
        call = self.people.caller(plain)
        return [
            Entry(
                union=union.seq,
                kind=union.kind,
                time_ms=union.time_ms,
                by=union.by,
                evidence=of_union(union, call),
                retired=text_id(union.retired),
                survivor=text_id(union.survivor),
                partition=union.partition,
                position=union.position,
                stands=union.kind == "union" and union.seq in standing,
            )
            for union in unions
        ]


def _place(cursor: str) -> tuple[int, str]:
    """In the queue; before all of it where nothing is given."""
    since_ms, _, ident = cursor.partition(".")
    if cursor and not (since_ms.isdecimal() and ident):
        raise Unusable(f"expected `next` of the page before, got {cursor[:64]!r}")
    return (int(since_ms[:20]), ident) if cursor else (-1, "")


def _id(pair: Pair) -> str:
    return f"{text_id(pair.a)}-{text_id(pair.b)}"
