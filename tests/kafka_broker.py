"""The `kafka` fixture: a real Apache Kafka on loopback, or librdkafka's mock cluster where Java or Maven cannot be had.

The mock cannot be killed, knows no logins and makes topics by itself, with four partitions each: tests that need more than that ask
`kafka.real` and skip.
"""

import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

RUN = Path(__file__).parent.parent / "deploy" / "kafka" / "run.sh"
START_S = 120.0
FETCH_S = 300.0

SASL = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},LOGIN://127.0.0.1:{login}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},LOGIN://127.0.0.1:{login}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT
listener.name.login.sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_mill="race";
"""


class Broker(Protocol):
    real: bool
    bootstrap: str
    sasl_bootstrap: str  # SASL_PLAINTEXT, mechanism PLAIN; user `mill`, password `race`; empty on the mock

    def create_topic(self, name: str, partitions: int = 1) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...


class RealBroker:
    """`deploy/kafka/run.sh` in a folder of its own, which it keeps from start to start."""

    real = True

    def __init__(self, folder: Path) -> None:
        port = _free_ports(3)
        self.bootstrap = f"127.0.0.1:{port}"
        self.sasl_bootstrap = f"127.0.0.1:{port + 2}"
        self._folder = folder
        self._port = port
        self._extra = folder / "sasl.properties"
        self._extra.write_text(SASL.format(port=port, controller=port + 1, login=port + 2))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the broker answers. Raises `RuntimeError` with its last words."""
        # The broker must not outlive a test run that is killed.
        leash = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with (self._folder / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*leash, "bash", str(RUN), str(self._folder / "data"), str(self._port), str(self._extra)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"KAFKA_HEAP_OPTS": "-Xmx384m -XX:TieredStopAtLevel=1", "KAFKA_TOPICS": ""},
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if _answers(self.bootstrap):
                return
            time.sleep(0.1)
        self.kill()
        words = (self._folder / "broker.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the Kafka broker did not start within {START_S:.0f} s:\n{words}")

    def stop(self) -> None:
        """In an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Killed, and started on what it had stored."""
        self.kill()
        self.start()

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """A topic of the given number of partitions; returns when every partition has its leader."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(name, partitions)])[name].result(20)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            topic = admin.list_topics(name, timeout=5).topics[name]
            if len(topic.partitions) == partitions and all(part.leader >= 0 for part in topic.partitions.values()):
                return
            time.sleep(0.05)
        raise RuntimeError(f"topic {name} has no leaders")

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        self._process = None


class MockBroker:
    """A mock cluster lives as long as the client that made it."""

    real = False
    sasl_bootstrap = ""

    def __init__(self) -> None:
        self._host = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
        (broker,) = self._host.list_topics(timeout=10).brokers.values()
        self.bootstrap = f"{broker.host}:{broker.port}"

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Asking for a topic makes it; the number of partitions is the mock's own."""
        self._host.list_topics(name, timeout=10)

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None:
        pytest.skip("the mock cluster cannot be killed")

    def restart(self) -> None:
        pytest.skip("the mock cluster cannot be restarted")


@functools.cache
def available() -> bool:
    """Whether a real broker can be run here; fetches its jars the first time."""
    if shutil.which("bash") is None or shutil.which("java") is None:
        return False
    try:
        return subprocess.run(["bash", str(RUN), "fetch"], capture_output=True, timeout=FETCH_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def kafka_header() -> str:
    """The line of the pytest header."""
    if available():
        return "kafka: a real Apache Kafka broker (deploy/kafka)"
    return "kafka: librdkafka's MOCK cluster, for want of Java 17 or of Maven's jars; tests of restarts and logins are skipped"


def pytest_report_header() -> str:
    return kafka_header()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that needs the broker runs on one worker: a second JVM is heavy, and a broker that one test kills is not there for another."""
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
    with tempfile.TemporaryDirectory(prefix="mr-kafka-") as folder:
        broker = RealBroker(Path(folder))
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


def _answers(bootstrap: str) -> bool:
    host, port = bootstrap.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        return bool(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=2).brokers)
    except (OSError, KafkaException):
        return False


def _free_ports(count: int) -> int:
    """The first of `count` free ports in a row, below those that the system gives to outgoing connections."""
    while True:
        first = random.randrange(20_000, 32_000)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
