"""What matching costs: µs of CPU for each record that carries matching fields, on a real Redis, as customers
become many.

    python -m bench.matching 100000          each customer comes about twice
    python -m bench.matching 100000 new      each comes once, as most do; many have relatives there

Growth is that of the flow, in units of a loop that runs beside it: a machine that others use is not the same
from minute to minute. Records come from `resolve` as they would; measured is the flow `match` from its log to
its commit, with data keys, sealing and the index.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from random import Random
from statistics import median

import msgspec

from bench.registers import voters
from flows.match import matcher_of
from flows.resolve import Resolver
from flows.runtime.deployment import Deployment
from flows.runtime.engine import Stop, tune_collector
from flows.runtime.windows import Window
from schemas.config import Config, Data, Identity, Keys, MatchField, Matching, Namespace
from schemas.wire.events import RawEvent
from state.redis.embedded import Embedded

WINDOW = 500
CHUNK = 10_000  # records measured together
FIELDS = {
    "first_name": "given_name",
    "middle_name": "middle_name",
    "last_name": "family_name",
    "birth_year": "date_of_birth",
    "sex": "gender",
    "phone": "phone",
    "address": "street",
    "city": "city",
    "zip": "postcode",
}


def configuration(folder: Path, records: int) -> Config:
    visitor = Namespace(name="visitor", paths=("anonymousId",), limit=1_000_000)
    fields = tuple(MatchField(name=field, paths=(f"traits.{field}",)) for field in FIELDS.values())
    return Config(
        data=Data(folder=str(folder)),
        keys=Keys(path=str(folder / "keys.json")),
        identity=Identity(namespace=(visitor,), capacity=max(16 * records, 10_000)),
        matching=Matching(field=fields),
    )


def windows(records: int, once: bool = False) -> Iterator[Window]:
    """Each chunk brings as many new customers as the others, and as many who were there before; with `once`
    new ones only."""
    luck = Random(1)
    rows = voters(luck, records)
    people = (next(group) for _, group in groupby(rows, itemgetter("entity"))) if once else rows
    made = [{"row": str(number), **row} for number, row in enumerate(islice(people, records))]
    chunks = [made[at : at + CHUNK] for at in range(0, records, CHUNK)]
    mixed = [person for chunk in chunks for person in luck.sample(chunk, len(chunk))]
    for at in range(0, len(mixed), WINDOW):
        events = [
            RawEvent(
                msgspec.json.encode(
                    {
                        "type": "identify",
                        "messageId": f"m{person['row']}",
                        "anonymousId": f"r{person['row']}",
                        "traits": {
                            field: person[column] for column, field in FIELDS.items() if person[column]
                        },
                    }
                ),
                1_000,
                "bench",
            )
            for person in mixed[at : at + WINDOW]
        ]
        yield Window(
            partition="bench/0",
            before=at - 1,
            after=at + len(events) - 1,
            events=events,
            positions=list(range(at, at + len(events))),
            opened=0.0,
        )


def measure(config: Config, records: int, once: bool) -> None:
    client = Deployment(config).client
    Deployment(config).prepare()
    directory = Deployment(config).directory
    resolver = Resolver(
        config,
        Deployment(config).validator(),
        directory,
        Deployment(config).data_keys,
        Deployment(config).log_seal,
        Stop(),
    )
    matcher = matcher_of(Deployment(config))
    tune_collector()
    first: float | None = None
    print(f"{'records':>9} {'flow':>8} {'Redis':>8} {'growth':>8} {'compared':>9}")
    flow: list[float] = []
    server: list[float] = []
    paces: list[float] = []
    compared = 0
    for number, window in enumerate(windows(records, once), 1):
        resolver.commit(resolver.judge(window))
        directory.trim(directory.heads())
        paces.append(_pace())
        began_s, server_began_s = time.process_time(), _server_s(client)
        for said in matcher.read(0):
            matcher.take(said)
        flow.append((time.process_time() - began_s) / len(window.events) * 1e6)
        server.append((_server_s(client) - server_began_s) / len(window.events) * 1e6)
        if number % (CHUNK // WINDOW) == 0 or number * WINDOW >= records:
            units = median(flow) / median(paces)
            first = first or units
            each = (matcher.comparisons - compared) / CHUNK
            print(
                f"{number * WINDOW:9,} {median(flow):8.1f} {median(server):8.1f}"
                f" {units / first:8.2f} {each:9.2f}",
                flush=True,
            )
            flow, server, paces, compared = [], [], [], matcher.comparisons


def _pace() -> float:
    """How long a fixed piece of work takes just now."""
    began_s = time.process_time()
    sum(number * number % 7 for number in range(20_000))
    return time.process_time() - began_s


def _server_s(client: object) -> float:
    cpu = client.info("cpu")  # type: ignore[attr-defined]
    return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory(prefix="mr-") as name:
        made = configuration(Path(name), count)
        with Embedded(Path(name) / "redis", fsync="no").running() as url:
            measure(
                msgspec.structs.replace(made, redis=msgspec.structs.replace(made.redis, url=url)),
                count,
                once=sys.argv[2:] == ["new"],
            )
