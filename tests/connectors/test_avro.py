"""Avro in the Confluent wire format: look-up of schemas, decoding, and what becomes of a record."""

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from datetime import time as clock_time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.wire import avro
from connectors.wire.avro import AvroReader, SchemaRegistry, segment_message
from flows.logic.message import Checked
from flows.logic.resolution.validation import Validator
from schemas.config import Config
from schemas.errors import Unreachable
from schemas.wire.events import RawEvent, Reject

PAID = {
    "type": "record",
    "name": "Paid",
    "namespace": "shop.till",
    "fields": [
        {"name": "userId", "type": ["null", "string"]},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "receipt", "type": "bytes"},
        {"name": "due", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "till", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "weight", "type": "double"},
        {"name": "lines", "type": {"type": "array", "items": {"type": "map", "values": "long"}}},
    ],
}
NANOS = 1_795_391_999_999_999_999  # the last one of 22 November 2026
TILL = uuid.UUID(int=7)
RECORD = {
    "userId": "u1",
    "timestamp": datetime(2026, 11, 22, 8, 0, tzinfo=UTC),
    "total": Decimal("1234567890.12"),
    "receipt": b"\x00\xff",
    "due": date(2026, 12, 1),
    "at": clock_time(8, 30),
    "till": TILL,
    "weight": float("nan"),
    "lines": [{"lamp": 2}],
}


def encode(schema: Any, record: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record)
    return stream.getvalue()


def wire(schema_id: int, body: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + body


def record_of(*fields: tuple[str, Any], name: str = "R") -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": kind} for field, kind in fields],
    }


def in_folder(folder: Path, **schemas: Any) -> AvroReader:
    """`_7=schema` is schema 7."""
    for schema_id, schema in schemas.items():
        (folder / f"{schema_id[1:]}.avsc").write_text(
            schema if isinstance(schema, str) else json.dumps(schema)
        )
    return AvroReader(SchemaRegistry(folder))


def big_decimal(unscaled: int, scale: int) -> bytes:
    """As the Java library writes it."""
    stream = BytesIO()
    fastavro.schemaless_writer(
        stream, "bytes", unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)
    )
    fastavro.schemaless_writer(stream, "int", scale)
    return stream.getvalue()


class Registry:
    """A schema registry on loopback that counts what it is asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.status = 200
        self.asked: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                found = registry.answers.get(self.path)
                self.send_response(registry.status if found is not None or registry.status != 200 else 404)
                body = json.dumps(
                    found if found is not None else {"error_code": 40403, "message": "Schema not found"}
                ).encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry()
    yield server
    server.close()


class TestRecords:
    def test_a_record_of_its_own_kind_becomes_a_track(self, tmp_path: Path) -> None:
        message = in_folder(tmp_path, _7=PAID).message(wire(7, encode(PAID, RECORD)))
        assert isinstance(message, bytes)
        assert b'"total":1234567890.12' in message  # a number, with all its digits
        assert msgspec.json.decode(message) == {
            "type": "track",
            "event": "Paid",
            "userId": "u1",
            "timestamp": "2026-11-22T08:00:00Z",
            "properties": {
                "total": 1234567890.12,
                "receipt": "AP8=",
                "due": "2026-12-01",
                "at": "08:30:00",
                "till": str(TILL),
                "weight": None,
                "lines": [{"lamp": 2}],
            },
        }

    @pytest.mark.parametrize(
        ("kind", "logical", "written", "expected"),
        [
            ("long", "timestamp-nanos", NANOS, '"2026-11-22T23:59:59.999999999Z"'),
            ("long", "timestamp-nanos", -1, '"1969-12-31T23:59:59.999999999Z"'),
            ("long", "local-timestamp-nanos", NANOS, '"2026-11-22T23:59:59.999999999"'),
            ("long", "local-timestamp-micros", NANOS // 1000, '"2026-11-22T23:59:59.999999"'),
            ("long", "local-timestamp-millis", NANOS // 10**6, '"2026-11-22T23:59:59.999000"'),
            ("bytes", "big-decimal", big_decimal(-62_000, 2), "-620.00"),
            ("bytes", "big-decimal", big_decimal(10**40 + 1, 40), "1." + "0" * 39 + "1"),
            ("bytes", "big-decimal", big_decimal(7, -3), "7E+3"),
            (
                {"type": "fixed", "name": "D", "size": 12},
                "duration",
                bytes([1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0]),
                '"P1M2DT0.005S"',
            ),
            ({"type": "fixed", "name": "U", "size": 16}, "uuid", TILL.bytes, f'"{TILL}"'),
        ],
    )
    def test_every_logical_type_of_the_specification(
        self, tmp_path: Path, kind: Any, logical: str, written: Any, expected: str
    ) -> None:
        stated = (
            {**kind, "logicalType": logical}
            if isinstance(kind, dict)
            else {"type": kind, "logicalType": logical}
        )
        body = encode(record_of(("x", kind)), {"x": written})
        assert (
            in_folder(tmp_path, _1=record_of(("x", stated))).record(wire(1, body))
            == b'{"x":' + expected.encode() + b"}"
        )

    @pytest.mark.parametrize(
        "written",
        [
            b"",
            b"\x02",
            b"\x02\x07",
            b"\x02\x07\x02\x00",
            b"\x01\x07",
            big_decimal(1, 2_000_000_000),
            big_decimal(1, -2_000),
        ],
    )
    def test_what_is_no_big_decimal(self, tmp_path: Path, written: bytes) -> None:
        schema = record_of(("x", {"type": "bytes", "logicalType": "big-decimal"}))
        found = in_folder(tmp_path, _1=schema).record(
            wire(1, encode(record_of(("x", "bytes")), {"x": written}))
        )
        assert isinstance(found, Reject)
        assert found.reason == "avro_invalid"

    def test_when_it_happened_in_nanoseconds(self, tmp_path: Path) -> None:
        schema = record_of(
            ("userId", "string"),
            ("timestamp", {"type": "long", "logicalType": "timestamp-nanos"}),
            name="Paid",
        )
        body = encode(
            record_of(("userId", "string"), ("timestamp", "long")), {"userId": "u", "timestamp": NANOS}
        )
        message = in_folder(tmp_path, _1=schema).message(wire(1, body))
        assert isinstance(message, bytes)
        found = Validator(Config(), b"k" * 32, {}).check(RawEvent(message, NANOS // 10**6 + 60_000))
        assert isinstance(found, Checked)
        assert found.time_ms == NANOS // 10**6  # 23:59:59.999, not the next day

    def test_a_record_with_a_segment_type_is_the_message(self, tmp_path: Path) -> None:
        schema = record_of(
            ("type", "string"),
            ("userId", "string"),
            ("anonymousId", ["null", "string"]),
            ("traits", record_of(("vip", "boolean"), name="T")),
        )
        body = encode(
            schema, {"type": "identify", "userId": "u1", "anonymousId": None, "traits": {"vip": True}}
        )
        message = in_folder(tmp_path, _1=schema).message(wire(1, body))
        assert isinstance(message, bytes)
        assert msgspec.json.decode(message) == {"type": "identify", "userId": "u1", "traits": {"vip": True}}

    def test_a_record_with_an_event_is_a_track(self) -> None:
        assert segment_message("R", {"event": "Paid", "userId": "u"}) == {
            "type": "track",
            "event": "Paid",
            "userId": "u",
        }

    def test_a_type_that_is_none_of_the_spec_is_a_property(self) -> None:
        message = segment_message("Membership", {"type": "gold", "userId": "u"})
        assert message == {
            "type": "track",
            "event": "Membership",
            "userId": "u",
            "properties": {"type": "gold"},
        }

    @pytest.mark.parametrize(
        ("given_ms", "expected"),
        [(1_700_000_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)), (1 << 62, 1 << 62)],
    )
    def test_a_plain_long_for_a_time_is_milliseconds(self, given_ms: int, expected: object) -> None:
        assert segment_message("R", {"timestamp": given_ms})["timestamp"] == expected

    def test_the_record_alone_for_a_cloudevent(self, tmp_path: Path) -> None:
        schema = record_of(("n", "int"))
        assert in_folder(tmp_path, _1=schema).record(wire(1, encode(schema, {"n": 3}))) == b'{"n":3}'


class TestBadBytes:
    @pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\0", b"\1\0\0\0\7abc"])
    def test_no_schema_id(self, tmp_path: Path, value: bytes) -> None:
        found = in_folder(tmp_path, _7=PAID).message(value)
        assert isinstance(found, Reject)
        assert found.reason == "avro_invalid"

    def test_each_truncation(self, tmp_path: Path) -> None:
        reader, body = in_folder(tmp_path, _7=PAID), encode(PAID, RECORD)
        for length in range(len(body)):
            found = reader.message(wire(7, body[:length]))
            assert isinstance(found, Reject), length
            assert found.reason == "avro_invalid"

    def test_bytes_too_many(self, tmp_path: Path) -> None:
        found = in_folder(tmp_path, _7=PAID).message(wire(7, encode(PAID, RECORD) + b"\0"))
        assert isinstance(found, Reject)
        assert "1 bytes too many" in found.detail

    def test_a_schema_that_is_no_record(self, tmp_path: Path) -> None:
        found = in_folder(tmp_path, _1='"string"').message(wire(1, encode("string", "x")))
        assert found == Reject("avro_invalid", "schema 1 is not a record")

    @given(st.binary(max_size=120))
    def test_any_bytes_give_a_message_or_a_reject(
        self, tmp_path_factory: pytest.TempPathFactory, body: bytes
    ) -> None:
        reader = _any_reader(tmp_path_factory)
        for schema_id in (7, 8):
            found = reader.message(wire(schema_id, body))
            if isinstance(found, Reject):
                assert found.reason == "avro_invalid"
            else:
                msgspec.json.decode(found)


class TestSchemas:
    def test_an_unknown_id(self, tmp_path: Path) -> None:
        assert in_folder(tmp_path).message(wire(9, b"")) == Reject("schema_unknown", "schema 9 is not known")

    @pytest.mark.parametrize(
        "text", ["{", "[]", "{}", '{"type": "record", "fields": []}', '"no_such_type"', "7"]
    )
    def test_a_file_that_is_no_schema(self, tmp_path: Path, text: str) -> None:
        found = in_folder(tmp_path, _7=text).message(wire(7, b""))
        assert isinstance(found, Reject)

    @pytest.mark.parametrize(
        "schema",
        [
            record_of(("next", ["null", "R"])),
            record_of(("a", {"type": "array", "items": "null"})),
            record_of(
                (
                    "m",
                    {
                        "type": "map",
                        "values": {"type": "array", "items": record_of(("n", "null"), name="Nothing")},
                    },
                )
            ),
            record_of(("a", {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}})),
        ],
        ids=["refers to itself", "nulls", "empty records", "empty fixed"],
    )
    def test_a_schema_by_which_few_bytes_become_many_is_refused(self, tmp_path: Path, schema: Any) -> None:
        found = in_folder(tmp_path, _7=schema).message(wire(7, b"\x02" * 100_000))
        assert isinstance(found, Reject)
        assert (found.reason, "not taken" in found.detail) == ("schema_unknown", True)

    def test_a_type_used_twice_is_no_reference_to_itself(self, tmp_path: Path) -> None:
        money = record_of(("cents", "long"), name="Money")
        schema = record_of(("total", money), ("tax", "Money"), ("lines", {"type": "array", "items": "Money"}))
        record = {"total": {"cents": 5}, "tax": {"cents": 1}, "lines": [{"cents": 4}]}
        assert in_folder(tmp_path, _1=schema).record(wire(1, encode(schema, record))) == msgspec.json.encode(
            record
        )

    def test_the_registry_is_asked_once_for_each_id(self, registry: Registry) -> None:
        registry.answers["/schemas/ids/7"] = {"schema": json.dumps(PAID)}
        reader = AvroReader(SchemaRegistry(None, registry.url))
        for _ in range(3):
            assert isinstance(reader.message(wire(7, encode(PAID, RECORD))), bytes)
            assert reader.message(wire(8, b"")) == Reject("schema_unknown", "schema 8 is not known")
        assert registry.asked == ["/schemas/ids/7", "/schemas/ids/8"]
        reader.close()

    def test_an_unknown_id_is_asked_again_later(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(avro, "ASK_AGAIN_S", 0.0)
        reader = AvroReader(SchemaRegistry(None, registry.url))
        assert isinstance(reader.message(wire(7, b"")), Reject)
        registry.answers["/schemas/ids/7"] = {"schema": json.dumps(PAID)}
        assert isinstance(reader.message(wire(7, encode(PAID, RECORD))), bytes)
        reader.close()

    def test_the_folder_comes_first(self, tmp_path: Path, registry: Registry) -> None:
        (tmp_path / "7.avsc").write_text(json.dumps(PAID))
        reader = AvroReader(SchemaRegistry(tmp_path, registry.url))
        assert isinstance(reader.message(wire(7, encode(PAID, RECORD))), bytes)
        assert registry.asked == []
        reader.close()

    def test_references_are_followed(self, registry: Registry) -> None:
        money = record_of(("cents", "long"), name="shop.Money")
        schema = record_of(("total", "shop.Money"), name="Paid")
        registry.answers["/schemas/ids/7"] = {
            "schema": json.dumps(schema),
            "references": [{"name": "shop.Money", "subject": "money", "version": 2}],
        }
        registry.answers["/subjects/money/versions/2"] = {"schema": json.dumps(money)}
        reader = AvroReader(SchemaRegistry(None, registry.url))
        body = encode(record_of(("total", money), name="Paid"), {"total": {"cents": 5}})
        assert reader.record(wire(7, body)) == b'{"total":{"cents":5}}'
        reader.close()

    def test_a_guid_in_a_header(self, registry: Registry) -> None:
        guid = uuid.UUID(int=99)
        registry.answers[f"/schemas/guids/{guid}"] = {"schema": json.dumps(PAID)}
        reader = AvroReader(SchemaRegistry(None, registry.url))
        assert isinstance(reader.message(encode(PAID, RECORD), b"\1" + guid.bytes), bytes)
        reader.close()

    def test_schemas_of_other_kinds_are_refused(self, registry: Registry) -> None:
        registry.answers["/schemas/ids/7"] = {"schema": "{}", "schemaType": "JSON"}
        reader = AvroReader(SchemaRegistry(None, registry.url))
        assert reader.message(wire(7, b"{}")) == Reject("schema_unknown", "schema 7 is JSON, not AVRO")
        reader.close()

    def test_a_registry_that_fails_is_no_fault_of_the_event(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(avro, "PATIENCE_S", 0.3)
        reader = AvroReader(SchemaRegistry(None, registry.url))
        registry.status = 500
        with pytest.raises(Unreachable, match="answers 500"):
            reader.message(wire(7, b""))
        reader.close()
        nobody = AvroReader(SchemaRegistry(None, "http://user:secret@127.0.0.1:1"))
        with pytest.raises(Unreachable, match="does not answer") as error:
            nobody.message(wire(7, b""))
        assert "secret" not in str(error.value)
        nobody.close()


_readers: list[AvroReader] = []


def _any_reader(folders: pytest.TempPathFactory) -> AvroReader:
    """One for all examples."""
    if not _readers:
        every = record_of(
            ("e", {"type": "enum", "name": "E", "symbols": ["A", "B"]}),
            ("u", ["null", "int", "string"]),
            ("d", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 1}),
            ("t", {"type": "long", "logicalType": "timestamp-micros"}),
            ("m", {"type": "map", "values": "float"}),
            ("i", {"type": "string", "logicalType": "uuid"}),
        )
        _readers.append(in_folder(folders.mktemp("schemas"), _7=PAID, _8=every))
    return _readers[0]
