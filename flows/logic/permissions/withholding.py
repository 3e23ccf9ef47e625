"""An event without what the customer does not allow: nothing of that goes on from here, but its count."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from flows.logic import consent
from flows.logic.message import Checked
from flows.logic.permissions.categories import BEHAVIOUR, Categories

WITHHELD: Final = "$withheld"  # the name of an event of which the archive keeps only whose it was
Denied = frozenset[str]
# What says who it is about and when, where the event itself is not kept.
_KEPT: Final = (
    *("type", "messageId", "userId", "anonymousId", "groupId", "previousId"),
    *("timestamp", "originalTimestamp", "sentAt"),
)
_KEPT_OF_CONTEXT: Final = ("consent", "consentManagement", "gpc", "backfill")


def is_withheld(categories: Categories, event: Checked, denied: Denied) -> str:
    """Return the category for which the event as a whole is not kept; "" if it is."""
    if event.name == WITHHELD:  # out of the archive: of what it was nothing is left
        return BEHAVIOUR
    category = categories.of_event(event.type, event.name)
    return category if category in denied else ""


def withhold(categories: Categories, event: Checked, denied: Denied) -> dict[str, int]:
    """Take out of an event the fields of these categories; return how many of each there were."""
    counts: dict[str, int] = {}

    def without(data: dict[str, Any]) -> dict[str, Any]:
        return _without(categories.of_field, data, denied, counts)

    event.properties = without(event.properties)
    event.traits = without(event.traits)
    event.sensitive = without(event.sensitive)
    event.record = without(event.record)
    return counts


def _without(
    category_of: Callable[[str], str], data: dict[str, Any], denied: Denied, counts: dict[str, int]
) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in data.items():
        category = category_of(name)
        if consent.is_one(name):  # and all within it: there `email` is a channel, and `location` a word
            kept[name] = value
        elif category in denied:
            counts[category] = counts.get(category, 0) + 1
        else:
            kept[name] = _inside(category_of, value, denied, counts)
    return kept


def _inside(category_of: Callable[[str], str], value: Any, denied: Denied, counts: dict[str, int]) -> Any:
    if type(value) is dict:
        return _without(category_of, value, denied, counts)
    if type(value) is list:
        return [_inside(category_of, item, denied, counts) for item in value]
    return value


def rewritten(categories: Categories, value: bytes, denied: Denied, whole: bool, message: str) -> bytes:
    """Return the bytes of an event, as they came, without the fields of these categories; of a `whole` one
    that is withheld only whose it was. `message`: its id, which is written where it came without one: it was
    made of the bytes as they were. What cannot be read is not kept at all."""
    try:
        event = _decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return b""
    if type(event) is not dict:
        return b""
    if not event.get("messageId"):
        event["messageId"] = message
    without = partial(_inside, categories.of_field, denied=denied, counts={})
    if whole:
        return _encode(_stub(event, without))
    for part in ("properties", "traits", "context"):
        if part in event:
            event[part] = without(event[part])
    return _encode(event)


def _stub(event: dict[str, Any], without: Callable[[Any], Any]) -> dict[str, Any]:
    stub: dict[str, Any] = {name: event[name] for name in _KEPT if name in event}
    stub["event" if stub.get("type", "track") == "track" else "name"] = WITHHELD
    if words := _words(event):
        stub["traits"] = words
    context = event.get("context")
    if type(context) is dict:
        kept = {name: context[name] for name in _KEPT_OF_CONTEXT if name in context}
        if "traits" in context:
            kept["traits"] = without(context["traits"])
        device = context.get("device")
        if type(device) is dict:
            kept["device"] = {name: device[name] for name in ("id", "advertisingId") if name in device}
        stub["context"] = kept
    return stub


def _words(event: dict[str, Any]) -> dict[str, Any]:
    """Return what an event says of consent outside of its context, as traits."""
    traits, properties = event.get("traits"), event.get("properties")
    own = (
        {name: said for name, said in traits.items() if consent.is_one(name)} if type(traits) is dict else {}
    )
    name = event.get("event")
    if type(name) is str and type(properties) is dict:
        own |= consent.stamped({}, name, properties)
    return own


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
