"""The composition root of the gateway: the log, the profiles and the schemas behind one HTTP server."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from connectors.gateway import build, listen, server
from flows.compose import profile_reader, raw_writer
from schemas.config import Config
from schemas.errors import Restarted
from schemas.trigger_avro import REGISTERED, SUBJECT, Registered

log = structlog.get_logger()


def run(config: Config) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises `Fatal` when the address cannot be had, `Restarted` when Redis is another one."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the server raises the signal again when it has stopped
    with listen(config.gateway.listen) as listener:
        reader = _Reader(profile_reader(config))
        serving = server(build(config.gateway, raw_writer(config), reader, subjects(config)))
        reader.end = lambda: setattr(serving, "should_exit", True)
        log.info("gateway_listens", address=config.gateway.listen)
        serving.run(sockets=[listener])
    if reader.fault is not None:
        raise reader.fault


class _Reader:
    """Reads profiles, and ends the server in order when Redis is no longer the one that it began with."""

    def __init__(self, read: Callable[[str, str], dict[str, Any] | None]) -> None:
        self._read = read
        self.fault: Restarted | None = None
        self.end: Callable[[], None] = lambda: None

    def __call__(self, namespace: str, value: str) -> dict[str, Any] | None:
        try:
            return self._read(namespace, value)
        except Restarted as fault:
            self.fault = fault
            self.end()
            raise


def subjects(config: Config) -> Mapping[str, Sequence[Registered]]:
    """The trigger schema under its own subject, and under that of each topic that gets triggers as Avro."""
    topics = [connector.topic for connector in config.connector if connector.type == "kafka" and connector.format == "avro"]
    return {SUBJECT: REGISTERED} | {f"{topic}-value": REGISTERED for topic in topics}
