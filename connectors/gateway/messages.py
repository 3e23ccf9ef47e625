"""One Segment message of a request → one `RawEvent`. Pure, and the hot path of the gateway.

The bytes of a message are kept as they came. What the request adds (type by route, `sentAt`, batch-level
`context` and `integrations`, a missing messageId) is put in front of them where the message has no such
field; only where it has one that must be merged or replaced is it taken apart, so no key ever stands twice.
"""

from typing import Any
from uuid import uuid4

import msgspec
from msgspec import UNSET, Raw, UnsetType

from connectors.gateway.door import Door
from connectors.gateway.intake import Keyed
from schemas.wire.events import EVENT_TYPES, RawEvent, Reject, RejectReason

_NULL = Raw(b"null")
_GPC = {"gpc": Raw(b"true")}
_ABSENT = (UNSET, None, "")

ORDER_TYPES = ("merge", "unmerge")  # two customers are one, or are not: from write keys with `merges = true`
_TYPE_JSON = {kind: f'"{kind}"'.encode() for kind in (*EVENT_TYPES, *ORDER_TYPES)}
_read_fields = msgspec.json.Decoder(dict[str, Raw]).decode


class Head(msgspec.Struct):
    """What the gateway looks at; the rest stays bytes. Anything may come as a value: `resolve` judges."""

    type: Any = UNSET
    messageId: Any = UNSET
    userId: Any = UNSET
    anonymousId: Any = UNSET
    writeKey: Any = UNSET
    previousId: Any = UNSET
    groupId: Any = UNSET
    event: Any = UNSET
    name: Any = UNSET
    timestamp: Any = UNSET
    originalTimestamp: Any = UNSET
    sentAt: Raw | UnsetType = UNSET
    properties: Raw | UnsetType = UNSET
    traits: Raw | UnsetType = UNSET
    context: Raw | UnsetType = UNSET
    integrations: Raw | UnsetType = UNSET


class Shared(msgspec.Struct, frozen=True):
    """What a request gives to each of its messages. `None` or empty: nothing."""

    source: str
    received_ms: int
    limit: int  # bytes of one message
    kind: str | None = None  # the type, where the route says it
    merges: bool = False  # whether its messages may unite and part customers
    sent_at: bytes | None = None  # as JSON
    context: dict[str, Raw] = {}
    integrations: dict[str, Raw] = {}
    door: Door | None = None  # what is refused besides
    gpc: bool = False  # whether the browser asks not to sell or share what it sends


_read_head = msgspec.json.Decoder(Head).decode


def head_of(message: bytes) -> Head | Reject:
    """Return the fields that the gateway needs, or why there are none."""
    if message[:1] != b"{":
        return Reject("not_an_object", "an event must be a JSON object")
    try:
        return _read_head(message)
    except msgspec.ValidationError:  # every field may be anything, so this is about its size
        return Reject("number_out_of_range", "an identifier is a number that 64 bits cannot hold")
    except RecursionError:
        return Reject("too_deep", "the event is nested too deeply")
    except ValueError:
        return Reject("not_json", "the event is not JSON")


def keyed(message: bytes, shared: Shared) -> Keyed:
    """Return the event and its ordering key. `fault` is set, on at most `limit` of the original bytes,
    where it is refused."""
    return keyed_by(head_of(message), message, shared)


def keyed_by(head: Head | Reject, message: bytes, shared: Shared) -> Keyed:
    """Do as `keyed` for a message whose head is known already."""
    if len(message) > shared.limit:
        detail = f"the event has {len(message)} bytes, at most {shared.limit} are allowed"
        return faulty("too_large", detail, message, shared)
    if isinstance(head, Reject):
        return faulty(head.reason, head.detail, message, shared)
    kind = shared.kind or head.type
    if (refused := _of_wrong_type(kind, shared)) is not None:
        return faulty(refused.reason, refused.detail, message, shared)
    absent = head.messageId in _ABSENT
    message_id = str(uuid4()) if absent else head.messageId
    additions, taken = _additions(head, shared, message_id if absent else None)
    # perhaps `{}`, where nothing may be followed by a comma
    bare = head.userId is UNSET and head.anonymousId is UNSET
    try:
        value = _add(message, additions, taken or bare) if additions else message
    except ValueError:  # a name that is no UTF-8: `head_of` passes over what it does not need
        return faulty("not_json", "the event is not JSON", message, shared)
    event = RawEvent(value, shared.received_ms, shared.source)
    if shared.door is not None and kind not in ORDER_TYPES:
        refused = shared.door.refusal(kind, head, message_id, event)
        if refused is not None:
            return faulty(refused.reason, refused.detail, value, shared)  # as it would be judged again
    return _key(head, message_id), event


def _of_wrong_type(kind: object, shared: Shared) -> Reject | None:
    if kind in ORDER_TYPES:
        if not shared.merges:
            return Reject("order_forbidden", f"{kind} needs a write key with `merges = true`")
    elif shared.kind is None and kind not in EVENT_TYPES:
        return Reject("type_unknown", f"type must be one of {', '.join(EVENT_TYPES)}")
    return None


def _additions(head: Head, shared: Shared, message_id: object) -> tuple[dict[str, bytes], bool]:
    """Return the members that a message lacks or that its batch changes (`message_id`: the one that it lacks,
    else None), and whether one of their names stands in the message already."""
    additions: dict[str, bytes] = {}
    taken = False
    if shared.kind is not None and head.type != shared.kind:
        additions["type"] = _TYPE_JSON[shared.kind]
        taken |= head.type is not UNSET
    if message_id is not None:
        additions["messageId"] = f'"{message_id}"'.encode()
        taken |= head.messageId is not UNSET
    if shared.sent_at is not None and (head.sentAt is UNSET or head.sentAt == _NULL):
        additions["sentAt"] = shared.sent_at
        taken |= head.sentAt is not UNSET
    for name, common, own in (
        ("context", shared.context, head.context),
        ("integrations", shared.integrations, head.integrations),
    ):
        merged = _merge(common, own) if common else None
        if name == "context" and shared.gpc:
            merged = _signalled(own if merged is None else Raw(merged))
        if merged is not None:
            additions[name] = merged
            taken |= own is not UNSET
    return additions, taken


def faulty(reason: RejectReason, detail: str, message: bytes, shared: Shared) -> Keyed:
    """Return an event for the dead-letter log."""
    return str(uuid4()), RawEvent(
        value=message[: shared.limit],
        received_ms=shared.received_ms,
        source=shared.source,
        fault=reason,
        detail=detail,
    )


def fields_of(value: Raw | UnsetType) -> dict[str, Raw]:
    """Return the members of a batch-level object; {} for anything else: it is no item's own, so none is
    refused for it."""
    try:
        return {} if value is UNSET else _read_fields(value)
    except (ValueError, RecursionError):
        return {}


def _key(head: Head, message_id: object) -> str:
    for key in (head.userId, head.anonymousId, message_id):
        if key and isinstance(key, str):
            return key
    return ""


def _merge(common: dict[str, Raw], own: Raw | UnsetType) -> bytes | None:
    """Both objects as one, member by member; the message's own wins. `None` where its own is no object: then
    it stays."""
    if own is UNSET or own == _NULL:
        return msgspec.json.encode(common)
    try:
        return msgspec.json.encode(common | _read_fields(own))
    except ValueError:
        return None


def _signalled(context: Raw | UnsetType) -> bytes:
    """A context with the browser's word, which no client's own takes back. What is no object says nothing
    else."""
    return msgspec.json.encode(fields_of(context) | _GPC)


def _add(message: bytes, additions: dict[str, bytes], rebuild: bool) -> bytes:
    if rebuild:
        return msgspec.json.encode(
            _read_fields(message) | {name: Raw(value) for name, value in additions.items()}
        )
    front = b"{"
    for name, value in additions.items():
        front += b'"%s":%s,' % (name.encode(), value)
    return front + message[1:]
