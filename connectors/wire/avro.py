"""Avro in the Confluent wire format → the JSON of one Segment message.

    0x00, schema id (4 bytes, big-endian), payload            the usual form
    header `__value_schema_id` = 0x00 + id or 0x01 + GUID     newer clients: then the value is the payload
                                                              alone

Schemas are looked up in a folder of `<id>.avsc` files, then at a schema registry, and remembered. One that
lets a few bytes of data exhaust the stack (it refers to itself) or the memory (arrays of items of no size) is
refused.
"""

import json
import struct
import time
import uuid
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import httpx
import msgspec
import stamina
from fastavro.schema import SchemaParseException, UnknownType, parse_schema
from fastavro.types import Schema

from connectors.wire import avro_types
from schemas.errors import Unreachable
from schemas.wire.events import EVENT_TYPES, Reject

SCHEMA_ID_HEADER = "__value_schema_id"
ASK_AGAIN_S = 30.0  # how long an id stays unknown
PATIENCE_S = 8.0  # how long a registry may be away
SCHEMAS_MAX = 10_000  # ids remembered: a sender of random ids must not fill the memory

# Whatever fastavro raises on bytes that do not fit the schema.
_MISFITS = (
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    ArithmeticError,
    StopIteration,
    RecursionError,
    MemoryError,
    struct.error,
)
_LIFTED = ("userId", "anonymousId", "messageId", "timestamp")
_TIMES = ("timestamp", "originalTimestamp", "sentAt")

# Decimals become numbers with all their digits, bytes base64, times RFC 3339; NaN and infinity become null.
to_json = msgspec.json.Encoder(decimal_format="number").encode

avro_types.install()

SchemaId = int | str  # a number, or a GUID as text


class SchemaRegistry:
    """Schemas by id. `url` may hold a login (`https://user:password@host`); empty: the folder alone."""

    def __init__(self, folder: Path | None, url: str = "") -> None:
        self._folder = folder
        self._http = (
            httpx.Client(
                base_url=url, timeout=3.0, headers={"Accept": "application/vnd.schemaregistry.v1+json"}
            )
            if url
            else None
        )
        self._known: dict[SchemaId, Schema] = {}
        self._unknown: dict[SchemaId, tuple[float, Reject]] = {}

    def schema(self, schema_id: SchemaId) -> Schema | Reject:
        """Return the parsed schema, or why there is none. Raises `Unreachable` where the registry does not
        answer: no fault of the event's."""
        known = self._known.get(schema_id)
        if known is not None:
            return known
        asked_at, reject = self._unknown.get(schema_id, (0.0, None))
        if reject is not None and time.monotonic() - asked_at < ASK_AGAIN_S:
            return reject
        found = self._look_up(schema_id)
        if isinstance(found, Reject):
            if len(self._unknown) >= SCHEMAS_MAX:
                self._unknown.clear()
            self._unknown[schema_id] = (time.monotonic(), found)
        else:
            self._known[schema_id] = found
        return found

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    def _look_up(self, schema_id: SchemaId) -> Schema | Reject:
        path = self._folder / f"{schema_id}.avsc" if self._folder is not None else None
        try:
            if path is not None and path.is_file():
                return _bounded(parse_schema(json.loads(path.read_text())))
            entry = self._get(
                f"/schemas/ids/{schema_id}" if isinstance(schema_id, int) else f"/schemas/guids/{schema_id}"
            )
            if entry is None:
                return Reject("schema_unknown", f"schema {schema_id} is not known")
            if entry.get("schemaType", "AVRO") != "AVRO":
                return Reject("schema_unknown", f"schema {schema_id} is {entry['schemaType']}, not AVRO")
            return _bounded(self._parse(entry, {}))
        except _Unbounded as error:
            return Reject("schema_unknown", f"schema {schema_id} is not taken: {error}")
        except (SchemaParseException, UnknownType, ValueError, KeyError, TypeError, RecursionError) as error:
            return Reject("schema_unknown", f"schema {schema_id} is not valid Avro: {type(error).__name__}")

    def _parse(self, entry: dict[str, Any], named: dict[str, Any]) -> Schema:
        """With the schemas that it refers to, which go into `named`."""
        for reference in entry.get("references", ()):
            if reference["name"] not in named:
                subject = self._get(f"/subjects/{reference['subject']}/versions/{reference['version']}")
                if subject is None:
                    raise KeyError(reference["name"])
                self._parse(subject, named)
        return parse_schema(json.loads(entry["schema"]), named_schemas=named)

    def _get(self, path: str) -> dict[str, Any] | None:
        if self._http is None:
            return None
        try:
            for attempt in stamina.retry_context(
                on=httpx.TransportError, attempts=None, timeout=PATIENCE_S, wait_initial=0.1, wait_max=1.0
            ):
                with attempt:
                    answer = self._http.get(path)
        except httpx.TransportError as error:
            raise Unreachable(
                f"schema registry {self._http.base_url.host} does not answer: {error}"
            ) from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code != httpx.codes.OK:
            raise Unreachable(
                f"schema registry {self._http.base_url.host} answers {answer.status_code} to {path}"
            )
        entry: dict[str, Any] = answer.json()
        return entry


class AvroReader:
    """Values in Avro → Segment JSON."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry

    def message(self, value: bytes, id_header: bytes | None = None) -> bytes | Reject:
        """Return it as one Segment message (see `segment_message`)."""
        read = self._read(value, id_header)
        return read if isinstance(read, Reject) else to_json(segment_message(*read))

    def record(self, value: bytes, id_header: bytes | None = None) -> bytes | Reject:
        """Return the record as JSON, as it stands."""
        read = self._read(value, id_header)
        return read if isinstance(read, Reject) else to_json(read[1])

    def close(self) -> None:
        self._registry.close()

    def _read(self, value: bytes, id_header: bytes | None) -> tuple[str, dict[str, Any]] | Reject:
        id_bytes, payload = (value[:5], value[5:]) if id_header is None else (id_header, value)
        schema_id = _schema_id(id_bytes)
        if schema_id is None:
            return Reject("avro_invalid", "no schema id where the Confluent wire format has it")
        schema = self._registry.schema(schema_id)
        if isinstance(schema, Reject):
            return schema
        stream = BytesIO(payload)
        try:
            record = fastavro.schemaless_reader(stream, schema, None)
        except _MISFITS as error:
            return Reject("avro_invalid", f"not a record of schema {schema_id}: {type(error).__name__}")
        if stream.tell() != len(payload):
            return Reject(
                "avro_invalid", f"{len(payload) - stream.tell()} bytes too many for schema {schema_id}"
            )
        if not isinstance(record, dict):
            return Reject("avro_invalid", f"schema {schema_id} is not a record")
        return _name(schema), record


def segment_message(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return a Segment message: a record with a `type` of the Segment spec, or with an `event`, is a Segment
    message itself. Any other is the properties of a track that has the schema's name; identifiers,
    messageId and timestamp are lifted out of it.

    >>> segment_message("Paid", {"userId": "u", "total": 5, "anonymousId": None})
    {'type': 'track', 'event': 'Paid', 'userId': 'u', 'properties': {'total': 5}}
    """
    if record.get("type") in EVENT_TYPES:
        message = {key: value for key, value in record.items() if value is not None}
    elif isinstance(record.get("event"), str):
        message = {key: value for key, value in record.items() if value is not None} | {"type": "track"}
    else:
        lifted = {key: record[key] for key in _LIFTED if record.get(key) is not None}
        message = {
            "type": "track",
            "event": name,
            **lifted,
            "properties": {key: value for key, value in record.items() if key not in _LIFTED},
        }
    for key in _TIMES:
        if isinstance(message.get(key), int):
            message[key] = _date(message[key])
    return message


def _date(unix_ms: int) -> datetime | int:
    """A plain long in a field for a time holds milliseconds; one that is no date is left for validation to
    refuse."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return unix_ms


def _schema_id(prefix: bytes) -> SchemaId | None:
    if len(prefix) == 5 and prefix[0] == 0:
        return int.from_bytes(prefix[1:], "big")
    if len(prefix) == 17 and prefix[0] == 1:
        return str(uuid.UUID(bytes=prefix[1:]))
    return None


def _name(schema: Schema) -> str:
    """The record's name without its namespace."""
    return str(schema["name"]).rpartition(".")[2] if isinstance(schema, dict) else ""


class _Unbounded(Exception):
    """A schema whose data may be far larger than its bytes."""


_FIXED_SIZES = {"null": 0, "float": 4, "double": 8}


def _bounded(schema: Any) -> Schema:
    """The same schema. Raises `_Unbounded`; the decoder is native code, where too deep a recursion ends the
    process."""
    sizes: dict[str, int] = {}
    named: dict[str, Any] = dict(schema.get("__named_schemas", {})) if isinstance(schema, dict) else {}

    def least(part: Any, above: frozenset[str]) -> int:
        """Return the fewest bytes that a value of this type takes."""
        if isinstance(part, list):
            return 1 + min((least(branch, above) for branch in part), default=0)
        if isinstance(part, str):
            if part in above:
                raise _Unbounded(f"{part} refers to itself")
            return (
                least(named[part], above)
                if part in named and part not in sizes
                else sizes.get(part, _FIXED_SIZES.get(part, 1))
            )
        match part["type"]:
            case "record" | "error":
                named[part["name"]] = part
                size = sum(least(field["type"], above | {part["name"]}) for field in part["fields"])
                sizes[part["name"]] = size
                return size
            case "fixed":
                sizes[part["name"]] = int(part["size"])
                return int(part["size"])
            case "array":
                if least(part["items"], above) == 0:
                    raise _Unbounded("it has an array of items of no size")
                return 1
            case "map":
                least(part["values"], above)
                return 1
            case "enum":
                return 1
            case other:
                return least(other, above)

    least(schema, frozenset())
    return schema  # type: ignore[no-any-return]
