"""The events that the benchmarks are fed with: 20,000 customers with 3 identifiers and 30 events each, from a
fixed seed."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from schemas.wire.events import RawEvent

SEED = 20_000
CUSTOMERS = 20_000
EVENTS_EACH = 30
_CATEGORIES = ("books", "garden", "kitchen", "music", "sport", "toys", "travel", "wine")
_encode = msgspec.json.encode


def events(
    customers: int = CUSTOMERS,
    each: int = EVENTS_EACH,
    started_ms: int = 1_795_000_000_000,
    *,
    spread: bool = False,
) -> Iterator[tuple[str, RawEvent]]:
    """(key, event) pairs, customers interleaved; a tenth of what a customer does is a login, a purchase or a
    cart.

    All begin together, and so identify themselves together in the third turn; with `spread` each is at
    another place of its life.
    """
    chance = random.Random(SEED)
    for turn in range(each):
        order = list(range(customers))
        chance.shuffle(order)
        for number in order:
            place = (turn + number) % each if spread else turn
            yield (
                f"anon-{number}",
                RawEvent(
                    _encode(_message(chance, number, place, started_ms)), started_ms + turn * 1000, "web"
                ),
            )


def _message(chance: random.Random, number: int, turn: int, started_ms: int) -> dict[str, object]:
    message: dict[str, object] = {
        "messageId": f"m-{number}-{turn}-{chance.getrandbits(48):x}",
        "anonymousId": f"anon-{number}",
        "timestamp": datetime.fromtimestamp(started_ms / 1000 + turn, UTC).isoformat(),
        "context": {
            "library": {"name": "analytics.js", "version": "2.1.0"},
            "locale": "en-GB",
            "page": {"path": "/shop", "url": "https://shop.example/shop", "title": "Shop"},
            "device": {"id": f"device-{number}"},
        },
    }
    if turn >= 2:
        message["userId"] = f"user-{number}"
    draw = chance.random()
    if turn == 2:
        return message | {
            "type": "identify",
            "traits": {"email": f"user-{number}@example.com", "plan": chance.choice(("free", "plus"))},
        }
    if draw < 0.45:
        return message | {
            "type": "page",
            "name": "Shop",
            "properties": {"path": "/shop", "referrer": "https://search.example"},
        }
    product = {
        "product_id": f"p-{chance.randrange(500)}",
        "category": chance.choice(_CATEGORIES),
        "price": chance.randrange(100, 9000) / 100,
    }
    if draw < 0.80:
        return message | {"type": "track", "event": "Product Viewed", "properties": product}
    if draw < 0.92:
        return message | {"type": "track", "event": "Product Added", "properties": product | {"quantity": 1}}
    total = chance.randrange(500, 30_000) / 100
    return message | {
        "type": "track",
        "event": "Order Completed",
        "properties": {
            "order_id": f"o-{number}-{turn}",
            "total": total,
            "currency": "EUR",
            "category": product["category"],
        },
    }
