"""The composition root of the gateway: the log, the profiles and the schemas behind one HTTP server."""

import signal
import sys
from collections.abc import Mapping, Sequence

import structlog

from connectors.gateway import build, listen, server
from flows.compose import profile_reader, raw_writer
from schemas.config import Config
from schemas.trigger_avro import REGISTERED, SUBJECT, Registered

log = structlog.get_logger()


def run(config: Config) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises `Fatal` when the address cannot be had."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the server raises the signal again when it has stopped
    with listen(config.gateway.listen) as listener:
        app = build(config.gateway, raw_writer(config), profile_reader(config), subjects(config))
        log.info("gateway_listens", address=config.gateway.listen)
        server(app).run(sockets=[listener])


def subjects(config: Config) -> Mapping[str, Sequence[Registered]]:
    """The trigger schema under its own subject, and under that of each topic that gets triggers as Avro."""
    topics = [connector.topic for connector in config.connector if connector.type == "kafka" and connector.format == "avro"]
    return {SUBJECT: REGISTERED} | {f"{topic}-value": REGISTERED for topic in topics}
