"""Which sink serves which type of connector.

Each maker imports its sink, and so its library, when there is such a connector: a restart is mostly imports.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from connectors.sinks.sink import OnThread, Sink
from schemas.config import (
    Connector,
    FileConnector,
    Kafka,
    KafkaConnector,
    RedisConnector,
    WebhookConnector,
)


class Surroundings(msgspec.Struct, frozen=True):
    """What a sink may need of the deployment, besides its own options."""

    source: str  # of the CloudEvents, such as `/millrace/shop`
    folder: Path  # of the data
    redis_url: str
    kafka: Kafka


def make_sink(connector: Connector, surroundings: Surroundings) -> Sink:
    """Return the receiver that these options describe. Raises `ConfigError` for what can never work."""
    return SINKS[type(connector)](connector, surroundings)


def _webhook(connector: WebhookConnector, surroundings: Surroundings) -> Sink:
    from connectors.sinks.webhook import WebhookSink

    return WebhookSink(connector, surroundings.source)


def _kafka(connector: KafkaConnector, surroundings: Surroundings) -> Sink:
    from connectors.sinks.kafka_sink import KafkaSink

    sink = KafkaSink(connector, surroundings.kafka, surroundings.source)
    return OnThread(sink, connector.name)


def _redis(connector: RedisConnector, surroundings: Surroundings) -> Sink:
    from connectors.sinks.redis_sink import RedisSink

    sink = RedisSink(
        surroundings.redis_url,
        connector.stream,
        connector.max_length,
        surroundings.source,
        connector.timeout / 1000,
    )
    return OnThread(sink, connector.name)


def _file(connector: FileConnector, surroundings: Surroundings) -> Sink:
    from connectors.sinks.file_sink import FileSink

    sink = FileSink(surroundings.folder / connector.path, surroundings.source)
    return OnThread(sink, connector.name)


# The struct of a type's options -> what makes its sink.
SINKS: Final[Mapping[type[Connector], Callable[[Any, Surroundings], Sink]]] = {
    WebhookConnector: _webhook,
    KafkaConnector: _kafka,
    RedisConnector: _redis,
    FileConnector: _file,
}
