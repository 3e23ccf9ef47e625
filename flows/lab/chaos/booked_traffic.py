"""The known load: people whose every event is in a book, sent by publishers that try until they have an
acknowledgement.

Each publisher has people of its own and sends one batch after the other, so a batch and its repetitions are
neighbours in the raw log: that is what deduplication by `messageId` is made for.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from random import Random
from typing import Any

import httpx
import msgspec
from confluent_kafka import KafkaException, Producer

from flows.lab.demo.malformed import PLANTED

ORDER = "Order Completed"
BATCH = 8  # events
PAUSE_S = 0.05  # after a batch
PEOPLE = 20  # of one publisher
SESSION = range(20, 50)  # events until somebody comes back with another anonymous id
ODD = 0.1  # of what is sent is as careless clients write it
SAYS = (
    0.01,
    0.12,
)  # of what somebody sends says something about consent: of half the people, and of the others
ASKED = ("marketing", "personalisation")  # purposes
# Of everybody, and nobody's own.
COMPANY = {
    "name": "Acme",
    "email": "office@example.com",
    "phone": "+44 20 7946 0000",
}
BANNER = {"consent": {"categoryPreferences": {"Advertising": False, "Analytics": True}}}
RETRY_S = 0.1
HTTP_S = 3.0  # then the request is sent again, though the first may have been stored
KAFKA_MS = 2_000  # the same for records
LAST_S = 120.0  # for the last batch to be acknowledged

Message = dict[str, Any]
Store = Callable[[Sequence[Message]], bool]


class Sent(msgspec.Struct):
    """One message. Times are monotonic seconds."""

    person: str
    paid: int | None  # of an order
    first_s: float  # when it was sent for the first time
    acknowledged_s: float | None = None
    doubtful: bool = False  # acknowledged, and then cut out of the log on purpose
    made: Message = {}  # as it was handed over


class Book:
    """What was sent and what was acknowledged. Thread-safe."""

    def __init__(self) -> None:
        self.messages: dict[str, Sent] = {}
        self.sessions: dict[str, set[str]] = {}  # anonymous ids by person
        self.attempts = 0
        self._lock = threading.Lock()

    def sending(self, batch: Sequence[Message], person_of: Callable[[Message], str]) -> None:
        now = time.monotonic()
        with self._lock:
            for message in batch:
                person = person_of(message)
                paid = message["properties"]["total"] if message.get("event") == ORDER else None
                self.messages[message["messageId"]] = Sent(person, paid, now, made=message)
                self.sessions.setdefault(person, set()).add(message["anonymousId"])

    def acknowledged(self, batch: Sequence[Message]) -> None:
        now = time.monotonic()
        with self._lock:
            for message in batch:
                self.messages[message["messageId"]].acknowledged_s = now

    def doubt(self, since_s: float, until_s: float) -> None:
        """Note that what was acknowledged in this time may be gone."""
        with self._lock:
            for sent in self.messages.values():
                if sent.acknowledged_s is not None and since_s <= sent.acknowledged_s <= until_s:
                    sent.doubtful = True

    def first_s(self, message: str) -> float | None:
        with self._lock:
            sent = self.messages.get(message)
        return sent.first_s if sent else None


class _Person:
    """Comes as a stranger, says who it is, shops, and comes back as a stranger; by clients of which some are
    careless. Changes its mind about consent, seldom or often."""

    def __init__(self, name: str, luck: Random, says: float) -> None:
        self.name = name
        self._says = says
        number = blake2b(name.encode(), digest_size=12).digest()
        called = "".join(chr(ord("a") + byte % 26) for byte in number)
        born = f"{1940 + number[0] % 60}-{1 + number[1] % 12:02}-{1 + number[2] % 28:02}"
        # By these matching knows a stranger.
        self._traits = {"firstName": called[:5], "lastName": called[5:], "birthday": born}
        self.known = True
        self._luck = luck
        self._session = 0
        self._left = 0

    def next(self, message: str) -> Message:
        made = self._next(message)
        return self._saying(made) if self._luck.random() < self._says else made

    def _saying(self, made: Message) -> Message:
        """Say yes or no, as apps do it and as banners do it."""
        granted = self._luck.random() < 0.5
        things = ASKED if self._luck.random() < 0.4 else ASKED[:1]
        if made["type"] == "identify":
            said = {f"consent.{thing}": granted for thing in things}
            return made | {"traits": made["traits"] | said}
        banner = {"consent": {"categoryPreferences": dict.fromkeys(things, granted)}}
        return made | {"context": banner}

    def _next(self, message: str) -> Message:
        luck = self._luck
        if self._left == 0:
            self._session, self._left, self.known = self._session + 1, luck.choice(SESSION), False
        self._left -= 1
        if not self.known and luck.random() < 0.3:
            return self.identify(message)
        if not self.known and luck.random() < 0.3:
            return {
                "type": "identify",
                "messageId": message,
                "anonymousId": self._anonymous,
                "traits": self._traits,
            }
        made: Message = {"messageId": message, "anonymousId": self._anonymous} | (
            {"userId": self.name} if self.known else {}
        )
        if luck.random() < ODD:
            made = self._oddly(made)
        chance = luck.random()
        if chance < 0.35:
            return made | {"type": "track", "event": ORDER, "properties": {"total": luck.randrange(1, 100)}}
        if chance < 0.55:
            return made | {
                "type": "track",
                "event": "Product Added",
                "properties": {"sku": luck.randrange(50)},
            }
        if chance < 0.58:
            return made | {"type": "group", "groupId": "acme", "traits": COMPANY}
        return made | {"type": "page", "name": luck.choice(["Home", "Help", "Product"])}

    def identify(self, message: str) -> Message:
        self.known = True
        traits = {
            "email": f"{self.name}@example.com",
            "plan": self._luck.choice(["basic", "gold"]),
        } | self._traits
        if self._luck.random() < 2 * ODD:
            spelled = self._luck.choice(
                [traits["email"].title(), f" {traits['email']} ", f"mailto:{traits['email']}"]
            )
            traits |= {"email": spelled, "firstName": self._luck.choice(["", "A", "未知", "-", "Ａ"])}
        return {
            "type": "identify",
            "messageId": message,
            "anonymousId": self._anonymous,
            "userId": self.name,
            "traits": traits,
        }

    def _oddly(self, made: Message) -> Message:
        """As some clients write it. Whose it is does not change by that."""
        if self._luck.random() < 0.5:
            return made | {
                "sentAt": self._luck.choice(["", "Invalid Date", "0001-01-01T00:00:00Z"]),
                "context": BANNER,
            }
        if self.known:
            return made | {"anonymousId": f"{self.name}-visit-made-up-{made['messageId']}"}
        return made | {"userId": self._luck.choice(["undefined", "{{userId}}", "[object Object]"])}

    @property
    def _anonymous(self) -> str:
        return f"{self.name}-visit-{self._session}"


def name_of(publisher: str, number: int) -> str:
    """Return the user id of one of its people."""
    return f"{publisher}-{number}"


class Publisher:
    """A context: publishes while it lasts. `finish` sends what makes every stranger known, and waits for the
    last acknowledgement."""

    def __init__(self, name: str, store: Store, book: Book, seed: int) -> None:
        luck = Random(f"{seed}-{name}")
        self._name, self._store, self._book = name, store, book
        self._luck = luck
        self._people = [_Person(name_of(name, number), luck, SAYS[number % 2]) for number in range(PEOPLE)]
        self._number = itertools.count(1)
        self._over, self._gone = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.failure: BaseException | None = None

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._gone.set()
        self._thread.join(HTTP_S + 1)

    def finish(self) -> bool:
        """Stop publishing. Return False if the last batch was not acknowledged in time."""
        self._over.set()
        self._thread.join(LAST_S)
        return not self._thread.is_alive() and self.failure is None

    def _run(self) -> None:
        try:
            while not self._over.wait(PAUSE_S):
                self._send(
                    [self._luck.choice(self._people).next(self._message()) for _ in range(BATCH)],
                    self._poison(),
                )
            self._send([person.identify(self._message()) for person in self._people if not person.known])
        except BaseException as error:  # noqa: BLE001  # `finish` tells
            self.failure = error

    def _message(self) -> str:
        return f"{self._name}:{next(self._number)}"

    def _poison(self) -> list[Message]:
        """Now and then something that millrace itself fails on, and that so must count for nobody."""
        if self._luck.random() >= ODD:
            return []
        name = self._message()
        return [{"type": "track", "event": PLANTED, "messageId": name, "anonymousId": f"poison-{name}"}]

    def _send(self, batch: Sequence[Message], besides: Sequence[Message] = ()) -> None:
        """Until it is acknowledged. `besides` is sent with it, and is in no book."""
        if not batch:
            return
        self._book.sending(batch, lambda message: message["anonymousId"].partition("-visit-")[0])
        while not self._gone.is_set():
            self._book.attempts += 1
            if self._store([*batch, *besides]):
                self._book.acknowledged(batch)
                return
            time.sleep(RETRY_S)


def by_http(url: str, key: str) -> Store:
    """Send a batch through the gateway. Acknowledged is what the gateway answers 200 to."""
    client = httpx.Client(base_url=url, auth=(key, ""), timeout=HTTP_S)

    def store(batch: Sequence[Message]) -> bool:
        try:
            answer = client.post("/v1/batch", json={"batch": batch})
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and "errors" not in answer.json()

    return store


def by_kafka(bootstrap: str, topic: str) -> Store:
    """Send a batch to Kafka. Acknowledged is what the broker reports as stored by all in-sync replicas."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "message.timeout.ms": KAFKA_MS,
            "linger.ms": 2,
            "log_level": 0,
        }
    )

    def store(batch: Sequence[Message]) -> bool:
        reports: list[bool] = []
        try:
            for message in batch:
                key = message["anonymousId"].encode()
                producer.produce(
                    topic,
                    msgspec.json.encode(message),
                    key,
                    on_delivery=lambda error, _: reports.append(error is None),
                )
        except (BufferError, KafkaException):
            return False
        return producer.flush(2 * KAFKA_MS / 1000) == 0 and len(reports) == len(batch) and all(reports)

    return store
