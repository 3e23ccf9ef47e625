"""Two shoppers who decide about their own data while the shop goes on.

    withdrawal   agrees to be written to, gets an offer, says no, and does the same again: how soon the door
                 refuses, and why the second offer was not sent
    erasure      buys, is erased as by `millrace subject erase`, and comes back: what each step took, what is
                 left (nothing), and that who comes back is somebody else

Both are published like everybody else's life and are in the same ledger, so the closing count is about them
as well.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any, Final

import httpx
import msgspec

from flows.dispatch.consent_gate import consent_gate
from flows.lab.demo.audit import Identifier, Ledger, identifiers
from flows.lab.demo.publisher import Publisher
from flows.lab.demo.refusals import Refusals
from flows.lab.demo.shop import Channel, Item
from flows.lab.demo.shoppers import Person, person
from flows.lab.demo.stack import CONNECTOR, OFFER, ORDERS, WISHED
from flows.lab.demo.trigger_receiver import Got, Receiver
from flows.lab.remains import receipt_fault, remains
from flows.runtime.deployment import Deployment
from flows.services.subjects import requests
from flows.services.subjects.sweeping import queued
from schemas.errors import MillraceError
from schemas.records.outbox_lanes import Lane
from schemas.records.privacy_requests import PrivacyRequest, Step
from schemas.wire.triggers import Receipt, Trigger
from state.redis.client import reported

BEGIN_S: Final = 0.5  # after the shop
DOOR_MS: Final = 500  # for so long the door's answer may be that of before
REQUEST_MS: Final = 2_000  # what is under way by then may take so long to arrive, on a busy machine
BY: Final = "demo"
VERIFIED: Final = "verified"
MEANS: Final = {  # what is true from each step of an erasure on, in few words
    Step.DETACHED: "no identifier leads to the customer",
    Step.SETTLED: "its data keys are destroyed",
    Step.GONE: "the directory has forgotten it",
    Step.SWEPT: "profile and queues are empty of it",
    Step.DONE: "receivers have answered, the receipt is signed",
}
_LOOK_S: Final = 0.05
_DOOR_LOOK_S: Final = 0.005
_LINES: Final = 30
_WITHDRAWS, _ERASED = 900_001, 900_002  # no shop has so many customers

ReadProfile = Callable[[str, str], dict[str, Any] | None]
Line = tuple[str, str, str]  # time, where, what


class Withdrawal(msgspec.Struct, frozen=True):
    """Somebody took back a consent."""

    customer: str
    purpose: str
    offers_before: int  # sent while it was agreed to
    held_after_ms: int  # from the event in the shopper's app until the door refused
    fired_after: int  # the rule fired again so often ...
    sent_after: int  # ... and so much was sent for that purpose: must be 0
    why: str  # what the decision record says

    def faults(self) -> Iterator[str]:
        """Yield what of it is not as it should be."""
        if self.sent_after:
            yield f"the withdrawal was not honoured: {self.sent_after} sent for {self.purpose} after it"


class Erasure(msgspec.Struct, frozen=True):
    """Somebody was erased."""

    customer: str
    request: str
    steps_ms: dict[str, int]  # from the request
    receipt: str  # `VERIFIED`, or what is wrong with it
    receivers: dict[str, str]  # what each said to the request to delete
    events_gone: int
    left: list[str]  # what is still there: must be nothing
    came_back_as: str  # whom a later event founded
    came_back_events: int

    def faults(self) -> Iterator[str]:
        """Yield what of it is not as it should be."""
        if self.receipt != VERIFIED:
            yield f"the receipt of the erasure is not genuine: {self.receipt}"
        yield from (f"the erasure left something: {one}" for one in self.left)
        if self.came_back_as == self.customer:
            yield "who was erased and came back is the same customer again"
        if self.came_back_events != 1:
            yield f"who was erased came back with {self.came_back_events} events after one"


class Over(Exception):
    """The demo ends before this does."""


class Rights:
    """Plays both, each in a thread of its own, from `start` until `finish`. `lines` is for whoever draws."""

    def __init__(
        self,
        deployment: Deployment,
        publisher: Publisher,
        receiver: Receiver,
        ledger: Ledger,
        refusals: Refusals,
        read: ReadProfile,
        run: int,
    ) -> None:
        self._deployment = deployment
        self._publisher = publisher
        self._receiver = receiver
        self._ledger = ledger
        self._refusals = refusals
        self._read = read
        self._run = run
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque(maxlen=_LINES)
        self._over = threading.Event()
        self._withdrawal: Withdrawal | None = None
        self._erasure: Erasure | None = None
        self._no_more_ms = 0  # nothing for the purpose may arrive later
        self._refused = ""  # the customer who said no
        plays = [self._play_erasure, *([self._play_withdrawal] if self.asks else [])]
        self._threads = [threading.Thread(target=self._played, args=(one,), daemon=True) for one in plays]
        self._trouble = ""  # what was in the way the last time

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def lines(self) -> list[Line]:
        """Return what has happened so far, oldest first."""
        with self._lock:
            return list(self._lines)

    def wait(self, timeout_s: float) -> bool:
        """Return whether both came to their end in that time."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Leave what is under way. An erasure goes on by itself, whoever looks."""
        self._over.set()
        self.wait(1.0)

    @property
    def troubles(self) -> tuple[str, ...]:
        """Return what was in the way of what is not done; nothing if all is."""
        is_done = self._erasure is not None and (self._withdrawal is not None or not self.asks)
        return () if is_done or not self._trouble else (self._trouble,)

    def outcome(self) -> tuple[Withdrawal | None, Erasure | None]:
        """Return what became of them; None of what is not done. To be asked when all triggers are here."""
        if self._withdrawal is None:
            return None, self._erasure
        late = sum(self._is_late(got) for got in self._receiver.all())
        counted = msgspec.structs.replace(self._withdrawal, sent_after=late)
        return counted, self._erasure

    def _is_late(self, got: Got) -> bool:
        """Return whether it should not have been sent: after the no had come to the door, or because of what
        was done after it."""
        if got.customer != self._refused or got.purpose != self._purpose:
            return False
        return got.cause == self._id("wishes-again") or got.arrived_ms > self._no_more_ms

    # --- one withdraws

    @property
    def asks(self) -> bool:
        """Say whether this configuration asks customers for any purpose: else nobody can say no."""
        return any(rule.name == OFFER for rule in self._deployment.config.trigger)

    @property
    def _purpose(self) -> str:
        return next(rule.purpose for rule in self._deployment.config.trigger if rule.name == OFFER)

    def _play_withdrawal(self) -> None:
        who, purpose = self._person(_WITHDRAWS), self._purpose
        self._say(who, "web", "looks", {"type": "page", "name": "Home", "anonymousId": who.browser})
        self._say(who, "app", "agrees", self._login(who) | _banner({purpose: True}))
        self._say(who, "app", "wishes", self._wish(who))
        offer = self._until(lambda: self._offer(self._id("wishes")))
        customer = offer.customer
        self._tell("consent", f"{short(customer)} agreed to {purpose} and gets an offer ({offer.rule})")
        said_ms = _now_ms()
        self._say(who, "app", "withdraws", self._login(who) | _banner({purpose: False}))
        self._say(who, "app", "wishes-again", self._wish(who))
        self._tell("consent", f"{short(customer)} takes it back in the app: no {purpose} any more")
        gate = consent_gate(self._deployment)
        asked = _question(customer, purpose)
        self._until(lambda: gate([asked])[0] is not None, _DOOR_LOOK_S)
        held_ms = _now_ms()
        self._refused, self._no_more_ms = customer, held_ms + DOOR_MS + REQUEST_MS
        self._tell("consent", f"the door refuses since {held_ms - said_ms} ms after that")
        again = self._id("wishes-again")
        self._until(lambda: self._why_not(again) or self._offer(again))
        why = self._why_not(again)
        self._tell(
            "consent", f"the same wish again: {OFFER} fired, " + (f"not sent ({why})" if why else "SENT")
        )
        self._withdrawal = Withdrawal(
            customer=customer,
            purpose=purpose,
            offers_before=1,
            held_after_ms=held_ms - said_ms,
            fired_after=1,
            sent_after=0,
            why=why,
        )

    def _offer(self, cause: str) -> Got | None:
        return next((got for got in self._receiver.all() if got.rule == OFFER and got.cause == cause), None)

    def _why_not(self, cause: str) -> str:
        """Return what the decision record says of the offer for this event; empty while there is none."""
        found = next((one for one in self._refusals.all() if (one.rule, one.cause) == (OFFER, cause)), None)
        return f"{found.reason}: {found.withheld[CONNECTOR]}" if found else ""

    # --- one is erased

    def _play_erasure(self) -> None:
        who = self._person(_ERASED)
        self._say(who, "web", "looks", {"type": "page", "name": "Home", "anonymousId": who.browser})
        self._say(who, "web", "logs-in", self._login(who, who.browser))
        order = {"order_id": f"{self._run:x}-e", "total": 12.5, "currency": "EUR"}
        self._say(who, "web", "buys", _track("Order Completed", order, self._ids(who)))
        self._until(lambda: self._is_bought(who))
        request = self._ask(who)
        customer = request.customer.hex()
        self._tell("erasure", f"{short(customer)} ({_masked(who.email)}) asks to be erased")
        try:
            request = self._followed(request)
        except Over:
            self._ledger.undecided(_known_by(who))
            raise
        receipt, left = self._until(lambda: self._looked_at(request, who))
        events = self._ledger.erased(_known_by(who))
        self._tell(
            "erasure", f"receipt {receipt}; {events} events gone; left: {'; '.join(left) or 'nothing'}"
        )
        self._say(who, "web", "comes-back", {"type": "page", "name": "Home"} | self._ids(who))
        found = self._until(lambda: self._read("user_id", who.user_id))
        back = f"{short(found['customer'])}, {found['events']} event"
        self._tell("erasure", f"the same person comes back as somebody new: {back}")
        self._erasure = Erasure(
            customer=customer,
            request=request.id,
            steps_ms=_steps(request),
            receipt=receipt,
            receivers={name: answer.said for name, answer in request.answers.items()},
            events_gone=events,
            left=left,
            came_back_as=found["customer"],
            came_back_events=int(found["events"]),
        )

    def _looked_at(self, request: PrivacyRequest, who: Person) -> tuple[str, list[str]]:
        """Return what is to be said of the receipt, and what is left."""
        left = [*remains(self._deployment, request, _named(who)), *self._still_known(who)]
        return receipt_fault(self._deployment, request) or VERIFIED, left

    def _is_bought(self, who: Person) -> bool:
        profile = self._read("user_id", who.user_id)
        fired = any(got.cause == self._id("buys") and got.rule == ORDERS for got in self._receiver.all())
        return fired and profile is not None and int(profile["events"]) == len(_EVENTS_OF_THE_ERASED)

    def _waits(self, customer: bytes) -> bool:
        """Return whether a trigger about this customer waits to be delivered: it would be dropped."""
        every = range(self._deployment.config.shards.count)
        with reported():
            return any(queued(self._deployment.outbox, Lane.TRIGGERS, every, frozenset([customer])))

    def _ask(self, who: Person) -> PrivacyRequest:
        customer = self._read("user_id", who.user_id)
        assert customer is not None, "it was there a moment ago"
        self._until(lambda: not self._waits(bytes.fromhex(customer["customer"])))
        asked = self._until(lambda: requests.erase(self._deployment, f"user_id:{who.user_id}", by=BY))
        request: PrivacyRequest = asked.request
        return request

    def _followed(self, request: PrivacyRequest) -> PrivacyRequest:
        told = {Step.ASKED}
        while request.step != Step.DONE:
            self._pause(_LOOK_S)
            request = self._until(partial(requests.get, self._deployment, request.id))
            news = {step: after for step, after in _steps(request).items() if step not in told}
            told |= news.keys()
            for step, after in news.items():
                self._tell("erasure", f"{step} after {after:,} ms: {MEANS.get(step, '')}")
        return request

    def _still_known(self, who: Person) -> list[str]:
        """Return the identifiers by which the gateway still finds somebody."""
        return [
            f"a profile by {namespace}"
            for namespace, value in _named(who)
            if self._read(namespace, value) is not None
        ]

    # --- what both do

    def _played(self, play: Callable[[], None]) -> None:
        try:
            self._pause(BEGIN_S)
            play()
        except Over:
            return

    def _until(self, holds: Callable[[], Any], every_s: float = _LOOK_S) -> Any:
        """Return what `holds` gives, when it is something. Parts that are being started again are waited
        for. Raises `Over`."""
        while True:
            try:
                if found := holds():
                    return found
            except (MillraceError, httpx.HTTPError) as error:
                self._trouble = f"{type(error).__name__}: {error}"
            self._pause(every_s)

    def _pause(self, seconds: float) -> None:
        if self._over.wait(seconds):
            raise Over

    def _tell(self, where: str, what: str) -> None:
        at = datetime.now(UTC).astimezone().strftime("%H:%M:%S.%f")[:-4]
        with self._lock:
            self._lines.append((at, where, what))

    def _say(self, who: Person, channel: Channel, name: str, message: Mapping[str, Any]) -> None:
        made = {**message, "messageId": self._id(name)}
        item = Item(at_s=0.0, channel=channel, message=made, person=who.number, journey="rights", step=0)
        self._publisher.besides(item)

    def _id(self, name: str) -> str:
        return f"{self._run:x}-{name}"

    def _person(self, number: int) -> Person:
        return person(Random(number), self._run, number)

    def _login(self, who: Person, anonymous: str = "") -> dict[str, Any]:
        traits = {"name": who.name, "email": who.email, "phone": who.phone, "language": who.language}
        ids = {"userId": who.user_id, "anonymousId": anonymous or who.browser}
        return {"type": "identify", "traits": traits} | ids

    def _wish(self, who: Person) -> dict[str, Any]:
        return _track(WISHED, {"product_id": "SKU-03", "name": "Lamp"}, self._ids(who))

    def _ids(self, who: Person) -> dict[str, Any]:
        return {"userId": who.user_id, "anonymousId": who.browser}


_EVENTS_OF_THE_ERASED: Final = ("looks", "logs-in", "buys")


def _banner(said: Mapping[str, bool]) -> dict[str, Any]:
    """Return what Segment's consent wrappers put on an event."""
    return {"context": {"consent": {"categoryPreferences": dict(said)}}}


def _track(event: str, properties: Mapping[str, Any], ids: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "track", "event": event, "properties": dict(properties), **ids}


def _question(customer: str, purpose: str) -> Trigger:
    """Return what the door is asked about; it sends nothing."""
    return Trigger(
        id="",
        customer=customer,
        rule=OFFER,
        action="",
        channel="email",
        purpose=purpose,
        to=[],
        cause="",
        reasons={},
        scores={},
        properties={},
        receipt=Receipt(0, 0, 0, 0),
    )


def _named(who: Person) -> list[tuple[str, str]]:
    return [
        ("user_id", who.user_id),
        ("anonymous", who.browser),
        ("email", who.email),
        ("phone", who.phone),
    ]


def _known_by(who: Person) -> list[Identifier]:
    """Return the same as the ledger writes it."""
    traits = {"email": who.email, "phone": who.phone}
    return identifiers({"userId": who.user_id, "anonymousId": who.browser, "traits": traits})


def _steps(request: PrivacyRequest) -> dict[str, int]:
    return {step: at_ms - request.asked_ms for step, at_ms in request.times.items()}


def short(customer: str) -> str:
    """Return an id by both of its ends: who comes after somebody erased may have the next one."""
    return f"{customer[:6]}…{customer[-4:]}"


def _masked(email: str) -> str:
    return f"{email[0]}***@{email.partition('@')[2]}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
