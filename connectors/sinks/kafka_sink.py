"""Triggers on a Kafka topic, keyed by customer.

`format = "json"` gives structured CloudEvents (`content-type: application/cloudevents+json`). `format =
"avro"` gives binary CloudEvents: `ce_*` headers, and the value in the Confluent wire format
(`schemas.wire.trigger_avro`).
"""

from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.kafka_trouble import Trouble
from connectors.sinks.sink import DELIVERED, Delivery, Failed, Outcome, Retry, encode_each
from schemas.config import Kafka, KafkaConnector
from schemas.errors import ConfigError
from schemas.wire import cloudevents, trigger_avro

_OVERHEAD_BYTES = 512  # of a record and its batch, generously
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)
_CLOSE_S = 5.0

Headers = list[tuple[str, str | bytes | None]]


class KafkaSink:
    """A delivery counts when its own delivery report says that all replicas in sync have it.

    `connector.timeout` bounds how long librdkafka tries; then the report is an error, and the delivery a
    `Retry`. Raises `ConfigError` for options that librdkafka does not know.
    """

    batch_max = 1_000

    def __init__(self, connector: KafkaConnector, kafka: Kafka, source: str) -> None:
        self._trouble = Trouble(connector=connector.name)
        self._topic = connector.topic
        self._timeout_s = connector.timeout / 1000
        self._settings = _settings(connector, kafka)
        self._size_max = int(str(self._settings["message.max.bytes"]))
        self._encode, self._headers = _avro(source) if connector.format == "avro" else _json(source)
        self._producer = self._connect()
        self._broken = False

    def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """Send them; return when every delivery report is in, or `connector.timeout` has passed."""
        if self._broken:
            self.close()
            self._producer, self._broken = self._connect(), False
        outcomes: list[Outcome] = [Retry("kafka: no delivery report")] * len(batch)
        for index, body in enumerate(encode_each(batch, self._encode)):
            if isinstance(body, Failed):
                outcomes[index] = body
            else:
                self._produce(batch[index], body, index, outcomes)
        if self._producer.flush(self._timeout_s + 1):
            self._producer.purge()
            self._producer.flush(_CLOSE_S)
        return outcomes

    def close(self) -> None:
        """End the producer: nothing is on its way between two batches."""
        self._producer.purge()
        self._producer.flush(_CLOSE_S)

    def _produce(self, item: Delivery, body: bytes, index: int, outcomes: list[Outcome]) -> None:
        headers = self._headers(item)
        size = len(body) + sum(len(name) + len(value or b"") for name, value in headers) + _OVERHEAD_BYTES
        if size > self._size_max:
            outcomes[index] = Failed(f"kafka: {size} bytes, message.max.bytes is {self._size_max}")
            return
        try:
            self._producer.produce(
                self._topic,
                body,
                item.trigger.customer.encode(),
                headers=headers,
                on_delivery=partial(self._report, outcomes, index),
            )
        except BufferError:
            outcomes[index] = Retry("kafka: the local queue is full")
        except KafkaException as error:
            self._report(outcomes, index, error.args[0], None)

    def _report(
        self, outcomes: list[Outcome], index: int, error: KafkaError | None, _message: Message | None
    ) -> None:
        if error is None:
            outcomes[index] = DELIVERED
            return
        self._trouble.say(error, topic=self._topic)
        self._broken |= error.fatal()  # an idempotent producer that lost its place: only a new one can go on
        if error.code() in _TOO_LARGE:
            outcomes[index] = Failed(f"kafka: {error.name()}")
        else:
            outcomes[index] = Retry(f"kafka: {error.name()}")

    def _connect(self) -> Producer:
        try:
            return Producer({**self._settings, "error_cb": self._trouble.say})
        except KafkaException as error:
            raise ConfigError(f"kafka.options: {error.args[0].str()}") from None


def _settings(connector: KafkaConnector, kafka: Kafka) -> dict[str, str | int | float | bool]:
    return {
        "log_level": 2,  # its own lines on stderr are not ours; what matters comes to `Trouble`
        "message.max.bytes": 1_000_000,
        # the only one besides none that every client reads without a further library
        "compression.type": "gzip",
        "linger.ms": 5,
        # how long until a topic that is not there is said to be missing
        "topic.metadata.propagation.max.ms": 5_000,
        "partitioner": "murmur2_random",  # the Java clients' choice
        "batch.size": 65_536,  # a topic's limit holds for a whole batch: small ones never reach it
        **{name: str(value) for name, value in kafka.options.items()},
        "enable.idempotence": True,
        "bootstrap.servers": connector.bootstrap or kafka.bootstrap,
        "acks": "all",
        "message.timeout.ms": int(connector.timeout),
    }


def _json(source: str) -> tuple[Callable[[Delivery], bytes], Callable[[Delivery], Headers]]:
    fixed: Headers = [("content-type", cloudevents.STRUCTURED.encode())]
    return (lambda item: cloudevents.structured(item.trigger, source, item.identifiers)), (
        lambda _item: fixed
    )


def _avro(source: str) -> tuple[Callable[[Delivery], bytes], Callable[[Delivery], Headers]]:
    def headers(item: Delivery) -> Headers:
        context = cloudevents.headers(item.trigger, source, "ce_") | {
            "content-type": trigger_avro.CONTENT_TYPE
        }
        return [(name, value.encode()) for name, value in context.items()]

    return (lambda item: trigger_avro.encode(item.trigger, item.identifiers)), headers
