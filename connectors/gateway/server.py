"""The application behind a socket: uvicorn with uvloop and httptools, bounded in every direction.

SIGTERM: no new connections, requests under way are answered, the log is closed; all within five seconds.
"""

import uvicorn
from starlette.types import ASGIApp

_CONNECTIONS = 4_096  # beyond it 503, so that memory has a bound
_KEEP_ALIVE_S = 65  # longer than the 60 s of common proxies, so that they and not we close
_GRACE_S = 4


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
