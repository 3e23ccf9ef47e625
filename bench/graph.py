"""What a customer takes in the directory, and how long it takes to find one and to commit what it does: many customers against few.

    python -m bench.graph 100000 1000000                     # planned for as many as there are
    python -m bench.graph 100000 --planned 100000            # identity.capacity of so many identifiers: what a wrong plan costs

Customers with four identifiers each (a user id, a phone, an e-mail, a visitor) are committed in windows of 500. Then identifiers are looked
up at random, and windows are committed by a worker that knows none of the customers: of old ones, of new ones.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from random import Random
from statistics import median

import redis

from schemas.identity import ID_BYTES, Group, Identifier, Routed, WindowCommit
from state.client import connect
from state.directory import Layout, RedisDirectory
from state.embedded import Embedded
from state.names import Names

WINDOW = 500
IDENTIFIERS = 4
LOOKUP = 1_000  # identifiers in one call
CALLS = 200
WINDOWS = 100
HEADINGS = ("bytes each", "lookup µs", "on server", "commit µs", "on server", "newcomer µs", "on server")


class Stopwatch:
    """Time that the caller waits, and that the server works, in µs for one of `each`."""

    def __init__(self, client: redis.Redis, each: int) -> None:
        self._client, self._each = client, each
        self._waited: list[float] = []
        self._server: list[float] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        server, began = self._server_s(), time.perf_counter()
        yield
        self._waited.append(time.perf_counter() - began)
        self._server.append(self._server_s() - server)

    def figures(self) -> tuple[float, float]:
        return median(self._waited) / self._each * 1e6, median(self._server) / self._each * 1e6

    def _server_s(self) -> float:
        cpu = self._client.info("cpu")
        return float(cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"])


def identifiers(customer: int) -> list[Identifier]:
    luck = blake2b(customer.to_bytes(8), digest_size=IDENTIFIERS * ID_BYTES).digest()
    return [Identifier(strength, luck[strength * ID_BYTES : (strength + 1) * ID_BYTES]) for strength in range(IDENTIFIERS)]


class Site:
    def __init__(self, url: str, planned: int) -> None:
        self.client, self._names, self._position = connect(url), Names("bench"), -1
        self._layout = Layout.of("bench", 64, planned, (1, 3, 5, 100))
        self.directory = self.stranger()
        self.directory.create()

    def stranger(self) -> RedisDirectory:
        """A worker that knows nobody."""
        return RedisDirectory(self.client, self._names, self._layout)

    def commit(self, directory: RedisDirectory, groups: list[Group]) -> None:
        directory.commit(WindowCommit("bench/0", self._position, self._position + len(groups), groups, [], {}))
        self._position += len(groups)

    def trim(self) -> None:
        """As the shards would, once they have read their logs."""
        self.directory.trim(self.directory.heads())

    def used(self) -> int:
        """Bytes, without the notes of windows."""
        self.client.delete(self._names.journal)
        return int(self.client.info("memory")["used_memory"])


def groups(customers: Iterator[int] | range) -> list[Group]:
    return [Group(identifiers(customer), [Routed(0, b"fact")]) for customer in customers]


def measure(site: Site, customers: int) -> list[float]:
    empty, began = site.used(), time.monotonic()
    for at in range(0, customers, WINDOW):
        site.commit(site.directory, groups(range(at, min(at + WINDOW, customers))))
        site.trim()
        if sys.stderr.isatty() or at % 100_000 == 0:
            print(f"  {at:10,} {time.monotonic() - began:6.0f} s", end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    used, luck = site.used() - empty, Random(1)
    looking, known, new = Stopwatch(site.client, LOOKUP), Stopwatch(site.client, WINDOW), Stopwatch(site.client, WINDOW)
    for _ in range(CALLS):
        asked = [identifiers(luck.randrange(customers))[luck.randrange(IDENTIFIERS)].hash for _ in range(LOOKUP)]
        with looking.running():
            found = site.directory.lookup(asked)
        assert None not in found
    for number in range(WINDOWS):
        old = groups(iter(luck.sample(range(customers), WINDOW)))
        stranger = site.stranger()
        stranger.lookup([])  # its scripts and connection
        with known.running():
            site.commit(stranger, old)
        coming = groups(range(customers + number * WINDOW, customers + (number + 1) * WINDOW))
        with new.running():
            site.commit(site.directory, coming)
        site.trim()
    return [used / customers, *looking.figures(), *known.figures(), *new.figures()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.graph")
    parser.add_argument("customers", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--planned", type=int, default=0, help="identifiers planned for (identity.capacity); default: as many as there are")
    options = parser.parse_args()
    print(f"{'customers':>10} " + " ".join(f"{heading:>11}" for heading in HEADINGS))
    first: list[float] = []
    for size in options.customers:
        with tempfile.TemporaryDirectory(prefix="mr-") as name, Embedded(Path(name), fsync="no").running() as where:
            measured = measure(Site(where, options.planned or IDENTIFIERS * size), size)
        first = first or measured
        print(f"{size:10,} " + " ".join(f"{figure:11.2f}" for figure in measured))
        print(f"{'':10} " + " ".join(f"{now / then:10.2f}x" for now, then in zip(measured, first, strict=True)), flush=True)


if __name__ == "__main__":
    main()
