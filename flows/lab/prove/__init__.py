"""`millrace prove sealed`: a deployment of its own takes in known personal values by every way there is; then
all that it has left is searched for them.

personal_values  invented people, every value known
paths            the ways in, a table
scratch          the deployment
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import structlog
from rich.console import Console

from flows.lab.demo.stack import Stack
from flows.lab.prove import plants, stores
from flows.lab.prove.paths import WAYS, Way
from flows.lab.prove.personal_values import People, PersonalValue
from flows.lab.prove.proof_report import Proof, StoreRow, WayRow, shown
from flows.lab.prove.scratch import Collector, Scratch, document
from flows.lab.prove.search import Finding, Search
from flows.lab.prove.stores import Evidence
from flows.lab.prove.unpacking import Unpacker
from flows.runtime.deployment import Deployment
from state.redis.embedded import embedded

log = structlog.get_logger()

SEED = 11
VISITORS = 2_600  # each worker of `profile` makes a dictionary of the first thousand profiles that it writes
VISITORS_IN_A_BATCH = 1_300
PIPED_WIDTH = 140
LEFT_OUT = (
    "receivers that are configured with `identify`, which are told on purpose",
    "what stewards and `millrace dead show` see in the clear, on purpose",
    "names, addresses and birthdays under headings that nobody listed: nothing tells them from other words",
)
NO_KAFKA = "Kafka as the raw log"
_REPORTS = (
    ("status",),
    ("quality",),
    ("quality", "--json"),
    ("dead", "list", "--limit", "1000"),
    ("source", "list"),
    ("model", "list"),
    ("model", "show", "churn"),
    ("digest", "--json"),
    ("backup", "list"),
    ("backup", "verify"),
)


def run(keep: Path | None, as_json: bool) -> int:
    """Prove it, and print the result. Return 0 if nothing was found, and the search would have found it."""
    proof = play(keep=keep)
    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(shown(proof))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(proof) + b"\n")
        sys.stdout.flush()
    return 0 if proof.good else 1


def play(
    ways: tuple[Way, ...] = WAYS, visitors: int = VISITORS, keep: Path | None = None, seed: int = SEED
) -> Proof:
    """Run the deployment and search what it left; in `keep`, or in a temporary folder that is gone
    afterwards. Raises `Unreachable` if millrace ends by itself."""
    began_s = time.monotonic()
    folder = keep or Path(tempfile.mkdtemp(prefix="millrace-prove-"))
    folder.mkdir(parents=True, exist_ok=True)
    people = People(seed)
    try:
        values, rows, evidence = _lived(folder, ways, visitors, people)
        proof = _searched(folder, evidence, values, people)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return msgspec.structs.replace(
        proof,
        ways=rows,
        not_walked=[*(row.way for row in rows if not row.arrived), *proof.not_walked],
        seconds=round(time.monotonic() - began_s, 1),
        kept=str(keep) if keep else "",
    )


def _lived(
    folder: Path, ways: tuple[Way, ...], visitors: int, people: People
) -> tuple[list[PersonalValue], list[WayRow], Evidence]:
    """Everything that the deployment is sent, and what it left."""
    values: list[PersonalValue] = []
    rows: list[WayRow] = []
    with ExitStack() as exits:
        plain, crm, broken = (exits.enter_context(Collector()) for _ in range(3))
        stack = Stack(document(folder, plain, crm, broken), "prove")
        exits.enter_context(stack)
        scratch = Scratch(stack, plain, crm, broken)
        _leave_open(scratch.deployment)
        _visit(scratch, visitors)
        for way in ways:
            sent = [people.next() for _ in range(way.people)]
            arrived = way.walk(scratch, sent)
            log.info("walked", way=way.name, arrived=arrived)
            mine = [value for person in sent for value in person.sent_by(way.name)]
            values += mine
            rows.append(WayRow(way=way.name, values=len(mine), arrived=arrived))
        _report(scratch)
        exposition = {"/metrics": scratch.http.get("/metrics").content}
        said = {
            stores.EXPOSITION: exposition,
            stores.REPORTS: scratch.reports,
            stores.ANSWERS: {f"answer {number}": body for number, body in enumerate(scratch.answers)},
            stores.TRIGGERS: {f"trigger {number}": body for number, body in enumerate(plain.bodies)},
        }
        return values, rows, Evidence(Path(scratch.config.data.folder), Deployment(stack.config), said)


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
    for words in _REPORTS:
        scratch.command(*words)
    page = scratch.inbox / "churn.html"
    scratch.command("model", "report", "churn", "--html", str(page))
    if page.exists():
        scratch.reports["model report, the page"] = page.read_bytes()


def _searched(folder: Path, evidence: Evidence, values: list[PersonalValue], people: People) -> Proof:
    """Search with the processes at rest; then plant, and search again."""
    deployment = evidence.deployment
    with embedded(deployment.config).running():
        _leave_open(deployment)
        save = deployment.client.save
        save()
        dictionaries = stores.dictionaries(deployment)
        unpacker = Unpacker(dictionaries)
        found = Search(values, unpacker).through(stores.places(evidence))
        made = plants.leaks(people, dictionaries)
        copied = plants.planted(evidence, made, folder / "planted", save)
        again = Search([one.value for one in made], unpacker).through(stores.places(copied))
    shutil.rmtree(folder / "planted")
    rows = [_row(store, found, again, made) for store in stores.STORES]
    empty = [f"{row.store}: there is nothing" for row in rows if not row.places and _must_hold(row.store)]
    if not dictionaries:
        empty.append("profiles compressed with a dictionary: there is none")
    return Proof(
        values=len(values),
        places=found.places.total(),
        bytes=found.bytes.total(),
        hits=len(found.hits),
        planted=sum(row.planted for row in rows),
        planted_found=sum(row.planted_found for row in rows),
        stores=rows,
        ways=[],
        where=found.hits,
        missed=[
            f"{one.name} in {store}"
            for store in stores.STORES
            for one in made
            if (store, one.value.text) not in again.found
        ],
        not_walked=empty,
        left_out=[*LEFT_OUT, NO_KAFKA],
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


def _must_hold(store: str) -> bool:
    """Whether a deployment that works has something there; sets it has none."""
    return store not in ("Redis: set",)
