"""What a customer takes in the directory and how long it is to find one: many customers against few.

    python -m bench.graph 100000 1000000

Customers with four identifiers each (a user id, a phone, an e-mail, a visitor), committed in windows of 500, then looked up at random.
"""

import sys
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median

from schemas.identity import ID_BYTES, Group, Identifier, Routed, WindowCommit
from state.client import connect
from state.directory import Layout, RedisDirectory
from state.embedded import Embedded
from state.names import Names

WINDOW = 500
IDENTIFIERS = 4
LOOKUP = 1_000  # identifiers in one call
CALLS = 100


def identifiers(customer: int) -> list[Identifier]:
    luck = Random(customer)
    return [Identifier(strength, luck.randbytes(ID_BYTES)) for strength in range(IDENTIFIERS)]


def measure(url: str, customers: int) -> tuple[float, float, float]:
    """Bytes of a customer; µs of a lookup as the caller waits for it, and of the server."""
    client, names = connect(url), Names("bench")
    client.flushall()
    layout = Layout.of("bench", 64, IDENTIFIERS * customers, (1, 3, 5, 100))
    directory = RedisDirectory(client, names, layout)
    directory.create()
    empty = client.info("memory")["used_memory"]
    for at in range(0, customers, WINDOW):
        groups = [Group(identifiers(customer), [Routed(0, b"fact")]) for customer in range(at, min(at + WINDOW, customers))]
        directory.commit(WindowCommit("bench/0", at - 1, at - 1 + WINDOW, groups, [], {}))
        directory.trim(directory.heads())
    client.delete(names.journal)  # notes of windows, not of customers
    used = client.info("memory")["used_memory"] - empty
    luck = Random(1)
    waited: list[float] = []
    server: list[float] = []
    for _ in range(CALLS):
        asked = [identifiers(luck.randrange(customers))[luck.randrange(IDENTIFIERS)].hash for _ in range(LOOKUP)]
        began_s, server_began_s = time.perf_counter(), _server_s(client)
        found = directory.lookup(asked)
        waited.append(time.perf_counter() - began_s)
        server.append(_server_s(client) - server_began_s)
        assert None not in found
    return used / customers, median(waited) / LOOKUP * 1e6, median(server) / LOOKUP * 1e6


def _server_s(client: object) -> float:
    cpu = client.info("cpu")  # type: ignore[attr-defined]
    return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])


if __name__ == "__main__":
    sizes = [int(size) for size in sys.argv[1:]] or [100_000, 1_000_000]
    first: tuple[float, float, float] | None = None
    print(f"{'customers':>10} {'bytes each':>11} {'lookup µs':>10} {'server µs':>10}   and against the first")
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="mr-") as name, Embedded(Path(name), fsync="no").running() as where:
            measured = measure(where, size)
        first = first or measured
        against = " ".join(f"{now / then:.2f}" for now, then in zip(measured, first, strict=True))
        print(f"{size:10,} {measured[0]:11.0f} {measured[1]:10.2f} {measured[2]:10.2f}   {against}", flush=True)
