"""CloudEvents 1.0 → the JSON of one Segment message. Pure functions, used by the gateway and by the log
readers.

What becomes what: `id` → messageId, `time` → timestamp, `source` → context.source, `subject` → userId unless
the data names a person itself (`null` and blanks name nobody). `type` is the event name of a track and the
data its properties; a type of the Segment spec (`identify`, `com.segment.page` ...) makes a message of that
type, whose fields may all stand in the data. Values are copied as they stand, byte for byte: what they hold
is for validation to judge.
"""

import base64
import binascii
import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw

from schemas.wire.events import EVENT_TYPES, Reject

_PREFIX = "com.segment."
_IDS = frozenset(("userId", "anonymousId"))
_SPEC_FIELDS = _IDS | {
    "event",
    "groupId",
    "previousId",
    "traits",
    "context",
    "integrations",
    "timestamp",
    "sentAt",
}
_NAMED = ("page", "screen")  # `name` is the message's; elsewhere it is a trait or a property
_NULL = Raw(b"null")
_no_id = re.compile(rb'null|"(?:\s|\\[tnr])*+"').fullmatch
_NOT_JSON = Reject("not_json", "the event is not JSON")
_TOO_DEEP = Reject("too_deep", "the event is nested too deeply")


class _Envelope(msgspec.Struct):
    specversion: str | None = None
    id: str | None = None
    source: str | None = None
    type: str | None = None
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    data: Raw = _NULL
    data_base64: str | None = None


_read_envelope = msgspec.json.Decoder(_Envelope).decode
_read_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_write = msgspec.json.encode


def structured(body: bytes) -> bytes | Reject:
    """Return a CloudEvent in the JSON format as Segment JSON.

    >>> structured(b'{"specversion":"1.0","id":"1","source":"/till","type":"paid","subject":"u","data":{}}')
    b'{"type":"track","messageId":"1","event":"paid","properties":{},"userId":"u","context":{"source":"/till"}}'
    """
    try:
        envelope = _read_envelope(body)
        if envelope.data_base64 is not None:
            envelope.data = Raw(base64.b64decode(envelope.data_base64, validate=True))
    except msgspec.ValidationError as error:
        return Reject("cloudevent_invalid", str(error))
    except binascii.Error:
        return Reject("cloudevent_invalid", "data_base64 is not base64")
    except RecursionError:
        return _TOO_DEEP
    except ValueError:
        return _NOT_JSON
    return _translate(envelope)


def binary(attributes: Mapping[str, str], content_type: str, data: bytes) -> bytes | Reject:
    """Return a CloudEvent in binary mode, as Segment JSON. `attributes` are the headers without their
    `ce-` or `ce_`, already decoded."""
    known = {
        name: attributes[name]
        for name in ("specversion", "id", "source", "type", "subject", "time")
        if name in attributes
    }
    return _translate(
        _Envelope(**known, datacontenttype=content_type or None, data=Raw(data) if data else _NULL)
    )


def _translate(envelope: _Envelope) -> bytes | Reject:
    if envelope.specversion != "1.0":
        return Reject("cloudevent_invalid", "specversion must be 1.0")
    if not (envelope.id and envelope.source and envelope.type):
        return Reject("cloudevent_invalid", "id, source and type are required")
    if not _is_json(envelope.datacontenttype):
        return Reject("cloudevent_invalid", "the data must be JSON")
    try:
        data = {} if envelope.data == _NULL else _read_fields(envelope.data)
    except msgspec.ValidationError:
        return Reject("cloudevent_invalid", "the data must be a JSON object")
    except RecursionError:
        return _TOO_DEEP
    except ValueError:
        return _NOT_JSON
    kind = envelope.type.removeprefix(_PREFIX)
    message: dict[str, Raw] = {
        "type": _raw(kind if kind in EVENT_TYPES else "track"),
        "messageId": _raw(envelope.id),
    }
    if kind in EVENT_TYPES:
        message = _spec_message(kind, data) | message
    else:
        message["event"] = _raw(envelope.type)
        message |= _split(data, _IDS, "properties")
    if envelope.time:
        message["timestamp"] = _raw(envelope.time)
    for name in _IDS:
        if name in message and _no_id(message[name]):
            del message[name]
    if envelope.subject and not _IDS & message.keys():
        message["userId"] = _raw(envelope.subject)
    message["context"] = _with_source(message.get("context"), envelope.source)
    return _write(message)


def _spec_message(kind: str, data: dict[str, Raw]) -> dict[str, Raw]:
    """The data as a message of the Segment spec; what is no field of a message is one of its traits or
    properties."""
    inner = "traits" if kind in ("identify", "group") else "properties"
    if inner in data:
        return data
    return _split(data, _SPEC_FIELDS | {"name"} if kind in _NAMED else _SPEC_FIELDS, inner)


def _split(data: dict[str, Raw], fields: frozenset[str], inner: str) -> dict[str, Raw]:
    message = {name: value for name, value in data.items() if name in fields}
    message[inner] = Raw(_write({name: value for name, value in data.items() if name not in fields}))
    return message


def _with_source(context: Raw | None, source: str) -> Raw:
    if context is None or context == _NULL:
        return Raw(_write({"source": source}))
    try:
        fields = _read_fields(context)
    except ValueError:
        return context  # no object: validation passes over it
    return Raw(_write({"source": _raw(source)} | fields))


def _raw(text: str) -> Raw:
    return Raw(_write(text))


def _is_json(content_type: str | None) -> bool:
    if content_type is None:
        return True
    media = content_type.partition(";")[0].strip().lower()
    return media in ("application/json", "text/json") or media.endswith("+json")
