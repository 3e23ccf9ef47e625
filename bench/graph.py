"""What a customer takes in the directory, and how long it takes to find one and to commit what it does: many
customers against few.

    python -m bench.graph 100000 1000000              # planned for as many as there are
    python -m bench.graph 100000 --planned 100000     # planned for other numbers: what a wrong plan costs

`--planned` is `identity.capacity`, in identifiers. Customers with four identifiers each (a user id, a phone,
an e-mail, a visitor) are committed in windows of 500. Then identifiers are looked up at random, and windows
are committed by a worker that knows none of the customers: of old ones, of new ones.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path
from random import Random
from statistics import median

import redis

from schemas.records.identity_graph import ID_BYTES, Group, Identifier, Routed, WindowCommit
from state.directory.layout import Layout
from state.directory.redis_directory import RedisDirectory
from state.redis.client import connect
from state.redis.embedded import Embedded
from state.redis.names import Names

WINDOW = 500
IDENTIFIERS = 4
LOOKUP = 1_000  # identifiers in one call
ROUNDS = 200
NEW_EVERY = 20  # rounds: few newcomers, or the small ones would grow meanwhile
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
    return [
        Identifier(strength, luck[strength * ID_BYTES : (strength + 1) * ID_BYTES])
        for strength in range(IDENTIFIERS)
    ]


def groups(customers: Iterable[int]) -> list[Group]:
    return [Group(identifiers(customer), [Routed(0, b"fact")]) for customer in customers]


class Site:
    """A directory with so many customers, on a server of its own."""

    def __init__(self, url: str, customers: int, planned: int) -> None:
        self.customers = customers
        self._client, self._names, self._position = connect(url), Names("bench"), -1
        self._layout = Layout.of("bench", 64, planned, (1, 3, 5, 100))
        self._directory = self._stranger()
        self._directory.create()
        self._luck = Random(1)
        self._looking, self._known, self._new = (
            Stopwatch(self._client, each) for each in (LOOKUP, WINDOW, WINDOW)
        )
        self._bytes = self._filled()

    def _filled(self) -> float:
        """Bytes of a customer."""
        empty, began = self._used(), time.monotonic()
        for at in range(0, self.customers, WINDOW):
            self._commit(self._directory, groups(range(at, min(at + WINDOW, self.customers))))
            self._trim()
            if at % 100_000 == 0:
                print(
                    f"{at:10,} of {self.customers:,}, {time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
        return (self._used() - empty) / self.customers

    def measure(self) -> None:
        """A lookup, and a window of customers that there are."""
        asked = [
            identifiers(self._luck.randrange(self.customers))[self._luck.randrange(IDENTIFIERS)].hash
            for _ in range(LOOKUP)
        ]
        with self._looking.running():
            found = self._directory.lookup(asked)
        assert None not in found
        stranger, old = self._stranger(), groups(self._luck.sample(range(self.customers), WINDOW))
        stranger.lookup([])  # its connection
        with self._known.running():
            self._commit(stranger, old)
        self._trim()

    def measure_new(self) -> None:
        """A window of customers that there were not."""
        coming = groups(range(2 * self._position + 10**12, 2 * self._position + 10**12 + WINDOW))
        with self._new.running():
            self._commit(self._directory, coming)
        self._trim()

    def figures(self) -> list[float]:
        return [self._bytes, *self._looking.figures(), *self._known.figures(), *self._new.figures()]

    def _stranger(self) -> RedisDirectory:
        """A worker that knows nobody."""
        return RedisDirectory(self._client, self._names, self._layout)

    def _commit(self, directory: RedisDirectory, found: list[Group]) -> None:
        directory.commit(
            WindowCommit(
                partition="bench/0",
                before=self._position,
                after=self._position + len(found),
                groups=found,
                dead=[],
                rejected={},
            )
        )
        self._position += len(found)

    def _trim(self) -> None:
        """As the shards do, once they have read their logs."""
        self._directory.trim(self._directory.heads())

    def _used(self) -> int:
        """Bytes, without the notes of windows."""
        self._client.delete(self._names.journal)
        return int(self._client.info("memory")["used_memory"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.graph")
    parser.add_argument("customers", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument(
        "--planned",
        type=int,
        default=0,
        help="identifiers planned for (identity.capacity); default: as many as there are",
    )
    options = parser.parse_args()
    with ExitStack() as exits:
        sites = []
        for size in options.customers:
            folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="mr-")))
            url = exits.enter_context(Embedded(folder, fsync="no").running())
            sites.append(Site(url, size, options.planned or IDENTIFIERS * size))
        for number in range(ROUNDS):  # in turn, so that whatever else the machine does is the same for all
            for site in sites:
                site.measure()
            if number % NEW_EVERY == 0:
                for site in sites:
                    site.measure_new()
        first = sites[0].figures()
        print(f"{'customers':>10} " + " ".join(f"{heading:>11}" for heading in HEADINGS))
        for site in sites:
            figures = site.figures()
            print(f"{site.customers:10,} " + " ".join(f"{figure:11.2f}" for figure in figures))
            print(
                f"{'':10} "
                + " ".join(f"{now / then:10.2f}x" for now, then in zip(figures, first, strict=True)),
                flush=True,
            )


if __name__ == "__main__":
    main()
