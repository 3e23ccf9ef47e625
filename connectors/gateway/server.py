"""The application behind a socket: uvicorn with uvloop and httptools, bounded in every direction.

SIGTERM: no new connections, requests under way are answered, the log is closed; all within five seconds.
"""

import resource

import msgspec
import structlog
import uvicorn
from starlette.types import ASGIApp

from connectors.gateway.connection import Bounds, bounded

log = structlog.get_logger()

_KEEP_ALIVE_S = 65  # longer than the 60 s of common proxies, so that they and not we close
_GRACE_S = 4
_FILES = 128  # open besides: the log, the profiles, what Python reads


def server(app: ASGIApp, bounds: Bounds | None = None) -> uvicorn.Server:
    """Return the server, to be run with `sockets=[listen(...)]`."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http=bounded(bounds or _within_open_files(Bounds())),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )


def _within_open_files(wanted: Bounds) -> Bounds:
    """As many connections as this process may have; the bound of the system would also shut out health
    checks."""
    needed = wanted.connections + wanted.reserve + _FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    fewer = msgspec.structs.replace(wanted, connections=max(1, wanted.connections + soft - needed))
    log.warning("gateway_connections_fewer", open_files=soft, connections=fewer.connections)
    return fewer
