"""A Kafka broker of our own: `deploy/kafka/run.sh` in a folder that it keeps from start to start."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows.lab.chaos.ports import free_ports
from schemas.errors import ConfigError, Unreachable
from state.redis.embedded import die_with_parent

RUN = Path(__file__).resolve().parent.parent.parent.parent / "deploy" / "kafka" / "run.sh"
START_S = 120.0
STOP_S = 20.0
_ANSWER_S = 2.0


class Broker:
    """A context. Raises `ConfigError` outside a checkout, `Unreachable` where it does not start (Java and
    Maven are needed).

    `extra` is more of its properties; in it `{port}` is the port of `bootstrap`, and `{controller}` and
    `{login}` are the next two.
    """

    def __init__(self, folder: Path, extra: str = "") -> None:
        if not RUN.exists():
            raise ConfigError(
                "the Kafka broker is not part of the installed package: run `millrace "
                "chaos --kafka` in a checkout"
            )
        folder.mkdir()
        self._folder = folder
        self._port, controller, self._login = free_ports(3)
        self._extra = folder / "extra.properties"
        self._extra.write_text(extra.format(port=self._port, controller=controller, login=self._login))
        self._process: subprocess.Popen[bytes] | None = None
        self.bootstrap = f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the broker, and return when it answers."""
        with (self._folder / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(
                ["bash", str(RUN), str(self._folder / "data"), str(self._port), str(self._extra)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"KAFKA_HEAP_OPTS": "-Xmx384m -XX:TieredStopAtLevel=1", "KAFKA_TOPICS": ""},
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                words = (self._folder / "broker.log").read_text(errors="replace")[-2_000:]
                raise Unreachable(f"the Kafka broker did not start within {START_S:.0f} s:\n{words}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a power cut would, but for what the kernel has and the disk has not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)
            self._process = None

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic, and return when every partition has its leader."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(name, partitions)])[name].result(STOP_S)
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline:
            found = admin.list_topics(name, timeout=_ANSWER_S).topics[name].partitions
            if len(found) == partitions and all(part.leader >= 0 for part in found.values()):
                return
            time.sleep(0.05)
        raise Unreachable(f"topic {name} has no leaders after {STOP_S:.0f} s")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            return bool(
                AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
                .list_topics(timeout=_ANSWER_S)
                .brokers
            )
        except (OSError, KafkaException):
            return False
