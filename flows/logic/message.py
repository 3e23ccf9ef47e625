"""A Segment message as it comes, its strict decode, the slow look at what that refuses, and what the checks
make of it."""

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from schemas.records.identity_graph import Identifier
from schemas.wire.events import EVENT_TYPES, EventType, Reject

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
# msgspec rounds what is finer than a microsecond, which ends the day at 23:59:59.9999999. Such a time is cut;
# what rounding cannot carry over into the next millisecond has no such digits, and costs no more than this
# look.
_NEARLY: Final = b"999"
_FINER: Final = re.compile(rb"(:\d\d\.\d{6})\d+")
_IDS: Final = ("userId", "anonymousId", "previousId", "groupId")
_OBJECTS: Final = ("properties", "traits", "context")
_TEXTS: Final = ("event", "name")
_HAPPENED: Final = ("originalTimestamp", "timestamp")  # the first that can be read counts
# The types whose meaning lies in a field. To all others it is only auxiliary: where it is not what it should
# be, it is absent.
_NEEDED: Final[dict[str, tuple[EventType, ...]]] = {
    "event": ("track",),
    "name": ("page", "screen", "group"),
    "groupId": ("group",),
    "previousId": ("alias",),
    "properties": ("track", "page", "screen"),
    "traits": ("identify", "group"),
    "context": (),
}


class Message(
    msgspec.Struct, rename={"message_id": "messageId", "user_id": "userId", "anonymous_id": "anonymousId"}
):
    """A Segment message as its clients write it; what is not named here does not concern us."""

    type: EventType
    message_id: str | None = None
    user_id: str | int | None = None
    anonymous_id: str | int | None = None
    previousId: str | int | None = None
    groupId: str | int | None = None
    event: str | None = None
    name: str | None = None
    timestamp: datetime | None = None
    originalTimestamp: datetime | None = None
    sentAt: datetime | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


class Checked(msgspec.Struct):
    """A valid event; personal data still in the open, in `sensitive`."""

    type: EventType
    name: str
    time_ms: int
    received_ms: int
    message: str
    channel: str
    identifiers: list[Identifier]  # distinct, strongest first
    user_id: str | None
    properties: dict[str, Any]
    traits: dict[str, Any]
    sensitive: dict[str, Any]
    record: dict[str, str] = {}  # what matching compares; empty where there is too little of it
    # personal data that was taken out and is not kept: what told it -> how often
    removed: dict[str, int] = {}
    content: bytes = b""  # marks of what it says, where repetitions are dropped
    backfill: bool = False  # history, of which nothing is sent
    # traits that a banner puts on each event: they go on where they say something new
    stamps: dict[str, Any] = {}
    said: dict[str, bool] = {}  # what it states about consent: each thing, and whether it is allowed
    # of an alias with a user id: whom its previousId names, as a user and as a visitor
    previous: tuple[bytes, bytes] | None = None
    # properties and traits before personal values were taken out, where the event is in the sample that is
    # looked at for them; forgotten with the commit
    sampled: dict[str, dict[str, Any]] | None = None


class Stated(msgspec.Struct):
    """An event that is not refused, before its values are looked at for personal data."""

    message: Message
    group: str  # the group that it is about, and what it says of it
    company: dict[str, Any]
    event: Checked


class _Times(msgspec.Struct):
    """The times of a message as they stand."""

    timestamp: str | None = None
    originalTimestamp: str | None = None
    sentAt: str | None = None


_decode = msgspec.json.Decoder(Message).decode
_decode_times = msgspec.json.Decoder(_Times).decode
_decode_any = msgspec.json.Decoder().decode


def decode(value: bytes) -> Message:
    """Decode strictly. Raises `msgspec.DecodeError`, `RecursionError` or `UnicodeDecodeError`."""
    message = _decode(value)
    if _NEARLY in value and _FINER.search(value):
        for name, text in msgspec.structs.asdict(_decode_times(value)).items():
            if text is not None:
                setattr(message, name, msgspec.convert(_cut(text), datetime))
    return message


def _cut(text: str) -> str:
    return _FINER.sub(rb"\1", text.encode()).decode()


def rescue(value: bytes) -> Message | Reject:
    """Read leniently what the strict decode refused, or return the reason why it cannot be read."""
    data = _object_of(value)
    if isinstance(data, Reject):
        return data
    for rescued in (_rescue_ids, _rescue_objects, _rescue_texts, _rescue_times):
        if (refused := rescued(data)) is not None:
            return refused
    try:
        return msgspec.convert(data, Message)
    except msgspec.ValidationError as error:
        return Reject("field_invalid", str(error))


def _object_of(value: bytes) -> dict[str, Any] | Reject:
    """Return the JSON object of an event of a known type."""
    if not value.strip():
        return Reject("empty", "expected a JSON object, got no bytes")
    try:
        data = _decode_any(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        reason = str(error)
        if "Number out of range" in reason:
            return Reject("number_out_of_range", "a number does not fit 64 bits")
        return Reject("not_json", reason if isinstance(error, msgspec.DecodeError) else "cannot be decoded")
    if not isinstance(data, dict):
        return Reject("not_an_object", f"expected a JSON object, got {type(data).__name__}")
    if data.get("type") not in EVENT_TYPES:
        return Reject("type_unknown", f"expected `type` to be one of {', '.join(EVENT_TYPES)}")
    return data


def _rescue_ids(data: dict[str, Any]) -> Reject | None:
    for name in _IDS:
        if isinstance(data.get(name), float | bool | list | dict):
            if _is_needed(name, data):
                return Reject("id_invalid", _expected(name, "text", data))
            del data[name]
    if type(data.get("messageId")) is int:
        data["messageId"] = str(data["messageId"])
    if not isinstance(data.get("messageId"), str | None):
        return Reject("message_id_invalid", _expected("messageId", "text", data))
    return None


def _rescue_objects(data: dict[str, Any]) -> Reject | None:
    for name in _OBJECTS:
        if data.get(name) in ("", []):  # so some languages write an empty object
            del data[name]
        elif not isinstance(data.get(name), dict | None):
            if _is_needed(name, data):
                return Reject("field_invalid", _expected(name, "an object", data))
            del data[name]
    return None


def _rescue_texts(data: dict[str, Any]) -> Reject | None:
    for name in _TEXTS:
        if not isinstance(data.get(name), str | None):
            if _is_needed(name, data):
                return Reject("field_invalid", _expected(name, "text", data))
            del data[name]
    return None


def _rescue_times(data: dict[str, Any]) -> Reject | None:
    stated = {name: data.pop(name, None) for name in (*_HAPPENED, "sentAt")}
    times = {name: _lenient_time(value) for name, value in stated.items() if value not in (None, "")}
    unread = [name for name in _HAPPENED if name in times and times[name] is None]
    if unread and not any(times.get(name) for name in _HAPPENED):
        detail = f"expected `{unread[0]}` as ISO 8601, such as 2026-01-31T12:00:00Z"
        return Reject("timestamp_invalid", detail)
    data |= times
    return None


def _expected(name: str, what: str, data: dict[str, Any]) -> str:
    return f"expected `{name}` to be {what}, got {type(data[name]).__name__}"


def _is_needed(name: str, data: dict[str, Any]) -> bool:
    """Whether the message means nothing, or nobody, without this field."""
    if name == "anonymousId":
        return data.get("userId") in (None, "")
    return name not in _NEEDED or data["type"] in _NEEDED[name]


def _lenient_time(value: Any) -> datetime | None:
    """ISO 8601 in the forms that `datetime` knows, or Unix seconds or milliseconds."""
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return datetime.fromisoformat(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
