"""The application behind a socket: uvicorn with uvloop and httptools, bounded in every direction.

SIGTERM: no new connections, requests under way are answered, the log is closed; all within five seconds.
"""

import socket

import uvicorn
from starlette.types import ASGIApp

from schemas.errors import Fatal

_BACKLOG = 2_048
_CONNECTIONS = 4_096  # beyond it 503, so that memory has a bound
_KEEP_ALIVE_S = 65  # longer than the 60 s of common proxies, so that they and not we close
_GRACE_S = 4


def listen(address: str) -> socket.socket:
    """The socket of `host:port`; port 0 takes any that is free. Raises `Fatal` when it cannot be had."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        raise Fatal(f"gateway.listen: cannot listen on {address}: {error}") from error


def server(app: ASGIApp) -> uvicorn.Server:
    """To be run with `sockets=[listen(...)]`."""
    return uvicorn.Server(
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
