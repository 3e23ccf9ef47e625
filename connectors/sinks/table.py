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
    OpenDsrConnector,
    RedisConnector,
    WebhookConnector,
)
from schemas.errors import Foreign

# Checks that the holder of a certificate (a PEM file) that is issued to a domain has signed a body. Raises
# `MillraceError`.
Check = Callable[[Path, str, bytes, str], None]


def unchecked(_certificate: Path, domain: str, _body: bytes, _signature: str) -> None:
    """Find that nothing counts: where nobody gave what checks signatures. Raises `Foreign`."""
    raise Foreign(f"no signature can be checked here, that of {domain} neither")


class Surroundings(msgspec.Struct, frozen=True):
    """What a sink may need of the deployment, besides its own options."""

    source: str  # of the CloudEvents, such as `/millrace/shop`
    folder: Path  # of the data
    redis_url: str
    kafka: Kafka
    check: Check = unchecked


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


def _opendsr(connector: OpenDsrConnector, surroundings: Surroundings) -> Sink:
    from connectors.sinks.opendsr_sink import OpenDsrSink

    return OpenDsrSink(connector, surroundings.check)


# The struct of a type's options -> what makes its sink.
SINKS: Final[Mapping[type[Connector], Callable[[Any, Surroundings], Sink]]] = {
    WebhookConnector: _webhook,
    KafkaConnector: _kafka,
    RedisConnector: _redis,
    FileConnector: _file,
    OpenDsrConnector: _opendsr,
}
