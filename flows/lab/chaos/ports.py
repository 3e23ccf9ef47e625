"""Ports for servers that are started a moment later, several times over."""

import random
import socket


def free_ports(count: int) -> list[int]:
    """Return free ports in a row, below those that the system gives to outgoing connections: nobody takes one
    while its server is down."""
    while True:
        first = random.randrange(20_000, 32_000)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return list(range(first, first + count))
