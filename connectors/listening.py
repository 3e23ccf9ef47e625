"""The socket that the gateway listens on, without all that is behind it: `millrace run` tries it before it
starts anything."""

import socket

from schemas.errors import Fatal

_BACKLOG = 2_048


def listen(address: str) -> socket.socket:
    """Return the socket of `host:port`; port 0 takes any that is free. Raises `Fatal` when it cannot be
    had."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        raise Fatal(f"gateway.listen: cannot listen on {address}: {error}") from error
