"""The composition root of the gateway: the log, the profiles and the schemas behind one HTTP server.

SIGTERM: no new connections, requests under way are answered, the log is closed, the process ends with 0 within five seconds.
"""

import signal
import socket
import sys
from collections.abc import Mapping, Sequence

import structlog
import uvicorn

from connectors.gateway import build
from flows.compose import profile_reader, raw_writer
from schemas.config import Config
from schemas.errors import Fatal
from schemas.trigger_avro import REGISTERED, SUBJECT, Registered

log = structlog.get_logger()

_BACKLOG = 2_048
_CONNECTIONS = 4_096  # beyond it 503, so that memory has a bound
_KEEP_ALIVE_S = 65  # longer than the 60 s of common proxies, so that they and not we close
_GRACE_S = 4


def run(config: Config) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises `Fatal` when the address cannot be had."""
    listener = _listen(config.gateway.listen)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the server raises the signal again when it has stopped
    app = build(config.gateway, raw_writer(config), profile_reader(config), subjects(config))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    log.info("gateway_listens", address=config.gateway.listen)
    server.run(sockets=[listener])


def subjects(config: Config) -> Mapping[str, Sequence[Registered]]:
    """The trigger schema under its own subject, and under that of each topic that gets triggers as Avro."""
    topics = [connector.topic for connector in config.connector if connector.type == "kafka" and connector.format == "avro"]
    return {SUBJECT: REGISTERED} | {f"{topic}-value": REGISTERED for topic in topics}


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        raise Fatal(f"gateway.listen: cannot listen on {address}: {error}") from error
