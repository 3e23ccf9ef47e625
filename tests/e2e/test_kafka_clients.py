"""Our triggers on a real Kafka, read by the clients that others use, as they are installed: no library for
another compression beside them.

They are fetched by their own package managers, so this is among the slow tests and is skipped where they
cannot be had.
"""

import json
import subprocess
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.clients.catalogue import Client, Kind
from tests.clients.install import CannotFetch, command
from tests.kafka_apps import consume
from tests.kafka_broker import Broker
from tests.running import running

pytestmark = pytest.mark.slow

CONFIG = """
[raw]
log = "kafka"
[kafka]
bootstrap = "{bootstrap}"
topics = ["{events}"]
[shards]
count = 8
[[trigger]]
name = "thank_you"
on = {{event = "Paid"}}
purpose = "service"
to = ["bus"]
[[connector]]
name = "bus"
type = "kafka"
topic = "{triggers}"
"""
COUNT = 200
READERS = (
    Client(
        name="kafka-python",
        kind=Kind.PYTHON,
        packages=("kafka-python==2.2.15",),
        program="kafka_python.py",
        messages=COUNT,
    ),
    Client(name="kafkajs", kind=Kind.NODE, packages=("kafkajs@2.2.4",), program="kafkajs.js", messages=COUNT),
)


@pytest.fixture(scope="module")
def triggers(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """A topic with the triggers of a running millrace, and their ids as librdkafka reads them."""
    if not kafka.real:
        pytest.skip("these clients need a real broker")
    topics = {name: f"{name}-{uuid.uuid4().hex}" for name in ("events", "triggers")}
    for topic in topics.values():
        kafka.create_topic(topic, 2)
    with running(
        tmp_path_factory.mktemp("readers"), CONFIG.format(bootstrap=kafka.bootstrap, **topics)
    ) as millrace:
        paid = [
            {"type": "track", "userId": f"u{n}", "event": "Paid", "properties": {"note": "thanks " * 20}}
            for n in range(COUNT)
        ]
        assert millrace.post("/v1/batch", {"batch": paid}).status_code == 200
        found = consume(
            kafka.bootstrap, topics["triggers"], lambda message: message, lambda found: len(found) >= COUNT
        )
    return topics["triggers"], sorted(json.loads(message.value() or b"")["id"] for message in found)


def read_by(
    client: Client, folder: Path, bootstrap: str, topic: str, count: int
) -> subprocess.CompletedProcess[str]:
    try:
        argv = command(client, folder)
    except CannotFetch as error:
        pytest.skip(str(error))
    return subprocess.run(
        [*argv, bootstrap, topic, str(count)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.parametrize("client", READERS, ids=lambda client: client.name)
def test_clients_that_others_use_read_our_triggers(
    client: Client, kafka: Broker, triggers: tuple[str, list[str]], tmp_path: Path
) -> None:
    topic, ids = triggers
    done = read_by(client, tmp_path, kafka.bootstrap, topic, len(ids))
    assert done.returncode == 0, done.stderr[-2_000:]
    assert sorted(json.loads(line)["id"] for line in done.stdout.splitlines()) == ids
    assert len(ids) == COUNT


@pytest.mark.parametrize("client", READERS, ids=lambda client: client.name)
def test_the_same_clients_do_not_read_what_is_compressed_by_lz4(
    client: Client, kafka: Broker, tmp_path: Path
) -> None:
    """Else the test above would say nothing about how triggers are compressed."""
    if not kafka.real:
        pytest.skip("these clients need a real broker")
    topic = f"lz4-{uuid.uuid4().hex}"
    kafka.create_topic(topic, 1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "compression.type": "lz4", "linger.ms": 200})
    for n in range(COUNT):
        producer.produce(topic, json.dumps({"id": n, "note": "thanks " * 20}).encode())
    assert producer.flush(20) == 0
    done = read_by(client, tmp_path, kafka.bootstrap, topic, COUNT)
    assert done.returncode != 0 or not done.stdout
