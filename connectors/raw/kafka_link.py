"""The connection to Kafka that writer and reader share."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from connectors.kafka_trouble import Trouble
from schemas.config import Kafka
from schemas.errors import ConfigError, Refused, Unreachable

# how long a cluster may take to answer at the start; a death so soon is a quick one to the supervisor, who
# then gives up
CONNECT_S = 5.0
PING_S = 1.5
LOOK_EVERY_S = 30.0  # at how many partitions there are


class KafkaLink:
    """What producer and consumer share: the options, and the errors that librdkafka reports beside the
    calls."""

    def __init__(self, config: Kafka) -> None:
        self.bootstrap = config.bootstrap
        self.trouble = ""  # the last such error, in words
        self.verdict = ""  # one that no waiting will mend
        self._connected = False
        self._look_at = 0.0
        self._trouble = Trouble(bootstrap=self.bootstrap)
        self._options = {name: str(value) for name, value in config.options.items()}

    def open(self, kind: Callable[[dict[str, Any]], Any], ours: dict[str, Any]) -> Any:
        """Return a client with these options. Raises `ConfigError` for one that librdkafka does not know."""
        options = {"log_level": 2, "topic.metadata.propagation.max.ms": 5_000, **self._options, **ours}
        options |= {"bootstrap.servers": self.bootstrap, "error_cb": self._report}
        try:
            return kind(options)
        except KafkaException as error:
            raise ConfigError(f"kafka.options: {in_words(error)}") from None

    def partitions(self, client: Any, topics: Sequence[str]) -> dict[str, int]:
        """Return how many partitions each topic has. Raises `Unreachable` within 5 s."""
        deadline = time.monotonic() + CONNECT_S
        while True:
            try:
                # All topics are listed, since asking for one by name may create it.
                found = client.list_topics(timeout=min(2.0, max(0.1, deadline - time.monotonic()))).topics
                break
            except KafkaException as error:
                client.poll(0)  # calls `_report`
                if self.verdict:
                    raise Refused(f"Kafka at {self.bootstrap} {self.verdict}") from error
                if time.monotonic() >= deadline:
                    raise Unreachable(
                        f"Kafka at {self.bootstrap} does not answer: {self.trouble or in_words(error)}"
                    ) from error
        self._connected = True
        self._look_at = time.monotonic() + LOOK_EVERY_S
        missing = [topic for topic in topics if topic not in found]
        if missing:
            raise Refused(f"Kafka at {self.bootstrap} has no topic {', '.join(missing)}: create it first")
        return {topic: len(found[topic].partitions) for topic in topics}

    def grown(self, client: Any, counts: Mapping[str, int]) -> dict[str, int]:
        """Return topics with more partitions than these, all of them with a leader. Looks once in
        `LOOK_EVERY_S`; says nothing in between."""
        now = time.monotonic()
        if now < self._look_at:
            return {}
        self._look_at = now + LOOK_EVERY_S
        try:
            topics = client.list_topics(timeout=PING_S).topics
        except KafkaException:
            return {}  # it is away; another time
        found = {topic: topics[topic].partitions.values() for topic in counts if topic in topics}
        return {
            topic: len(partitions)
            for topic, partitions in found.items()
            if len(partitions) > counts[topic] and all(partition.leader >= 0 for partition in partitions)
        }

    def _report(self, error: KafkaError) -> None:
        self.trouble = error.str()
        match error.code():
            case KafkaError._AUTHENTICATION | KafkaError.SASL_AUTHENTICATION_FAILED:
                self.verdict = f"refuses our login: {self.trouble}"
            case KafkaError._UNKNOWN_TOPIC | KafkaError._UNKNOWN_PARTITION | KafkaError.UNKNOWN_TOPIC_OR_PART:
                self.verdict = f"has lost a topic: {self.trouble}"
        self.say(error)

    def say(self, error: KafkaError, **where: str) -> None:
        """Say it in the log; but before we are connected it stands in the line that we end with."""
        if self._connected:
            self._trouble.say(error, **where)


def in_words(error: KafkaException) -> str:
    """Return what librdkafka says of it."""
    return str(error.args[0].str() if isinstance(error.args[0], KafkaError) else error.args[0])
