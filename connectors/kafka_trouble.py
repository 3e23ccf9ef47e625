"""What librdkafka reports beside the calls. While a broker is away it says the same hundreds of times a
second."""

import time
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaError

SAY_EVERY_S = 10.0

log = structlog.get_logger()


class Trouble:
    """Passes on the first report and then at most one in 10 s; `where` stands in each line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, /, **where: str) -> None:
        self._clock = clock
        self._where = where
        self._quiet_until = clock()

    def say(self, error: KafkaError, **where: str) -> None:
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + SAY_EVERY_S
            log.warning("kafka_trouble", **self._where, **where, error=error.name(), detail=error.str())
