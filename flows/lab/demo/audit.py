"""The independent count: what the publisher had acknowledged, against what the state holds and the receiver
got.

    Ledger   what was sent, grouped into the people that it must lead to (a union-find over plain
             identifiers); what an erasure removes is removed here as well
    audit    reads every one of those people back through the gateway, and compares

Nothing here trusts a counter of the engine where it can count by itself: an event is lost when no profile has
it, and doubled when profiles have more than were sent. Engine counters are compared with the same truth on
top.
"""

import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec

from flows.lab.demo.oddities import nobodys

Identifier = tuple[str, str]  # (namespace, normalised value)
ReadProfile = Callable[[str, str], dict[str, Any] | None]

_READERS = 6  # requests for profiles at a time
_LOOK_AGAIN_S = 0.5
_DIGITS = 10  # of a phone number
_PAGE = 60  # households, then a look at the time


def identifiers(message: Mapping[str, Any]) -> list[Identifier]:
    """Return by what a customer can be recognised in a valid message of the shop: not by what a placeholder,
    or a company, is known by."""
    context = message.get("context") or {}
    own = {} if message.get("type") == "group" else message.get("traits") or {}
    contact = own | (context.get("traits") or {})
    found = [
        ("user_id", message.get("userId")),
        ("anonymous", message.get("anonymousId")),
        ("device", (context.get("device") or {}).get("id")),
        ("email", _address(contact.get("email", ""))),
        ("phone", _number(contact.get("phone", ""))),
    ]
    return [(namespace, value) for namespace, value in found if value and not nobodys(value)]


def _address(email: str) -> str:
    return unicodedata.normalize("NFKC", email).strip("\u200b ").lower().removeprefix("mailto:")


def _number(phone: str) -> str:
    """Its last digits, which all spellings have in common."""
    return (
        ""
        if nobodys(phone)
        else "".join(filter(str.isdecimal, unicodedata.normalize("NFKC", phone)))[-_DIGITS:]
    )


class Household(msgspec.Struct):
    """Everybody and everything connected by shared identifiers: one person, or people who share a device."""

    identifiers: set[Identifier] = msgspec.field(default_factory=set)
    events: int = 0  # unique valid events
    unsure: int = 0  # of these, never acknowledged: they may or may not be there

    @property
    def users(self) -> int:
        return sum(namespace == "user_id" for namespace, _ in self.identifiers)


class Ledger:
    """What was published, by household. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parent: dict[Identifier, Identifier] = {}
        self._events: Counter[Identifier] = Counter()
        self._unsure: Counter[Identifier] = Counter()
        self._erased = 0
        self.orders: dict[str, int] = {}  # messageId -> when it was handed to the client, Unix ms

    def sent(self, message: Mapping[str, Any], at_ms: int) -> None:
        """Note that a unique valid message was handed to a client."""
        with self._lock:
            known = identifiers(message)
            for other in known[1:]:
                self._parent[self._root(other)] = self._root(known[0])
            self._events[known[0]] += 1
            if message.get("event") == "Order Completed":
                self.orders[message["messageId"]] = at_ms

    def doubt(self, message: Mapping[str, Any]) -> None:
        """Note that the client gave up on it: nobody knows whether the gateway has it."""
        with self._lock:
            self._unsure[identifiers(message)[0]] += 1
            self.orders.pop(message["messageId"], None)

    def erased(self, known_by: Iterable[Identifier]) -> int:
        """Note that whoever had these identifiers was erased, and return how many events went. Nothing of
        what was sent before may be in a profile from now on; what comes later has nothing to do with it."""
        with self._lock:
            gone = set(known_by)
            house = {self._root(identifier) for identifier in gone}
            gone |= {each for each in {*self._events, *self._parent} if self._root(each) in house}
            went = sum(self._events[each] for each in gone)
            for each in gone:
                self._parent.pop(each, None)
                self._unsure.pop(each, None)
                self._events[each] = 0  # still audited: nobody may be known by it
            self._erased += went
            return went

    def undecided(self, known_by: Iterable[Identifier]) -> None:
        """Note that an erasure of whoever had these identifiers is under way: all of what was sent may be
        there, or nothing."""
        with self._lock:
            for each in known_by:
                self._unsure[each] = self._events[each]

    def totals(self) -> tuple[int, int]:
        """Return the numbers of unique valid events, those of who was erased included, and how many of these
        are in doubt."""
        with self._lock:
            return self._events.total() + self._erased, self._unsure.total()

    def households(self) -> list[Household]:
        with self._lock:
            found: dict[Identifier, Household] = {}
            for identifier in {*self._events, *self._parent}:
                house = found.setdefault(self._root(identifier), Household())
                house.identifiers.add(identifier)
                house.events += self._events[identifier]
                house.unsure += self._unsure[identifier]
            return list(found.values())

    def _root(self, identifier: Identifier) -> Identifier:
        while (parent := self._parent.get(identifier, identifier)) != identifier:
            grandparent = self._parent.get(parent, parent)
            self._parent[identifier] = grandparent
            identifier = grandparent
        return identifier


class Found(msgspec.Struct, frozen=True):
    """How the profiles of one household differ from the truth. All zero (and not split) is right."""

    lost: int
    doubled: int
    split: bool  # at most one user id, and still several customers
    customers: frozenset[str]

    @property
    def right(self) -> bool:
        return not (self.lost or self.doubled or self.split)


class Verdict(msgspec.Struct, frozen=True):
    """Over all households."""

    households: int
    lost: int
    doubled: int
    split: int  # people who are several customers without need
    mixed: int  # customers who are several households


def compare(house: Household, read: ReadProfile) -> Found:
    """Compare a household with its profiles. Each message of the shop has a user id or an anonymous id, so
    these lead to every profile that has any of them."""
    profiles = [
        read(namespace, value)
        for namespace, value in sorted(house.identifiers)
        if namespace in ("user_id", "anonymous")
    ]
    events = {profile["customer"]: int(profile["events"]) for profile in profiles if profile}
    total = sum(events.values())
    return Found(
        lost=max(0, house.events - house.unsure - total),
        doubled=max(0, total - house.events),
        split=house.users <= 1 and len(events) > 1,
        customers=frozenset(events),
    )


def audit(
    houses: Iterable[Household],
    read: ReadProfile,
    deadline: float,
    told: Callable[[int, int], None] = lambda _read, _of: None,
    *,
    hurried: bool = False,
) -> Verdict:
    """Read all households and return what is wrong over all of them; those that are not right are read again
    until `deadline` (monotonic seconds): fragments may be on their way.

    What was never read by then is not judged. `told` hears how many have been read, and of how many.
    `hurried`: nobody waits for one that is under way, and what cannot be read is not judged either. Raises
    `httpx.TransportError`.
    """
    with ThreadPoolExecutor(_READERS) as readers:
        look = _Look(readers, read, deadline, hurried=hurried)
        look.at_all(list(houses), told)
        look.again_at_the_wrong()
    return _verdict(look.results)


class _Look:
    """One audit under way."""

    def __init__(
        self, readers: ThreadPoolExecutor, read: ReadProfile, deadline: float, *, hurried: bool
    ) -> None:
        self._readers = readers
        self._read = read
        self._deadline = deadline
        self._hurried = hurried
        self._right: list[Found] = []
        self._wrong: list[tuple[Household, Found]] = []

    @property
    def results(self) -> list[Found]:
        return [*self._right, *(found for _house, found in self._wrong)]

    def at_all(self, houses: Sequence[Household], told: Callable[[int, int], None]) -> None:
        """Read each once, a page at a time, until the deadline."""
        for first in range(0, len(houses), _PAGE):
            page = houses[first : first + _PAGE]
            self._sort(page)
            told(first + len(page), len(houses))
            if time.monotonic() > self._deadline:
                return

    def again_at_the_wrong(self) -> None:
        """Read those that are not right until they are, or the deadline is near."""
        while self._wrong and time.monotonic() + _LOOK_AGAIN_S < self._deadline:
            time.sleep(_LOOK_AGAIN_S)
            again = [house for house, _found in self._wrong]
            self._wrong.clear()
            for first in range(0, len(again), _PAGE):
                self._sort(again[first : first + _PAGE])

    def _sort(self, chosen: Sequence[Household]) -> None:
        for house, found in zip(chosen, self._readers.map(self._compared, chosen), strict=True):
            if found is None:
                continue
            if found.right:
                self._right.append(found)
            else:
                self._wrong.append((house, found))

    def _compared(self, house: Household) -> Found | None:
        """Return None for one that cannot be read in a hurry."""
        if self._hurried and time.monotonic() > self._deadline:
            return None
        try:
            return compare(house, self._read)
        except httpx.TransportError:
            if not self._hurried:
                raise
            return None


def _verdict(results: Sequence[Found]) -> Verdict:
    owners = Counter(customer for result in results for customer in result.customers)
    return Verdict(
        households=len(results),
        lost=sum(result.lost for result in results),
        doubled=sum(result.doubled for result in results),
        split=sum(result.split for result in results),
        mixed=sum(count > 1 for count in owners.values()),
    )
