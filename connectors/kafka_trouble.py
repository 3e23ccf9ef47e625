"""What librdkafka reports beside the calls. While a broker is away it says the same hundreds of times a second."""

import time

import structlog
from confluent_kafka import KafkaError

SAY_EVERY_S = 10.0

log = structlog.get_logger()


class Trouble:
    """Passes on the first report and then at most one in 10 s; `where` stands in each line."""

    def __init__(self, **where: str) -> None:
        self._where = where
        self._said_at = -SAY_EVERY_S

    def say(self, error: KafkaError, **where: str) -> None:
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            log.warning("kafka_trouble", **self._where, **where, error=error.name(), detail=error.str())
