"""One Kafka record ↔ one `RawEvent`.

From the gateway   header `millrace-received` (Unix ms), `millrace-source`, and `millrace-sealed: 1` if the
                   value is encrypted
From apps          JSON of a Segment message; a CloudEvent (structured by its content-type, binary by its
                   `ce_` headers); Avro in the
                   Confluent wire format, also as the data of a binary CloudEvent. The source is the topic's
                   name.

A record that cannot be read becomes an event with its `fault` set and the original bytes. It is never an
exception, whoever wrote its headers: anybody who may write to the topic could stop the flow with it.
"""

from collections.abc import Callable
from typing import Any, get_args

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from connectors.wire import formats
from connectors.wire.avro import SCHEMA_ID_HEADER, AvroReader
from schemas.errors import Foreign
from schemas.wire.events import RawEvent, Reject, RejectReason

Transform = Callable[[bytes], bytes]
Headers = list[tuple[str, bytes]]

SEALED, RECEIVED, SOURCE, FAULT, DETAIL = (
    f"millrace-{name}" for name in ("sealed", "received", "source", "fault", "detail")
)
_FAULTS = frozenset(get_args(RejectReason))


def headers_of(event: RawEvent, *, sealed: bool) -> Headers:
    """Return what goes beside the value of an event that the gateway writes."""
    headers = [(RECEIVED, b"%d" % event.received_ms), (SOURCE, event.source.encode())]
    if sealed:
        headers.append((SEALED, b"1"))
    if event.fault is not None:
        headers += [(FAULT, event.fault.encode()), (DETAIL, event.detail.encode())]
    return headers


def read_record(
    message: Message, open: Transform | None, avro: AvroReader, clock: Callable[[], int], bytes_max: int
) -> RawEvent:
    """Return the event that a consumed record holds. `open` decrypts what the gateway has sealed, and raises
    `Foreign` where it cannot; `clock` gives the Unix time in ms, for records without a timestamp. What an app
    wrote may have `bytes_max`.
    """
    value = message.value() or b""
    listed: Any = message.headers()
    headers = {name: given or b"" for name, given in listed} if listed else {}
    kind, stamp = message.timestamp()
    received_ms = clock() if kind == TIMESTAMP_NOT_AVAILABLE else stamp
    if RECEIVED in headers:
        return _from_gateway(value, headers, received_ms, open)
    if len(value) > bytes_max:  # the beginning says whose it is; all of it lies in the topic
        detail = f"expected at most {bytes_max} bytes, got {len(value)}; these are the first"
        return RawEvent(
            value=value[:bytes_max],
            received_ms=received_ms,
            source=str(message.topic()),
            fault="too_large",
            detail=detail,
        )
    read = _translate(value, headers, avro) if headers or value[:1] in (b"", b"\0") else value
    if isinstance(read, Reject):
        return RawEvent(
            value=value,
            received_ms=received_ms,
            source=str(message.topic()),
            fault=read.reason,
            detail=read.detail,
        )
    return RawEvent(read, received_ms, str(message.topic()))


def _from_gateway(
    value: bytes, headers: dict[str, bytes], stored_ms: int, open: Transform | None
) -> RawEvent:
    said = headers[RECEIVED]
    received_ms = int(said) if said.isdigit() and len(said) < 16 else stored_ms
    source = headers.get(SOURCE, b"").decode(errors="replace")
    if SEALED in headers:
        if open is None:
            return RawEvent(
                value=value,
                received_ms=received_ms,
                source=source,
                fault="seal_broken",
                detail="it is sealed, and there is no key to open it with",
            )
        try:
            value = open(value)
        except Foreign as error:
            return RawEvent(
                value=value, received_ms=received_ms, source=source, fault="seal_broken", detail=str(error)
            )
    fault: Any = headers.get(FAULT, b"").decode(errors="replace")
    detail = headers.get(DETAIL, b"").decode(errors="replace")
    return RawEvent(
        value=value,
        received_ms=received_ms,
        source=source,
        fault=fault if fault in _FAULTS else None,
        detail=detail,
    )


def _translate(value: bytes, headers: dict[str, bytes], avro: AvroReader) -> bytes | Reject:
    content_type = headers.get("content-type", b"").decode(errors="replace")
    media = content_type.partition(";")[0].strip().lower()
    schema_id = headers.get(SCHEMA_ID_HEADER)
    is_avro = schema_id is not None or value.startswith(b"\0")
    if media.startswith("application/cloudevents"):
        if media != "application/cloudevents+json":
            return Reject("cloudevent_invalid", "a structured CloudEvent must be one event in JSON")
        return formats.structured(value)
    if "ce_specversion" in headers:
        attributes = {
            name[3:]: given.decode(errors="replace")
            for name, given in headers.items()
            if name.startswith("ce_")
        }
        if not is_avro:
            return formats.binary(attributes, content_type, value)
        record = avro.record(value, schema_id)
        return (
            record if isinstance(record, Reject) else formats.binary(attributes, "application/json", record)
        )
    if not value:
        return Reject("empty")
    return avro.message(value, schema_id) if is_avro else value
