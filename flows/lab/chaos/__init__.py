"""`millrace chaos`: the real stack under a known load, while everything goes wrong that can; then the count.

booked_traffic  the load, and the book of it
site            what can be hurt, and how one sees that it works
strikes         what goes wrong
moody_receiver  a webhook receiver with moods
leavers         customers who want to be erased all the time
journal_watch   when what was said could be known
broker          a Kafka broker that can be killed
disk            a disk that can be full
ports           where servers listen
consent_count   what was stored and sent, against what customers allowed
final_count     book, profiles, triggers and an undisturbed twin, compared
loss_report     the table
"""

import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

import msgspec
import structlog
from rich.console import Console

from flows.lab.chaos.booked_traffic import Book, Publisher, Store, by_http, by_kafka, name_of
from flows.lab.chaos.broker import Broker
from flows.lab.chaos.disk import small_disk
from flows.lab.chaos.final_count import is_drained, judge
from flows.lab.chaos.journal_watch import JournalWatch
from flows.lab.chaos.leavers import DONE_S, LEAVERS, Leavers, are_done
from flows.lab.chaos.loss_report import Report, Strike, build, shown
from flows.lab.chaos.moody_receiver import Moody
from flows.lab.chaos.site import APPS_TOPIC, EVENTS_TOPIC, KEY, PARTITIONS, Site, Stuck, Witness, document
from flows.lab.chaos.strikes import Fault, faults
from flows.lab.demo.stack import Stack
from flows.lab.demo.trigger_receiver import Got
from flows.runtime.deployment import Deployment
from flows.runtime.supervisor import Patience
from state.redis.embedded import embedded

log = structlog.get_logger()

BY_HTTP, BY_KAFKA = ("http-a", "http-b"), "app"  # publishers
# What has not lived for so long is given up when it dies again and again: a fault of its start.
WARM_S = Patience().quick_s
CALM_S = (0.5, 2.0)  # between two faults, drawn
DRAIN_S = 120.0
PIPED_WIDTH = 120


def run(seconds: float, seed: int, kafka: bool, as_json: bool, only: str | None = None) -> int:
    """Cause faults for `seconds`, then count. Return 0 if nothing was lost or doubled. `only`: faults whose
    name contains it."""
    report = play(seconds, seed, kafka, only)
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(shown(report))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.flush()
    return 0 if report.good else 1


def play(seconds: float, seed: int, kafka: bool, only: str | None = None) -> Report:
    """Play the whole run, in a temporary folder that is left only where something is wrong. Raises
    `Unreachable` if millrace ends by itself.

    The log in Redis is run with `appendfsync always`, the one in Kafka, which outlives what Redis loses, with
    `everysec`.
    """
    book = Book()
    witness = Witness(book, [*BY_HTTP, *([BY_KAFKA] if kafka else [])])
    luck = Random(seed)
    fsync = "everysec" if kafka else "always"
    folder = Path(tempfile.mkdtemp(prefix="millrace-chaos-"))
    with ExitStack() as exits:
        has_disk = exits.enter_context(small_disk(folder / "data" / "redis"))
        broker = exits.enter_context(Broker(folder / "kafka")) if kafka else None
        crm, gone = exits.enter_context(Moody(witness.saw)), exits.enter_context(Moody(_nobody))
        if broker is not None:
            for topic in (EVENTS_TOPIC, APPS_TOPIC):
                broker.create_topic(topic, PARTITIONS)
        stack = Stack(
            document(folder / "data", fsync, crm, gone, broker.bootstrap if broker else ""), "chaos"
        )
        exits.enter_context(stack)
        site = exits.enter_context(Site(stack, book, witness, crm, gone, broker, luck))
        site.went_back = fsync != "always"  # then a kill alone may take what the kernel did not have yet
        possible, skipped = faults(site, has_disk)
        stores: dict[str, Store] = {name: by_http(stack.url, KEY) for name in BY_HTTP}
        if broker is not None:
            stores[BY_KAFKA] = by_kafka(broker.bootstrap, APPS_TOPIC)
        publishers = {
            name: exits.enter_context(Publisher(name, store, book, seed)) for name, store in stores.items()
        }
        watch = exits.enter_context(JournalWatch(Deployment(stack.config).journal.head))
        people = [name_of(name, number) for name in publishers for number in range(LEAVERS)]
        leavers = exits.enter_context(Leavers(stack.config, people, Random(f"{seed}-leavers")))
        began_s = time.monotonic()
        strikes = _strikes(site, [fault for fault in possible if not only or only in fault.name], seconds)
        took_s = time.monotonic() - began_s
        leavers.finish()
        site.findings += [
            f"publisher {name} was not rid of its last batch"
            for name, one in publishers.items()
            if not one.finish()
        ]
        _drain(site)
        stack.stop()
        with embedded(site.config).running():
            verdict = judge(site, leavers.asked, watch)
        verdict = msgspec.structs.replace(verdict, findings=[*site.findings, *verdict.findings])
    report = build(
        seed, took_s, "Kafka" if kafka else "Redis", fsync, strikes, skipped, book, crm.repeats, verdict
    )
    if report.good:
        shutil.rmtree(folder)
        return report
    return msgspec.structs.replace(report, left=str(folder))


def _strikes(site: Site, possible: list[Fault], seconds: float) -> list[Strike]:
    """One fault after the other, each kind once before any comes again."""
    strikes: list[Strike] = []
    bag: list[Fault] = []
    site.processing(time.monotonic())
    time.sleep(WARM_S)
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        bag = bag or site.luck.sample(possible, len(possible))
        fault = bag.pop()
        began_s = time.monotonic()
        log.info("fault", fault=fault.name)
        try:
            processing_s = fault.strike(site)
        except Stuck as stuck:
            site.findings.append(f"{fault.name}: {stuck}")
            strikes.append(
                Strike(
                    fault=fault.name,
                    budgeted=fault.budgeted,
                    began_s=began_s,
                    ended_s=time.monotonic(),
                    processing_s=None,
                )
            )
            return strikes
        log.info(
            "survived",
            fault=fault.name,
            processing_s=None if processing_s is None else round(processing_s, 2),
        )
        strikes.append(
            Strike(
                fault=fault.name,
                budgeted=fault.budgeted,
                began_s=began_s,
                ended_s=time.monotonic(),
                processing_s=processing_s,
            )
        )
        time.sleep(site.luck.uniform(*CALM_S))
    return strikes


def _drain(site: Site) -> None:
    try:
        site.until(lambda: are_done(site.config), "not every erasure is done", DONE_S)
        site.until(lambda: is_drained(site.config), "not everything has been delivered", DRAIN_S)
    except Stuck as stuck:
        site.findings.append(str(stuck))


def _nobody(_got: Got) -> None:
    """The receiver that will be gone is not counted on."""
