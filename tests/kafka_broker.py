"""The `kafka` fixture: a real Apache Kafka on loopback, or librdkafka's mock cluster where Java or Maven
cannot be had.

The mock cannot be killed, knows no logins and makes topics by itself, with four partitions each: tests that
need more than that ask `kafka.real` and skip.
"""

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from flows.lab.chaos import broker

FETCH_S = 300.0

SASL = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},LOGIN://127.0.0.1:{login}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},LOGIN://127.0.0.1:{login}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT
listener.name.login.sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_mill="race";
"""


class RealBroker(broker.Broker):
    """The broker of `millrace chaos`, which asks for a login on one of its ports."""

    real = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SASL)
        self.sasl_bootstrap = f"127.0.0.1:{self._login}"

    def restart(self) -> None:
        """Killed, and started on what it had stored."""
        self.kill()
        self.start()


class MockBroker:
    """A mock cluster lives as long as the client that made it."""

    real = False
    sasl_bootstrap = ""

    def __init__(self) -> None:
        self._host = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
        (only,) = self._host.list_topics(timeout=10).brokers.values()
        self.bootstrap = f"{only.host}:{only.port}"

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Asking for a topic makes it; the number of partitions is the mock's own."""
        self._host.list_topics(name, timeout=10)

    def start(self) -> None: ...

    def kill(self) -> None:
        pytest.skip("the mock cluster cannot be killed")

    def restart(self) -> None:
        pytest.skip("the mock cluster cannot be restarted")


Broker = RealBroker | MockBroker


@functools.cache
def available() -> bool:
    """Whether a real broker can be run here; fetches its jars the first time."""
    if shutil.which("bash") is None or shutil.which("java") is None:
        return False
    try:
        return (
            subprocess.run(
                ["bash", str(broker.RUN), "fetch"], capture_output=True, timeout=FETCH_S, check=False
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


def kafka_header() -> str:
    """The line of the pytest header."""
    if available():
        return "kafka: a real Apache Kafka broker (deploy/kafka)"
    return (
        "kafka: librdkafka's MOCK cluster, for want of Java 17 or of Maven's jars;"
        " tests of restarts and logins are skipped"
    )


def pytest_report_header() -> str:
    return kafka_header()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that needs the broker runs on one worker: a second JVM is heavy, and a broker that one test kills
    is not there for another."""
    for item in items:
        if isinstance(item, pytest.Function) and "kafka" in (*item.fixturenames, *_parameters(item)):
            item.add_marker(pytest.mark.xdist_group("kafka"))


def _parameters(item: pytest.Function) -> list[object]:
    return list(item.callspec.params.values()) if hasattr(item, "callspec") else []


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """One broker for the session; make a topic of your own in it."""
    if not available():
        yield MockBroker()
        return
    with (
        tempfile.TemporaryDirectory(prefix="mr-kafka-") as folder,
        RealBroker(Path(folder) / "broker") as real,
    ):
        yield real
