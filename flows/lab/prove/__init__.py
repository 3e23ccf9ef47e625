"""`millrace prove sealed`: a deployment of its own takes in known personal values by every way there is; then
all that it has left is searched for them.

personal_values  invented people, every value known
paths            the ways, a table: `ways_in`, `ways_within`, with `messages` and `arrivals`
scratch          the deployment
deployment_keys  its keys, which are looked for as well
stores           where anything may lie, a table
encodings        the guises in which a value may lie there
byte_search      all guises in one pass over bytes
unpacking        what is packed in bytes
search           these together
plants           the self-test: leaks that have to be found
proof_report     what it ends with
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog
from rich.console import Console

from flows.lab.chaos.broker import Broker
from flows.lab.demo.stack import Stack
from flows.lab.prove import deployment_keys, plants, stores
from flows.lab.prove.deployment_keys import keys_of
from flows.lab.prove.paths import WAYS, Way
from flows.lab.prove.personal_values import People, PersonalValue
from flows.lab.prove.proof_report import Proof, StoreRow, WayRow, shown
from flows.lab.prove.scratch import (
    APPS_TOPIC,
    EVENTS_TOPIC,
    PARTITIONS,
    TRIGGERS_TOPIC,
    Collector,
    Scratch,
    document,
)
from flows.lab.prove.search import Finding, Search
from flows.lab.prove.stores import Evidence
from flows.lab.prove.unpacking import Unpacker
from flows.runtime.deployment import Deployment
from schemas.errors import ConfigError
from state.redis.embedded import embedded

log = structlog.get_logger()

SEED = 11
VISITORS = 2_600  # of whom each shard has more than a dictionary of profiles is made from
VISITORS_IN_A_BATCH = 1_300
PIPED_WIDTH = 140
LEFT_OUT = (
    "the key file, for keys: it is there to hold them",
    "receivers that are configured with `identify`, which are told on purpose",
    "what stewards and `millrace dead show` see in the clear, on purpose",
    "names, addresses and birthdays under headings that nobody listed: nothing tells them from other words",
)
NO_KAFKA = "Kafka as the raw log, and events from a topic: give --kafka (needs Java and Maven)"
APPS = f"the topic {APPS_TOPIC}, in which apps write in the clear"
COPIED = ("left", "planted", "planted-broker")  # in the folder, only for the search
MAY_BE_EMPTY = ("Redis: set",)  # a deployment has none
REPORTS_AT_ONCE = 3
_REPORTS = (
    ("status",),
    ("quality",),
    ("quality", "--json"),
    ("quality", "--personal"),
    ("dead", "list", "--limit", "1000"),
    ("source", "list"),
    ("keys", "status"),
    ("subject", "list"),
    ("subject", "held"),
    ("privacy", "report"),
    ("privacy", "report", "--json"),
    ("identity", "recent"),
    ("identity", "suspended"),
    ("review", "list"),
    ("model", "list"),
    ("model", "show", "churn"),
    ("digest", "--json"),
    ("backup", "list"),
    ("backup", "verify"),
)


def run(kafka: bool, keep: Path | None, as_json: bool) -> int:
    """Prove it, and print the result. Return 0 if nothing was found, and the search would have found it."""
    proof = play(keep=keep, kafka=kafka)
    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(shown(proof))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(proof) + b"\n")
        sys.stdout.flush()
    return 0 if proof.good else 1


def play(
    ways: tuple[Way, ...] = WAYS,
    visitors: int = VISITORS,
    keep: Path | None = None,
    kafka: bool = False,
    seed: int = SEED,
) -> Proof:
    """Run the deployment and search what it left; in `keep`, or in a temporary folder that is gone
    afterwards. Raises `ConfigError` where there is something in `keep`, `Unreachable` if millrace ends by
    itself."""
    began_s = time.monotonic()
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise ConfigError(f"--keep {keep}: expected a folder that is empty, or not there yet")
    folder = keep or Path(tempfile.mkdtemp(prefix="millrace-prove-"))
    folder.mkdir(parents=True, exist_ok=True)
    people = People(seed)
    try:
        lived = _lived(folder, [way for way in ways if kafka or not way.kafka], visitors, people, kafka)
        proof = _searched(folder, lived, people)
    finally:
        for copied in COPIED if keep else ("",):
            shutil.rmtree(folder / copied, ignore_errors=True)
    return msgspec.structs.replace(
        proof,
        left_out=[*LEFT_OUT, APPS if kafka else NO_KAFKA],
        seconds=round(time.monotonic() - began_s, 1),
        kept=str(keep) if keep else "",
    )


class _Lived(NamedTuple):
    """What was sent and what is left of it; `dictionaries` of compressed profiles."""

    values: list[PersonalValue]
    ways: list[WayRow]
    evidence: Evidence
    dictionaries: dict[int, bytes]


def _lived(folder: Path, ways: Sequence[Way], visitors: int, people: People, kafka: bool) -> _Lived:
    """Run the deployment, send it everything, and stop it."""
    with ExitStack() as exits:
        plain, crm, broken = (exits.enter_context(Collector()) for _ in range(3))
        broker = exits.enter_context(Broker(folder / "kafka")) if kafka else None
        if broker is not None:
            for topic in (EVENTS_TOPIC, APPS_TOPIC, TRIGGERS_TOPIC):
                broker.create_topic(topic, PARTITIONS)
        made = document(folder, plain, crm, broken, broker.bootstrap if broker else "")
        stack = exits.enter_context(Stack(made, "prove"))
        scratch = Scratch(stack, plain, crm, broken)
        deployment = scratch.deployment
        _leave_open(deployment)
        _visit(scratch, visitors)
        values, rows = _walked(scratch, ways, people)
        _report(scratch)
        keys = keys_of(deployment)
        rows.append(WayRow(way=deployment_keys.WAY, values=len(keys), arrived=len(keys)))
        exposition = scratch.http.get("/metrics").content
        dictionaries = stores.dictionaries(deployment)
        deployment.client.save()
        stack.stop()
    data, left = Path(stack.config.data.folder), folder / "left"
    # At its next start Redis may write its files anew, without what was there once.
    shutil.copytree(data, left, ignore=shutil.ignore_patterns("*.sock"))
    said = {
        stores.EXPOSITION: {"/metrics": exposition},
        stores.REPORTS: scratch.reports,
        stores.ANSWERS: {f"answer {number}": body for number, body in enumerate(scratch.answers)},
        stores.TRIGGERS: {f"trigger {number}": body for number, body in enumerate(plain.bodies)},
    }
    evidence = Evidence(
        folder=left,
        deployment=Deployment(stack.config),
        said=said,
        broker=folder / "kafka" / "data" if kafka else None,
        apart=(APPS_TOPIC,),
    )
    return _Lived([*values, *keys], rows, evidence, dictionaries)


def _walked(
    scratch: Scratch, ways: Sequence[Way], people: People
) -> tuple[list[PersonalValue], list[WayRow]]:
    """Every way with people of its own: the values that were sent, and what arrived by which way."""
    values: list[PersonalValue] = []
    rows: list[WayRow] = []
    for way in ways:
        sent = [people.next() for _ in range(way.people)]
        arrived = way.walk(scratch, sent)
        log.info("walked", way=way.name, arrived=arrived)
        mine = [value for person in sent for value in person.sent_by(way.name)]
        values += mine
        rows.append(WayRow(way=way.name, values=len(mine), arrived=arrived))
    return values, rows


def _leave_open(deployment: Deployment) -> None:
    """Have Redis write its files so that they can be searched from outside: not compressed, and with all that
    was ever written."""
    client: Any = deployment.client
    client.config_set("rdbcompression", "no")
    client.config_set("auto-aof-rewrite-percentage", 0)


def _visit(scratch: Scratch, visitors: int) -> None:
    """Let so many strangers come by that profiles are compressed with a dictionary, as they are in a
    deployment that has run for an hour."""
    numbers = range(visitors)
    for first in numbers[::VISITORS_IN_A_BATCH]:
        scratch.batch(
            [
                {"type": "page", "anonymousId": f"v-{n}", "name": "Home", "messageId": f"visit-{n}"}
                for n in numbers[first : first + VISITORS_IN_A_BATCH]
            ]
        )
    scratch.settle()


def _report(scratch: Scratch) -> None:
    """Ask for a backup and for all reports."""
    scratch.command("backup", "create")
    with ThreadPoolExecutor(REPORTS_AT_ONCE) as pool:
        list(pool.map(lambda words: scratch.command(*words), _REPORTS))
    page = scratch.inbox / "churn.html"
    scratch.command("model", "report", "churn", "--html", str(page))
    if page.exists():
        scratch.reports["model report, the page"] = page.read_bytes()


def _searched(folder: Path, lived: _Lived, people: People) -> Proof:
    """Search with the processes at rest; then plant, and search again."""
    evidence, unpacker = lived.evidence, Unpacker(lived.dictionaries)
    deployment = evidence.deployment
    with embedded(deployment.config).running():
        found = Search(lived.values, unpacker).through(stores.places(evidence))
        made = plants.leaks(people, lived.dictionaries)
        _leave_open(deployment)
        copied = plants.planted(evidence, made, folder / "planted")
        again = Search([one.value for one in made], unpacker).through(stores.places(copied))
    rows = [
        _row(store, found, again, made)
        for store in stores.STORES
        if store != stores.BROKER or evidence.broker
    ]
    return Proof(
        values=len(lived.values),
        places=found.places.total(),
        bytes=found.bytes.total(),
        hits=len(found.hits),
        planted=sum(row.planted for row in rows),
        planted_found=sum(row.planted_found for row in rows),
        stores=rows,
        ways=lived.ways,
        where=found.hits,
        missed=plants.missed(made, again.found, [row.store for row in rows]),
        not_walked=_not_walked(lived, rows),
        left_out=[],
        seconds=0.0,
    )


def _row(store: str, found: Finding, again: Finding, made: list[plants.Planted]) -> StoreRow:
    return StoreRow(
        store=store,
        places=found.places[store],
        bytes=found.bytes[store],
        hits=sum(hit.store == store for hit in found.hits),
        planted=len(made),
        planted_found=sum((store, one.value.text) in again.found for one in made),
    )


def _not_walked(lived: _Lived, rows: Sequence[StoreRow]) -> list[str]:
    """Ways by which nothing arrived, and stores in which a deployment that works has something."""
    missing = [row.way for row in lived.ways if not row.arrived]
    missing += [
        f"{row.store}: there is nothing" for row in rows if not row.places and row.store not in MAY_BE_EMPTY
    ]
    if not lived.dictionaries:
        missing.append("profiles compressed with a dictionary: there is none")
    return missing
