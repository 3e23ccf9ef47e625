"""The gateway behind a real socket: it stops gracefully, stays in bounds, and serves a stock Avro
consumer."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from connectors.gateway import listen
from schemas.errors import Fatal
from schemas.wire.trigger_avro import encode
from tests.connectors.gateway_server import Served, served
from tests.schemas.test_cloudevents import TRIGGER

ROOT = Path(__file__).parent.parent.parent
TRACK = {"type": "track", "event": "Paid", "userId": "u1", "messageId": "m1"}
DEMO = {"authorization": "Bearer demo"}


@pytest.fixture
def gateway() -> Iterator[Served]:
    with served(lambda namespace, value: {"traits": {}, "identifiers": {namespace: value}}) as gateway:
        yield gateway


def test_sigterm_answers_what_is_under_way_and_closes_the_log() -> None:
    program = [sys.executable, "-m", "tests.connectors.gateway_server"]
    with (
        subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
            with httpx.Client(transport=httpx.HTTPTransport(retries=5), timeout=10) as client:
                assert client.get(url + "/healthz").status_code == 200
                under_way = pool.submit(client.post, url + "/v1/track", json=TRACK, headers=DEMO)
                assert process.stdout.readline() == "appending\n"
                process.terminate()
                assert under_way.result().json() == {"success": True}
                assert process.wait(30) == 0
            assert process.stdout.read() == "closed with 1\n"
        finally:
            process.kill()


def test_a_body_in_pieces_without_a_length(gateway: Served) -> None:
    pieces = iter([b'{"batch":[', b'{"type":"page","userId":"u"}', b"]}"])
    assert httpx.post(gateway.url + "/v1/batch", content=pieces, headers=DEMO).json() == {"success": True}
    assert gateway.messages(1)[0]["type"] == "page"


def test_an_endless_body_is_refused_before_it_ends(gateway: Served) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    head = (
        b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer"
        b" demo\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head)
        for _ in range(9):
            connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_many_at_once(gateway: Served) -> None:
    with httpx.Client(headers=DEMO) as client, ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda n: client.post(gateway.url + "/v1/track", json=TRACK | {"messageId": str(n)}),
                range(200),
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(int(message["messageId"]) for message in gateway.messages(200)) == list(range(200))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "203.0.113.1:80"])
def test_an_address_that_cannot_be_had(address: str) -> None:
    with pytest.raises(Fatal, match=r"gateway\.listen: cannot listen on"):
        listen(address)


def test_a_port_in_use() -> None:
    with listen("127.0.0.1:0") as first, pytest.raises(Fatal, match="in use"):
        listen(f"127.0.0.1:{first.getsockname()[1]}")


def test_a_stock_avro_deserializer_needs_no_other_registry(gateway: Served) -> None:
    pytest.importorskip(
        "authlib",
        reason="confluent_kafka's registry client needs the extra `confluent-kafka[schemaregistry]`",
    )
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    registry = SchemaRegistryClient({"url": gateway.url})
    record = AvroDeserializer(registry)(
        encode(TRIGGER, {"user_id": "u1"}), SerializationContext("millrace.trigger", MessageField.VALUE)
    )
    assert (record["id"], record["identity"], record["scores"]) == ("t-1", {"user_id": "u1"}, TRIGGER.scores)
    assert registry.get_subjects() == ["millrace.trigger-value"]
    assert registry.get_versions("millrace.trigger-value") == [1]
    latest = registry.get_latest_version("millrace.trigger-value")
    assert (latest.schema_id, latest.version) == (1, 1)
    assert (
        registry.lookup_schema("millrace.trigger-value", Schema(latest.schema.schema_str, "AVRO")).schema_id
        == 1
    )
