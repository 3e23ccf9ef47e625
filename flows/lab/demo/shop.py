"""The simulated shop: a seeded, deterministic stream of what its customers do, with the truth about each
item.

Nothing here reads a clock: an item says *when* on the shop's own clock it is sent and how *old* it then is.
The same (seed, run, rate) gives the same stream.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Any, Literal
from uuid import NAMESPACE_OID, uuid5

import msgspec

from flows.lab.demo.malformed import FAULTS, UNREADABLE, broken
from flows.lab.demo.oddities import ALIAS_OF_USERS, GROUP_CONTACT, MADE_UP, oddly
from flows.lab.demo.shoppers import Person, company, person
from schemas.wire.events import RejectReason

Channel = Literal["web", "app", "store", "social", "desk"]
WRITE_KEYS: dict[Channel, str] = {
    "web": "demo",
    "app": "demo-app",
    "store": "demo-store",
    "social": "demo-social",
    "desk": "demo-desk",
}

_CATALOGUE = (
    ("SKU-01", "Kettle", "kitchen", 39.0),
    ("SKU-02", "茶杯", "kitchen", 12.5),
    ("SKU-03", "Lamp", "home", 64.0),
    ("SKU-04", "围巾", "clothing", 28.0),
    ("SKU-05", "Boots", "clothing", 119.0),
    ("SKU-06", "Headphones", "electronics", 189.0),
    ("SKU-07", "手机", "electronics", 649.0),
    ("SKU-08", "Novel", "books", 14.0),
)
_PAGES = ("Home", "Sale", "Kitchen", "Clothing", "Electronics", "Delivery", "Returns")
_MEAN_JOURNEY = (
    5.2  # events, repeats and malformed ones included; what turns a rate of events into a rate of arrivals
)
_REGULARS = range(100, 2_000)  # people who may come back: so many before anybody does, and at most
_REPEATED, _MALFORMED, _UNREADABLE, _LATE, _SHUFFLED = 0.02, 0.01, 0.001, 0.02, 0.05
_ODD, _ODD_LOGIN = 0.03, 0.3  # logins are few, and most of what can be odd is said in them
_MADE_UP = (
    120  # anonymous ids of one customer, by a client that makes one for each call: more than anybody may have
)


class Item(msgspec.Struct, frozen=True):
    """One thing to publish, and the truth about it."""

    at_s: float  # on the shop's clock, which starts at 0
    channel: Channel
    # Segment form without `timestamp`; bytes are the body of an unreadable request.
    message: dict[str, Any] | bytes
    person: int
    journey: str
    step: int  # of the journey, from 0
    age_ms: int = 0  # how long before its sending it happened
    duplicate: bool = False  # the same messageId has been sent before
    fault: RejectReason | None = None  # why it must be refused
    odd: str | None = None  # what is odd about it, though it is valid
    refusable: bool = False  # it must be refused, if what came before it is known by then; else it counts

    @property
    def valid(self) -> bool:
        return self.fault is None


class _Step(msgspec.Struct, frozen=True):
    """What a journey yields: something happens, then `pause_s` go by."""

    pause_s: float
    channel: Channel
    message: dict[str, Any]
    age_ms: int | None = None  # None: now, or late by chance
    odd: str | None = None  # None: by chance


_Journey = Iterator[_Step]


class Shop:
    """`items()` is endless and ordered by `at_s`; the rate is reached after the first seconds."""

    def __init__(self, seed: int, run: int, rate: float) -> None:
        self._random = Random(seed)
        self._run = run
        self._arrivals_per_s = rate / _MEAN_JOURNEY
        self._people = 0
        self._orders = 0
        self._sent = 0
        self._made_up_first = False  # one of these has been
        self._regulars: deque[Person] = deque(maxlen=_REGULARS.stop)

    def items(self) -> Iterator[Item]:
        """Yield all that is sent, in order."""
        agenda: list[tuple[float, int, Person, str, int, _Journey]] = []
        pending: list[tuple[float, int, Item]] = []  # repeats and malformed ones, which belong to no journey
        serial, arrival_s = 0, 0.0
        while True:
            while not agenda or agenda[0][0] >= arrival_s:
                who, name, journey = self._arrival(first=serial == 0)
                heapq.heappush(agenda, (arrival_s, serial, who, name, 0, journey))
                serial += 1
                arrival_s += self._random.expovariate(self._arrivals_per_s)
            at_s, _, who, name, count, journey = heapq.heappop(agenda)
            while pending and pending[0][0] <= at_s:
                yield heapq.heappop(pending)[2]
            step = next(journey, None)
            if step is None:
                continue
            heapq.heappush(agenda, (at_s + step.pause_s, serial, who, name, count + 1, journey))
            item = self._item(at_s, who, name, count, step)
            yield item
            for extra in self._mishaps(item):
                heapq.heappush(pending, (extra.at_s, serial, extra))
                serial += 1
            serial += 1

    def _item(self, at_s: float, who: Person, journey: str, count: int, step: _Step) -> Item:
        odd, message = step.odd, step.message
        share = _ODD_LOGIN if message["type"] == "identify" else _ODD
        if odd is None and journey != "story" and self._random.random() < share:
            odd, message = oddly(self._random, who, message)
        return Item(
            at_s=at_s,
            channel=step.channel,
            message={**message, "messageId": self._message_id()},
            person=who.number,
            journey=journey,
            step=count,
            age_ms=self._age() if step.age_ms is None else step.age_ms,
            odd=odd,
            refusable=odd == ALIAS_OF_USERS,
        )

    # --- who comes
    # ---------------------------------------------------------------------------------------------------

    def _arrival(self, first: bool) -> tuple[Person, str, _Journey]:
        regulars = self._regulars if len(self._regulars) >= _REGULARS.start else ()
        dice = self._random.random()
        if first or dice < 0.02:
            who = self._newcomer()
            return who, "story", self._story(who)
        if dice < 0.05 and regulars:
            who = self._random.choice(regulars)
            return who, "family", self._family(who, self._newcomer(family=who))
        who = self._random.choice(regulars) if regulars and self._random.random() < 0.4 else self._newcomer()
        journeys = {
            "window": self._window,
            "web": self._web,
            "app": self._app,
            "store": self._store,
            "social": self._social,
            "desk": self._desk,
            "deal": self._deal,
            "fraud": self._fraud,
            "company": self._company,
            "made_up": self._made_up,
            "alias": self._alias,
        }
        weights = (22, 29, 16, 9, 6, 9, 5, 3, 1, 1, 1)
        (name,) = self._random.choices(tuple(journeys), weights)
        return who, name, journeys[name](who)

    def _newcomer(self, family: Person | None = None) -> Person:
        self._people += 1
        who = person(self._random, self._run, self._people, family)
        self._regulars.append(who)
        return who

    # --- what they do
    # ------------------------------------------------------------------------------------------------

    def _story(self, who: Person) -> _Journey:
        """The customer that the live view follows: from the first anonymous page to a rated service
        ticket."""
        yield from self._browse(who.browser, pages=2)
        yield self._login(who, who.browser)
        yield from self._basket(who, who.browser)
        yield self._order("web", self._ids(who, who.browser))
        yield from self._app(who)
        yield from self._desk(who)

    def _window(self, who: Person) -> _Journey:
        """Only looks."""
        yield from self._browse(who.browser, pages=self._random.randint(1, 4))

    def _web(self, who: Person) -> _Journey:
        yield from self._browse(who.browser, pages=self._random.randint(1, 3))
        if self._random.random() < 0.8:
            yield self._login(who, who.browser)
        yield from self._basket(who, who.browser)
        if self._random.random() < 0.45:
            return  # a cart left behind
        yield self._track("web", "Checkout Started", self._ids(who, who.browser), {"step": 1})
        order = self._order("web", self._ids(who, who.browser))
        yield order
        if self._random.random() < 0.12:
            yield self._refund(order, "too small")

    def _app(self, who: Person) -> _Journey:
        context = {
            "device": {"id": who.device, "type": "android"},
            "locale": "zh-CN" if who.language == "zh" else "en-GB",
        }
        ids = {**self._ids(who, who.phone_app), "context": context}
        yield self._track("app", "Application Opened", ids, {"from_background": False})
        if self._random.random() < 0.7:
            yield self._login(who, who.phone_app, "app", context)
        ids = {**self._ids(who, who.phone_app), "context": context}
        # In the underground the app keeps its events, and sends them later at once.
        offline_ms = self._random.choice((0, 0, 0, 90_000))
        for name in self._random.sample(_PAGES, 3):
            pause_s = 0.0 if offline_ms else self._random.uniform(0.2, 1.0)
            yield _Step(
                pause_s, "app", {"type": "screen", "name": name, "properties": {}, **ids}, offline_ms or None
            )
            offline_ms = offline_ms and offline_ms - 20_000
        if self._random.random() < 0.3:
            yield self._order("app", ids)

    def _store(self, who: Person) -> _Journey:
        """The till knows a member by user id, others at most by the phone number they give for the
        receipt."""
        ids = (
            {"userId": who.user_id}
            if who.known
            else {"anonymousId": who.card, "context": {"traits": {"phone": who.phone}}}
        )
        order = self._order("store", ids)
        uploaded_late_ms = self._random.randint(1, 8) * 3_600_000
        yield msgspec.structs.replace(order, age_ms=self._random.choice((None, None, None, uploaded_late_ms)))
        if self._random.random() < 0.1:
            yield self._refund(order, "changed mind")

    def _social(self, who: Person) -> _Journey:
        ids = {"anonymousId": who.openid}
        for event in self._random.choices(
            ("Post Liked", "Comment Posted", "Message Sent", "Post Shared"), k=self._random.randint(1, 3)
        ):
            yield self._track("social", event, ids, {"campaign": "spring"})
        if self._random.random() < 0.4:
            yield self._login(who, who.openid, "social")

    def _desk(self, who: Person) -> _Journey:
        """Says who it is."""
        ids = {"userId": who.user_id}
        who.known = True
        ticket = {
            "ticket_id": f"t-{self._random.getrandbits(32):08x}",
            "topic": self._random.choice(("delivery", "refund", "warranty")),
        }
        yield self._track("desk", "Ticket Opened", ids, ticket)
        yield self._track("desk", "Ticket Solved", ids, ticket)
        yield self._track(
            "desk", "Ticket Rated", ids, {**ticket, "rating": self._random.choice((1, 2, 3, 4, 4, 5, 5, 5))}
        )
        if self._random.random() < 0.3:  # what was no help comes back, and is a complaint then
            again = {**ticket, "topic": "complaint"}
            for name in ("Ticket Opened", "Ticket Solved"):
                yield self._track("desk", name, ids, again)
            yield self._track(
                "desk", "Ticket Rated", ids, {**again, "rating": self._random.choice((1, 1, 2, 4))}
            )

    def _deal(self, who: Person) -> _Journey:
        """A sale that somebody works on: who has bought before, mostly buys again."""
        ids = {"userId": who.user_id}
        who.known = True
        keen = self._random.random() < 0.5
        if keen:
            yield self._order("web", {**ids, "anonymousId": who.browser})
        deal = {
            "opportunity_id": f"d-{self._random.getrandbits(32):08x}",
            "amount": self._random.choice((500, 1_000, 5_000)),
        }
        yield self._track("desk", "Opportunity Opened", ids, deal)
        for name in self._random.sample(("Sales Call", "Demo Given", "Quote Sent"), 2):
            yield self._track("desk", name, ids, deal)
        won = self._random.random() < (0.9 if keen else 0.1)
        yield self._track("desk", "Opportunity Won" if won else "Opportunity Lost", ids, deal)

    def _fraud(self, who: Person) -> _Journey:
        """Large orders in haste, with a card that is not theirs; the bank takes most of the money back."""
        ids = self._ids(who, who.browser)
        for _ in range(self._random.randint(3, 5)):
            order = self._order("web", ids, at_least=4)
            yield msgspec.structs.replace(order, pause_s=self._random.uniform(0.05, 0.3))
        if self._random.random() < 0.9:
            yield self._track(
                "desk", "Chargeback Received", ids, {"order_id": order.message["properties"]["order_id"]}
            )

    def _family(self, one: Person, other: Person) -> _Journey:
        """Two people on the same tablet, one after the other: two customers, one shared anonymous id."""
        for who in (one, other):
            yield from self._browse(one.tablet, pages=1)
            yield self._login(who, one.tablet)
            yield from self._basket(who, one.tablet)
        yield self._order("web", self._ids(other, one.tablet))

    def _company(self, who: Person) -> _Journey:
        """Colleagues look around, and their app says of each what it knows of the company: it is still
        nobody's own."""
        colleagues = [self._newcomer(), self._newcomer(), who]
        named = company(self._run, self._people)
        for each in colleagues:
            yield from self._browse(each.browser, pages=1)
            message = {
                "type": "group",
                "groupId": named["name"],
                "traits": named,
                **self._ids(each, each.browser),
            }
            yield _Step(self._random.uniform(0.2, 0.8), "web", message, odd=GROUP_CONTACT)
        yield self._login(who, who.browser)

    def _made_up(self, who: Person) -> _Journey:
        """Somebody's client on a server makes up an anonymous id for each call. The browser is known beside
        them."""
        yield from self._browse(who.browser, pages=1)
        yield self._login(who, who.browser)
        calls, self._made_up_first = self._random.randint(2, 6) if self._made_up_first else _MADE_UP, True
        for _ in range(calls):
            made_up = str(uuid5(NAMESPACE_OID, f"{self._run}-{self._random.getrandbits(64)}"))
            ids = {"userId": who.user_id, "anonymousId": made_up}
            step = self._track("desk", "Invoice Sent", ids, {"amount": self._random.randint(1, 99)})
            yield msgspec.structs.replace(step, pause_s=self._random.uniform(0.02, 0.1), odd=MADE_UP)
        yield from self._browse(who.browser, pages=1)

    def _alias(self, who: Person) -> _Journey:
        """A client takes one user for the former name of another, long after both have been seen."""
        known = [each for each in list(self._regulars)[: _REGULARS.start // 2] if each.known]
        if len(known) > 1:
            one, other = self._random.sample(known, 2)
            message = {"type": "alias", "userId": one.user_id, "previousId": other.user_id}
            yield _Step(0.0, "desk", message, odd=ALIAS_OF_USERS)
        yield from self._window(who)

    # --- the single steps
    # --------------------------------------------------------------------------------------------

    def _browse(self, browser: str, pages: int) -> _Journey:
        for name in self._random.sample(_PAGES, pages):
            properties = {
                "path": f"/{name.lower()}",
                "referrer": self._random.choice(("", "https://search.example/", "https://news.example/")),
            }
            yield _Step(
                self._random.uniform(0.2, 1.2),
                "web",
                {"type": "page", "name": name, "anonymousId": browser, "properties": properties},
            )
        yield self._track("web", "Product Viewed", {"anonymousId": browser}, self._product())

    def _basket(self, who: Person, browser: str) -> _Journey:
        for _ in range(self._random.randint(1, 2)):
            yield self._track(
                "web", "Product Added", self._ids(who, browser), {**self._product(), "quantity": 1}
            )

    def _login(
        self, who: Person, anonymous: str, channel: Channel = "web", context: dict[str, Any] | None = None
    ) -> _Step:
        who.known = True
        email = who.email.upper() if self._random.random() < 0.1 else who.email  # as people type it
        traits = {
            "name": who.name,
            "email": email,
            "phone": who.phone,
            "language": who.language,
            "plan": self._random.choice(("basic", "plus")),
        }
        message = {"type": "identify", "userId": who.user_id, "anonymousId": anonymous, "traits": traits}
        return _Step(
            self._random.uniform(0.2, 0.8), channel, message | ({"context": context} if context else {})
        )

    def _order(self, channel: Channel, ids: dict[str, Any], at_least: int = 1) -> _Step:
        self._orders += 1
        product = {**self._product(), "quantity": at_least * self._random.randint(1, 3)}
        total = round(product["price"] * product["quantity"], 2)
        order = {
            "order_id": f"o-{self._orders}",
            "total": total,
            "currency": "EUR",
            "category": product["category"],
            "products": [product],
        }
        return self._track(channel, "Order Completed", ids, order)

    def _refund(self, order: _Step, reason: str) -> _Step:
        ids: dict[str, Any] = {
            key: order.message[key] for key in ("userId", "anonymousId", "context") if key in order.message
        }
        return self._track(
            order.channel,
            "Order Refunded",
            ids,
            {"order_id": order.message["properties"]["order_id"], "reason": reason},
        )

    def _track(self, channel: Channel, event: str, ids: dict[str, Any], properties: dict[str, Any]) -> _Step:
        return _Step(
            self._random.uniform(0.2, 1.0),
            channel,
            {"type": "track", "event": event, "properties": properties, **ids},
        )

    def _ids(self, who: Person, anonymous: str) -> dict[str, Any]:
        return {"userId": who.user_id, "anonymousId": anonymous} if who.known else {"anonymousId": anonymous}

    def _product(self) -> dict[str, Any]:
        sku, name, category, price = self._random.choice(_CATALOGUE)
        return {"product_id": sku, "name": name, "category": category, "price": price}

    # --- what goes wrong
    # ---------------------------------------------------------------------------------------------

    def _age(self) -> int:
        dice = self._random.random()
        if dice < _LATE:
            return int(self._random.uniform(60, 6 * 3600) * 1000)
        return int(self._random.uniform(0.2, 5) * 1000) if dice < _LATE + _SHUFFLED else 0

    def _mishaps(self, item: Item) -> Iterator[Item]:
        soon_s = item.at_s + self._random.uniform(0.2, 3)
        dice = self._random.random()
        if dice < _REPEATED:
            yield msgspec.structs.replace(
                item, at_s=soon_s, duplicate=True, age_ms=item.age_ms + int((soon_s - item.at_s) * 1000)
            )
        elif dice < _REPEATED + _MALFORMED and isinstance(item.message, dict):
            reason, fault = self._random.choice(FAULTS)
            ids = {key: value for key, value in item.message.items() if key in ("userId", "anonymousId")}
            good = {
                "type": "track",
                "event": "Product Viewed",
                "properties": {},
                "messageId": self._message_id(),
                **ids,
            }
            yield msgspec.structs.replace(item, at_s=soon_s, message=broken(good, fault), fault=reason)
        elif dice < _REPEATED + _MALFORMED + _UNREADABLE:
            yield msgspec.structs.replace(
                item, at_s=soon_s, message=self._random.choice(UNREADABLE), fault="not_json"
            )

    def _message_id(self) -> str:
        self._sent += 1
        return f"{self._run:x}-{self._sent}"
